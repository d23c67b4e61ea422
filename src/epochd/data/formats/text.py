"""Text files line by line, plain or compressed: for the first look at them, and to find the line that breaks one.

Reading a whole table is Polars' work. This is the slow and careful reading beside it. How a file is
compressed follows from its first bytes, as in Polars, not from its name.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

import polars as pl

from epochd.data.formats.errors import Unreadable, in_short

GZIP, ZSTD, MARK = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xef\xbb\xbf"
LOOKED_AT = 65_536
"""Bytes, at a file's beginning and end, that are searched for what no text has."""
HEAD_LINES = 100
"""Lines of a zstd file that stand for its beginning."""
LINES_READ = 5_000_000
"""Lines that are read to find the one that breaks a file: a few seconds."""

AS_UTF8 = "save the file as UTF-8"
AGAIN = "copy or upload the whole file again"


def check(path: Path) -> None:
    """Raise Unreadable for an empty file, and for what is plainly no text. Reads the two ends only."""
    head = _head(path)
    if not head.strip("\r\n "):
        raise Unreadable("the file is empty", "a header line, then one line per row")
    if head.startswith(("\udcff\udcfe", "\udcfe\udcff")) or (head.startswith("\ufffd\ufffd") and "\0" in head):
        raise Unreadable("the text is UTF-16, not UTF-8", AS_UTF8)
    if "\0" in head:
        line = head.count("\n", 0, head.index("\0")) + 1
        raise Unreadable(f"line {line} has a NUL byte, so this is not text", "give a text file in UTF-8")
    if not packing(path) and b"\0" in _tail(path):
        raise Unreadable("there are NUL bytes at its end, as a full disk or a crash leaves them", AGAIN)


def lines(path: Path) -> Iterator[str]:
    """The lines with their ends; raise Unreadable where compressed data break.

    A byte that is not UTF-8 comes as a surrogate, or as U+FFFD from zstd (``bad_byte`` knows both).
    """
    if packing(path) == "zstd":
        yield from _zstd_lines(path)
    else:
        with _unpacking(), _opened(path) as file:
            yield from file


def utf8_lines(path: Path) -> Iterator[str]:
    """The lines; raise Unreadable at the first that is not UTF-8."""
    for number, line in enumerate(lines(path), 1):
        bad = bad_byte(line)
        if bad:
            raise Unreadable(f"line {number} is not UTF-8 ({bad})", AS_UTF8)
        yield line


def bad_byte(line: str) -> str:
    """Which byte of a line is not UTF-8; empty if all are."""
    if line.isascii():
        return ""
    surrogate = next((char for char in line if "\udc80" <= char <= "\udcff"), None)
    if surrogate:
        return f"byte 0x{ord(surrogate) - 0xDC00:02x}"
    return "a byte that stands for no character" if "\ufffd" in line else ""


def packing(path: Path) -> str:
    """``gzip``, ``zstd`` or an empty string."""
    with path.open("rb") as file:
        start = file.read(4)
    return "gzip" if start.startswith(GZIP) else "zstd" if start == ZSTD else ""


def has_mark(path: Path) -> bool:
    """Whether the text begins with a byte order mark (not known of zstd)."""
    with _unpacking(), _raw(path) as file:
        return file.read(3) == MARK


def without_mark(path: Path) -> bytes:
    """The whole text, unpacked, without its byte order mark."""
    with _unpacking(), _raw(path) as file:
        return file.read().removeprefix(MARK)


def _raw(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path)) if packing(path) == "gzip" else path.open("rb")


def _opened(path: Path) -> TextIO:
    opened = gzip.open if packing(path) == "gzip" else open
    # A line ends at \n alone, as for Polars.
    return cast(TextIO, opened(path, "rt", encoding="utf-8-sig", errors="surrogateescape", newline="\n"))


def _head(path: Path) -> str:
    if packing(path) == "zstd":
        return "".join(_zstd_lines(path, HEAD_LINES))[:LOOKED_AT]
    with _unpacking(), _opened(path) as file:
        return file.read(LOOKED_AT)


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOOKED_AT))
        return file.read()


def _zstd_lines(path: Path, most: int | None = None) -> Iterator[str]:
    """Python has no zstd before 3.14, so Polars unpacks: one column, whose separator no text has."""
    table = pl.scan_csv(
        path,
        has_header=False,
        separator="\x1f",
        quote_char=None,
        schema={"line": pl.String},
        encoding="utf8-lossy",
        truncate_ragged_lines=True,
        n_rows=most,
        glob=False,
    )
    with _unpacking():
        for frame in table.collect_batches(maintain_order=True, engine="streaming"):
            yield from (f"{line or ''}\n" for line in frame.to_series())


@contextmanager
def _unpacking() -> Iterator[None]:
    """Turn errors in decompression into Unreadable."""
    try:
        yield
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise unpacked(error) from None


def unpacked(error: Exception) -> Unreadable:
    """What Python or Polars say when compressed data cannot be unpacked, in our words."""
    if isinstance(error, EOFError) or str(error) in ("unexpected end of file", "incomplete frame"):
        return Unreadable("the compressed data end too early: the file is cut off", AGAIN)
    return Unreadable(f"the compressed data are damaged ({in_short(error)})", AGAIN)
