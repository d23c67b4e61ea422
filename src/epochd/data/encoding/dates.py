"""Columns of dates and times: the elapsed time, and the position in the year, the week and the day.

Cycles are encoded by sine and cosine, so that December is next to January. Parts that are constant in training are left
out. Where later rows are predicted from earlier ones, a network would have to extrapolate the elapsed time, and the
position in a cycle that training data do not cover completely, so these are left out, too. Times with a zone are
encoded in its local time.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from epochd.core.arrays import FloatArray
from epochd.data.encoding import values
from epochd.data.encoding.scaling import Moments, Scale, scale_from_json
from epochd.data.encoding.values import PER_SECOND, Fitted, Float64
from epochd.data.schema import Kind, kind_of

DAY = 86_400
CYCLES = {"year": 365.25, "week": 7.0, "day": 1.0}
"""The length of each cycle in days."""
FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M")
CLOCK_FORMATS = ("%H:%M:%S%.f", "%H:%M")
OFFSET = r"^(.{11,}?)(Z|[+-]\d\d:?\d\d)$"
"""Text of a date with time, followed by its offset to UTC."""


@dataclass(frozen=True, slots=True)
class Date(Fitted):
    """Scaled days since 1970 unless ``elapsed`` is None, sine and cosine of each of ``cycles``, and if ``flag`` a
    column that is 1 where the value is missing; the other columns are 0 there. ``clock`` columns have times of day
    without dates, and count days since midnight. ``zone`` is the time zone of the training data, None for times without
    one."""

    kind: ClassVar[str] = "date"
    name: str
    clock: bool
    zone: str | None
    elapsed: Scale | None
    cycles: tuple[str, ...]
    flag: bool

    @property
    def width(self) -> int:
        return (self.elapsed is not None) + 2 * len(self.cycles) + self.flag

    def transform(self, series: pl.Series, out: FloatArray) -> None:
        """Fill ``out`` (n, width); raise DataError for a value that is not a date or time. ISO text is parsed."""
        times = local(series, self.clock, self.zone)
        missing = times.is_null().to_numpy()
        for position, part in enumerate(self._parts(times)):
            out[:, position] = np.where(missing, 0.0, part) if missing.any() else part
        if self.flag:
            out[:, -1] = missing

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
            None if state["zone"] is None else values.stored_text(state["zone"]),
            None if state["elapsed"] is None else scale_from_json(state["elapsed"]),
            tuple(state["cycles"]),
            values.stored_bool(state["flag"]),
        )


@dataclass(slots=True)
class DateFit:
    """Fits a column of this type; it ``extrapolates`` if later rows are predicted from earlier ones."""

    name: str
    dtype: pl.DataType
    extrapolates: bool = False
    elapsed: Moments = field(default_factory=Moments, init=False)
    ranges: dict[str, tuple[float, float]] = field(init=False)

    def __post_init__(self) -> None:
        calendar = () if self.dtype == pl.Time else ("year", "week")
        clock = () if self.dtype == pl.Date else ("day",)
        self.ranges = dict.fromkeys((*calendar, *clock), (math.inf, -math.inf))

    def partial_fit(self, series: pl.Series) -> None:
        times = read_as(self.dtype, series)
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
        return Date(self.name, self.dtype == pl.Time, _zone(self.dtype), elapsed, varying, missing)


def read_as(dtype: pl.DataType, series: pl.Series) -> pl.Series:
    """``local`` for the values of a column that was fitted on this type."""
    return local(series, dtype == pl.Time, _zone(dtype))


def local(series: pl.Series, clock: bool, zone: str | None) -> pl.Series:
    """Dates, or local times of the zone, or for a ``clock`` times of day; all without a zone. Raise DataError for other
    types, and for text that is not in an ISO format."""
    dtype = series.dtype
    if dtype == pl.Null:
        return series.cast(pl.Time if clock else pl.Date)
    if kind_of(dtype) is Kind.CATEGORY:
        return _parse_iso(series.cast(pl.String), clock, zone)
    if dtype not in (pl.Datetime, pl.Time if clock else pl.Date):
        raise values.wrong_type(series, "times of day" if clock else "dates")
    if isinstance(dtype, pl.Datetime) and dtype.time_zone is not None:
        series = (series if zone is None else series.dt.convert_time_zone(zone)).dt.replace_time_zone(None)
    return series.dt.time() if clock and dtype != pl.Time else series


def days(times: pl.Series) -> Float64:
    """Days since 1970, or since midnight for times without dates; float64 (n,), NaN where missing."""
    return times.to_physical().cast(pl.Float64).to_numpy() / _ticks_per_day(times.dtype)


def days_into_cycle(times: pl.Series, cycle: str) -> Float64:
    """Days since the year's first, the week's Monday, or the day's midnight; float64 (n,), NaN where missing."""
    if cycle == "day":
        ticks = _ticks_per_day(times.dtype)
        return (times.to_physical().cast(pl.Int64) % ticks).cast(pl.Float64).to_numpy() / ticks
    ordinal = times.dt.ordinal_day() if cycle == "year" else times.dt.weekday()
    return ordinal.cast(pl.Float64).to_numpy() - 1.0


def _zone(dtype: pl.DataType) -> str | None:
    return dtype.time_zone if isinstance(dtype, pl.Datetime) else None


def _ticks_per_day(dtype: pl.DataType) -> int:
    """Time units of the type per day."""
    if dtype == pl.Date:
        return 1
    return DAY * PER_SECOND[dtype.time_unit if isinstance(dtype, pl.Datetime) else "ns"]


def _parse_iso(series: pl.Series, clock: bool, zone: str | None) -> pl.Series:
    """Times parsed from ISO text; times with an offset to UTC are converted to local time of the zone."""
    text = values.stripped_text(series)
    if clock:
        readings = [text.str.strptime(pl.Time, form, strict=False) for form in CLOCK_FORMATS]
    else:
        text = text.str.replace(r"^(\S{10}) +", "${1}T")
        wall = text.str.replace(OFFSET, "$1")
        readings = [wall.str.strptime(pl.Datetime("us"), form, strict=False) for form in FORMATS]
        if zone is not None:
            exact = text.str.strptime(pl.Datetime("us", "UTC"), "%+", strict=False)
            readings.insert(0, local(exact, clock, zone))
    found = pl.select(pl.coalesce(readings)).to_series()
    bad = found.is_null() & text.is_not_null()
    if bad.any():
        what, hint = ("a time", "13:45:00") if clock else ("a date", "2024-12-31 or 2024-12-31T13:45:00")
        raise values.bad_value(series, bad.arg_max() or 0, f"not {what}", f"write it like {hint}")
    return found
