"""The routes about trainings."""

from fastapi import APIRouter

from epochd.api.tasks import control, lineage, logs, queries, replay, report, resume, start, stream

router = APIRouter()
for module in (start, queries, stream, control, resume, lineage, replay, logs, report):
    router.include_router(module.router)
