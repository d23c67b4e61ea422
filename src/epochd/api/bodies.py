"""The rows in the body of a prediction request.

The server itself parses JSON of up to ``MEMORY_BYTES``. A larger body, pictures and any other format are streamed to a
file, which a reader converts to an Arrow file with the types of the model: the server's process reads no user's file.
"""

import asyncio
import dataclasses
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import polars as pl
from fastapi import Request
from python_multipart.multipart import parse_options_header

from epochd.api.deps import while_connected
from epochd.api.security import DRAINED_BYTES
from epochd.api.service import Service
from epochd.artifact import files
from epochd.core.columns import Encoding, ReadOptions
from epochd.core.errors import BadRequest, DataError, EpochdError, OutOfSpace, TooLarge
from epochd.core.text import shown
from epochd.data.encoding.image import Image
from epochd.data.formats import encodings
from epochd.data.tables.source import Source
from epochd.registry import operations
from epochd.serving import rows
from epochd.serving.predictor import Predictor
from epochd.serving.rows import Rows

MEMORY_BYTES = 4 << 20
QUICK_BYTES = 1 << 16
"""JSON that is parsed in about a millisecond, less than handing it to a thread may take."""
CHUNK_BYTES = 1 << 20
BODY_SECONDS = 600.0
"""How long a body may take to arrive."""
SUFFIXES = {
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/x-ndjson": ".ndjson",
    "application/jsonl": ".ndjson",
    "application/vnd.apache.parquet": ".parquet",
    "application/x-parquet": ".parquet",
    "application/vnd.apache.arrow.file": ".arrow",
    "application/vnd.apache.arrow.stream": ".arrow",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "application/vnd.ms-excel": ".xls",
    "application/vnd.oasis.opendocument.spreadsheet": ".ods",
}
"""The suffix of a file in the format of each content type; what has another content type is JSON."""


async def read(
    request: Request, service: Service, predictor: Predictor, reading: ReadOptions | None = None
) -> Rows | pl.DataFrame:
    """The rows in a body: values as in JSON, or a table that a reader has made. Text is in the encoding of
    ``reading``, by default that of the Content-Type, or a detected one. Raises TooLarge, InvalidRequest for JSON of
    another form, DataError for a file that cannot be read, BadRequest for a body that does not arrive."""
    stream, limit = request.stream(), service.settings.predict_mb << 20
    content_type = request.headers.get("content-type", "")
    suffix = suffix_of(content_type)
    try:
        options = ReadOptions(charset_of(content_type)).updated(reading or ReadOptions())
        async with asyncio.timeout(BODY_SECONDS):
            received: list[bytes] = []
            is_plain = suffix == rows.JSON_SUFFIX and predictor.encoder.image is None
            if is_plain and await _is_small(stream, received, min(MEMORY_BYTES, limit)):
                content, most = b"".join(received), service.settings.predict_rows
                is_quick = len(content) <= QUICK_BYTES
                if is_quick:
                    return rows.parse(content, most, options.encoding)
                return await service.models.run(rows.parse, content, most, options.encoding)
            source = Source(f"body{suffix}", Path(), options=options).expecting(
                predictor.expected, predictor.encoder.readings
            )
            return await _from_file(request, service, source, predictor.encoder.image, limited(received, stream, limit))
    except TimeoutError:
        raise BadRequest(f"the request's body did not arrive within {BODY_SECONDS:g} s") from None
    except EpochdError:
        size = 0
        async for chunk in stream:  # so that the client, which is still sending, can read the answer
            size += len(chunk)
            if size > DRAINED_BYTES:
                break
        raise


def suffix_of(content_type: str) -> str:
    """The suffix of a file in the format of this Content-Type header."""
    return SUFFIXES.get(media_type(content_type), rows.JSON_SUFFIX)


def media_type(content_type: str) -> str:
    """The media type of a Content-Type header, in lower case, without parameters."""
    return content_type.partition(";")[0].strip().lower()


def charset_of(content_type: str) -> Encoding | None:
    """The encoding that a Content-Type header declares. Raises InvalidRequest for one that cannot be read."""
    charset = parse_options_header(content_type)[1].get(b"charset", b"").decode("latin-1")
    found = encodings.named(charset) if charset else None
    if charset and found is None:
        message = f"the charset {shown(charset, 80)} of the Content-Type header is not known"
        raise rows.invalid("body", message, f"use one of {', '.join(encodings.CODECS)}")
    return found


async def _is_small(stream: AsyncIterator[bytes], received: list[bytes], most: int) -> bool:
    """Add what arrives to ``received``, until all of it is there, or more than ``most`` bytes: False."""
    size = 0
    async for chunk in stream:
        received.append(chunk)
        size += len(chunk)
        if size > most:
            return False
    return True


async def limited(first: Iterable[bytes], stream: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    """The bytes of a body. Raises TooLarge."""
    size = 0
    for chunk in first:
        size += len(chunk)
        yield chunk
    async for chunk in stream:
        size += len(chunk)
        if size > limit:
            raise TooLarge(
                f"the request's body is larger than the limit of {limit:,} bytes (EPOCHD_PREDICT_MB). Send several "
                "requests with fewer rows each"
            )
        yield chunk


async def _from_file(
    request: Request, service: Service, source: Source, image: Image | None, chunks: AsyncIterator[bytes]
) -> pl.DataFrame:
    """The table in a body that has the format of ``source.name`` and is read with its options; ``image`` is the
    model's column of pictures."""
    folder = service.settings.bodies_dir / secrets.token_hex(8)
    folder.mkdir(mode=0o700, parents=True)
    body, table = folder / source.name, folder / "rows.arrow"
    try:
        await _save(chunks, body)
        source = dataclasses.replace(source, name="body", path=body)
        pictures = None if image is None else image.pictures(*service.settings.dataset_roots)
        reading = service.bodies.call(operations.save_rows, source, pictures, table, service.settings.predict_rows)
        await while_connected(request, reading)
        return await service.models.run(pl.read_ipc, table)
    except DataError as error:
        problems = [dataclasses.replace(p, field="body") if p.field == "dataset" else p for p in error.problems]
        raise DataError(problems) from None
    except OSError as error:
        if not files.is_full(error):
            raise
        raise OutOfSpace("the disk is full, so the body could not be stored: free space in EPOCHD_DATA_DIR") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # what is mapped stays until the table is gone


async def _save(chunks: AsyncIterator[bytes], file: Path) -> None:
    """Write a body to a new file, in a thread and in chunks of about CHUNK_BYTES."""
    buffer: list[bytes] = []
    size = 0
    with file.open("xb") as out:
        async for chunk in chunks:
            buffer.append(chunk)
            size += len(chunk)
            if size >= CHUNK_BYTES:
                await asyncio.to_thread(out.writelines, buffer)
                buffer, size = [], 0
        await asyncio.to_thread(out.writelines, buffer)
