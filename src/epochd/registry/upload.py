"""A dataset file in a request's body, streamed to disk: it is never whole in memory or in a temporary file.

A client sends it as the field ``file`` of a ``multipart/form-data`` form, or as the body itself with ``?filename=`` in
the URL. Bytes are written in a thread, in chunks of about one MiB.
"""

import asyncio
import errno
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

from python_multipart.exceptions import FormParserError, ParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from epochd.core import names
from epochd.core.columns import OPTION_FIELDS, ReadOptions, parse_options
from epochd.core.errors import BadRequest, InvalidRequest, OutOfSpace, Problem, TooLarge
from epochd.data.formats import SUFFIXES, suffix_of

CHUNK_BYTES = 1 << 20
MAX_FIELD_BYTES, MAX_COLUMNS_BYTES = 4_096, 1 << 19
MAX_PARTS = 20
MAX_FORM_BYTES = 1 << 20
"""The maximum size of a form without its file."""

QUOTED = re.compile(rb'"(?:\\.|[^"\\])*"')
EXTENDED_FILENAME = re.compile(rb";\s*filename\*\s*=\s*([A-Za-z0-9_-]+)'[^';]*'([^\s;]+)", re.IGNORECASE)
CHARSETS = {b"iso-8859-1": "iso-8859-1"}
"""RFC 5987 has this one and UTF-8."""

Stream = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file whose first bytes have been received: the dataset's name, the suffix such as ``.csv``, its bytes, and how
    it is read."""

    name: str
    suffix: str
    chunks: Stream
    options: ReadOptions


async def start_upload(
    stream: Stream, content_type: str, name: str | None, filename: str | None, given: Mapping[str, str]
) -> Upload:
    """Read the body up to the file's first bytes. ``name``, ``filename`` and the ``given`` options are the parameters
    of the URL, which come before those of a form.

    Raises InvalidRequest for an invalid name or an unknown format, InvalidSpec for invalid options, BadRequest for a
    malformed form.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return _upload(name, filename or "", stream, given)
    if not options.get(b"boundary"):
        raise BadRequest("the Content-Type header has no boundary: let the HTTP library set this header")
    try:
        form = MultipartForm(options[b"boundary"])
    except FormParserError as error:
        raise BadRequest(f"the Content-Type header is not valid: {error}") from None
    async for chunk in stream:
        first = form.feed(chunk)
        if form.filename is not None:
            texts = {key: value for key, value in form.fields.items() if key in OPTION_FIELDS} | dict(given)
            file = form.file(first, stream)
            return _upload(name or form.fields.get("name"), filename or form.filename, file, texts)
    raise _invalid("file", "the form has no file", "send the file in the field 'file'")


def _upload(name: str | None, filename: str, chunks: Stream, options: Mapping[str, str]) -> Upload:
    plain = names.trimmed(PureWindowsPath(filename).name)  # treats both / and \ as separators
    suffix = suffix_of(plain)
    if not suffix:
        message = f"{filename[:200]!r} does not have the suffix of a supported format"
        hint = f"send a file with one of these suffixes: {', '.join(SUFFIXES)}"
        raise InvalidRequest(message, [Problem("file", message, hint)])
    return Upload(checked_name(name or plain[: -len(suffix)]), suffix, chunks, parse_options(options))


def checked_name(name: str) -> str:
    """The name as it is stored, if it is a valid dataset name. Raises InvalidRequest."""
    name = names.trimmed(name)
    if defect := names.defect(name):
        message = f"{name[:200]!r} is not a valid dataset name: it {defect}"
        raise InvalidRequest(message, [Problem("name", message, names.NAME_RULE)])
    return name


class MultipartForm:
    """Parses a ``multipart/form-data`` body; ``filename`` is that of its file, once the file has begun."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.is_complete = False
        self._file: list[bytes] = []
        self._parts, self._field, self._value, self._is_in_file = 0, "", b"", False
        self._headers: dict[bytes, bytes] = {}
        self._header = [b"", b""]
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": partial(self._add_header, 0),
                "on_header_value": partial(self._add_header, 1),
                "on_header_end": self._end_header,
                "on_headers_finished": self._end_headers,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end_form,
            },
        )

    def feed(self, chunk: bytes) -> bytes:
        """Parse bytes of the body; return those of the file. Raises BadRequest or InvalidRequest."""
        self._file = []
        try:
            self._parser.write(chunk)
        except ParseError as error:
            raise BadRequest(f"the body is not a valid multipart/form-data form: {error}") from None
        return b"".join(self._file)

    async def file(self, first: bytes, stream: Stream) -> Stream:
        """The file's bytes: the ``first`` ones, then those in the rest of the body."""
        yield first
        async for chunk in stream:
            yield self.feed(chunk)
        if not self.is_complete:
            raise BadRequest("the body ends in the middle of the form: send the form again")

    def _begin_part(self) -> None:
        self._parts += 1
        self._headers, self._value, self._field, self._is_in_file = {}, b"", "", False
        if self._parts > MAX_PARTS:
            raise BadRequest(f"the form has more than {MAX_PARTS} parts: send only the fields 'name' and 'file'")

    def _add_header(self, index: int, data: bytes, start: int, end: int) -> None:
        self._header[index] += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _end_headers(self) -> None:
        disposition = self._headers.get(b"content-disposition", b"")
        _, options = parse_options_header(disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if self._field == "file":
            if self.filename is not None:
                raise _invalid("file", "the form has two files", "send one file per request")
            self.filename = _extended_filename(disposition) or options.get(b"filename", b"").decode("utf-8", "replace")
            self._is_in_file = True
        elif self._field in ("name", *OPTION_FIELDS) and self.filename is not None:
            message = f"the field {self._field!r} comes after the file"
            raise _invalid(self._field, message, f"put {self._field!r} before 'file'")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_in_file:
            self._file.append(bytes(data[start:end]))
            return
        self._value += data[start:end]
        most = MAX_COLUMNS_BYTES if self._field == "columns" else MAX_FIELD_BYTES
        if len(self._value) > most:
            message = f"the field is longer than {most} bytes"
            raise _invalid(self._field or "form", message, "send the file in the field 'file'")

    def _end_part(self) -> None:
        if not self._is_in_file:
            self.fields[self._field] = self._value.decode("utf-8", "replace")

    def _end_form(self) -> None:
        self.is_complete = True


def _extended_filename(disposition: bytes) -> str:
    """The value of ``filename*`` in a header (RFC 5987), which older versions of requests send for names that are not
    ASCII although RFC 7578 forbids it; empty if there is none."""
    found = EXTENDED_FILENAME.search(QUOTED.sub(b'""', disposition))
    return "" if found is None else unquote(found[2], CHARSETS.get(found[1].lower(), "utf-8"))


def _invalid(field: str, message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", [Problem(field, message, hint)])


async def save(upload: Upload, file: Path, limit: int) -> AsyncIterator[int]:
    """Write an upload to a new file; yield the bytes received so far. Raises TooLarge, OutOfSpace."""
    received = written = 0
    buffer: list[bytes] = []
    with file.open("xb") as out:
        try:
            async for chunk in upload.chunks:
                received += len(chunk)
                if received > limit:
                    raise too_large(limit)
                buffer.append(chunk)
                if received - written >= CHUNK_BYTES:
                    await asyncio.to_thread(out.writelines, buffer)
                    buffer, written = [], received
                yield received
            await asyncio.to_thread(out.writelines, buffer)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OutOfSpace(
                "the disk is full and the upload was discarded: free space in EPOCHD_DATA_DIR, then upload again"
            ) from None


def check_length(length: int | None, limit: int) -> None:
    """Raise TooLarge if a request announces more bytes than a file of ``limit`` bytes can need."""
    if length is not None and length > limit + MAX_FORM_BYTES:
        raise too_large(limit, length)


def too_large(limit: int, length: int | None = None) -> TooLarge:
    upload = "the upload" if length is None else f"the upload of {length:,} bytes"
    return TooLarge(
        f"{upload} is larger than the limit of {limit:,} bytes (EPOCHD_UPLOAD_MB). Copy the file to one of the "
        "server's dataset folders and register its path"
    )
