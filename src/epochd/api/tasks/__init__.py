"""The routes about trainings."""

from fastapi import APIRouter, Depends, Request

from epochd.api.tasks import control, curves, lineage, live, logs, queries, replay, report, resume, start, stream
from epochd.core.errors import NotFound
from epochd.core.jobs import is_prediction


async def only_trainings(request: Request) -> None:
    """Raise NotFound for the id of a batch prediction, which has routes of its own."""
    task_id = request.path_params.get("task_id", "")
    if is_prediction(task_id):
        raise NotFound(f"{task_id[:100]!r} is a batch prediction, not a training: see /api/v1/predictions")


router = APIRouter(dependencies=[Depends(only_trainings)])
for module in (start, queries, curves, stream, live, control, resume, lineage, replay, logs, report):
    router.include_router(module.router)
