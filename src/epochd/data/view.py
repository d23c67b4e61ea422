"""A table to ask questions of: in memory if it is small, otherwise streamed anew for each round of questions.

So a small table is read once, which takes milliseconds, and a large one is never held as a whole.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from epochd.data import sources
from epochd.data.kinds import column

LEAST_ROWS, SMALL_ROWS, SMALL_CELLS = 100, 20_000, 2_000_000
"""A table with more rows or cells than SMALL is streamed, unless it has hardly any rows."""


@dataclass(frozen=True, slots=True)
class View:
    """Some columns of a table. ``head`` is its beginning, all of it if ``is_whole``; ``rows`` counts the table. It is
    in memory if it ``is_held``, and what it is asked may take as much memory again."""

    table: pl.LazyFrame
    schema: pl.Schema
    head: pl.DataFrame
    rows: int
    is_whole: bool
    is_held: bool = True

    def ask(self, questions: Iterable[pl.Expr]) -> dict[str, Any]:
        """The answers to expressions that give one value each, by their names."""
        asked = list(questions)
        return self.collect(self.table.select(asked)).row(0, named=True) if asked else {}

    def collect(self, table: pl.LazyFrame) -> pl.DataFrame:
        """Do what was asked of ``table``."""
        return table.collect(engine="in-memory" if self.is_whole else "streaming")

    def first(self, condition: pl.Expr, *names: str) -> tuple[int, tuple[Any, ...]] | None:
        """The first row that meets the condition, counted from 1, and its values in these columns; None without one."""
        asked = self.table.select(*map(column, names), condition.alias("\0meets"))
        found = self.collect(asked.with_row_index("\0row").filter(pl.col("\0meets")).head(1))
        if found.is_empty():
            return None
        row, *values, _ = found.row(0)
        return row + 1, tuple(values)

    def at(self, row: int, name: str) -> Any:
        """The value of a column in a row, counted from 1."""
        return self.collect(self.table.select(column(name)).slice(row - 1, 1)).item()

    def batches(self, *names: str) -> Iterator[tuple[int, pl.DataFrame]]:
        """These columns in the table's order, piece by piece, with the number of each piece's first row from 0."""
        if self.is_whole:
            return iter([(0, self.head.select(*map(column, names)))])
        return sources.batches(self.table.select(*map(column, names)))


def view(table: pl.LazyFrame, names: list[str], *, held: bool = False) -> View:
    """Look at these columns of a table, which is ``held`` in memory or not."""
    most = max(LEAST_ROWS, min(SMALL_ROWS, SMALL_CELLS // max(1, len(names))))
    chosen = table.select(*map(column, names))
    head = chosen.head(most + 1).collect(engine="streaming")
    if names and head.height <= most:
        return View(head.lazy(), head.schema, head, head.height, True)
    rows = table.select(pl.len()).collect(engine="streaming").item()
    return View(chosen, head.schema, head, int(rows), False, held)


def shown(value: object) -> str:
    """A sample value for a message: short, whatever it is."""
    text = repr(value.to_list() if isinstance(value, pl.Series) else value)
    return text if len(text) <= 60 else text[:57] + "..."
