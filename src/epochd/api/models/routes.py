"""What models there are: the list, the details of one, its aliases, and the removal of a version."""

import asyncio
import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query

from epochd.api.deps import AUTHORISED, JsonObject, ServiceDep
from epochd.api.models.responses import (
    AliasOf,
    FileLine,
    InputShape,
    Lineage,
    ModelDetail,
    ModelLine,
    Models,
    OutputShape,
    VersionLine,
    VersionRemoved,
)
from epochd.api.responses import ErrorShape, json_body
from epochd.api.security import MODELS_PATH
from epochd.api.served_models import Served
from epochd.api.service import Service
from epochd.artifact import files
from epochd.core.errors import InvalidRequest, NotFound, Problem
from epochd.core.jobs import TASK_ID, Job
from epochd.core.names import COMPOSED, Name
from epochd.core.text import shown
from epochd.serving.inputs import example_row
from epochd.store import jobs, models

router = APIRouter(prefix=MODELS_PATH, tags=["models"], dependencies=AUTHORISED)

UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such model or version"}}
IN_USE: dict[int | str, dict[str, Any]] = {409: {"model": ErrorShape, "description": "An alias leads to the version"}}


@router.get("", operation_id="list_models", summary="List models")
async def listing(
    service: ServiceDep,
    name: Annotated[str | None, Query(max_length=200, description="Only names that contain this."), COMPOSED] = None,
    dataset: Annotated[
        str | None, Query(max_length=1_000, description="Only versions that were trained on this dataset."), COMPOSED
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Models:
    """Models by name, the one that was trained last first. A model whose task was removed is not listed."""
    found, total = await models.find(service.db, name=name, dataset=dataset, limit=limit, offset=offset)
    lines = []
    for model in found:
        aliases = service.models.aliases(model.name)
        [newest] = model.versions
        lines.append(
            ModelLine(
                model=model.name,
                latest=service.models.latest(model.name),
                aliases=aliases,
                versions=model.count,
                newest=_version_line(newest.id, newest, aliases),
            )
        )
    return Models(models=lines, total=total, limit=limit, offset=offset)


@router.put(
    "/{model:path}/aliases/{alias}",
    operation_id="set_model_alias",
    summary="Make an alias lead to a version",
    responses=UNKNOWN,
    openapi_extra=json_body("AliasBody"),
)
async def set_alias(model: str, alias: Name, values: JsonObject, service: ServiceDep) -> AliasOf:
    """Create an alias such as `champion`, or move it: from then on, requests for it get the other version."""
    version = values.get("version")
    if values.keys() != {"version"} or not isinstance(version, str) or not version:
        message = f"the body is {shown(values, 80)}"
        hint = 'send {"version": "..."}: the id of a task, "latest" or another alias'
        raise InvalidRequest(f"{message}; {hint}", [Problem("version", message, hint)])
    service.check_storage()
    async with service.removing():
        found = await service.models.set_alias(model, alias, version)
    return AliasOf(model=found.model, alias=alias, version=found.id)


@router.delete(
    "/{model:path}/aliases/{alias}",
    operation_id="remove_model_alias",
    summary="Remove an alias",
    responses=UNKNOWN,
)
async def remove_alias(model: str, alias: Name, service: ServiceDep) -> AliasOf:
    """Remove an alias; the version stays."""
    async with service.removing():
        name = await service.models.remove_alias(model, alias)
    return AliasOf(model=name, alias=alias, version=None)


@router.get(
    "/{model:path}/versions/{version}",
    operation_id="get_model_version",
    summary="Get all details of a version of a model",
    responses=UNKNOWN,
)
async def version_detail(model: str, version: str, service: ServiceDep) -> ModelDetail:
    """What a version reads and returns, how good it is, and where it comes from."""
    return await _detail(service, await service.models.predictor(model, version))


@router.delete(
    "/{model:path}/versions/{version}",
    operation_id="remove_model_version",
    summary="Delete the files of a version of a model",
    responses={**UNKNOWN, **IN_USE},
)
async def remove_version(model: str, version: str, service: ServiceDep) -> VersionRemoved:
    """Delete a model's files; its task stays, and says since when the model is gone. Refused while an alias leads to
    the version. `latest` then leads to the newest other version."""
    service.check_storage()
    async with service.removing():
        found = await service.models.find(model, version)
        await service.models.remove(found)
    return VersionRemoved(model=found.model, version=found.id)


@router.get(
    "/{model:path}",
    operation_id="get_model",
    summary="Get all details of a model's latest version",
    responses=UNKNOWN,
)
async def detail(model: str, service: ServiceDep) -> ModelDetail:
    """The details of the version that `latest` leads to, and a list of all versions. The id of a task stands for the
    version that it has trained."""
    return await _detail(service, await service.models.predictor(model))


async def _detail(service: Service, served: Served) -> ModelDetail:
    predictor, version = served.predictor, served.version
    about, spec, aliases = predictor.about, predictor.setup.spec, service.models.aliases(version.model)
    known = await models.get(service.db, version.model)
    versions = {job.id: _version_line(job.id, job, aliases) for job in known.versions}
    kept = await asyncio.to_thread(_kept_versions, version.folder.parent, versions)
    versions |= {name: _version_line(name, None, aliases) for name in kept}
    try:
        job = await jobs.get(service.db, version.id)
    except NotFound:
        job = None
    return ModelDetail(
        model=version.model,
        version=version.id,
        latest=service.models.latest(version.model),
        aliases=aliases,
        versions=list(versions.values()),
        version_count=known.count + len(kept),
        task=predictor.task,
        target=predictor.encoder.target_column,
        classes=None if predictor.classes is None else list(predictor.classes),
        threshold=predictor.threshold if predictor.task == "binary" else None,
        inputs=[
            InputShape(name=i.name, kind=i.kind, role=i.role, example=i.example, steps=i.steps)
            for i in predictor.inputs
        ],
        outputs=[OutputShape(name=o.name, kind=o.kind, label=o.label) for o in predictor.outputs],
        example=example_row(predictor.inputs),
        sequence_length=spec.sequence_length,
        horizon=spec.horizon if predictor.forecasts else None,
        known_in_advance=spec.known_in_advance if predictor.forecasts else None,
        metrics=about.get("metrics") or about.get("scores"),
        engine=predictor.scorer.engine,
        lineage=_lineage(about, job),
        files=await asyncio.to_thread(_files, version.folder),
    )


def _version_line(version: str, job: Job | None, aliases: dict[str, str]) -> VersionLine:
    return VersionLine(
        version=version,
        aliases=[alias for alias, leads_to in aliases.items() if leads_to == version],
        metrics=None if job is None else job.best_metrics or {},
        finished_at=None if job is None else job.finished_at,
    )


def _lineage(about: Mapping[str, Any], job: Job | None) -> Lineage:
    facts = about.get("facts", {})
    return Lineage(
        task_id=about["task_id"],
        task_exists=job is not None,
        parent=None if job is None else job.parent,
        dataset=facts.get("dataset"),
        fingerprint=facts.get("fingerprint"),
        framework=facts.get("framework"),
        created_at=None if job is None else job.created_at,
        finished_at=None if job is None else job.finished_at,
        versions=about.get("versions", {}),
    )


def _kept_versions(folder: Path, known: Container[str]) -> list[str]:
    """The versions in a model's folder whose task was removed, newest first."""
    found = [path for path in folder.iterdir() if TASK_ID.fullmatch(path.name) and path.name not in known]
    return sorted((path.name for path in found if (path / files.MANIFEST).is_file()), reverse=True)[: models.MAX_LISTED]


def _files(folder: Path) -> list[FileLine]:
    """The files that the manifest names, the manifest, and the report once it is drawn."""
    manifest = json.loads((folder / files.MANIFEST).read_text(encoding="utf-8"))
    found = [FileLine(name=name, bytes=about["bytes"]) for name, about in manifest["files"].items()]
    others = [folder / name for name in (files.MANIFEST, files.DERIVED) if (folder / name).is_file()]
    return [*found, *(FileLine(name=path.name, bytes=path.stat().st_size) for path in others)]
