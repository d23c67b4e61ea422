"""The figures of a regression: residuals, predicted against true values, errors by the size of the target."""

import numpy as np
import numpy.typing as npt

from epochd.report.values import ErrorGroup, Regression

Float64 = npt.NDArray[np.float64]

MAX_POINTS = 400
"""Rows that are drawn as points; with more rows there is a density, too."""
CELLS, GROUPS = 40, 10
"""Steps of the density in each direction, groups of rows by the size of the target."""
LEAST_BARS, MOST_BARS = 8, 30
"""Of the histogram, which has about as many as the square root of the number of rows."""
MIN_RANGE, TINY = 1e-12, 1e-300
"""The least range that is divided into cells: relative to its largest value, and absolute."""
TAIL = 0.5
"""Percent of the residuals on each side that do not widen the histogram; they are counted in its outermost bars."""


def regression(truth: Float64, predicted: Float64) -> Regression:
    """The figures for true and predicted values, (rows,), at least one row and all finite."""
    residuals = predicted - truth
    low, high = np.percentile(residuals, [TAIL, 100 - TAIL])
    bars = int(np.clip(len(residuals) ** 0.5, LEAST_BARS, MOST_BARS))
    counts, edges = np.histogram(residuals.clip(low, high), bars, _divisible(low, high))
    bounds = _divisible(min(truth.min(), predicted.min()), max(truth.max(), predicted.max()))
    density = None
    if len(truth) > MAX_POINTS:
        density = np.histogram2d(predicted, truth, bins=CELLS, range=[bounds, bounds])[0].astype(np.int64).tolist()
    shown = np.linspace(0, len(truth) - 1, min(len(truth), MAX_POINTS)).astype(np.int64)
    points = truth[shown].tolist(), predicted[shown].tolist()
    return Regression(edges.tolist(), counts.tolist(), *points, density, list(bounds), _groups(truth, predicted))


def _divisible(low: float, high: float) -> tuple[float, float]:
    """The range, or a wider one if there are too few different floats in it to divide it into cells."""
    least = MIN_RANGE * max(abs(low), abs(high))
    margin = 0.0 if high - low > max(least, TINY) else max(least, 0.5)
    return float(low) - margin, float(high) + margin


def _groups(truth: Float64, predicted: Float64) -> list[ErrorGroup]:
    """The rows in groups of about equal size by their true value; equal values are in one group."""
    inner = np.unique(np.quantile(truth, np.linspace(0, 1, GROUPS + 1)[1:-1]))
    number = np.searchsorted(inner, truth, side="left")
    found = []
    for place in np.unique(number):
        here = number == place
        value, said = truth[here], predicted[here]
        error = said - value
        sums = float(said.mean()), float(np.abs(error).mean()), float(error.mean())
        found.append(ErrorGroup(float(value.min()), float(value.max()), int(here.sum()), *sums))
    return found
