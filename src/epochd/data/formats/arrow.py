"""Arrow (Feather, IPC): files, which are read lazily, and streams, which are read into memory."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from epochd.core.columns import ReadOptions
from epochd.data.formats import header
from epochd.data.formats.errors import FormatError, both_ends, damage
from epochd.data.formats.type_inference import Expected

MAGIC, STREAM = b"ARROW1", b"\xff\xff\xff\xff"


def scan(path: Path, expected: Expected, options: ReadOptions) -> Iterator[pl.LazyFrame]:
    is_stream = both_ends(path, len(MAGIC))[0].startswith(STREAM)
    yield pl.read_ipc_stream(path).lazy() if is_stream else pl.scan_ipc(path, glob=False)


def index_columns(path: Path, options: ReadOptions) -> list[str]:
    """The columns that are an index by their name."""
    return header.index_columns(next(scan(path, {}, options)).collect_schema())


def explain(path: Path, error: BaseException) -> FormatError:
    head, tail = both_ends(path, len(MAGIC))
    if head.startswith(b"FEA1"):
        return FormatError("it is a Feather file of version 1", "write it as version 2 (Arrow), or as Parquet")
    if head.startswith(STREAM):  # a stream has no footer
        head = tail = MAGIC
    return damage(head, tail, MAGIC, "an Arrow", error)
