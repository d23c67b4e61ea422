"""The registry's routes: bring a dataset, look at it, remove it.

A dataset is brought as a file, as a path that the server can already read, or as a query on one of the operator's
connections. Whichever it is, a 201 means that it has been read through once and can be trained on.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace as changed
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from epochd.api.datasets.responses import (
    DatasetDetail,
    DatasetLine,
    DatasetRecord,
    DatasetRemoved,
    Datasets,
    record_fields,
)
from epochd.api.deps import Opened, json_object
from epochd.api.responses import ErrorShape
from epochd.api.security import DRAINED_BYTES
from epochd.api.service import Service
from epochd.core.datasets import Dataset, DatasetKind
from epochd.core.errors import BuiltIn, DataError, EpochdError, InvalidRequest, NotFound, Problem, similar_names
from epochd.data.tables.catalog import BUILTIN, Catalog
from epochd.data.tables.source import Source
from epochd.registry import sql_snapshot
from epochd.registry import upload as uploads
from epochd.registry.sql_snapshot import Snapshot
from epochd.registry.staging import Arrival, discard, examined, settle
from epochd.store import datasets

router = APIRouter()

SNAPSHOT_SUFFIX = ".parquet"
HUNG_UP = 499
"""What a proxy's log says of a client that left; nobody reads the answer."""

UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such dataset"}}
REFUSED: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorShape, "description": "The name is taken, or a task that is not finished needs the dataset"}
}
BROUGHT: dict[int | str, dict[str, Any]] = {**REFUSED, 413: {"model": ErrorShape}, 422: {"model": ErrorShape}}

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"name": {"type": "string"}, "file": {"type": "string", "format": "binary"}},
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {key: {"type": "string"} for key in ("name", "path", "connection", "query")},
                },
                "examples": {
                    "path": {"value": {"name": "flights", "path": "/data/flights.parquet"}},
                    "query": {"value": {"name": "orders", "connection": "shop", "query": "SELECT * FROM orders"}},
                },
            },
        },
    }
}


@router.post(
    "",
    summary="Bring a dataset",
    status_code=201,
    response_model=DatasetRecord,
    responses=BROUGHT,
    openapi_extra=BODY,
)
async def add(
    request: Request,
    service: Opened,
    name: Annotated[str | None, Query(description="The dataset's name; by default the file's.")] = None,
    filename: Annotated[str | None, Query(description="The body is this file.")] = None,
    replace: Annotated[bool, Query(description="Replace the dataset that has this name.")] = False,
) -> DatasetRecord | Response:
    """Upload a file (as a form, or as the body itself), register a path, or keep the rows of a query."""
    try:
        if filename is not None or request.headers.get("content-type", "").lower().startswith("multipart/"):
            return DatasetRecord.of(await _upload(request, service, name, filename, replace))
        values = _checked(await json_object(request), name)
        if "path" in values:
            return DatasetRecord.of(await _register(service, values["name"], values["path"], replace))
        return DatasetRecord.of(await _query(request, service, replace=replace, **values))
    except ClientDisconnect:
        return Response(status_code=HUNG_UP)


@router.get("", summary="All datasets", responses={422: {"model": ErrorShape}})
async def listing(
    service: Opened,
    name: Annotated[str | None, Query(max_length=200, description="Only names that contain this.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Datasets:
    """Registered datasets, newest first, then the built-in ones."""
    found, registered = await datasets.find(service.db, name=name, limit=limit, offset=offset)
    builtin = [one for one in await service.profiles.builtin() if (name or "").lower() in one.name]
    first = max(0, offset - registered)
    page = [*found, *builtin[first : first + limit - len(found)]]
    lines = [DatasetLine.of(dataset) for dataset in page]
    return Datasets(datasets=lines, total=registered + len(builtin), limit=limit, offset=offset)


@router.get("/{name}", summary="Everything about a dataset", responses={**UNKNOWN, 422: {"model": ErrorShape}})
async def detail(name: str, service: Opened) -> DatasetDetail:
    """Schema, a profile of each column and the first rows; while it comes in, how far it is."""
    arrival = service.arrivals.get(name)
    if arrival is not None:
        return _coming(arrival, await datasets.get(service.db, name))
    dataset = await known(service, name)
    dataset = await service.profiles.current(dataset, source_of(service, dataset))
    seen = dataset.profile or {}
    return DatasetDetail(**record_fields(dataset), profile=seen.get("columns"), first_rows=seen.get("first_rows"))


@router.delete("/{name}", summary="Remove a dataset", responses={**UNKNOWN, **REFUSED})
async def remove(name: str, service: Opened) -> DatasetRemoved:
    """Forget a dataset. A file that was uploaded or queried is deleted, one that was registered by its path stays."""
    if name in BUILTIN:
        raise BuiltIn(f"the dataset {name!r} comes with epochd and cannot be removed")
    dataset = await datasets.remove(service.db, name)
    if dataset is None:
        raise await unknown(service, name)
    await discard(service.arrivals.home, dataset)
    return DatasetRemoved(name=name)


@router.post("/{name}/refresh", summary="Run a dataset's query again", responses={**UNKNOWN, **BROUGHT})
async def refresh(name: str, request: Request, service: Opened) -> DatasetRecord:
    """Replace the snapshot by what the query gives now. Refused while a task that is not finished needs it."""
    dataset = await known(service, name)
    if dataset.connection is None or dataset.query is None:
        message = f"{name!r} is no query's snapshot but a dataset of kind {dataset.kind.value}"
        raise InvalidRequest(message, [Problem("name", message, "bring it again with ?replace=true")])
    again = await _query(request, service, name=name, connection=dataset.connection, query=dataset.query, replace=True)
    return DatasetRecord.of(again)


async def known(service: Service, name: str) -> Dataset:
    """The dataset of this name, built-in or registered. Raises NotFound."""
    if name in BUILTIN:
        return next(one for one in await service.profiles.builtin() if one.name == name)
    dataset = await datasets.get(service.db, name)
    if dataset is None:
        raise await unknown(service, name)
    return dataset


async def unknown(service: Service, name: str) -> NotFound:
    """The error for a name that is not registered; it names the nearest ones."""
    names = [*await datasets.paths(service.db, service.arrivals.home), *BUILTIN]
    nearest = similar_names(name, names, 3)
    hint = f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else "GET /api/v1/datasets lists all datasets"
    return NotFound(f"there is no dataset {name[:200]!r}; {hint}")


def source_of(service: Service, dataset: Dataset) -> Source:
    return Source(dataset.name, service.arrivals.home / dataset.path)


def _coming(arrival: Arrival, old: Dataset | None) -> DatasetDetail:
    """A dataset on its way in; where it replaces one, with what is known of that."""
    fields = record_fields(old) if old is not None else {"name": arrival.name}
    fields |= {"kind": arrival.kind, "state": arrival.stage}
    return DatasetDetail(**fields, received_bytes=arrival.received, total_bytes=arrival.total)


def _checked(values: dict[str, Any], name: str | None) -> dict[str, str]:
    """The JSON body of a registration: a name, and a path or a connection with its query."""
    values = {"name": name} | values if name is not None else values
    ways = (("name", "path"), ("name", "connection", "query"))
    problems = [
        Problem(key, f"a text is expected, but {value!r:.80} was given", f"give {key!r} as a string")
        for key, value in values.items()
        if not isinstance(value, str) or not value.strip()
    ]
    if not problems and not any(set(way) == set(values) for way in ways):
        message = f"{', '.join(sorted(values)) or 'nothing'} was given"
        problems.append(Problem("body", message, "give name and path, or name, connection and query, or upload a file"))
    if problems:
        raise InvalidRequest("; ".join(f"{one.field}: {one.message}" for one in problems), problems)
    uploads.checked_name(values["name"])
    return values


async def _check_free(service: Service, name: str, replace: bool) -> None:
    """Raise BuiltIn, NameTaken or DatasetInUse before the work is done."""
    if name in BUILTIN:
        raise BuiltIn(f"{name!r} is a dataset that comes with epochd: choose another name")
    await datasets.check_free(service.db, name, replace=replace)


async def _upload(request: Request, service: Service, name: str | None, filename: str | None, replace: bool) -> Dataset:
    stream = request.stream()
    try:
        length = _length(request)
        limit = service.settings.upload_mb * 2**20
        uploads.check_length(length, limit)
        upload = await uploads.begin(stream, request.headers.get("content-type", ""), name, filename)
        await _check_free(service, upload.name, replace)
        with service.arrivals.receiving(upload.name, DatasetKind.UPLOAD, length) as arrival:
            file = arrival.folder / f"{upload.name}{upload.suffix}"
            async for arrival.received in uploads.save(upload, file, limit):
                pass
            return await settle(service.db, service.arrivals.home, arrival, file, replace=replace)
    except EpochdError:
        await _drain(stream)
        raise


def _length(request: Request) -> int | None:
    given = request.headers.get("content-length", "")
    return int(given) if given.isdecimal() else None


async def _drain(stream: AsyncIterator[bytes]) -> None:
    """Read a part of a body that is refused, so that the client, who is still sending, gets to see why."""
    size = 0
    async for piece in stream:
        size += len(piece)
        if size > DRAINED_BYTES:
            return


async def _register(service: Service, name: str, path: str, replace: bool) -> Dataset:
    await _check_free(service, name, replace)
    try:
        source = Catalog(service.settings.dataset_roots).open(path)
        if path in BUILTIN:
            raise DataError([Problem("dataset", f"{path!r} comes with epochd and has a name already", "use that name")])
        with service.arrivals.receiving(name, DatasetKind.PATH) as arrival:
            arrival.stage = "checking"
            dataset = await examined(name, DatasetKind.PATH, Source(name, source.path), str(source.path))
    except DataError as error:
        problems = [changed(one, field="path") if one.field == "dataset" else one for one in error.problems]
        raise DataError(problems) from None
    async with datasets.registering(service.db, dataset, replace=replace) as old:
        pass
    await discard(service.arrivals.home.resolve(), old, but=source.path)
    return dataset


async def _query(
    request: Request, service: Service, *, name: str, connection: str, query: str, replace: bool
) -> Dataset:
    await _check_free(service, name, replace)
    urls = {key: secret.get_secret_value() for key, secret in service.settings.connections.items()}
    snapshot = sql_snapshot.snapshot(urls, connection, query)
    with service.arrivals.receiving(name, DatasetKind.QUERY) as arrival:
        file = arrival.folder / f"{name}{SNAPSHOT_SUFFIX}"
        await _while_connected(request, snapshot, _write(snapshot, arrival, file, service.settings.upload_mb * 2**20))
        return await settle(
            service.db, service.arrivals.home, arrival, file, replace=replace, connection=connection, query=query
        )


async def _write(snapshot: Snapshot, arrival: Arrival, file: Path, limit: int) -> None:
    def received(size: int) -> None:
        arrival.received = size

    await asyncio.to_thread(snapshot.write, file, limit, received)


async def _while_connected(request: Request, snapshot: Snapshot, writing: Coroutine[Any, Any, None]) -> None:
    """Let a query run, but not for a client that has left. Raises ClientDisconnect."""
    running = asyncio.create_task(writing)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not running.done():
            raise ClientDisconnect
        running.result()
    finally:
        leaving.cancel()
        if not running.done():
            await asyncio.to_thread(snapshot.cancel)
        await asyncio.gather(running, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
