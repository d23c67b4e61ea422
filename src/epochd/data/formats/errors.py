"""The error of a file that cannot be read, with a reason and a hint for its author.

Every format raises this one exception; the caller, which knows the dataset's name, turns it into a DataError.
"""

from collections import defaultdict
from collections.abc import Sequence

import polars as pl

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


def clean_column_names(names: Sequence[str | None]) -> list[str]:
    """Column names without the spaces around them; raise FormatError if one is empty or occurs twice."""
    positions = defaultdict(list)
    for number, name in enumerate(names, 1):
        positions[(name or "").strip()].append(number)
    if unnamed := positions.get("", []):
        columns = f"columns {_shorten(unnamed)} have" if unnamed[1:] else f"column {unnamed[0]} has"
        hint = "name every column; if one is the index that pandas writes, write the file with index=False"
        raise FormatError(f"{columns} no name", hint)
    duplicates = [f"{name!r} (columns {_shorten(found)})" for name, found in positions.items() if len(found) > 1]
    if duplicates:
        raise FormatError(f"columns have the same name: {', '.join(duplicates[:5])}", "give each column a unique name")
    return list(positions)


def _shorten(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown} and {len(numbers) - 5} more" if len(numbers) > 5 else shown
