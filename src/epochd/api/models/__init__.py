"""The routes about models and their predictions.

A model's name contains slashes, which a client may send as they are or as ``%2F``: a path is read from its end, so the
most specific routes come first.
"""

from fastapi import APIRouter

from epochd.api.models import downloads, prediction, routes
from epochd.api.security import MODELS_PATH

router = APIRouter()
for module in (downloads, prediction, routes):
    router.include_router(module.router, prefix=MODELS_PATH)
