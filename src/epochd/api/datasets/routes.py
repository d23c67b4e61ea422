"""The dataset registry. A 201 means that all of a dataset has been read once and can be trained on."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from epochd.api.datasets.responses import (
    MAX_LENGTHS,
    DatasetDetail,
    DatasetLine,
    DatasetRecord,
    DatasetRemoved,
    Datasets,
)
from epochd.api.deps import AUTHORISED, JsonObject, ServiceDep, json_object, while_connected
from epochd.api.responses import MARK, ErrorShape, json_body
from epochd.api.security import DATASETS_PATH, DRAINED_BYTES
from epochd.api.service import Service
from epochd.core.columns import OPTION_FIELDS, ReadOptions, parse_options, read_options
from epochd.core.datasets import Dataset, DatasetKind
from epochd.core.errors import (
    BuiltIn,
    DataError,
    EpochdError,
    InvalidRequest,
    NotFound,
    Problem,
    bounded,
    similar_names,
)
from epochd.core.names import COMPOSED, Name
from epochd.core.text import cut, shown
from epochd.data.schema import MAX_LISTED
from epochd.data.tables.catalog import BUILTIN, Catalog
from epochd.registry import operations
from epochd.registry.sql_snapshot import url_of
from epochd.registry.staging import described
from epochd.registry.upload import check_length, checked_name, save, start_upload
from epochd.store import datasets

router = APIRouter(prefix=DATASETS_PATH, tags=["datasets"], dependencies=AUTHORISED)

NOT_FOUND: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such dataset"}}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorShape, "description": "The name is taken, or a task that is not finished needs the dataset"}
}

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        **{name: {"type": "string"} for name in ("name", *OPTION_FIELDS)},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            },
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {
                "schema": {"anyOf": [{MARK: "PathRegistration"}, {MARK: "QueryRegistration"}]},
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
    operation_id="add_dataset",
    summary="Add a dataset",
    status_code=201,
    response_model=DatasetRecord,
    responses=CONFLICT,
    openapi_extra=BODY,
)
async def add(
    request: Request,
    service: ServiceDep,
    name: Annotated[str | None, Query(description="The dataset's name. Default: the name of the file.")] = None,
    filename: Annotated[str | None, Query(description="The name of the file in the body.")] = None,
    replace: Annotated[bool, Query(description="Replace the dataset with this name.")] = False,
    encoding: Annotated[str | None, Query(description="The encoding of a text file that is uploaded.")] = None,
    sheet: Annotated[str | None, Query(description="The sheet of a spreadsheet that is uploaded.")] = None,
    columns: Annotated[str | None, Query(description="How single columns are read, as a JSON object.")] = None,
) -> DatasetRecord | Response:
    """Upload a file (in a form or as the body), register a path, or save the rows of a query."""
    texts = {"encoding": encoding, "sheet": sheet, "columns": columns}
    given = {key: value for key, value in texts.items() if value is not None}
    try:
        if filename is not None or request.headers.get("content-type", "").lower().startswith("multipart/"):
            return DatasetRecord.of(await _upload(request, service, name, filename, replace, given))
        body = await json_object(request)
        options = parse_options(given).updated(
            read_options({key: body.pop(key) for key in OPTION_FIELDS if key in body})
        )
        values = _registration(body, name)
        if "path" in values:
            found = await _register(request, service, values["name"], values["path"], replace, options)
            return DatasetRecord.of(found)
        return DatasetRecord.of(await _query(request, service, replace=replace, options=options, **values))
    except ClientDisconnect:
        return Response(status_code=499)  # which proxies log; nobody receives it


@router.get("", operation_id="list_datasets", summary="List datasets")
async def listing(
    service: ServiceDep,
    name: Annotated[str | None, Query(max_length=200, description="Only names that contain this."), COMPOSED] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> Datasets:
    """Registered datasets, newest first, then the built-in ones."""
    registered, count = await datasets.find(service.db, name=name, limit=limit, offset=offset)
    builtin = [dataset for dataset in service.profiles.builtin() if (name or "").lower() in dataset.name]
    first = max(0, offset - count)
    page = [*registered, *builtin[first : first + limit - len(registered)]]
    lines = [DatasetLine.of(dataset) for dataset in page]
    return Datasets(datasets=lines, total=count + len(builtin), limit=limit, offset=offset)


@router.get(
    "/{name}",
    operation_id="get_dataset",
    summary="Get all details of a dataset",
    responses=NOT_FOUND,
)
async def detail(name: Name, service: ServiceDep) -> DatasetDetail:
    """Schema, a profile of each column and the first rows; the bytes received while the dataset is being received."""
    staged = service.staging.get(name)
    if staged is not None:
        old = await datasets.get(service.db, name)  # the dataset that it replaces
        progress: dict[str, Any] = {"received_bytes": staged.received_bytes(), "total_bytes": staged.total}
        fields = {"name": staged.name, "kind": staged.kind, "state": staged.stage, **progress}
        return DatasetDetail.of(old, **fields) if old is not None else DatasetDetail(**fields)
    dataset = await _find(service, name)
    dataset = await service.profiles.refreshed(dataset, (await service.catalog(name)).open(dataset.name))
    profile = dataset.profile or {}
    shown = {name: profile.get(name) for name in ("first_rows", "notes", "warnings")}
    return DatasetDetail.of(dataset, profile=profile.get("columns"), **shown)


@router.patch(
    "/{name}",
    operation_id="change_dataset",
    summary="Change how a dataset is read",
    responses={**NOT_FOUND, **CONFLICT},
    openapi_extra=json_body("DatasetOptions"),
)
async def change(name: str, values: JsonObject, request: Request, service: ServiceDep) -> DatasetRecord:
    """Set the given options; null removes one. The dataset is read once with them; its profile is computed again."""
    if name in BUILTIN:
        raise BuiltIn(f"the dataset {name!r} is built in and cannot be changed")
    dataset = await _find(service, name)
    read_options({key: value for key, value in values.items() if value is not None})
    present = {key: value for key, value in (dataset.options or {}).items() if key not in values}
    options = read_options(present | {key: value for key, value in values.items() if value is not None})
    await datasets.check_unused(service.db, dataset)
    source = dataclasses.replace((await service.catalog(name)).open(name), options=options)
    facts = await while_connected(request, service.readers.call(operations.facts, source))
    changed = await datasets.change_options(service.db, name, options, facts)
    if changed is None:
        raise await _not_found(service, name)
    return DatasetRecord.of(changed)


@router.delete(
    "/{name}", operation_id="remove_dataset", summary="Remove a dataset", responses={**NOT_FOUND, **CONFLICT}
)
async def remove(name: Name, service: ServiceDep) -> DatasetRemoved:
    """Remove a dataset. The file of an upload or a query is deleted; a file registered by its path is not."""
    if name in BUILTIN:
        raise BuiltIn(f"the dataset {name!r} is built in and cannot be removed")
    dataset = await datasets.remove(service.db, name)
    if dataset is None:
        raise await _not_found(service, name)
    await service.staging.delete_file(dataset)
    return DatasetRemoved(name=name)


@router.post(
    "/{name}/refresh",
    operation_id="refresh_dataset",
    summary="Run the query of a dataset again",
    responses={**NOT_FOUND, **CONFLICT},
)
async def refresh(name: Name, request: Request, service: ServiceDep) -> DatasetRecord:
    """Replace the snapshot with the present rows of the query. Rejected while a task that is not finished needs it."""
    dataset = await _find(service, name)
    if dataset.connection is None or dataset.query is None:
        message = f"{name!r} is a dataset of kind {dataset.kind.value}; only a query can be refreshed"
        raise InvalidRequest(message, [Problem("name", message, "add the dataset again with ?replace=true")])
    refreshed = await _query(
        request,
        service,
        name=name,
        connection=dataset.connection,
        query=dataset.query,
        replace=True,
        options=dataset.read_options,
    )
    return DatasetRecord.of(refreshed)


async def _find(service: Service, name: str) -> Dataset:
    """The dataset of this name, built-in or registered. Raises NotFound."""
    if name in BUILTIN:
        return next(dataset for dataset in service.profiles.builtin() if dataset.name == name)
    dataset = await datasets.get(service.db, name)
    if dataset is None:
        raise await _not_found(service, name)
    return dataset


async def _not_found(service: Service, name: str) -> NotFound:
    """The error for an unknown name, with the most similar known ones."""
    names = [*await datasets.paths(service.db, service.staging.home), *BUILTIN]
    nearest = similar_names(name, names, 3)
    hint = f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else "GET /api/v1/datasets lists all datasets"
    return NotFound(f"there is no dataset {name[:200]!r}; {hint}")


def _registration(values: dict[str, Any], name: str | None) -> dict[str, str]:
    """The valid JSON body of a registration: a name, and either a path or a connection and a query."""
    values = {"name": name} | values if name is not None else values
    ways = (("name", "path"), ("name", "connection", "query"))
    problems = [
        Problem(
            key, f"a non-empty string is required, but {shown(value, 80)} was given", f"set {shown(key)} to a string"
        )
        for key, value in values.items()
        if not isinstance(value, str) or not value.strip()
    ]
    problems += [
        Problem(key, f"{key} has {len(values[key]):,} characters; the limit is {most:,}", f"use a shorter {key}")
        for key, most in MAX_LENGTHS.items()
        if isinstance(values.get(key), str) and len(values[key]) > most
    ]
    if not problems and not any(set(way) == set(values) for way in ways):
        message = (
            f"the body has the fields {', '.join(sorted(map(cut, values))[:MAX_LISTED])}"
            if values
            else "the body has no fields"
        )
        problems.append(Problem("body", message, "set name and path, or name, connection and query, or upload a file"))
    if problems:
        problems = bounded(problems)
        raise InvalidRequest("; ".join(f"{problem.field}: {problem.message}" for problem in problems), problems)
    return values | {"name": checked_name(values["name"])}


async def _check_free(service: Service, name: str, replace: bool) -> None:
    """Raise BuiltIn, NameTaken or DatasetInUse before any work is done."""
    if name in BUILTIN:
        raise BuiltIn(f"{name!r} is the name of a built-in dataset: choose another name")
    await datasets.check_free(service.db, name, replace=replace)


async def _upload(
    request: Request,
    service: Service,
    name: str | None,
    filename: str | None,
    replace: bool,
    given: Mapping[str, str],
) -> Dataset:
    stream = request.stream()
    try:
        announced = request.headers.get("content-length", "")
        length = int(announced) if announced.isdecimal() else None
        limit = service.settings.upload_mb * 2**20
        check_length(length, limit)
        upload = await start_upload(stream, request.headers.get("content-type", ""), name, filename, given)
        await _check_free(service, upload.name, replace)
        with service.staging.stage(upload.name, DatasetKind.UPLOAD, length) as staged:
            file = staged.folder / f"{upload.name}{upload.suffix}"
            async for staged.received in save(upload, file, limit):
                pass
            return await service.staging.commit(staged, file, replace=replace, options=upload.options)
    except EpochdError:
        size = 0
        async for chunk in stream:  # so that the client, which is still sending, can read the answer
            size += len(chunk)
            if size > DRAINED_BYTES:
                break
        raise


async def _register(
    request: Request, service: Service, name: str, path: str, replace: bool, options: ReadOptions
) -> Dataset:
    await _check_free(service, name, replace)
    if path in BUILTIN:
        raise DataError([Problem("path", f"{shown(path)} is a built-in dataset", "use it by this name")])
    with service.staging.stage(name, DatasetKind.PATH) as staged, problems_of("path"):
        staged.stage = "checking"
        catalog = Catalog(service.settings.dataset_roots)
        reading = service.readers.call(operations.describe, catalog, path, options)
        found, facts = await while_connected(request, reading)
        dataset = described(name, DatasetKind.PATH, facts, str(found), options=options)
    async with datasets.registering(service.db, dataset, replace=replace) as old:
        pass
    await service.staging.delete_file(old, keep=found)
    return dataset


async def _query(
    request: Request,
    service: Service,
    *,
    name: str,
    connection: str,
    query: str,
    replace: bool,
    options: ReadOptions,
) -> Dataset:
    await _check_free(service, name, replace)
    settings = service.settings
    url = url_of({key: secret.get_secret_value() for key, secret in settings.connections.items()}, connection)
    with service.staging.stage(name, DatasetKind.QUERY) as staged, problems_of("query"):
        file, size, seconds = staged.folder / f"{name}.parquet", settings.upload_mb << 20, settings.reader_seconds
        running = service.queries.call(operations.run_query, url, connection, query, file, size, seconds)
        await while_connected(request, running)
        columns = ReadOptions(columns=options.columns)  # the rows are in a Parquet file
        return await service.staging.commit(
            staged, file, replace=replace, connection=connection, query=query, options=columns
        )


@contextmanager
def problems_of(field: str) -> Iterator[None]:
    """Name the field that a dataset was given in."""
    try:
        yield
    except DataError as error:
        problems = [dataclasses.replace(p, field=field) if p.field == "dataset" else p for p in error.problems]
        raise DataError(problems) from None
