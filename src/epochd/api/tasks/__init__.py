"""The routes about trainings."""

from fastapi import APIRouter

from epochd.api.tasks import control, lineage, logs, queries, report, resume, start, stream

router = APIRouter()
for module in (start, queries, stream, control, resume, lineage, logs, report):
    router.include_router(module.router)
