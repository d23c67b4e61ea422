"""How numbers come near to zero: by mean and deviation, by median and quartiles, or by quantiles to a normal shape.

Means and deviations are learned exactly from batches, quantiles from an even sample of bounded size.
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
from epochd.core.specs import Scaling
from epochd.data.encoding.values import Float64, finite

MAX_KNOTS = 256
"""Points of a quantile scale."""
MAX_SCALED = 1e30
"""Numbers this far from the centre are still well within float32."""
CONSTANT_SCALE = sys.float_info.max
"""The scale of a constant column, in which every number is encoded as 0."""


@dataclass(frozen=True, slots=True)
class Linear:
    """(value - centre) / scale."""

    centre: float
    scale: float

    kind: ClassVar[str] = "linear"

    def apply(self, numbers: Float64) -> Float64:
        scaled: Float64 = numbers - self.centre
        scaled /= self.scale
        return scaled

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "centre": self.centre, "scale": self.scale}


@dataclass(frozen=True, slots=True)
class Knots:
    """Normal scores at rising values, with straight lines in between; what lies outside gets the score of its end."""

    values: tuple[float, ...]
    scores: tuple[float, ...]

    kind: ClassVar[str] = "knots"

    @classmethod
    def fit(cls, sample: Float64) -> Self | None:
        """Knots at even quantiles of the sample; None if all its values are the same.

        Values that take several knots get the mean of their scores.
        """
        n = min(MAX_KNOTS, len(sample))
        found, place, counts = np.unique(
            np.quantile(sample, np.linspace(0, 1, n)), return_inverse=True, return_counts=True
        )
        scores = np.bincount(place, weights=_normal_scores(n)) / counts
        return cls(tuple(found.tolist()), tuple(scores.tolist())) if len(found) > 1 else None

    def apply(self, numbers: Float64) -> Float64:
        scores = np.interp(numbers, self.values, self.scores)
        return np.where(np.isinf(numbers), numbers, scores)  # an infinite value must not pass for the largest one

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "values": list(self.values), "scores": list(self.scores)}


Scale = Linear | Knots


def scale_from(state: Mapping[str, Any]) -> Scale:
    """The scale that ``as_json`` described; raise KeyError, TypeError or ValueError if it makes no sense."""
    if state["kind"] == Linear.kind:
        if not state["scale"]:
            raise ValueError("a scale of 0")
        return Linear(finite(state["centre"]), finite(state["scale"]))
    knots = Knots(tuple(map(finite, state["values"])), tuple(map(finite, state["scores"])))
    if state["kind"] != Knots.kind or len(knots.values) != len(knots.scores) or not _rises(knots.values):
        raise ValueError("knots that do not rise, or without a score each")
    return knots


@dataclass(slots=True)
class Moments:
    """Mean, deviation and range of numbers that come in batches. A missing number counts as one at the mean."""

    rows: int = 0
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared differences to the mean."""
    low: float = math.inf
    high: float = -math.inf

    def partial_fit(self, numbers: Float64) -> None:
        """Learn from float64 (n,) with NaN where missing, by Chan's formula for the union of two samples.

        NumPy in float64 adds up in a fixed order, whatever the number of threads.
        """
        self.rows += len(numbers)
        missing = np.isnan(numbers)
        present = numbers[~missing] if missing.any() else numbers
        if len(present) == 0:
            return
        mean = float(present.mean())
        gaps = present - mean
        squares = float(np.square(gaps, out=gaps).sum())
        count = self.count + len(present)
        if self.count:
            gap = mean - self.mean
            self.squares += squares + gap * gap * (self.count * len(present) / count)
            self.mean += gap * (len(present) / count)
        else:
            self.mean, self.squares = mean, squares
        self.count = count
        self.low, self.high = min(self.low, float(present.min())), max(self.high, float(present.max()))

    @property
    def varies(self) -> bool:
        return self.low < self.high

    def linear(self) -> Linear:
        """Mean and standard deviation (ddof 0); centre 0 and scale 1 where there is no number."""
        if not self.varies:  # rounding would make a constant's deviation tiny instead of 0
            return Linear(self.low if self.count else 0.0, 1.0)
        return Linear(self.mean, math.sqrt(self.squares / self.rows) or 1.0)

    def feature(self) -> Linear:
        """The same for a feature: where it has no number, or always the same one, no weight is learned for others, so
        that whatever comes later becomes 0."""
        found = self.linear()
        return found if self.varies else Linear(found.centre, CONSTANT_SCALE)


@dataclass(slots=True)
class ScaleFit:
    """Learns a scale from numbers in batches. For quantiles it keeps those of every ``every``-th row."""

    scaling: Scaling
    every: int = 1
    moments: Moments = field(default_factory=Moments)
    seen: int = 0
    kept: list[Float64] = field(default_factory=list)

    def partial_fit(self, numbers: Float64, lengths: IntArray | None = None) -> None:
        """Learn from float64 numbers, NaN where missing: one of each row, or ``lengths`` of them (int64, (rows,))."""
        self.moments.partial_fit(numbers)
        if self.scaling == "standard":
            return
        rows = len(numbers) if lengths is None else len(lengths)
        chosen = np.zeros(rows, dtype=np.bool_)
        chosen[-self.seen % self.every :: self.every] = True
        found = numbers[chosen if lengths is None else np.repeat(chosen, lengths)]
        self.kept.append(found[~np.isnan(found)])
        self.seen += rows

    def scale(self) -> Scale:
        """The scale of all numbers so far. The deviation replaces quartiles that are equal, or nearly so, and
        mean and deviation for quantiles that are."""
        linear = self.moments.feature()
        sample = np.concatenate(self.kept) if self.kept else np.empty(0)
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


def _rises(values: Sequence[float]) -> bool:
    return len(values) > 1 and bool((np.diff(values) > 0).all())
