"""Scaling of numbers: by mean and deviation, by median and quartiles, or by quantiles to a normal distribution.

Means and deviations are computed exactly over batches, quantiles from an evenly spaced sample of bounded size.
"""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist
from typing import Any, ClassVar, Self

import numpy as np

from epochd.core.arrays import IntArray
from epochd.core.spec_fields import Scaling
from epochd.data.encoding.values import Fitted, Float64, stored_number

MAX_KNOTS = 256
"""Points of a quantile scale, at most."""
MAX_SCALED = 1e30
"""The largest scaled value that robust scaling allows, well within float32."""
POOLED_SAMPLE = 2_000_000
"""Numbers of a channel from which its quantiles are computed, at most."""
CONSTANT_SCALE = sys.float_info.max
"""The scale of a constant column, which encodes every number as 0."""


@dataclass(frozen=True, slots=True)
class Linear(Fitted):
    """(value - centre) / scale."""

    kind: ClassVar[str] = "linear"
    centre: float
    scale: float

    def apply(self, numbers: Float64) -> Float64:
        scaled: Float64 = numbers - self.centre
        scaled /= self.scale
        return scaled


@dataclass(frozen=True, slots=True)
class Knots(Fitted):
    """Normal scores at increasing values, interpolated linearly; values outside get the score of the nearest end."""

    kind: ClassVar[str] = "knots"
    values: tuple[float, ...]
    scores: tuple[float, ...]

    @classmethod
    def fit(cls, sample: Float64) -> Self | None:
        """Knots at evenly spaced quantiles of the sample; None if all its values are the same. A value at several knots
        gets the mean of their scores."""
        n = min(MAX_KNOTS, len(sample))
        quantiles = np.quantile(sample, np.linspace(0, 1, n))
        found, place, counts = np.unique(quantiles, return_inverse=True, return_counts=True)
        scores = np.bincount(place, weights=_normal_scores(n)) / counts
        return cls(tuple(found.tolist()), tuple(scores.tolist())) if len(found) > 1 else None

    def apply(self, numbers: Float64) -> Float64:
        scores = np.interp(numbers, self.values, self.scores)
        return np.where(np.isinf(numbers), numbers, scores)  # an infinite value must not be encoded as the largest one


Scale = Linear | Knots


def scale_from_json(state: Mapping[str, Any]) -> Scale:
    """The scale that ``as_json`` described; raise KeyError, TypeError or ValueError if it is invalid."""
    if state["kind"] == Linear.kind:
        if not state["scale"]:
            raise ValueError("a scale of 0")
        return Linear(stored_number(state["centre"]), stored_number(state["scale"]))
    knots = Knots(tuple(map(stored_number, state["values"])), tuple(map(stored_number, state["scores"])))
    increasing = len(knots.values) > 1 and bool((np.diff(knots.values) > 0).all())
    if state["kind"] != Knots.kind or len(knots.values) != len(knots.scores) or not increasing:
        raise ValueError("knots that do not increase, or that lack a score")
    return knots


@dataclass(slots=True)
class Moments:
    """Mean, deviation and range of numbers in batches. A missing number counts as one at the mean."""

    rows: int = 0
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared differences from the mean."""
    low: float = math.inf
    high: float = -math.inf

    def partial_fit(self, numbers: Float64) -> None:
        """Add float64 (n,) with NaN where missing, by the formula of Chan, Golub and LeVeque (1979) for the union of
        two samples. NumPy sums float64 in a fixed order, whatever the number of threads."""
        self.rows += len(numbers)
        missing = np.isnan(numbers)
        present = numbers[~missing] if missing.any() else numbers
        if len(present) == 0:
            return
        mean = float(present.mean())
        gaps = present - mean
        squares = float(np.square(gaps, out=gaps).sum())
        self._merge(len(present), mean, squares)
        self.low, self.high = min(self.low, float(present.min())), max(self.high, float(present.max()))

    def merge(self, other: "Moments") -> None:
        """Add the numbers of ``other``, by the formula of Chan, Golub and LeVeque."""
        self.rows += other.rows
        self._merge(other.count, other.mean, other.squares)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def _merge(self, found: int, mean: float, squares: float) -> None:
        count = self.count + found
        if not found:
            return
        if self.count:
            gap = mean - self.mean
            self.squares += squares + gap * gap * (self.count * found / count)
            self.mean += gap * (found / count)
        else:
            self.mean, self.squares = mean, squares
        self.count = count

    @property
    def varies(self) -> bool:
        return self.low < self.high

    def linear(self) -> Linear:
        """Mean and standard deviation (ddof 0); centre 0 and scale 1 without any number."""
        if not self.varies:  # with rounding, the deviation of a constant would be tiny instead of 0
            return Linear(self.low if self.count else 0.0, 1.0)
        return Linear(self.mean, math.sqrt(self.squares / self.rows) or 1.0)

    def feature_scale(self) -> Linear:
        """``linear`` for a feature. If it has no number or a constant one, no weight is learned for it, so every later
        number is encoded as 0."""
        found = self.linear()
        return found if self.varies else Linear(found.centre, CONSTANT_SCALE)


@dataclass(slots=True)
class ScaleFit:
    """Fits a scale on numbers in batches. For quantiles it keeps those of every ``interval``-th row."""

    scaling: Scaling
    interval: int = 1
    moments: Moments = field(default_factory=Moments)
    rows_seen: int = 0
    samples: list[Float64] = field(default_factory=list)

    def partial_fit(self, numbers: Float64, lengths: IntArray | None = None) -> None:
        """Add float64 numbers, NaN where missing: one per row, or ``lengths`` (int64, (rows,)) of them."""
        self.moments.partial_fit(numbers)
        if self.scaling == "standard":
            return
        rows = len(numbers) if lengths is None else len(lengths)
        chosen = np.zeros(rows, dtype=np.bool_)
        chosen[-self.rows_seen % self.interval :: self.interval] = True
        found = numbers[chosen if lengths is None else np.repeat(chosen, lengths)]
        self.samples.append(found[~np.isnan(found)])
        self.rows_seen += rows

    @classmethod
    def pooled(cls, fits: Sequence["ScaleFit"]) -> "ScaleFit":
        """The fit of the numbers of several columns together, such as the pixels of one channel. Of their samples at
        most POOLED_SAMPLE numbers are kept, evenly spaced."""
        found = cls(fits[0].scaling)
        for fit in fits:
            found.moments.merge(fit.moments)
            found.samples += fit.samples
        if (size := sum(map(len, found.samples))) > POOLED_SAMPLE:
            found.samples = [np.concatenate(found.samples)[:: -(-size // POOLED_SAMPLE)]]
        return found

    def finalize(self) -> Scale:
        """The scale of all numbers so far. The standard deviation replaces quartiles that are equal or nearly equal;
        mean and deviation replace quantiles that are all equal."""
        linear = self.moments.feature_scale()
        sample = np.concatenate(self.samples) if self.samples else np.empty(0)
        if not self.moments.varies or len(sample) == 0:
            return linear
        if self.scaling == "quantile":
            return Knots.fit(sample) or linear
        low, median, high = np.quantile(sample, [0.25, 0.5, 0.75]).tolist()
        farthest = max(self.moments.high - median, median - self.moments.low)
        return Linear(median, high - low if high - low > farthest / MAX_SCALED else linear.scale)


@cache
def _normal_scores(n: int) -> Float64:
    """Standard normal quantiles of (i + 1/2) / n, exactly symmetric."""
    upper = [NormalDist().inv_cdf((i + 0.5) / n) for i in range((n + 1) // 2, n)]
    middle = [0.0] * (n % 2)
    return np.array([-score for score in reversed(upper)] + middle + upper)
