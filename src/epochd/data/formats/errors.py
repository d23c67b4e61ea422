"""The error of a file that cannot be read, with a reason and a hint for its author.

Every format raises this one exception; the caller, which knows the dataset's name, turns it into a DataError.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from epochd.core.names import trimmed
from epochd.data.schema import shorten

TYPE_ERRORS = (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError, pl.exceptions.SchemaError)
"""What Polars raises where rows are not of the inferred types."""
LONGEST_REASON = 200
"""Characters of a library's message that are quoted."""
COPY_AGAIN = "copy, upload or write the whole file again"
"""The hint for a damaged file."""


class FormatError(Exception):
    """Why a file cannot be read (``reason``: what is wrong, and where), and what to do (``hint``)."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def open_error(error: OSError) -> FormatError:
    """The error of a file that cannot be opened, without its path."""
    why = f" ({error.strerror})" if error.strerror else ""
    return FormatError(f"the file cannot be opened{why}", "check that it still exists and that the server may read it")


def short_message(error: BaseException) -> str:
    """The first line of a library's message, at most LONGEST_REASON characters of it."""
    line = str(error).split("\n", 1)[0]
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} …"


def both_ends(path: Path, size: int) -> tuple[bytes, bytes]:
    """The first and the last ``size`` bytes of a file."""
    with path.open("rb") as file:
        head = file.read(size)
        file.seek(max(0, path.stat().st_size - size))
        return head, file.read(size)


def damage(head: bytes, tail: bytes, magic: bytes, kind: str, error: BaseException) -> FormatError:
    """What is wrong with a file of this ``kind``, which should begin and end with ``magic``."""
    if not head:
        return FormatError("the file is empty", COPY_AGAIN)
    if head != magic:
        return FormatError(f"it is not {kind} file (it begins with {head!r})", "give the file the suffix of its format")
    if tail != magic:
        return FormatError("the file is cut off: its footer is missing", COPY_AGAIN)
    return FormatError(f"the file is damaged ({short_message(error)})", COPY_AGAIN)


MAX_COLUMNS = 100_000
"""A file with more columns is refused before its values are read."""


def clean_column_names(names: Sequence[str | None]) -> list[str]:
    """Column names without the spaces around them, their letters composed; raise FormatError if there are too many, or
    if one is empty or occurs twice."""
    if len(names) > MAX_COLUMNS:
        hint = "if its lines and columns are exchanged, transpose it; otherwise split it into several files"
        raise FormatError(f"it has {len(names):,} columns, and at most {MAX_COLUMNS:,} can be read", hint)
    positions = defaultdict(list)
    for number, name in enumerate(names, 1):
        positions[trimmed(name or "")].append(number)
    if unnamed := positions.get("", []):
        columns = f"columns {shorten(unnamed, 5)} have" if unnamed[1:] else f"column {unnamed[0]} has"
        hint = "name every column; if one is the index that pandas writes, write the file with index=False"
        raise FormatError(f"{columns} no name", hint)
    duplicates = [f"{name!r} (columns {shorten(found, 5)})" for name, found in positions.items() if len(found) > 1]
    if duplicates:
        raise FormatError(f"columns have the same name: {', '.join(duplicates[:5])}", "give each column a unique name")
    return list(positions)
