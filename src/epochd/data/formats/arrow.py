"""Arrow (Feather, IPC): files, which are read lazily, and streams, which are read into memory."""

from pathlib import Path

import polars as pl

from epochd.data.formats.errors import Unreadable, in_short

MAGIC, STREAM = b"ARROW1", b"\xff\xff\xff\xff"
AGAIN = "copy or write the whole file again"


def scan(path: Path) -> pl.LazyFrame:
    if _ends(path)[0].startswith(STREAM):
        return pl.read_ipc_stream(path).lazy()
    return pl.scan_ipc(path, glob=False)


def explain(path: Path, error: BaseException) -> Unreadable:
    head, tail = _ends(path)
    if not head:
        return Unreadable("the file is empty", AGAIN)
    if head.startswith(b"FEA1"):
        return Unreadable("it is Feather of version 1", "write it as version 2 (Arrow), or as Parquet")
    if not head.startswith((MAGIC, STREAM)):
        return Unreadable(f"it is no Arrow file (it begins with {head!r})", "give the file the ending of its format")
    if head == MAGIC and tail != MAGIC:
        return Unreadable("the file is cut off: its footer is missing", AGAIN)
    return Unreadable(f"the file is damaged ({in_short(error)})", AGAIN)


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The first and the last six bytes."""
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(max(0, path.stat().st_size - 6))
        return head, file.read(6)
