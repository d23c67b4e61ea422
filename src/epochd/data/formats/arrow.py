"""Arrow (Feather, IPC): files, which are read lazily, and streams, which are read into memory."""

from pathlib import Path

import polars as pl

from epochd.data.formats.errors import COPY_AGAIN, FormatError, short_message

MAGIC, STREAM = b"ARROW1", b"\xff\xff\xff\xff"


def scan(path: Path) -> pl.LazyFrame:
    if _ends(path)[0].startswith(STREAM):
        return pl.read_ipc_stream(path).lazy()
    return pl.scan_ipc(path, glob=False)


def explain(path: Path, error: BaseException) -> FormatError:
    head, tail = _ends(path)
    if not head:
        return FormatError("the file is empty", COPY_AGAIN)
    if head.startswith(b"FEA1"):
        return FormatError("it is a Feather file of version 1", "write it as version 2 (Arrow), or as Parquet")
    if not head.startswith((MAGIC, STREAM)):
        return FormatError(
            f"it is not an Arrow file (it begins with {head!r})", "give the file the suffix of its format"
        )
    if head == MAGIC and tail != MAGIC:
        return FormatError("the file is cut off: its footer is missing", COPY_AGAIN)
    return FormatError(f"the file is damaged ({short_message(error)})", COPY_AGAIN)


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The first and the last six bytes."""
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(max(0, path.stat().st_size - 6))
        return head, file.read(6)
