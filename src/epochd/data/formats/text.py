"""Text files line by line, plain or compressed: to check a file before reading it, and to find an invalid line.

As in Polars, the first bytes of a file, not its name, decide its compression.
"""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import polars as pl

from epochd.data.formats.errors import COPY_AGAIN, FormatError, both_ends, short_message

GZIP, ZSTD, BYTE_ORDER_MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
SAMPLE_BYTES = 65_536
"""Bytes at the beginning and at the end of a file that are checked to be text."""
HEAD_LINES = 100
"""Lines at the beginning of a zstd file that are checked."""
LINES_READ = 5_000_000
"""Lines that are searched for an invalid one: a few seconds."""
AS_UTF8 = "save the file as UTF-8"


def check(path: Path) -> None:
    """Raise FormatError for a file that is empty or not text. Only its beginning and end are read."""
    packed = compression(path)
    if packed == "zstd":
        head = "".join(_zstd_lines(path, HEAD_LINES))[:SAMPLE_BYTES]
    else:
        with _decompression_errors(), _opened(path) as file:
            head = file.read(SAMPLE_BYTES)
    if not head.strip("\r\n "):
        raise FormatError("the file is empty", "write a header line, then one line per row")
    if head.startswith(("\udcff\udcfe", "\udcfe\udcff")) or (head.startswith("\ufffd\ufffd") and "\0" in head):
        raise FormatError("the text is UTF-16, not UTF-8", AS_UTF8)
    if "\0" in head:
        line = head.count("\n", 0, head.index("\0")) + 1
        raise FormatError(f"line {line} has a NUL byte, so it is not a text file", "use a text file in UTF-8")
    if not packed and b"\0" in both_ends(path, SAMPLE_BYTES)[1]:
        raise FormatError("there are NUL bytes at its end, which a full disk or a crash can cause", COPY_AGAIN)


def lines(path: Path) -> Iterator[str]:
    """The lines with their line ends; raise FormatError where compressed data are damaged.

    A byte that is not UTF-8 becomes a surrogate, or U+FFFD in zstd (``bad_byte`` handles both).
    """
    if compression(path) == "zstd":
        yield from _zstd_lines(path)
    else:
        with _decompression_errors(), _opened(path) as file:
            yield from file


def utf8_lines(path: Path) -> Iterator[str]:
    """The first LINES_READ lines; raise FormatError at one that is not UTF-8."""
    for number, line in enumerate(islice(lines(path), LINES_READ), 1):
        if bad := bad_byte(line):
            raise FormatError(f"line {number} is not UTF-8 ({bad})", AS_UTF8)
        yield line


def bad_byte(line: str) -> str:
    """Which byte of a line is not UTF-8; empty if all are."""
    if line.isascii():
        return ""
    if surrogate := next((char for char in line if "\udc80" <= char <= "\udcff"), None):
        return f"byte 0x{ord(surrogate) - 0xDC00:02x}"
    return "a byte that encodes no character" if "\ufffd" in line else ""


def compression(path: Path) -> str:
    """``gzip``, ``zstd`` or an empty string."""
    with path.open("rb") as file:
        start = file.read(4)
    return "gzip" if start.startswith(GZIP) else "zstd" if start == ZSTD else ""


def read_after_byte_order_mark(path: Path) -> bytes | None:
    """The whole text, decompressed, without its byte order mark; None if it has none (always for zstd)."""
    with _decompression_errors():
        opened = gzip.open if compression(path) == "gzip" else open
        with cast(BinaryIO, opened(path, "rb")) as file:
            return file.read() if file.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK else None


def _opened(path: Path) -> TextIO:
    opened = gzip.open if compression(path) == "gzip" else open
    # A line ends at \n alone, as for Polars.
    return cast(TextIO, opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="\n"))


def _zstd_lines(path: Path, most: int | None = None) -> Iterator[str]:
    """Lines decompressed by Polars, since Python has no zstd before 3.14: one column; no text has its separator."""
    options: dict[str, Any] = {"has_header": False, "separator": "\x1f", "quote_char": None, "glob": False}
    options |= {"schema": {"line": pl.String}, "encoding": "utf8-lossy", "truncate_ragged_lines": True}
    table = pl.scan_csv(path, n_rows=most, **options)
    with _decompression_errors():
        for frame in table.collect_batches(maintain_order=True, engine="streaming"):
            yield from (f"{line or ''}\n" for line in frame.to_series())


@contextmanager
def _decompression_errors() -> Iterator[None]:
    """Turn errors of decompression into FormatError."""
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if isinstance(error, EOFError) or str(error) in ("unexpected end of file", "incomplete frame"):
            raise FormatError("the compressed data end too early: the file is cut off", COPY_AGAIN) from None
        if str(error) == "out of memory":
            raise MemoryError from None
        raise FormatError(f"the compressed data are damaged ({short_message(error)})", COPY_AGAIN) from None
