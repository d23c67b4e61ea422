"""The road into training: check a config, start it, and say what a config may contain."""

from typing import Any

from fastapi import APIRouter

from epochd.api.deps import JsonObject, Opened, Speaking
from epochd.api.messages import Text
from epochd.api.responses import ErrorShape
from epochd.api.tasks import validation
from epochd.api.tasks.openapi_examples import BODY
from epochd.api.tasks.responses import Started, Validated
from epochd.core.specs import TrainingSpec
from epochd.store import jobs

router = APIRouter()


@router.post(
    "/start",
    summary="Start a training",
    response_model=Started,
    responses={422: {"model": ErrorShape}, 413: {"model": ErrorShape}},
    openapi_extra=BODY,
)
async def start(values: JsonObject, service: Opened, speaker: Speaking) -> dict[str, Any]:
    """Check the config, queue it, and answer with its id. A refusal lists every problem at once."""
    verdict = await validation.examine(
        values, await service.catalog(), service.settings, len(service.dispatcher.gpus.owned)
    )
    spec = verdict.accepted()
    summary = {"dataset": verdict.dataset.as_json() if verdict.dataset else None}
    job = await jobs.submit(service.db, spec, warnings=verdict.warnings, summary=summary)
    return {
        "task_id": job.id,
        "message": speaker.say(Text.STARTED),
        "config": spec.model_dump(),
        "warnings": verdict.warnings,
        "queue_position": await jobs.position(service.db, job.id),
    }


@router.post(
    "/validate",
    summary="Check a config without starting it",
    response_model=Validated,
    responses={422: {"model": ErrorShape}},
    openapi_extra=BODY,
)
async def validate(values: JsonObject, service: Opened) -> dict[str, Any]:
    """All problems and warnings of a config, and what would be trained."""
    verdict = await validation.examine(
        values, await service.catalog(), service.settings, len(service.dispatcher.gpus.owned)
    )
    return {
        "valid": verdict.error is None,
        "problems": [problem.as_json() for problem in verdict.problems],
        "warnings": verdict.warnings,
        "config": verdict.spec.model_dump() if verdict.spec else None,
        "dataset": verdict.dataset.as_json() if verdict.dataset else None,
    }


@router.get("/schema", summary="The JSON schema of a config")
async def schema() -> dict[str, Any]:
    """Every option with its meaning, default and bounds, as JSON Schema."""
    return TrainingSpec.model_json_schema()
