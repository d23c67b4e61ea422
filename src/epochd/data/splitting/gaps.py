"""Holes in a time series: no window crosses a step that is longer than the config allows.

A step is the time from one row to the next of its group. The holes divide each group into *segments*, and a window with
the row of its target is inside one segment. Training, its checks, forecasts and naive forecasts all use ``segments`` in
the place of the groups, so that they have the same windows.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import IntArray
from epochd.core.durations import Duration, Unit
from epochd.core.errors import DataError, Problem
from epochd.core.specs import TrainingSpec
from epochd.data.encoding.values import Float64
from epochd.data.splitting import sort_keys
from epochd.data.splitting.split import Integers

Flags = npt.NDArray[np.bool_]
DELAY = 0.5
"""The part of a step of the ``frequency`` by which a row may be late: clocks are not exact, nor are months equal."""
UNEVEN = 0.5
"""The part of the usual step by which another one differs that is not even."""


@dataclass(frozen=True, slots=True)
class Holes:
    """The rule of a config: a step of more than ``limit`` is a hole. ``field`` is the field that gives the limit,
    ``step`` the frequency in the unit of the limit, if the limit is a number of its steps."""

    limit: Duration
    field: str
    step: float | None = None

    @classmethod
    def of(cls, spec: TrainingSpec) -> Self | None:
        """The rule of this config; None if it has none, and windows then cross any step."""
        step = None if spec.frequency is None else Duration.parse(spec.frequency)
        if isinstance(spec.max_gap, str):
            limit = Duration.parse(spec.max_gap)
            return cls(limit, "max_gap", step.amount if step is not None and step.unit == limit.unit else None)
        if step is None:
            return None
        limit = Duration(step.amount * ((spec.max_gap or 1) + DELAY), step.unit)
        return cls(limit, "frequency", step.amount)

    def clock(self, positions: Float64) -> Float64 | None:
        """The positions as numbers of steps of the frequency; None without one."""
        return None if self.step is None else positions / self.step

    def positions(self, series: pl.Series) -> Float64:
        """The position of each time in the unit of the limit, float64 (n,). Raise DataError for times that cannot be
        read, or that are not of this unit."""
        return positions(series, self.limit.unit, self.field)

    def segments(self, order: IntArray, positions: Float64, groups: Integers | None) -> IntArray:
        """The number of each row's segment, int64 (n,), for rows in this order of group and time."""
        begins = after_holes(self.limit.amount, order, positions)
        if groups is not None:
            begins |= groups[order][1:] != groups[order][:-1]
        found = np.zeros(len(order), np.int64)
        found[order[1:]] = np.cumsum(begins)
        return found


def segments_or_groups(
    holes: Holes | None, order: IntArray, positions: Float64 | None, groups: Integers | None
) -> Integers | None:
    """What a window may not cross: segments if there is a rule for holes, otherwise groups (None: nothing)."""
    return groups if holes is None or positions is None else holes.segments(order, positions, groups)


def after_holes(limit: float, order: IntArray, positions: Float64) -> Flags:
    """Whether each row of the order but the first is more than ``limit`` after the one before it, (n - 1,)."""
    ordered = positions[order]
    rounding = 4 * np.spacing(max(float(np.abs(ordered).max(initial=0.0)), limit))
    found: Flags = np.diff(ordered) > limit + rounding
    return found


def natural_unit(dtype: pl.DataType) -> Unit:
    """The unit in which the steps of a time column are measured where the config gives none."""
    return "numbers" if dtype.is_numeric() else "seconds"


def positions(series: pl.Series, unit: Unit, field: str) -> Float64:
    """Each time in this unit, float64 (n,). Raise DataError: of ``time_column`` for times that cannot be read, of
    ``field`` for times that are not of this unit."""
    times = sort_keys.readable(series)
    fits = {
        "numbers": times.dtype.is_numeric(),
        "seconds": times.dtype.is_temporal(),
        "months": times.dtype in (pl.Date, pl.Datetime),
    }
    if not fits[unit]:
        has = "numbers" if times.dtype.is_numeric() else f"the type {times.dtype}"
        message = f"{series.name!r} has {has}, so its steps are not counted in {unit}"
        hint = "give a number" if times.dtype.is_numeric() else "give a duration with a unit, such as '1h' or '30s'"
        raise DataError([Problem(field, message, hint)])
    if unit == "months":
        return _months(times)
    found = times.to_physical().cast(pl.Float64).to_numpy()
    return found if unit == "numbers" else found * seconds_per_tick(times.dtype)


def seconds_per_tick(dtype: pl.DataType) -> float:
    """The length of a physical unit of a temporal type."""
    if dtype == pl.Date:
        return 86_400.0
    unit = dtype.time_unit if isinstance(dtype, pl.Datetime | pl.Duration) else "ns"
    return {"ms": 1e-3, "us": 1e-6, "ns": 1e-9}[str(unit)]


def _months(times: pl.Series) -> Float64:
    """Months since year 0; the part of a month that has passed is its fraction."""
    moments = times.cast(pl.Datetime("us")) if times.dtype == pl.Date else times
    first = moments.dt.truncate("1mo")
    passed = (moments - first).dt.total_microseconds().cast(pl.Float64).to_numpy()
    length = (first.dt.offset_by("1mo") - first).dt.total_microseconds().cast(pl.Float64).to_numpy()
    whole = moments.dt.year().cast(pl.Float64).to_numpy() * 12 + moments.dt.month().cast(pl.Float64).to_numpy()
    found: Float64 = whole - 1 + passed / length
    return found


@dataclass(frozen=True, slots=True)
class Unevenness:
    """Steps that differ from the ``usual`` one (the median): how many are longer and shorter, and of the first in the
    table (the longer ones first) the row number from 0 and its ``step``."""

    usual: float
    longer: int
    shorter: int
    row: int
    step: float


def unevenness(order: IntArray, positions: Float64, groups: Integers | None) -> Unevenness | None:
    """How uneven the steps of these rows are; None if they are even. Rows of the same time are no step."""
    steps = np.diff(positions[order])
    valid = steps > 0
    if groups is not None:
        valid &= groups[order][1:] == groups[order][:-1]
    if not valid.any():
        return None
    known = np.sort(steps[valid])
    usual = float(known[(len(known) - 1) // 2])
    longer, shorter = (valid & (steps >= (1 + UNEVEN) * usual)), (valid & (steps <= (1 - UNEVEN) * usual))
    chosen = longer if longer.any() else shorter
    if not chosen.any():
        return None
    rows = order[1:][chosen]
    first = int(np.argmin(rows))
    return Unevenness(usual, int(longer.sum()), int(shorter.sum()), int(rows[first]), float(steps[chosen][first]))
