"""What checks find: problems and warnings, and the rows that their messages quote.

Checks work on statistics and never read the table. A message may quote a row, such as the first one with an infinite
value: the check names its condition, and all conditions of all checks are looked up in one pass.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from epochd.core.errors import Problem
from epochd.data.encoding.values import MAX_NUMBER
from epochd.data.schema import col
from epochd.data.tables.table import python_values, select

Text = tuple[str, str]
"""A message and a hint; the hint of a warning is part of its message."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table: its number, counted from 1, and its values in the columns that were asked for."""

    number: int
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Lookup:
    """The first row that meets ``condition``, and its values in the columns ``names``."""

    condition: pl.Expr
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Issue:
    """A problem of ``field``, or a warning (``field`` is empty). ``describe`` gets the row of each lookup (None if no
    row meets the condition)."""

    field: str
    describe: Callable[..., Text]
    lookups: tuple[Lookup, ...] = ()


def problem(field: str, message: str, hint: str) -> Issue:
    return Issue(field, lambda: (message, hint))


def warning(message: str) -> Issue:
    return Issue("", lambda: (message, ""))


def huge_values(field: str, name: str, size: pl.Expr, hint: str, where: str) -> Issue:
    """A problem of a column in which numbers of this size are infinite or larger than MAX_NUMBER."""

    def describe(row: Row | None) -> Text:
        place = f": row {row.number} is {shown(row.values[0])}" if row else ""
        return f"{name!r} has infinite or huge values{place}{where}", hint

    return Issue(field, describe, (Lookup(size > MAX_NUMBER, (name,)),))


def resolve(issues: Sequence[Issue], table: pl.LazyFrame) -> tuple[list[Problem], list[str]]:
    """The problems and the warnings with their full text. Reads ``table`` once if any message quotes a row."""
    rows = _look_up([lookup for issue in issues for lookup in issue.lookups], table)
    problems, warnings = [], []
    for issue in issues:
        message, hint = issue.describe(*(next(rows) for _ in issue.lookups))
        if issue.field:
            problems.append(Problem(issue.field, message, hint))
        else:
            warnings.append(message)
    return problems, warnings


def _look_up(lookups: Sequence[Lookup], table: pl.LazyFrame) -> Iterator[Row | None]:
    """The row of each lookup, all in one pass."""
    questions = [
        column.filter(lookup.condition).first().alias(f"{number}.{place}")
        for number, lookup in enumerate(lookups)
        for place, column in enumerate([pl.col("\0row"), *map(col, lookup.names)])
    ]
    found = select(table.with_row_index("\0row"), questions)
    for number, lookup in enumerate(lookups):
        row, *values = (found[f"{number}.{place}"] for place in range(1 + len(lookup.names)))
        plain = (python_values(value) if isinstance(value, pl.Series) else value for value in values)
        yield None if row is None else Row(row + 1, tuple(plain))


def option(name: str, kind: str) -> str:
    """The part of a config that gives this column a type."""
    return f'"columns": {{{quoted(name)}: {{"type": "{kind}"}}}}'


def quoted(name: str) -> str:
    """The name as in JSON."""
    return json.dumps(name, ensure_ascii=False)


def shown(value: object) -> str:
    """A sample value for a message, at most 60 characters."""
    text = repr(python_values(value) if isinstance(value, pl.Series) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def such_as(row: Row | None) -> str:
    """``, such as 'x' in row 7``; empty without a row."""
    return f", such as {shown(row.values[0])} in row {row.number}" if row else ""
