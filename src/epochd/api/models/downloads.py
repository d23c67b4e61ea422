"""The files of a model: one of them, or all in a ZIP file that is written while it is sent.

Only files that the manifest names are sent. They are opened before the answer begins, so that a version can be removed
in the meantime.
"""

import os
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from epochd.api.deps import AUTHORISED, ServiceDep
from epochd.api.responses import ErrorShape
from epochd.api.security import MODELS_PATH
from epochd.api.served_models import Version
from epochd.api.service import Service
from epochd.artifact import files
from epochd.core.errors import NotFound
from epochd.core.text import cut
from epochd.report import drawing

router = APIRouter(prefix=MODELS_PATH, tags=["models"], dependencies=AUTHORISED)

CHUNK_BYTES = 1 << 18
UNKNOWN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorShape, "description": "No such model, version or file"}}


def _binary(media_type: str, what: str) -> dict[int | str, dict[str, Any]]:
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": what, "content": content}, **UNKNOWN}


ZIP, OCTETS = "application/zip", "application/octet-stream"


@router.get(
    "/{model:path}/versions/{version}/files/{name}",
    operation_id="get_model_version_file",
    summary="Download a file of a version of a model",
    response_class=StreamingResponse,
    responses=_binary(OCTETS, "The file"),
)
async def version_file(model: str, version: str, name: str, service: ServiceDep) -> StreamingResponse:
    """A file that the details of the version list."""
    return await _file(service, await service.models.find(model, version), name)


@router.get(
    "/{model:path}/versions/{version}/download",
    operation_id="download_model_version",
    summary="Download all files of a version of a model",
    response_class=StreamingResponse,
    responses=_binary(ZIP, "A ZIP file with one folder, which is named like the version"),
)
async def version_download(model: str, version: str, service: ServiceDep) -> StreamingResponse:
    """The folder of a version as a ZIP file."""
    return await _download(service, await service.models.find(model, version))


@router.get(
    "/{model:path}/files/{name}",
    operation_id="get_model_file",
    summary="Download a file of a model's latest version",
    response_class=StreamingResponse,
    responses=_binary(OCTETS, "The file"),
)
async def file(model: str, name: str, service: ServiceDep) -> StreamingResponse:
    """A file of the version that `latest` leads to."""
    return await _file(service, await service.models.find(model), name)


@router.get(
    "/{model:path}/download",
    operation_id="download_model",
    summary="Download all files of a model's latest version",
    response_class=StreamingResponse,
    responses=_binary(ZIP, "A ZIP file with one folder, which is named like the version"),
)
async def download(model: str, service: ServiceDep) -> StreamingResponse:
    """The folder of the version that `latest` leads to as a ZIP file."""
    return await _download(service, await service.models.find(model))


async def _file(service: Service, version: Version, name: str) -> StreamingResponse:
    opened = await service.models.run(_open_files, version, name)
    content = opened[name]
    headers = {"Content-Length": str(os.fstat(content.fileno()).st_size), **_attachment(name)}
    return StreamingResponse(_chunks(content), media_type=OCTETS, headers=headers)


async def _download(service: Service, version: Version) -> StreamingResponse:
    if drawing.is_due(version.folder):
        with suppress(NotFound):  # a report that cannot be drawn is told by its own route
            await service.reports.call(drawing.draw, version.folder)
    opened = await service.models.run(_open_files, version)
    return StreamingResponse(_zipped(version.id, opened), media_type=ZIP, headers=_attachment(f"{version.id}.zip"))


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}


def _open_files(version: Version, only: str | None = None) -> dict[str, BinaryIO]:
    """The files of a version by name, open; or only one of them. Raises NotFound."""
    names = files.own_names(version.folder)
    if only is not None and only not in names:
        listed = ", ".join(sorted(names))
        raise NotFound(f"the version {version.id} has no file {cut(only)!r}; its files: {listed}")
    opened: dict[str, BinaryIO] = {}
    try:
        for name in sorted(names) if only is None else [only]:
            opened[name] = (version.folder / name).open("rb")
    except FileNotFoundError:
        for content in opened.values():
            content.close()
        raise NotFound(f"the version {version.id} was removed") from None
    return opened


def _chunks(content: BinaryIO) -> Iterator[bytes]:
    with content:
        while chunk := content.read(CHUNK_BYTES):
            yield chunk


def _zipped(folder: str, opened: dict[str, BinaryIO]) -> Iterator[bytes]:
    """A ZIP file with these files in a folder, in parts; nothing but one part is in memory."""
    with ExitStack() as stack:
        for content in opened.values():
            stack.enter_context(content)
        written = _Parts()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, content in opened.items():
                about = zipfile.ZipInfo(f"{folder}/{name}", (1980, 1, 1, 0, 0, 0))
                about.file_size, about.compress_type = os.fstat(content.fileno()).st_size, zipfile.ZIP_DEFLATED
                about.external_attr = 0o644 << 16
                with archive.open(about, "w") as entry:
                    while chunk := content.read(CHUNK_BYTES):
                        entry.write(chunk)
                        yield written.taken()
        yield written.taken()


class _Parts:
    """What a ZIP file writes to; it cannot seek, so that sizes follow the data of each entry."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def taken(self) -> bytes:
        """What was written since the last call."""
        parts, self._parts = self._parts, []
        return b"".join(parts)
