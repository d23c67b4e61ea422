"""The routes about models and their predictions.

A model's name contains slashes, which a client may send as they are or as ``%2F``: a path is read from its end, so the
most specific routes come first.
"""

from epochd.api.models import downloads, prediction, routes

ROUTERS = downloads.router, prediction.router, routes.router
