"""What the routes about trainings have in common."""

from fastapi import APIRouter, Depends, Request

from epochd.api.deps import AUTHORISED
from epochd.core.errors import NotFound
from epochd.core.jobs import is_prediction

PREFIX = "/api/v1/epoch-training"


async def only_trainings(request: Request) -> None:
    """Raise NotFound for the id of a batch prediction, which has routes of its own."""
    task_id = request.path_params.get("task_id", "")
    if is_prediction(task_id):
        raise NotFound(f"{task_id[:100]!r} is a batch prediction, not a training: see /api/v1/predictions")


def training_router() -> APIRouter:
    """A router for some of these routes."""
    return APIRouter(prefix=PREFIX, tags=["epoch training"], dependencies=[*AUTHORISED, Depends(only_trainings)])
