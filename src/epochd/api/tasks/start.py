"""Validate a config, start a training with it, and describe the fields of a config."""

import asyncio
from functools import partial
from typing import Any

from fastapi import Request

from epochd.api.deps import JsonObject, ServiceDep, TranslatorDep, UserDep, while_connected
from epochd.api.messages import Message
from epochd.api.service import Service
from epochd.api.tasks import validation
from epochd.api.tasks.openapi_examples import BODY
from epochd.api.tasks.responses import Started, Validated
from epochd.api.tasks.routing import training_router
from epochd.artifact import pack
from epochd.core.errors import EpochdError
from epochd.core.jobs import State
from epochd.core.language import translated
from epochd.core.specs import TrainingSpec
from epochd.store import jobs

router = training_router()


@router.post(
    "/start",
    operation_id="start_training",
    summary="Start a training",
    openapi_extra=BODY,
)
async def start(
    values: JsonObject, request: Request, service: ServiceDep, user: UserDep, translator: TranslatorDep
) -> Started:
    """Validate the config, queue the training and return its id. An error lists every problem at once."""
    service.check_storage()
    result = await while_connected(request, _validated(values, service))
    spec = result.outcome
    if isinstance(spec, EpochdError):
        raise spec
    await asyncio.to_thread(pack.reserve_place, service.settings.artifacts_dir, spec.artifact_folder)
    summary = {"dataset": result.dataset and result.dataset.as_json()}
    job = await jobs.submit(service.db, spec, warnings=result.warnings, summary=summary, owner=user)
    return Started(
        task_id=job.id,
        message=translator.message(Message.STARTED),
        config=spec.model_dump(),
        warnings=result.warnings,
        dataset=result.dataset and result.dataset.as_json(),
        queue_position=await jobs.position(service.db, job.id),
    )


@router.post(
    "/validate",
    operation_id="validate_config",
    summary="Validate a config without starting it",
    openapi_extra=BODY,
)
async def validate(values: JsonObject, request: Request, service: ServiceDep) -> Validated:
    """All problems and warnings of a config, and the resolved config that would be trained."""
    result = await while_connected(request, _validated(values, service))
    spec, error = (None, result.outcome) if isinstance(result.outcome, EpochdError) else (result.outcome, None)
    return Validated(
        valid=error is None,
        problems=[problem.as_json() for problem in error.problems] if error else [],
        warnings=result.warnings,
        config=spec and spec.model_dump(),
        dataset=result.dataset and result.dataset.as_json(),
    )


async def _validated(values: dict[str, Any], service: Service) -> validation.ValidationResult:
    catalog = await service.catalog(values.get("dataset"), values.get("validation_dataset"))
    waiting = (await asyncio.shield(service.count_jobs()))[State.PENDING]
    known = service.speeds, partial(service.ready, waiting)
    machines = service.gpu_count, service.engines
    return await validation.validate(values, catalog, service.checks, service.settings, *machines, *known)


@router.get("/schema", operation_id="get_config_schema", summary="Get the JSON Schema of a config")
async def schema() -> dict[str, Any]:
    """Every field with its description, default and bounds."""
    described: dict[str, Any] = _described(TrainingSpec.model_json_schema())
    return described


def _described(schema: Any) -> Any:
    """A part of the schema with its descriptions as running text, in the language of the request."""
    if isinstance(schema, list):
        return [_described(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _described(part) for name, part in schema.items()}
    if isinstance(text := schema.get("description"), str):
        found["description"] = translated(" ".join(text.replace("``", "").split()))
    return found
