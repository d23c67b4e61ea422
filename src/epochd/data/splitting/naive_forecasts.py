"""Naive forecasts of windows: earlier values of the target, with which a model of a time series is compared.

``last value`` repeats the target ``horizon`` rows before the target's row, which is the last row of the window; with
horizon 0 the one before. ``seasonal naive`` repeats the newest known value that is a whole number of seasons before the
target (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, section 5.2), and the last value where the
series of its group begins later than that. A season is a number of rows. With a ``frequency`` it is a number of its
steps, and a row that is missing there has no value to repeat.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import IntArray
from epochd.core.specs import TrainingSpec
from epochd.data.encoding.values import Float64
from epochd.data.splitting.sliding_windows import Examples
from epochd.data.splitting.split import Integers, Times

SEASONS = (4, 7, 12, 24, 48, 52, 96, 168, 336, 365)
"""Rows per season that are tried: quarters, days of a week, months, hours, half hours, weeks, quarter hours, the hours
and half hours of a week, days of a year."""
NEARLY = 1.25
"""A multiple of a season is as good but for chance: a longer one has to reduce the error by this factor."""
COVERED = 0.5
"""The least share of the training windows that must reach a season back, for the season to be considered."""
COMPARED = 100_000
"""Training windows, evenly spaced, that are compared with those a season before."""


@dataclass(frozen=True, slots=True)
class Series:
    """A table in the order of group and time: the rows (int64), their groups or the segments between holes (None: one),
    and the windows' lengths. ``keys`` are the ``step_keys`` of the positions (int64); None without a frequency, where
    each row is a step."""

    spec: TrainingSpec
    order: IntArray
    groups: Integers | None
    keys: IntArray | None = None

    def rows(self, windows: Examples, season: int | None) -> dict[str, IntArray]:
        """The rows of the dataset whose targets the forecasts repeat, by name of the forecast: int64 (windows,), or
        (windows, horizons) for several. Empty if a window contains no earlier row than that of its target."""
        length = self.spec.sequence_length or 1
        if length == 1 and self.spec.horizons[0] == 0:
            return {}
        found = [self._rows(windows.first + length - 1, horizon, season) for horizon in self.spec.horizons]
        if len(found) == 1:
            return found[0]
        return {name: np.stack([rows[name] for rows in found], axis=1) for name in found[0]}

    def _rows(self, end: IntArray, horizon: int, season: int | None) -> dict[str, IntArray]:
        """``rows`` of one horizon, for windows that end at these positions."""
        target, step = end + horizon, max(horizon, 1)
        last = target - step
        found = {"last value": self.order[last]}
        if season is not None:
            back, exists = self._season_before(target, last, season)
            found["seasonal naive"] = self.order[np.where(exists, back, last)]
        return found

    def season(self, windows: Examples, targets: Times) -> int | None:
        """The shortest of SEASONS whose mean absolute error over the training ``windows`` (for labels: share of wrong
        ones) is at most NEARLY the smallest; of several horizons by the largest. None if the training series are too
        short. ``targets`` are those of all rows of the dataset, (rows,): numbers, or class numbers of an unsigned
        type."""
        ahead = (self.spec.sequence_length or 1) - 1 + self.spec.furthest
        target = windows.first[:: ceil(len(windows.first) / COMPARED)] + ahead
        now, errors = targets[self.order[target]], {}
        for season in SEASONS:
            back, exists = self._season_before(target, target - max(self.spec.furthest, 1), season)
            if exists.mean() >= COVERED:
                errors[season] = _error(now[exists], targets[self.order[back[exists]]])
        return next((season for season, error in errors.items() if error <= NEARLY * min(errors.values())), None)

    def _season_before(self, target: IntArray, last: IntArray, season: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Positions a whole number of seasons before the ``target`` and not after ``last``, the newest value that is
        known when the target is predicted; and whether they exist (bool)."""
        keys = self.keys
        if keys is None:
            back = target - season * -(-(target - last) // season)
            return back, (back >= 0) & self._is_same_group(back, target)
        wanted = keys[target] - season * np.maximum(-(-(keys[target] - keys[last]) // season), 1)
        back = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        return back, (keys[back] == wanted) & (back <= last)

    def _is_same_group(self, back: IntArray, target: IntArray) -> npt.NDArray[np.bool_]:
        if self.groups is None:
            return np.ones(len(back), np.bool_)
        same: npt.NDArray[np.bool_] = self.groups[self.order[np.maximum(back, 0)]] == self.groups[self.order[target]]
        return same


def step_keys(order: IntArray, groups: Integers | None, clock: Float64, reach: int) -> IntArray:
    """Ascending numbers of the positions in the order, int64: they differ by 1 for each step of the frequency in a
    group, and by more than a forecast looks back between groups. ``clock`` (float64, (rows,)) is the time of each row
    in steps, ``reach`` the largest horizon."""
    steps = np.rint(np.diff(clock[order], prepend=0.0)).astype(np.int64)
    begins = np.zeros(len(steps), np.bool_)
    begins[:1] = True
    if groups is not None:
        begins[1:] = groups[order[1:]] != groups[order[:-1]]
    steps[begins] = 1 + steps.sum(where=~begins) + SEASONS[-1] * (2 + reach)
    found: IntArray = np.cumsum(steps)
    return found


def _error(now: Times, then: Times) -> float:
    if np.issubdtype(now.dtype, np.unsignedinteger):  # class numbers
        return float((now != then).mean())
    return float(np.abs(now - then).mean())
