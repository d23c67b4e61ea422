"""Columns of numbers and of booleans: one encoded column, and a flag where training rows had missing values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from epochd.core.arrays import FloatArray
from epochd.data.encoding import values
from epochd.data.encoding.scaling import Scale, ScaleFit, scale_from_json
from epochd.data.encoding.values import Fitted, Float64
from epochd.data.schema import Kind, kind_of

TRUTH = {"true": "1", "false": "0"}
"""Text of booleans, besides 1 and 0."""


@dataclass(frozen=True, slots=True)
class Number(Fitted):
    """A column that is scaled; a missing value becomes 0, the scale's centre. ``flag`` adds a column that is 1 where
    the value is missing."""

    kind: ClassVar[str] = "number"
    name: str
    scale: Scale
    flag: bool

    @property
    def width(self) -> int:
        return 1 + self.flag

    def transform(self, series: pl.Series, out: FloatArray) -> None:
        """Fill ``out`` (n, width); raise DataError for a value that is not a number or too large for float32."""
        numbers = values.numbers(series)
        _write(numbers, self.scale.apply(numbers), out)
        if not np.isfinite(out[:, 0]).all():
            row = int(np.argmin(np.isfinite(out[:, 0])))
            raise values.bad_value(series, row, values.TOO_LARGE)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        return cls(
            values.stored_text(state["name"]), scale_from_json(state["scale"]), values.stored_bool(state["flag"])
        )


@dataclass(frozen=True, slots=True)
class Boolean(Fitted):
    """False is -1, true is 1, a missing value 0; ``flag`` as in ``Number``."""

    kind: ClassVar[str] = "boolean"
    name: str
    flag: bool

    @property
    def width(self) -> int:
        return 1 + self.flag

    def transform(self, series: pl.Series, out: FloatArray) -> None:
        """Fill ``out`` (n, width); raise DataError for a value that is not true, false, 1 or 0."""
        found = boolean_numbers(series)
        _write(found, found * 2 - 1, out)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        return cls(values.stored_text(state["name"]), values.stored_bool(state["flag"]))


@dataclass(slots=True)
class NumberFit:
    """Fits a column of numbers. ``shared`` is a scale of several columns together that replaces its own."""

    name: str
    scale: ScaleFit
    shared: Scale | None = field(default=None, init=False)

    def partial_fit(self, series: pl.Series) -> None:
        """Raise DataError for a value that is infinite or too large."""
        self.scale.partial_fit(values.bounded_numbers(series))

    @property
    def has_missing(self) -> bool:
        return self.scale.moments.count < self.scale.moments.rows

    def finalize(self) -> Number:
        return Number(self.name, self.shared or self.scale.finalize(), self.has_missing)


@dataclass(slots=True)
class BooleanFit:
    """Fits a column of booleans: whether it has missing values."""

    name: str
    missing: bool = field(default=False, init=False)

    def partial_fit(self, series: pl.Series) -> None:
        self.missing |= series.null_count() > 0

    def finalize(self) -> Boolean:
        return Boolean(self.name, self.missing)


def boolean_numbers(series: pl.Series) -> Float64:
    """1 and 0 for true and false, NaN where missing, float64 (n,); raise DataError for a value that is neither."""
    if kind_of(series.dtype) is Kind.CATEGORY:
        text = values.stripped_text(series.cast(pl.String)).str.to_lowercase()
        parsed = text.replace(TRUTH).cast(pl.Float64, strict=False)
        found = parsed.fill_null(np.inf).set(text.is_null(), None).to_numpy()
    else:
        found = values.numbers(series)
    bad = ~np.isnan(found) & (found != 0) & (found != 1)
    if bad.any():
        raise values.bad_value(series, int(np.argmax(bad)), "neither true nor false", "give true or false")
    return found


def _write(numbers: Float64, encoded: Float64, out: FloatArray) -> None:
    """Encoded values, 0 where ``numbers`` is NaN, and the flag if ``out`` has room for it."""
    missing = np.isnan(numbers)
    if missing.any():
        encoded[missing] = 0.0
    with np.errstate(over="ignore"):
        out[:, 0] = encoded
    if out.shape[1] > 1:
        out[:, 1] = missing
