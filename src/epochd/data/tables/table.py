"""The columns of a dataset that a training needs, as batches of rows: from memory, or anew from the file each time.

Batches are cut at the same rows either way. Whatever is computed from them is therefore the same, to the last bit, for
data that are held and for data that are streamed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem

BATCH_ROWS = 65_536
"""Rows that are read, learned from and encoded together."""

Reading = Callable[[pl.Series], npt.NDArray[Any]]
"""Makes one number of each value of a column."""


@dataclass(frozen=True, slots=True)
class Table:
    """``lazy`` has ``rows`` rows; ``frame`` is the same in memory, if it is small enough to be held."""

    lazy: pl.LazyFrame
    frame: pl.DataFrame | None
    rows: int

    @classmethod
    def of(cls, lazy: pl.LazyFrame, limit: int | None) -> "Table":
        """Read the table, unless its values take more than ``limit`` bytes as float32."""
        if limit is not None:
            rows = int(lazy.select(pl.len()).collect(engine="streaming").item())
            if rows * len(lazy.collect_schema()) * 4 > limit:
                return cls(lazy, None, rows)
        frame = lazy.collect()
        return cls(frame.lazy(), frame, frame.height)

    def batches(self, columns: Sequence[str]) -> Iterator[tuple[int, pl.DataFrame]]:
        """The first row's number and these columns of ``BATCH_ROWS`` rows (fewer in the last batch), in order.

        Raise DataError if a streamed table no longer has as many rows as it had.
        """
        chosen = list(dict.fromkeys(columns))
        if self.frame is None:
            yield from self._streamed(self.lazy.select(cs.by_name(chosen)))
            return
        frame = self.frame.select(cs.by_name(chosen))
        for first in range(0, frame.height, BATCH_ROWS):
            yield first, frame.slice(first, BATCH_ROWS)

    def _streamed(self, lazy: pl.LazyFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        end = 0
        for first, frame in batches(lazy, BATCH_ROWS):
            end = first + frame.height
            if end > self.rows:
                break
            yield first, frame
        if end != self.rows:
            message = f"the dataset had {self.rows} rows at first and another number a moment later"
            raise DataError([Problem("dataset", message, "do not write to a dataset while it is read; start again")])

    def read(self, readings: Mapping[str, tuple[str, Reading]]) -> dict[str, npt.NDArray[Any]]:
        """One array (rows,) for each reading, by its name: what it makes, batch by batch, of its column."""
        found: dict[str, npt.NDArray[Any]] = {}
        for first, frame in self.batches([column for column, _ in readings.values()]):
            with counting_from(first):
                pieces = {name: reading(frame.get_column(column)) for name, (column, reading) in readings.items()}
            for name, piece in pieces.items():
                found.setdefault(name, np.empty(self.rows, piece.dtype))[first : first + len(piece)] = piece
        return found


def within(rows: IntArray, first: int, height: int) -> slice:
    """Which of these sorted row numbers lie in the ``height`` rows from ``first`` on."""
    start, end = np.searchsorted(rows, [first, first + height])
    return slice(int(start), int(end))


def select_rows(frame: pl.DataFrame, rows: IntArray) -> pl.DataFrame:
    """The rows with these sorted numbers; a mask is several times as fast as a look-up of each."""
    if len(rows) == frame.height:
        return frame
    marks = np.zeros(frame.height, np.bool_)
    marks[rows] = True
    return frame.filter(pl.Series(marks))


@contextmanager
def counting_from(first: int) -> Iterator[None]:
    """Add to errors raised inside the row of the dataset from which theirs are counted, unless it is the first."""
    try:
        yield
    except DataError as error:
        if first == 0:
            raise
        suffix = f" (rows counted from row {first + 1} of the dataset on)"
        raise DataError([replace(problem, message=problem.message + suffix) for problem in error.problems]) from None


def batches(table: pl.LazyFrame, size: int = BATCH_ROWS) -> Iterator[tuple[int, pl.DataFrame]]:
    """The table's rows in order: the first row's number, and a frame of exactly ``size`` rows (fewer in the last).

    Where frames are cut does not depend on how the file was read, so that sums over them come out the same.
    """
    first, held = 0, pl.DataFrame()
    for frame in table.collect_batches(chunk_size=size, maintain_order=True, engine="streaming"):
        held = pl.concat([held, frame]) if held.height else frame
        while held.height >= size:
            yield first, held.head(size)
            first, held = first + size, held.slice(size)
    if held.height:
        yield first, held


def select(table: pl.LazyFrame, questions: Iterable[pl.Expr]) -> dict[str, Any]:
    """The answers to expressions that give one value each, by their names; lists as series. One pass over the table."""
    asked = list(questions)
    if not asked:
        return {}
    return {answer.name: answer[0] for answer in table.select(asked).collect(engine="streaming")}
