"""Columns of dates and times: the elapsed time, and the position in the year, the week and the day.

Cycles are encoded by sine and cosine, so that December is next to January. Parts that are constant in training are left
out. Where later rows are predicted from earlier ones, a network would have to extrapolate the elapsed time, and the
position in a cycle that training data do not cover completely, so these are left out, too. Times with a zone are
encoded in its local time.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from epochd.core.arrays import FloatArray
from epochd.core.errors import DataError
from epochd.data.encoding import values
from epochd.data.encoding.scaling import Linear, Moments, Scale, scale_from_json
from epochd.data.encoding.values import PER_SECOND, Fitted, Float64
from epochd.data.schema import Kind, kind_of

DAY = 86_400
CYCLES = {"year": 365.25, "week": 7.0, "day": 1.0}
"""The length of each cycle in days."""
FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
CLOCK_FORMATS = ("%H:%M:%S%.f", "%H:%M")
DAY_OF_SHEETS = date(1899, 12, 31)
"""The day that times of day in a workbook were once read with."""
OFFSET = r"^(.{11,}?)(Z|[+-]\d\d:?\d\d)$"
"""Text of a date with time, followed by its offset to UTC."""


@dataclass(frozen=True, slots=True)
class Date(Fitted):
    """Scaled days since 1970 unless ``elapsed`` is None, sine and cosine of each of ``cycles``, and if ``flag`` a
    column that is 1 where the value is missing; the other columns are 0 there. ``clock`` columns have times of day
    without dates, and count days since midnight. ``zone`` is the time zone of the training data, None for times without
    one; ``naive`` is that of times without an offset to UTC in data with a zone (None: they are refused)."""

    kind: ClassVar[str] = "date"
    name: str
    clock: bool
    zone: str | None
    elapsed: Scale | None
    cycles: tuple[str, ...]
    flag: bool
    naive: str | None = None

    @property
    def width(self) -> int:
        return (self.elapsed is not None) + 2 * len(self.cycles) + self.flag

    def transform(self, series: pl.Series, out: FloatArray) -> None:
        """Fill ``out`` (n, width); raise DataError for a value that is not a date or time. ISO text is parsed."""
        times = self.local(series)
        missing = times.is_null().to_numpy()
        for position, part in enumerate(self._parts(times)):
            out[:, position] = np.where(missing, 0.0, part) if missing.any() else part
        if self.flag:
            out[:, -1] = missing

    def local(self, series: pl.Series) -> pl.Series:
        """The values as local times of the zone, without a zone. Raise DataError for a value that is no date or time,
        and for one whose zone is not known."""
        if series.dtype == pl.Time and self._has_times_of_sheets():
            time = pl.lit(series)
            series = pl.select(pl.lit(DAY_OF_SHEETS).dt.combine(time)).to_series().alias(series.name)
        return local(series, self.clock, self.zone, self.naive)

    def _has_times_of_sheets(self) -> bool:
        """Whether an older model has learned times of day as those of DAY_OF_SHEETS."""
        if self.clock or self.zone is not None or not set(self.cycles) <= {"day"}:
            return False
        return isinstance(self.elapsed, Linear) and 0 <= self.elapsed.centre - _days_of(DAY_OF_SHEETS) <= 1

    def _parts(self, times: pl.Series) -> Iterator[Float64]:
        if self.elapsed is not None:
            yield self.elapsed.apply(days(times))
        for cycle in self.cycles:
            angle = days_into_cycle(times, cycle) * (2 * math.pi / CYCLES[cycle])
            yield np.sin(angle)
            yield np.cos(angle)

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        if not set(state["cycles"]) <= set(CYCLES):
            raise ValueError(f"unknown cycles {state['cycles']!r}")
        return cls(
            values.stored_text(state["name"]),
            values.stored_bool(state["clock"]),
            _stored_zone(state["zone"]),
            None if state["elapsed"] is None else scale_from_json(state["elapsed"]),
            tuple(state["cycles"]),
            values.stored_bool(state["flag"]),
            _stored_zone(state.get("naive", state["zone"])),  # older models took such times to be in their zone
        )


@dataclass(slots=True)
class DateFit:
    """Fits a column of this type; it ``extrapolates`` if later rows are predicted from earlier ones. ``timezone`` is
    that of times without an offset, and that whose local times are encoded."""

    name: str
    dtype: pl.DataType
    extrapolates: bool = False
    timezone: str | None = None
    elapsed: Moments = field(default_factory=Moments, init=False)
    ranges: dict[str, tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        calendar = () if self.dtype == pl.Time else ("year", "week")
        clock = () if self.dtype == pl.Date else ("day",)
        self.ranges = dict.fromkeys((*calendar, *clock), (math.inf, -math.inf))

    def partial_fit(self, series: pl.Series) -> None:
        times = read_as(self.dtype, series, self.timezone)
        self.elapsed.partial_fit(days(times))
        for cycle, (low, high) in self.ranges.items():
            if not low < high:
                found = days_into_cycle(times, cycle)
                low, high = np.fmin.reduce(found, initial=low), np.fmax.reduce(found, initial=high)
                self.ranges[cycle] = float(low), float(high)

    def finalize(self) -> Date:
        varying = tuple(cycle for cycle, (low, high) in self.ranges.items() if low < high)
        missing = self.elapsed.count < self.elapsed.rows
        if self.extrapolates:
            span = self.elapsed.high - self.elapsed.low
            varying = tuple(cycle for cycle in varying if span >= CYCLES[cycle])
        elapsed = None if self.extrapolates and varying else self.elapsed.feature_scale()
        zone = _zone(self.dtype, self.timezone)
        naive = None if zone is None else self.timezone
        return Date(self.name, self.dtype == pl.Time, zone, elapsed, varying, missing, naive)


def read_as(dtype: pl.DataType, series: pl.Series, timezone: str | None = None) -> pl.Series:
    """``local`` for the values of a column that was fitted on this type, with this zone of times without an offset."""
    return local(series, dtype == pl.Time, _zone(dtype, timezone), timezone)


def local(series: pl.Series, clock: bool, zone: str | None, naive: str | None = "UTC") -> pl.Series:
    """Dates, or local times of the zone, or for a ``clock`` times of day; all without a zone. With a zone, times
    without an offset are those of ``naive``. Raise DataError for them where it is None, for other types, and for text
    that is not in an ISO format."""
    dtype = series.dtype
    if dtype == pl.Null:
        return series.cast(pl.Time if clock else pl.Date)
    if kind_of(dtype) is Kind.CATEGORY:
        return _parse_iso(series.cast(pl.String), clock, zone, naive)
    if dtype not in (pl.Datetime, pl.Time if clock else pl.Date):
        raise values.wrong_type(series, "times of day" if clock else "dates")
    if zone is not None and not clock and not (isinstance(dtype, pl.Datetime) and dtype.time_zone is not None):
        return _from_naive(series, zone, naive)
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        series = (series if zone is None else series.dt.convert_time_zone(zone)).dt.replace_time_zone(None)
    return series.dt.time() if clock and dtype != pl.Time else series


def days(times: pl.Series) -> Float64:
    """Days since 1970, or since midnight for times without dates; float64 (n,), NaN where missing."""
    return times.to_physical().cast(pl.Float64).to_numpy() / _ticks_per_day(times.dtype)


def _days_of(day: date) -> int:
    return (day - date(1970, 1, 1)).days


def days_into_cycle(times: pl.Series, cycle: str) -> Float64:
    """Days since the year's first, the week's Monday, or the day's midnight; float64 (n,), NaN where missing."""
    if cycle == "day":
        ticks = _ticks_per_day(times.dtype)
        return (times.to_physical().cast(pl.Int64) % ticks).cast(pl.Float64).to_numpy() / ticks
    ordinal = times.dt.ordinal_day() if cycle == "year" else times.dt.weekday()
    return ordinal.cast(pl.Float64).to_numpy() - 1.0


def _from_naive(series: pl.Series, zone: str, naive: str | None) -> pl.Series:
    """Local times of the zone from times of the zone ``naive``; raise DataError if that is not known. A time that its
    clocks show twice is the first one; one that they skip is missing."""
    if naive == zone:
        return series
    present = series.is_not_null()
    if naive is None and present.any():
        raise _unknown_zone(series, present.arg_max() or 0)
    if naive is None:
        return series
    times = series.cast(pl.Datetime("us")) if series.dtype == pl.Date else series
    known = times.dt.replace_time_zone(naive, ambiguous="earliest", non_existent="null")
    return known.dt.convert_time_zone(zone).dt.replace_time_zone(None)


def _unknown_zone(series: pl.Series, row: int) -> DataError:
    option = f'"columns": {{{json.dumps(series.name, ensure_ascii=False)}: {{"timezone": "Asia/Shanghai"}}}}'
    hint = f"write it like 2024-12-31T13:45:00+08:00, or train with the zone of such times, such as {option}"
    what = "a time without an offset to UTC, but the model was trained on times with one"
    return values.bad_value(series, row, what, hint)


def _zone(dtype: pl.DataType, timezone: str | None = None) -> str | None:
    """The zone whose local times are encoded: the declared one, or that of the type."""
    return (timezone or dtype.time_zone) if isinstance(dtype, pl.Datetime) else None


def _stored_zone(state: Any) -> str | None:
    return None if state is None else values.stored_text(state)


def _ticks_per_day(dtype: pl.DataType) -> int:
    """Time units of the type per day."""
    if dtype == pl.Date:
        return 1
    return DAY * PER_SECOND[dtype.time_unit if isinstance(dtype, pl.Datetime) else "ns"]


def _parse_iso(series: pl.Series, clock: bool, zone: str | None, naive: str | None) -> pl.Series:
    """Times parsed from ISO text; all are converted to local time of the zone."""
    text = values.stripped_text(series)
    if clock:
        readings = [text.str.strptime(pl.Time, form, strict=False) for form in CLOCK_FORMATS]
    else:
        text = text.str.replace(r"^(\S{10}) +", "${1}T")
        wall = text.str.replace(OFFSET, "$1")
        readings = [wall.str.strptime(pl.Datetime("us"), form, strict=False) for form in FORMATS]
        if zone is not None:
            full = text.str.replace(r"(T\d\d:\d\d)(Z|[+-]\d\d:?\d\d)$", "${1}:00${2}")
            full = full.str.replace(r"([+-]\d\d)(\d\d)$", "${1}:${2}")
            exact = full.str.strptime(pl.Datetime("us", "UTC"), "%+", strict=False)
            has_offset = exact.is_not_null()
            wall = pl.select(pl.coalesce(readings)).to_series().alias(series.name)
            wall = wall.set(has_offset, None)
            if naive is None and wall.count():
                raise _unknown_zone(series, wall.is_not_null().arg_max() or 0)
            readings = [local(exact, clock, zone), _from_naive(wall, zone, naive)]
    found = pl.select(pl.coalesce(readings)).to_series()
    bad = found.is_null() & text.is_not_null()
    if bad.any():
        what, hint = ("a time", "13:45:00") if clock else ("a date", "2024-12-31 or 2024-12-31T13:45:00")
        raise values.bad_value(series, bad.arg_max() or 0, f"not {what}", f"write it like {hint}")
    return found
