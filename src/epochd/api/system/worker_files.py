"""The routes through which workers on other machines read and write the files of their attempts (``attempt_files``),
and through which those of one training on several machines find each other."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from pydantic import ValidationError
from starlette.requests import Request

from epochd.api.deps import JsonObject, ServiceDep, bearer_token
from epochd.api.leader import AT_LEADER, at_leader
from epochd.api.security import WORKERS_PATH
from epochd.api.service import Service
from epochd.core.errors import BadRequest, NotFound
from epochd.core.jobs import Job
from epochd.core.transfers import Meeting, Wanted
from epochd.store import attempts, jobs

router = APIRouter(prefix=f"{WORKERS_PATH}attempts/{{task_id}}", include_in_schema=False)

Attempt = Annotated[int, Query(ge=1)]


Damaged = Annotated[list[str], Query(max_length=10)]


@router.get("/files")
async def inputs(task_id: str, service: ServiceDep, damaged: Damaged = []) -> Response:  # noqa: B006 - is not changed
    """What the attempt needs before it begins, as ``core.transfers.Inputs``, without checkpoints that were found to be
    damaged."""
    found = await service.attempt_files.inputs(await jobs.get(service.db, task_id), damaged)
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/files/{kind}/{path:path}")
async def read(task_id: str, kind: str, path: str, service: ServiceDep) -> Response:
    """A file of ``data``, ``model`` or ``state``, or a range of its bytes; or where the object store has it."""
    found = await service.attempt_files.find(await jobs.get(service.db, task_id), kind, path)
    return RedirectResponse(found, 307) if isinstance(found, str) else FileResponse(found)


@router.post("/files/grants")
async def grants(task_id: str, attempt: Attempt, values: JsonObject, request: Request, service: ServiceDep) -> Response:
    """Where the attempt sends the files of a folder, as ``core.transfers.Grants``."""
    try:
        wanted = Wanted.model_validate(values)
    except ValidationError as error:
        raise BadRequest(f"the body names no files: {error.errors(include_url=False)[0]['msg']}") from None
    found = await service.attempt_files.grants(await _running(service, task_id, attempt, request), wanted)
    return Response(found.model_dump_json(), media_type="application/json")


@router.put("/files/{path:path}", status_code=204)
async def write(task_id: str, path: str, attempt: Attempt, request: Request, service: ServiceDep) -> Response:
    """One file of a folder that the attempt makes; with its manifest the folder is complete."""

    async def confirm() -> Job:
        return await _running(service, task_id, attempt, request)

    await service.attempt_files.write(await confirm(), path, request.stream(), confirm)
    return Response(status_code=204)


async def _running(service: Service, task_id: str, attempt: int, request: Request) -> Job:
    """The job, whose lease is renewed. Raises StaleAttempt unless the attempt is running."""
    token, lease = bearer_token(request.headers), service.settings.lease_seconds
    await attempts.report(service.db, task_id, attempt, token, [], lease_seconds=lease)
    return await jobs.get(service.db, task_id)


@router.put("/log")
async def log(
    task_id: str, attempt: Attempt, offset: Annotated[int, Query(ge=0)], request: Request, service: ServiceDep
) -> JSONResponse:
    """Append a piece that begins at ``offset`` to the log of an attempt; answers with the size that it has then. With
    an object store the server that dispatches has the whole log until the attempt ends."""
    if service.storage.is_on:
        await at_leader(request, service)
    job = await jobs.get(service.db, task_id)
    if job.attempt != attempt:
        raise NotFound(f"attempt {attempt} of task {task_id} is not its newest one")
    return JSONResponse({"size": await service.attempt_files.append_log(job, offset, await request.body())})


@router.put("/meeting", status_code=204, dependencies=[AT_LEADER])
async def meet(task_id: str, attempt: Attempt, request: Request, service: ServiceDep) -> Response:
    """Tell where the worker of rank 0 waits for those of the other machines, as ``core.transfers.Meeting``."""
    try:
        meeting = Meeting.model_validate_json(await request.body())
    except ValidationError as error:
        errors = [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors(include_url=False)]
        raise RequestValidationError(errors) from None
    await service.dispatcher.meet((task_id, attempt), meeting)
    return Response(status_code=204)


@router.get("/meeting", dependencies=[AT_LEADER])
async def meeting(
    task_id: str, attempt: Attempt, service: ServiceDep, wait: Annotated[float, Query(ge=0, le=20)] = 0.0
) -> Response:
    """Where the machines of an attempt meet; 204 if that is not known after ``wait`` seconds."""
    found = await service.dispatcher.meeting((task_id, attempt), wait)
    if found is None:
        return Response(status_code=204)
    return Response(found.model_dump_json(), media_type="application/json")
