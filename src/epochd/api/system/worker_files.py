"""The routes through which workers on other machines read and write the files of their attempts (``attempt_files``)."""

from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, JSONResponse, Response
from starlette.requests import Request

from epochd.api.deps import ServiceDep, bearer_token
from epochd.api.security import WORKERS_PATH
from epochd.api.service import Service
from epochd.core.errors import NotFound
from epochd.core.jobs import Job
from epochd.store import attempts, jobs

router = APIRouter(prefix=f"{WORKERS_PATH}attempts/{{task_id}}", include_in_schema=False)

Attempt = Annotated[int, Query(ge=1)]


@router.get("/files")
async def inputs(task_id: str, service: ServiceDep) -> Response:
    """What the attempt needs before it begins, as ``core.transfers.Inputs``."""
    found = await service.attempt_files.inputs(await jobs.get(service.db, task_id))
    return Response(found.model_dump_json(), media_type="application/json")


@router.get("/files/{kind}/{path:path}")
async def read(task_id: str, kind: str, path: str, service: ServiceDep) -> FileResponse:
    """A file of ``data``, ``model`` or ``state``, or a range of its bytes."""
    return FileResponse(await service.attempt_files.find(await jobs.get(service.db, task_id), kind, path))


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
    """Append a piece that begins at ``offset`` to the log of an attempt; answers with the size that it has then."""
    job = await jobs.get(service.db, task_id)
    if job.attempt != attempt:
        raise NotFound(f"attempt {attempt} of task {task_id} is not its newest one")
    return JSONResponse({"size": await service.attempt_files.append_log(job, offset, await request.body())})
