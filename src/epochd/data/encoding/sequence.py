"""Columns of lists: each column is a channel of a sequence, and each element a step.

The lists of one row have the same length. Shorter rows are padded at the end with 0; a mask marks the steps that exist.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError, Problem
from epochd.data.encoding import values
from epochd.data.encoding.scaling import Scale, ScaleFit, scale_from_json
from epochd.data.encoding.values import Fitted, Float64
from epochd.data.schema import Kind, kind_of

Flags = npt.NDArray[np.bool_]
Longer = Literal["refused", "cut", "read"]
"""What happens to lists that are longer than any in training: an mlp refuses them, a cnn cuts them, lstm and gru read
them as they are."""
LONGER: dict[str, Longer] = {"mlp": "refused", "cnn": "cut", "lstm": "read", "gru": "read"}
MAX_STEPS = 100_000
"""Elements of a list that are read; a longer one would take the memory of the process."""


@dataclass(frozen=True, slots=True)
class Channel(Fitted):
    """A column of lists whose elements are scaled; a missing element becomes 0, the scale's centre."""

    kind: ClassVar[str] = "list"
    width: ClassVar[int] = 1
    name: str
    scale: Scale

    def transform(self, series: pl.Series, exists: Flags, out: FloatArray) -> None:
        """Fill ``out`` (n, steps) where ``exists`` (n, steps), the ``step_mask`` of this column, is True."""
        scaled = self.scale.apply(elements(series))
        scaled[np.isnan(scaled)] = 0.0
        with np.errstate(over="ignore"):
            small = scaled.astype(np.float32)
        if not np.isfinite(small).all():
            raise _bad_element(series, exists.sum(axis=1), int(np.argmin(np.isfinite(small))))
        out[exists] = small

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        return cls(values.stored_text(state["name"]), scale_from_json(state["scale"]))


@dataclass(slots=True)
class ListFit:
    """Fits the scale of a column's elements, and the lengths of its shortest and longest list."""

    name: str
    scale: ScaleFit
    shortest: int | None = field(default=None, init=False)
    longest: int = field(default=0, init=False)

    def partial_fit(self, series: pl.Series) -> None:
        """Raise DataError for a row without a list, or a number that is infinite or too large."""
        if len(series) == 0:
            return
        found = lengths(series)
        numbers = elements(series)
        if (place := values.first_too_large(numbers)) is not None:
            raise _bad_element(series, found, place)
        self.scale.partial_fit(numbers, found)
        shortest = int(found.min())
        self.shortest = shortest if self.shortest is None else min(self.shortest, shortest)
        self.longest = max(self.longest, int(found.max()))

    def finalize(self) -> Channel:
        return Channel(self.name, self.scale.finalize())


def step_mask(columns: Sequence[pl.Series], steps: int) -> Flags:
    """Whether each step exists in each row, (n, steps). Raise DataError for a row without a list, with lists of
    different lengths or of more than ``steps`` elements."""
    found = common_lengths(columns)
    if (found > steps).any():
        row = int(np.argmax(found > steps))
        name = columns[0].name
        message = f"row {row + 1} of column {name!r} has {found[row]} elements; the model reads at most {steps}"
        hint = "shorten the list, or train on lists of this length; lstm and gru read longer ones, cnn cuts them"
        raise DataError([Problem(name, message, hint)])
    return np.arange(steps) < found[:, None]


def shortened(frame: pl.DataFrame, names: Sequence[str], steps: int) -> pl.DataFrame:
    """The frame, in which the lists of these columns end after ``steps`` elements; other types are left alone."""
    lists = [_lists(frame[name]).alias(name) for name in names if kind_of(frame.schema[name]) is Kind.LIST]
    longer = [column for column in lists if (column.list.len().max() or 0) > steps]  # type: ignore[operator]
    return frame.with_columns(column.list.head(steps) for column in longer) if longer else frame


def too_long(columns: Sequence[pl.Series], found: IntArray) -> DataError:
    """The error for the first list of more than MAX_STEPS elements, in rows of these lengths."""
    row, name = int(np.argmax(found > MAX_STEPS)), columns[0].name
    message = f"row {row + 1} of column {name!r} has {found[row]:,} elements; at most {MAX_STEPS:,} are read"
    return DataError([Problem(name, message, "shorten the list, or make it coarser")])


def common_lengths(columns: Sequence[pl.Series]) -> IntArray:
    """The lengths of the lists in each row, int64 (n,). Raise DataError if they differ between columns."""
    first = lengths(columns[0])
    for column in columns[1:]:
        other = lengths(column)
        if (other != first).any():
            row = int(np.argmax(other != first))
            sizes = {columns[0].name: int(first[row]), column.name: int(other[row])}
            raise DataError([Problem(column.name, *uneven_lengths(f"row {row + 1}", sizes))])
    return first


def uneven_lengths(row: str, sizes: Mapping[str, int]) -> tuple[str, str]:
    """Message and hint for a row whose lists have these lengths, by column."""
    listed = ", ".join(f"{counted(size)} in {name!r}" for name, size in sizes.items())
    hint = "the lists of a row are channels of one sequence: make them equally long, with null for missing elements"
    return f"{row} has lists of different lengths: {listed}", hint


def counted(size: int) -> str:
    return "1 element" if size == 1 else f"{size} elements"


def lengths(series: pl.Series) -> IntArray:
    """The length of each list, int64 (n,). Raise DataError for a row without a list, or with an empty one."""
    found = _lists(series).list.len().cast(pl.Int64).fill_null(-1).to_numpy()
    if (found < 1).any():
        row = int(np.argmax(found < 1))
        what = "an empty list" if found[row] == 0 else "no list"
        message = f"row {row + 1} of column {series.name!r} has {what}"
        raise DataError([Problem(series.name, message, "give at least one number")])
    return found


def elements(series: pl.Series) -> Float64:
    """The elements of all lists in a row, float64, NaN where missing."""
    return values.numbers(_lists(series).explode())


def _lists(series: pl.Series) -> pl.Series:
    if series.dtype == pl.Null:
        return series.cast(pl.List(pl.Float64))
    if kind_of(series.dtype) is not Kind.LIST:
        raise values.wrong_type(series, "lists of numbers")
    return series.arr.to_list() if isinstance(series.dtype, pl.Array) else series


def _bad_element(series: pl.Series, found: IntArray, place: int) -> DataError:
    row = int(np.searchsorted(np.cumsum(found), place, side="right"))
    value = _lists(series).explode()[place]
    message = f"row {row + 1} of column {series.name!r} has an element that is {values.TOO_LARGE}: {value!r}"
    return DataError([Problem(series.name, message, "give a number, or null if the element is unknown")])
