"""Text files, plain or compressed, in any encoding: read as UTF-8 in pieces of whole lines.

As in Polars, the first bytes of a file, not its name, decide its compression. A text is taken for UTF-8 until a byte
contradicts it; then what ``encodings`` finds is tried on the whole file, so that no character is ever replaced.
"""

import codecs
import gzip
import io
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from epochd.core.columns import Encoding
from epochd.data.formats import encodings, examined
from epochd.data.formats.encodings import Candidate
from epochd.data.formats.errors import COPY_AGAIN, FormatError, both_ends, short_message

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

T = TypeVar("T")

GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
BYTE_ORDER_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
HEAD_BYTES = 65_536
"""Bytes at the beginning and at the end of a file that are checked to be text."""
END_OF_FILE = b"\x1a"
"""What DOS and the programs of its time write after the text (Ctrl-Z)."""
PIECE_BYTES = 1 << 16
"""Memory for larger pieces is taken from the system for each of them anew, which takes longer than to look at them."""
SEARCHED_BYTES = 1 << 20
"""Bytes that are read at once to look for those outside ASCII, or for an invalid one."""
LONGEST_LINE = 1 << 26
SAMPLE_BYTES = 65_536
"""Bytes of lines outside ASCII from which an encoding is detected."""
MEMORY_BYTES = 64 << 20
"""A copy in UTF-8 that is larger is written to a temporary file, which no name leads to: it is gone when nothing reads
it any more, however the process ends. ``TMPDIR`` names another folder for it."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text file, the encoding that it is read in, and Python's name for it (``codec``).

    ``alternatives`` are encodings that fit nearly as well as a detected one; ``mark`` is the number of bytes of its
    byte order mark (of both, if it was written twice), ``ends_in_cr`` whether its lines end in CR alone, and
    ``has_end`` whether END_OF_FILE stands at its end, which is no part of the text.
    """

    path: Path
    encoding: Encoding = "utf-8"
    codec: str = "utf-8"
    is_detected: bool = False
    alternatives: tuple[Encoding, ...] = ()
    mark: int = 0
    ends_in_cr: bool = False
    has_end: bool = False

    @property
    def is_utf8(self) -> bool:
        """Whether Polars can read the file itself."""
        return self.codec == "utf-8" and not self.ends_in_cr and not self.has_end

    def pieces(self) -> Iterator[bytes]:
        """The text in UTF-8, without byte order mark, in pieces of whole lines; a line ends in LF. Raises
        UnicodeDecodeError where it is not valid, FormatError where compressed data are damaged."""
        decoder = codecs.getincrementaldecoder(self.codec)()
        is_utf8, skipped = self.codec == "utf-8", self.mark
        line: list[bytes] = []  # the beginning of one
        for chunk in _chunks(self.path, PIECE_BYTES):
            chunk, skipped = chunk[skipped:], max(0, skipped - len(chunk))
            if not is_utf8:
                chunk = decoder.decode(chunk).encode()
            chunk = chunk.replace(b"\r", b"\n") if self.ends_in_cr else chunk
            end = chunk.rfind(b"\n") + 1
            if end:
                piece = b"".join([*line, chunk[:end]])
                yield _valid(piece) if is_utf8 else piece
                line.clear()
            elif sum(map(len, line)) > LONGEST_LINE:
                raise FormatError(f"it has a line of more than {LONGEST_LINE:,} bytes", "end each row with a line end")
            line.append(chunk[end:])
        line.append(decoder.decode(b"", True).encode())
        if rest := b"".join(line).removesuffix(END_OF_FILE if self.has_end else b""):
            yield _valid(rest) if is_utf8 else rest

    def lines(self) -> Iterator[str]:
        """The lines with their ends; raises as ``pieces``."""
        for piece in self.pieces():
            found = piece.decode().split("\n")  # str.splitlines would split at other characters too
            yield from (f"{line}\n" for line in found[:-1])
            if found[-1]:
                yield found[-1]

    def notes(self, name: str) -> list[str]:
        """What is told about a dataset of this name: an encoding that was detected."""
        if not self.is_detected:
            return []
        chosen, others = encodings.label(self.encoding), " or ".join(map(encodings.label, self.alternatives))
        if others:
            return [f"{name!r} is read as {chosen}, which was detected, but could be {others} as well; set encoding"]
        return [f"{name!r} is read as {chosen}, which was detected; set encoding if names or texts look wrong"]


def _valid(piece: bytes) -> bytes:
    if not piece.isascii():
        piece.decode()
    return piece


def in_encoding(path: Path, declared: Encoding | None, work: Callable[[Text], T]) -> tuple[Text, T]:
    """The text in its encoding, and the result of ``work``, which reads all of it: it is called with one encoding after
    the other until it meets no invalid byte.

    Raises FormatError for a file that is empty, no text, or in no encoding.
    """
    head = _head(path)
    first: FormatError | None = None
    for text in _texts(path, declared, head):
        try:
            return text, work(text)
        except UnicodeDecodeError:
            first = first or _invalid_byte(text, is_declared=declared is not None)
    assert first is not None  # there is at least one encoding
    raise first


def as_utf8(content: bytes, declared: Encoding | None) -> bytes:
    """The bytes of a text in UTF-8, without byte order mark. Raises FormatError if they are in no encoding, or not in
    the declared one."""
    mark = next((mark for mark in BYTE_ORDER_MARKS if content.startswith(mark)), b"")
    if declared == "utf-16" or (declared is None and mark):
        tried = [BYTE_ORDER_MARKS.get(mark, "utf-16-le")]
    elif declared is not None:
        tried = list(encodings.CODECS[declared])
    elif encodings.decoded(content, "utf-8") is not None or encodings.is_broken_utf8(content):
        tried = ["utf-8"]
    else:
        tried = [found.codec for found in encodings.candidates(content)]
    for codec in tried:
        if (found := encodings.decoded(content.removeprefix(mark).removeprefix(mark), codec)) is not None:
            return found.encode()
    label = encodings.label(declared or "utf-8")
    raise FormatError(f"the text is not {label}", "set encoding to that of the text, or send UTF-8")


def of(path: Path, declared: Encoding | None) -> Text:
    """The text in the encoding that all of it is valid in. Raises as ``in_encoding``."""

    def read_all(content: Text) -> None:
        for _ in content.pieces():
            pass

    return examined.once(path, (declared,), lambda: in_encoding(path, declared, read_all)[0])


def _texts(path: Path, declared: Encoding | None, head: bytes) -> Iterator[Text]:
    """The encodings to try in turn."""
    mark = next((mark for mark in BYTE_ORDER_MARKS if head.startswith(mark)), b"")
    wide = BYTE_ORDER_MARKS.get(mark) or _utf_16(head)
    if head.startswith(2 * codecs.BOM_UTF8):  # a program has written it before a text that had it already
        mark = 2 * mark
    if declared is not None:
        names = (wide or "utf-16-le",) if declared == "utf-16" else encodings.CODECS[declared]
        size = len(mark) if mark and wide and wide.startswith(declared) else 0
        for codec in names:
            yield _checked(Text(path, declared, codec, mark=size), head)
        return
    if wide and wide != "utf-8":
        yield _checked(Text(path, "utf-16", wide, not mark, mark=len(mark)), head)
        return
    yield _checked(Text(path, mark=len(mark)), head)
    sample = _sample(path)
    if not mark and not encodings.is_broken_utf8(sample):
        for found in encodings.candidates(sample):
            yield from _of_candidate(path, head, found)


def _of_candidate(path: Path, head: bytes, found: Candidate) -> Iterator[Text]:
    for codec in dict.fromkeys((found.codec, *encodings.CODECS[found.encoding])):
        text = Text(path, found.encoding, codec, is_detected=True, alternatives=found.alternatives)
        yield _checked(text, head)


def _checked(text: Text, head: bytes) -> Text:
    """The text, and whether its lines end in CR. Raises FormatError if its beginning or its end is not text."""
    decoder = codecs.getincrementaldecoder(text.codec)("replace")
    begin = decoder.decode(head[text.mark :])
    if not begin.strip("\r\n "):
        raise FormatError("the file is empty", "write a header line, then one line per row")
    if "\0" in begin:
        line = begin.count("\n", 0, begin.index("\0")) + 1
        raise FormatError(f"line {line} has a NUL byte, so it is not a text file", "use a text file, such as in UTF-8")
    end = b"" if text.codec.startswith("utf-16") or compression(text.path) else both_ends(text.path, HEAD_BYTES)[1]
    if b"\0" in end:
        raise FormatError("there are NUL bytes at its end, which a full disk or a crash can cause", COPY_AGAIN)
    return replace(text, ends_in_cr="\r" in begin[:-1] and "\n" not in begin, has_end=end.endswith(END_OF_FILE))


def _utf_16(head: bytes) -> str:
    """Whether a text without byte order mark is UTF-16: every second byte of an ASCII character is zero."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if min(even, odd) or max(even, odd) < len(head) / 10:
        return ""
    codec = "utf-16-le" if odd else "utf-16-be"
    text = codecs.getincrementaldecoder(codec)("replace").decode(head)
    is_text = "\0" not in text and len([c for c in text if c in "\r\n"]) > 1
    return codec if is_text else ""


def _sample(path: Path) -> bytes:
    """Lines outside ASCII, as bytes in the file's encoding."""
    lines: list[bytes] = []
    size, rest = 0, b""
    for chunk in _chunks(path, SEARCHED_BYTES):
        if chunk.isascii() and rest.isascii():
            rest = chunk[chunk.rfind(b"\n") + 1 :]
            continue
        *found, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
        for line in found:
            if not line.isascii():
                lines.append(line)
                size += len(line)
        if size > SAMPLE_BYTES or len(rest) > SEARCHED_BYTES:
            break
    return b"\n".join([*lines, rest])


def _invalid_byte(text: Text, *, is_declared: bool) -> FormatError:
    """The error that names the line and the byte at which a text cannot be decoded."""
    decoder, lines, line = codecs.getincrementaldecoder(text.codec)(), 1, ""
    chunks = _chunks(text.path, SEARCHED_BYTES)
    try:
        for chunk in chunks:
            found = line + decoder.decode(chunk)
            lines, line = lines + found.count("\n"), found.rpartition("\n")[2]
        decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        found = line + error.object[: error.start].decode(text.codec)
        lines, line = lines + found.count("\n"), found.rpartition("\n")[2]
        place, byte = len(line.encode(text.codec)) + 1, error.object[error.start]
        label, after = encodings.label(text.encoding), repr(line.lstrip("\ufeff")[-20:])
        reason = f"line {lines} is not {label}: byte {place} of the line is 0x{byte:02x}, after {after}"
        hint = "set encoding to that of the file" if is_declared else "set encoding, or save the file as UTF-8"
        return FormatError(reason, hint)
    return FormatError("it changed while it was read", COPY_AGAIN)


def _head(path: Path) -> bytes:
    return next(_chunks(path, HEAD_BYTES), b"")


def _chunks(path: Path, size: int) -> Iterator[bytes]:
    """The decompressed bytes. Raises FormatError where compressed data are damaged."""
    with _decompression_errors(), opened(path) as file:
        while chunk := file.read(size):
            yield chunk


def opened(path: Path) -> BinaryIO:
    """The file, whose bytes are decompressed while they are read."""
    match compression(path):
        case "gzip":
            return cast(BinaryIO, gzip.open(path, "rb"))
        case "zstd":
            return cast(BinaryIO, zstd.open(path, "rb"))
        case _:
            return path.open("rb")


def compression(path: Path) -> str:
    """``gzip``, ``zstd`` or an empty string."""
    with path.open("rb") as file:
        start = file.read(4)
    return "gzip" if start.startswith(GZIP) else "zstd" if start == ZSTD else ""


@contextmanager
def copied(pieces: Iterable[bytes]) -> Iterator[bytes | BinaryIO]:
    """All pieces as what Polars can scan: bytes, or, if there are more than MEMORY_BYTES, a temporary file. Tables that
    are made of it inside the context can be read after it too: Polars opens the file itself."""
    written = 0
    with ExitStack() as stack:
        buffer: io.BytesIO | BinaryIO = io.BytesIO()
        for piece in pieces:
            written += len(piece)
            if written > MEMORY_BYTES and isinstance(buffer, io.BytesIO):
                file = cast(BinaryIO, stack.enter_context(tempfile.TemporaryFile()))
                file.write(buffer.getvalue())
                buffer = file
            buffer.write(piece)
        if isinstance(buffer, io.BytesIO):
            yield buffer.getvalue()
        else:
            buffer.flush()
            buffer.seek(0)
            yield buffer


@contextmanager
def _decompression_errors() -> Iterator[None]:
    """Turn errors of decompression into FormatError."""
    try:
        yield
    except (EOFError, OSError, zlib.error, zstd.ZstdError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, EOFError):
            raise FormatError("the compressed data end too early: the file is cut off", COPY_AGAIN) from None
        raise FormatError(f"the compressed data are damaged ({short_message(error)})", COPY_AGAIN) from None
