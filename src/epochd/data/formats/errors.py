"""What is wrong with a file, in words for the person who made it.

Each format knows its own ways to be broken and reports them by this one exception; the caller, who knows the dataset's
name makes a problem of it.
"""

from collections import defaultdict
from collections.abc import Sequence

import polars as pl

TYPE_ERRORS = (pl.exceptions.ComputeError, pl.exceptions.InvalidOperationError, pl.exceptions.SchemaError)
"""What Polars raises where rows are not of the types that were guessed."""

LONGEST_REASON = 200
"""Characters of a library's own message that are passed on."""


class Unreadable(Exception):
    """Why a file cannot be read (``reason``: what is wrong, and where), and what to do (``hint``)."""

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


def not_opened(error: OSError) -> Unreadable:
    """A file that cannot be opened; the message does not contain its path."""
    why = f" ({error.strerror})" if error.strerror else ""
    return Unreadable(f"the file cannot be opened{why}", "check that it is still there and may be read by the server")


def in_short(error: BaseException) -> str:
    """The first line of a library's message, cut where it would fill the screen."""
    line = str(error).split("\n", 1)[0]
    return line if len(line) <= LONGEST_REASON else f"{line[:LONGEST_REASON]} …"


def checked_names(names: Sequence[str | None]) -> list[str]:
    """Column names without the spaces around them; raise Unreadable if one is empty or stands twice."""
    places = defaultdict(list)
    for number, name in enumerate(names, 1):
        places[(name or "").strip()].append(number)
    if "" in places:
        hint = "give it one; pandas writes such a column for its index, leave it out with index=False"
        raise Unreadable(f"{_columns(places[''])} no name", hint.replace("it ", "each ", 1) if places[""][1:] else hint)
    twice = [f"{name!r} (columns {_numbers(found)})" for name, found in places.items() if len(found) > 1]
    if twice:
        raise Unreadable(f"columns have the same name: {', '.join(twice[:5])}", "give each column a name of its own")
    return list(places)


def _columns(numbers: list[int]) -> str:
    return f"columns {_numbers(numbers)} have" if numbers[1:] else f"column {numbers[0]} has"


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown} and {len(numbers) - 5} more" if len(numbers) > 5 else shown
