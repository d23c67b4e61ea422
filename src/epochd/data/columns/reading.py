"""How the text of one column is read: its type and the notation of its values, as decided or as declared.

A reading is a small value that is saved as JSON: in the ticket of a training, so that the worker reads what the server
has checked, and in the model, so that a prediction follows the training.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.text import cut
from epochd.data.columns import dates, durations, words
from epochd.data.columns.numbers import NumberNotation
from epochd.data.schema import Kind, col, kind_of

ReadAs = Literal["number", "duration", "boolean", "date", "datetime", "time", "text"]
OTHERWISE = {
    **{"number": "not a number", "duration": "not a duration", "boolean": "neither true nor false"},
    **{"date": "not a date", "datetime": "not a date", "time": "not a time", "text": "not text"},
}
"""What a value is that cannot be read."""
ISO = {
    "date": ("%Y-%m-%d", "%Y-%m-%dT00:00:00", "%Y-%m-%d 00:00:00"),
    "datetime": ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d"),
}
KINDS = {"number": Kind.NUMBER, "duration": Kind.NUMBER, "boolean": Kind.BOOLEAN, "text": Kind.CATEGORY}


@dataclass(frozen=True, slots=True)
class Reading:
    """``numbers`` is the notation of numbers, ``formats`` are those of dates and times (strftime), ``zone`` the time
    zone that times are converted to (None: they have none), ``timezone`` that of times without an offset. Dates are
    written as ``dates.plain`` says first if ``makes_plain``; ``last_year`` is the last of the hundred years that years
    of two digits are in (None: ``dates.LAST_YEAR``). Clocks of two parts in durations with the ``formats``
    ``durations.MINUTES_FIRST`` have minutes and seconds, in others hours and minutes. ``truth`` are the words for true
    and false. ``missing`` are the words for a missing value; None: the usual ones (``words.MISSING``, and in all but
    text ``words.MISSING_BESIDE_VALUES``). With ``formulas``, ``="007"`` is 007."""

    read_as: ReadAs = "text"
    numbers: NumberNotation = field(default_factory=NumberNotation)
    formats: tuple[str, ...] = ()
    zone: str | None = None
    timezone: str | None = None
    truth: tuple[str, str] = ("true", "false")
    missing: tuple[str, ...] | None = None
    formulas: bool = False
    makes_plain: bool = False
    last_year: int | None = None

    @property
    def kind(self) -> Kind:
        """The kind of the column once it is read."""
        return KINDS.get(self.read_as, Kind.DATE)

    @property
    def is_date(self) -> bool:
        """Whether the column has dates or times."""
        return self.read_as in ("date", "datetime", "time")

    @property
    def dtype(self) -> pl.DataType:
        """The type of dates and times."""
        if self.read_as == "datetime":
            return pl.Datetime("us", self.zone)
        return pl.Time() if self.read_as == "time" else pl.Date()

    def describe(self) -> str:
        """The notation in a few words; empty for text."""
        match self.read_as:
            case "number":
                return f"numbers such as {self.numbers.describe()}"
            case "duration" if self.formats == durations.MINUTES_FIRST:
                return "durations such as 1:30:00 or 4:16 (minutes and seconds), in seconds"
            case "duration":
                return "durations such as 1:30:00 or 90 min, in seconds"
            case "boolean":
                return f"{self.truth[0]} or {self.truth[1]}"
            case "text":
                return ""
            case _:
                return f"dates in the format {' or '.join(self.formats)}"

    def cleaned(self, text: pl.Expr) -> pl.Expr:
        """Text without spaces around it, null for missing values."""
        found = words.cleaned(text, self.missing, formulas=self.formulas)
        if self.read_as == "text" or self.missing is not None:
            return found
        beside = words.pattern([word for word in words.MISSING_BESIDE_VALUES if word not in self.truth])
        return pl.when(~found.str.contains(beside)).then(found)

    def clean_text(self, value: str) -> str | None:
        """``cleaned`` of one value of a column of text."""
        return words.clean_text(value, self.missing, formulas=self.formulas)

    def parsed(self, cleaned: pl.Expr) -> pl.Expr:
        """The values of cleaned text; null for what cannot be read in this notation."""
        match self.read_as:
            case "text":
                return cleaned
            case "number":
                return self.numbers.expression(cleaned)
            case "duration":
                return durations.seconds(cleaned, minutes_first=self.formats == durations.MINUTES_FIRST)
            case "boolean":
                true, false = self.truth
                lower = cleaned.str.to_lowercase()
                of_words = pl.when(lower.is_in([true, "true", "1"])).then(True)
                return of_words.when(lower.is_in([false, "false", "0"])).then(False)
            case _:
                text = dates.plain(cleaned) if self.makes_plain else cleaned
                return dates.expression(text, self.formats, self.dtype, self.timezone, self.last_year)

    def reads(self, dtype: pl.DataType) -> bool:
        """Whether values of this type are read from their text. Numbers and dates have no notation, but numbers may be
        codes, the digits of a date, or 0 and 1 for truth values, and times of day may be durations."""
        is_duration = dtype == pl.Time and self.read_as == "duration"
        is_code = dtype.is_numeric() and self.kind is not Kind.NUMBER
        return kind_of(dtype) is Kind.CATEGORY or is_code or is_duration

    def expression(self, name: str, dtype: pl.DataType) -> pl.Expr:
        """The column of this name and type read; null for what cannot be read."""
        if self.reads(dtype):
            return self.parsed(self.cleaned(as_text(col(name), dtype))).alias(name)
        return self._present(col(name), dtype)

    def _present(self, column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """Values that need not be read; null for those that are written as a word for a missing value."""
        if not self.missing or kind_of(dtype) not in (Kind.NUMBER, Kind.BOOLEAN, Kind.DATE):
            return column
        return pl.when(~as_text(column, dtype).is_in(list(self.missing))).then(column)

    def strictly(self, series: pl.Series) -> pl.Series:
        """The values of a column. Raise DataError for the first one that cannot be read."""
        if not self.reads(series.dtype):
            if not self.missing:
                return series
            return pl.select(self._present(pl.lit(series), series.dtype)).to_series().alias(series.name)
        text = pl.select(self.cleaned(as_text(pl.lit(series), series.dtype))).to_series()
        found = pl.select(self.or_iso().parsed(pl.lit(text))).to_series().alias(series.name)
        bad = found.is_null() & text.is_not_null()
        if self.is_date and bad.any():
            bad &= ~text.str.contains(dates.ZERO)
        if bad.any():
            row = bad.arg_max() or 0
            value = cut(repr(series[row]), 80)
            message = f"row {row + 1} of column {series.name!r} is {OTHERWISE[self.read_as]}: {value}"
            hint = f"write it as the model was trained on: {self.describe()}; or leave it empty if it is unknown"
            raise DataError([Problem(series.name, message, hint)])
        return found

    def or_iso(self) -> Self:
        """This reading, for dates also in the notation that JSON has, unless theirs may be taken for it."""
        if self.read_as not in ISO or self.zone is not None or any(form.startswith("%Y-%d") for form in self.formats):
            return self
        return replace(self, formats=(*self.formats, *ISO[self.read_as]))

    def as_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as JSON types."""
        state = {name: value for name, value in asdict(self).items() if value != asdict(Reading())[name]}
        if "numbers" in state:
            plain = asdict(NumberNotation())
            state["numbers"] = {name: value for name, value in state["numbers"].items() if value != plain[name]}
        return {"read_as": self.read_as} | {n: list(v) if isinstance(v, tuple) else v for n, v in state.items()}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The reading that ``as_json`` described. Raise ValueError, KeyError or TypeError for an invalid state."""
        known = {part.name for part in fields(cls)}
        if unknown := set(state) - known:
            raise ValueError(f"unknown fields of a reading: {sorted(unknown)}")
        if state["read_as"] not in get_args(ReadAs):
            raise ValueError(f"read_as is {state['read_as']!r}")
        found = dict(state)
        found["numbers"] = NumberNotation(**state.get("numbers", {}))
        for name in ("formats", "truth", "missing"):
            if found.get(name) is not None:
                found[name] = tuple(map(str, found[name]))
        return cls(**found)


def as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The values as text; a float that is whole as an integer, since a missing value makes floats of integers."""
    if not dtype.is_float():
        return column if dtype == pl.String else column.cast(pl.String)
    whole = column.cast(pl.Int64, strict=False)
    is_whole = whole.cast(pl.Float64) == column.cast(pl.Float64)
    return pl.when(is_whole).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
