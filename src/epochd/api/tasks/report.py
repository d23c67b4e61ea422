"""The report of a model and the values of its figures, as the worker has saved them with the model."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import HTMLResponse, Response

from epochd.api.deps import ServiceDep, TranslatorDep
from epochd.api.responses import ErrorShape
from epochd.api.service import Service
from epochd.api.tasks.routing import training_router
from epochd.core.errors import IllegalMove, NotFound
from epochd.core.jobs import Job, State
from epochd.report import drawing
from epochd.report.language import FILE, VALUES, Language, in_language
from epochd.report.values import ReportValues
from epochd.store import jobs

router = training_router()

CONTENT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""A report needs its own styles and pictures; even if it had a script, none would run."""
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-cache",
    "Vary": "Accept-Language",
}
ERRORS: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorShape, "description": "No such task, or its model has no report"},
    409: {"model": ErrorShape, "description": "The task has no model yet, or will have none"},
}
PAGE = {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "The report, an HTML page"}


@router.get(
    "/tasks/{task_id}/report",
    operation_id="get_report",
    summary="Get the report of a model",
    response_class=HTMLResponse,
    responses={200: PAGE, **ERRORS},
)
async def report(
    task_id: str,
    service: ServiceDep,
    translator: TranslatorDep,
    lang: Annotated[Language | None, Query(description="The language. Default: that of `Accept-Language`.")] = None,
) -> HTMLResponse:
    """One page that needs no network. It contains both languages and a switch; `lang` is the one shown first."""
    job = await jobs.get(service.db, task_id)
    path = await _path(service, job, FILE)
    if drawing.is_due(path.parent):  # the worker had no time for it yet
        await service.reports.call(drawing.draw, path.parent)
    page = await asyncio.to_thread(_read, path)
    return HTMLResponse(in_language(page, lang or translator.language), headers=HEADERS)


@router.get(
    "/tasks/{task_id}/report/values",
    operation_id="get_report_values",
    summary="Get the values of the figures of a model's report",
    response_model=ReportValues,
    responses=ERRORS,
)
async def values(task_id: str, service: ServiceDep) -> Response:
    """Curves, counts at thresholds, errors, importances, forecasts and examples, for a program that draws its own
    figures. Models of earlier versions have a report without them."""
    job = await jobs.get(service.db, task_id)
    content = await asyncio.to_thread(_read, await _path(service, job, VALUES))
    return Response(content, media_type="application/json", headers={"Cache-Control": HEADERS["Cache-Control"]})


async def _path(service: Service, job: Job, name: str) -> Path:
    """Where a file of the report of a completed task is. Raises IllegalMove for others, NotFound for a path outside the
    artifact store."""
    if job.state is not State.COMPLETED or job.artifact is None:
        reason = "it has no model" if job.state.is_final else "its report is written when the training is complete"
        raise IllegalMove(f"task {job.id} is {job.state}: {reason}")
    path = (service.settings.data_dir / job.artifact / name).resolve()
    if not path.is_relative_to(service.settings.artifacts_dir.resolve()):
        raise NotFound(f"the model of task {job.id} is not in the artifact store")
    await service.storage.folder(service.settings.data_dir / job.artifact)
    return path


def _read(path: Path) -> bytes:
    """Raises NotFound if there is no such file."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        if path.name != FILE and path.with_name(FILE).is_file():
            raise NotFound(
                f"the report of the model in {path.parent.name} has no {path.name}, because an earlier version has "
                f"saved it; its page {FILE} is complete"
            ) from None
        reasons = "it was removed, was trained with EPOCHD_REPORT=false or by an earlier version, or its report failed"
        raise NotFound(f"the model in {path.parent.name} has no report: {reasons} (see the task's log)") from None
