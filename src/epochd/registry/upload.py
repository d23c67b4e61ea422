"""A dataset file in a request's body, taken in as it comes: never whole in memory, never in another place.

There are two ways to send one: as the ``file`` of a ``multipart/form-data`` form, or as the body itself with
``?filename=`` in the URL. Bytes go to the disk in a thread, in pieces of about a megabyte.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from python_multipart.exceptions import ParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from epochd.core.datasets import NAME, NAME_RULE
from epochd.core.errors import BadRequest, InvalidRequest, OutOfSpace, Problem, TooLarge
from epochd.data.formats import SUFFIXES, suffix_of

PIECE_BYTES = 1 << 20
LONGEST_FIELD = 4_096
MOST_PARTS = 20
FORM_BYTES = 1 << 20
"""What a form may have besides its file."""

Stream = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has begun to arrive: its dataset's name, its suffix such as ``.csv``, and its bytes."""

    name: str
    suffix: str
    pieces: Stream


async def begin(stream: Stream, content_type: str, name: str | None, filename: str | None) -> Upload:
    """Read as far as the file's first bytes. ``name`` and ``filename`` are those of the URL.

    Raises InvalidRequest for a name or a format that cannot be, BadRequest for a body that is no form.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return _upload(name, filename or "", stream)
    if not options.get(b"boundary"):
        raise BadRequest("the Content-Type has no boundary: let the HTTP library write it")
    form = Form(options[b"boundary"])
    async for piece in stream:
        form.feed(piece)
        if form.filename is not None:
            return _upload(name or form.fields.get("name"), filename or form.filename, form.file(stream))
    raise InvalidRequest("the form has no file", [Problem("file", "the form has no file", "send one as 'file'")])


def _upload(name: str | None, filename: str, pieces: Stream) -> Upload:
    plain = PureWindowsPath(filename).name  # takes both / and \ for a folder's end
    suffix = suffix_of(plain)
    if not suffix:
        message = f"{filename[:200]!r} does not end in a format that can be read"
        raise InvalidRequest(message, [Problem("file", message, f"send a file that ends in {', '.join(SUFFIXES)}")])
    return Upload(checked_name(name or plain[: -len(suffix)]), suffix, pieces)


def checked_name(name: str) -> str:
    """A name that a dataset may have. Raises InvalidRequest."""
    if not NAME.fullmatch(name):
        message = f"{name[:200]!r} cannot be the name of a dataset"
        raise InvalidRequest(message, [Problem("name", message, NAME_RULE)])
    return name


class Form:
    """Takes a ``multipart/form-data`` body apart. What belongs to the file waits in ``data`` until it is fetched."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, str] = {}
        self.filename: str | None = None
        self.data: list[bytes] = []
        self.is_whole = False
        self._parts = 0
        self._field = ""
        self._value = b""
        self._in_file = False
        self._headers: dict[bytes, bytes] = {}
        self._header = [b"", b""]
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": lambda data, start, end: self._add_header(0, data[start:end]),
                "on_header_value": lambda data, start, end: self._add_header(1, data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._open,
                "on_part_data": self._take,
                "on_part_end": self._close,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take in bytes of the body. Raises BadRequest or InvalidRequest."""
        try:
            self._parser.write(piece)
        except ParseError as error:
            raise BadRequest(f"the body is not the form that its Content-Type says: {error}") from None

    async def file(self, stream: Stream) -> Stream:
        """The file's bytes: those that wait, then those that the rest of the body brings."""
        yield self._fetched()
        async for piece in stream:
            self.feed(piece)
            yield self._fetched()
        if not self.is_whole:
            raise BadRequest("the body ends in the middle of the form: send it again")

    def _fetched(self) -> bytes:
        found = b"".join(self.data)
        self.data.clear()
        return found

    def _begin(self) -> None:
        self._parts += 1
        self._headers, self._value, self._field, self._in_file = {}, b"", "", False
        if self._parts > MOST_PARTS:
            raise BadRequest(f"the form has more than {MOST_PARTS} parts; a name and a file are all it needs")

    def _add_header(self, place: int, piece: bytes) -> None:
        self._header[place] += piece

    def _end_header(self) -> None:
        field, value = self._header
        self._headers[field.lower()] = value
        self._header = [b"", b""]

    def _open(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        if self._field == "file":
            if self.filename is not None:
                raise _misplaced("file", "the form has two files", "send one at a time")
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
            self._in_file = True
        elif self._field == "name" and self.filename is not None:
            raise _misplaced("name", "the name comes after the file", "put the field 'name' before 'file'")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self.data.append(bytes(data[start:end]))
            return
        self._value += data[start:end]
        if len(self._value) > LONGEST_FIELD:
            message = f"it is longer than {LONGEST_FIELD} bytes"
            raise _misplaced(self._field or "form", message, "the file's field is called 'file'")

    def _close(self) -> None:
        if not self._in_file:
            self.fields[self._field] = self._value.decode("utf-8", "replace")

    def _end(self) -> None:
        self.is_whole = True


def _misplaced(field: str, message: str, hint: str) -> InvalidRequest:
    return InvalidRequest(f"{field}: {message}", [Problem(field, message, hint)])


class Writer:
    """Writes pieces to a file that must not become larger than ``limit`` bytes."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self.size = 0
        self._file = file
        self._limit = limit
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    async def write(self, piece: bytes) -> None:
        """Raises TooLarge."""
        self.size += len(piece)
        if self.size > self._limit:
            raise too_large(self._limit)
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= PIECE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Hand what waits to the system."""
        pieces, self._waiting, self._waiting_bytes = self._waiting, [], 0
        await asyncio.to_thread(self._file.writelines, pieces)


async def save(upload: Upload, file: Path, limit: int) -> AsyncIterator[int]:
    """Write an upload to a new file; yields how many bytes have come so far. Raises TooLarge, OutOfSpace."""
    with file.open("xb") as out:
        writer = Writer(out, limit)
        try:
            async for piece in upload.pieces:
                await writer.write(piece)
                yield writer.size
            await writer.flush()
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise OutOfSpace("the disk is full, the upload was not kept: free space in EPOCHD_DATA_DIR") from None


def check_length(length: int | None, limit: int) -> None:
    """Raise TooLarge if a request says beforehand that it brings more than a file of ``limit`` bytes."""
    if length is not None and length > limit + FORM_BYTES:
        raise too_large(limit, length)


def too_large(limit: int, length: int | None = None) -> TooLarge:
    what = f"the upload has {length:,} bytes" if length is not None else "the file is larger"
    return TooLarge(
        f"{what}; this server takes {limit:,} (EPOCHD_UPLOAD_MB). Put a larger file into one of its dataset folders "
        "and register its path"
    )
