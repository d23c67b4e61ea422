"""Columns of text: one column for each value, or, if there are many values, one column of codes for an embedding."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import polars as pl

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.feature_options import FeatureOptions
from epochd.data.columns import reading
from epochd.data.encoding import values
from epochd.data.encoding.values import Fitted
from epochd.data.schema import Kind, kind_of

MAX_CODES = 100_000
"""Categories with a code of their own; rarer ones share the last code."""


@dataclass(frozen=True, slots=True)
class OneHot(Fitted):
    """A column for each category, in order; one for missing values if ``flag``; a last one for all other values."""

    kind: ClassVar[str] = "one-hot"
    name: str
    categories: tuple[str, ...]
    flag: bool

    @property
    def width(self) -> int:
        return len(self.categories) + self.flag + 1

    def positions(self, series: pl.Series) -> IntArray:
        """The column that is 1 in each row, int64 (n,); all others are 0."""
        found = _codes(series, self.categories, self.width - 1)
        if self.flag and series.null_count():
            found[series.is_null().to_numpy()] = len(self.categories)
        return found

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        return cls(values.stored_text(state["name"]), _categories_from(state), values.stored_bool(state["flag"]))


@dataclass(frozen=True, slots=True)
class Codes(Fitted):
    """One column with the position of each category; unknown, rare and missing values share one code, the last."""

    kind: ClassVar[str] = "codes"
    width: ClassVar[int] = 1
    name: str
    categories: tuple[str, ...]

    @property
    def codes(self) -> int:
        """The number of different codes."""
        return len(self.categories) + 1

    def transform(self, series: pl.Series, out: FloatArray) -> None:
        """Fill ``out`` (n, 1)."""
        out[:, 0] = _codes(series, self.categories, len(self.categories))

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        return cls(values.stored_text(state["name"]), _categories_from(state))


@dataclass(slots=True)
class CategoryFit:
    """Counts the values of a text column. Those that the ``options`` tell apart are the categories; more than ``most``
    of them become codes (None: never). Memory grows with the number of distinct values, not of rows."""

    name: str
    most: int | None
    options: FeatureOptions = field(default_factory=FeatureOptions)
    rows: int = field(default=0, init=False)
    missing: bool = field(default=False, init=False)
    counts: list[pl.DataFrame] = field(default_factory=list, init=False)

    def partial_fit(self, series: pl.Series) -> None:
        self.rows += len(series)
        self.missing |= series.null_count() > 0
        found = series.drop_nulls().alias("value").value_counts(name="rows")
        text = reading.as_text(pl.col("value"), series.dtype)
        self.counts.append(found.with_columns(text, pl.col("rows").cast(pl.Int64)))
        if sum(counts.height for counts in self.counts[1:]) > max(10_000, self.counts[0].height):
            self.counts = [self._counted()]

    def finalize(self) -> OneHot | Codes:
        counts = self._told_apart(self._counted())
        if self.most is None or counts.height <= self.most:
            return OneHot(self.name, tuple(counts["value"].sort()), self.missing)
        repeated = counts.filter(pl.col("rows") > 1).sort(["rows", "value"], descending=[True, False])
        return Codes(self.name, tuple(repeated["value"].head(MAX_CODES).sort()))

    def _told_apart(self, counts: pl.DataFrame) -> pl.DataFrame:
        """The frequent values; of those with equally many rows, the first ones in the order of text."""
        frequent = counts.filter(pl.col("rows") >= self.options.fewest_rows(self.rows))
        most = self.options.max_categories
        if most is None or frequent.height <= most:
            return frequent
        return frequent.sort(["rows", "value"], descending=[True, False]).head(most)

    def _counted(self) -> pl.DataFrame:
        empty = pl.DataFrame(schema={"value": pl.String, "rows": pl.Int64})
        return pl.concat([empty, *self.counts]).group_by("value").agg(pl.col("rows").sum())


def as_text(series: pl.Series) -> pl.Series:
    """The values as text. Raise DataError for a type that cannot be read as text."""
    if kind_of(series.dtype) not in (Kind.CATEGORY, Kind.NUMBER, Kind.BOOLEAN) and series.dtype != pl.Date:
        raise values.wrong_type(series, "text")
    return series if series.dtype == pl.String else pl.select(reading.as_text(pl.lit(series), series.dtype)).to_series()


def _codes(series: pl.Series, categories: tuple[str, ...], otherwise: int) -> IntArray:
    """Positions among the categories, int64 (n,). Raise DataError for a type that cannot be read as text."""
    known = as_text(series).cast(pl.Enum(categories), strict=False)
    codes = known.to_physical().cast(pl.Int64)
    if codes.null_count():
        codes = codes.fill_null(otherwise)
    return codes.to_numpy(writable=True)


def _categories_from(state: Mapping[str, Any]) -> tuple[str, ...]:
    categories = tuple(values.stored_text(category) for category in state["categories"])
    if len(set(categories)) < len(categories):
        raise ValueError("a category that is listed twice")
    return categories
