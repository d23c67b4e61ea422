"""The metrics of outputs, the same for all engines and for the saved model; and class weights.

They are computed in float64 with NumPy, so that two engines with equal outputs report equal values. The definitions are
those of ``sklearn.metrics`` with its defaults, which the tests compare; a metric for which it has no finite value (AUC
of one class, R² of one row) is None.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal, Protocol

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task
from epochd.loop.classification import ClassTally, Float64, Scores

BLOCK_ROWS = 65_536
"""The most rows that are scored at a time."""
ZERO = 2.0**-23
"""A target is 0 if it is smaller than this share of mean and scale, the resolution of standardised float32 values."""


class Tally(Protocol):
    """Sums over scored rows, from which the metrics follow. Rows are added in blocks, in order."""

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray) -> None:
        """Add rows: raw outputs (rows, outputs), and the encoded target (rows,)."""

    def scores(self) -> Scores:
        """All metrics of the task; the loss alone if it is not finite."""


@dataclass(slots=True)
class RegressionTally:
    """Sums over rows of a regression, whose whole target is ``y``. A target was standardised by ``mean`` and ``scale``;
    errors are in units of the standardised target until the end."""

    y: FloatArray | IntArray
    scale: float = 1.0
    mean: float = 0.0
    rows: int = 0
    loss: float = 0.0
    absolute: float = 0.0
    relative: float = 0.0
    symmetric: float = 0.0
    zeros: int = 0

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray) -> None:
        error = outputs[:, 0].astype(np.float64) - y
        distance = np.abs(error)
        self.rows += len(y)
        self.loss += float((error**2).sum())
        self.absolute += float(distance.sum())
        if not isfinite(self.loss):
            return  # nothing else is defined
        truth = y.astype(np.float64) * self.scale + self.mean
        size, distance = np.abs(truth), distance * self.scale
        is_zero = size <= ZERO * (abs(self.mean) + self.scale)
        self.zeros += int(is_zero.sum())
        self.relative += float((distance / np.where(is_zero, 1.0, size)).sum())
        both = size + np.abs(truth + error * self.scale)
        self.symmetric += float((2 * distance / np.where(both > 0, both, 1.0)).sum())

    def scores(self) -> Scores:
        loss = self.loss / self.rows
        if not isfinite(loss):
            return {"loss": loss}
        return {
            "loss": loss,
            "r2": r2(loss, self.y),
            "mae": self.absolute / self.rows * self.scale,
            "rmse": loss**0.5 * self.scale,
            "mape": None if self.zeros else self.relative / self.rows,
            "smape": self.symmetric / self.rows,
        }


@dataclass(slots=True)
class HorizonTally:
    """Sums over rows of a regression with several ``horizons``, a tally for each. The metrics of all together are the
    means over the horizons."""

    horizons: Sequence[int]
    tallies: Sequence[RegressionTally]

    @property
    def rows(self) -> int:
        return self.tallies[0].rows

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray) -> None:
        for place, found in enumerate(self.tallies):
            found.add(outputs[:, place : place + 1], y[:, place])

    def scores(self) -> Scores:
        each = [found.scores() for found in self.tallies]
        shared = [name for name in each[0] if all(name in scores for scores in each)]
        return {name: _mean([scores[name] for scores in each]) for name in shared}

    def details(self) -> dict[str, Any]:
        """The metrics of each horizon."""
        each = zip(self.horizons, self.tallies, strict=True)
        return {"per_horizon": [{"horizon": horizon} | _finite(found.scores()) for horizon, found in each]}


AnyTally = ClassTally | RegressionTally | HorizonTally


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _finite(scores: Scores) -> Scores:
    return {name: value if value is not None and isfinite(value) else None for name, value in scores.items()}


def tally(
    task: Task,
    y: FloatArray | IntArray,
    *,
    target_scale: float = 1.0,
    target_mean: float = 0.0,
    threshold: float = 0.5,
    auc_classes: int = 1_000_000,
    horizons: Sequence[int] = (),
) -> AnyTally:
    """An empty tally for rows whose encoded target is ``y``; parameters as in ``evaluation`` and ``ClassTally``."""
    if task == "regression" and y.ndim > 1:
        each = [RegressionTally(y[:, place], target_scale, target_mean) for place in range(y.shape[1])]
        return HorizonTally(horizons or range(1, 1 + len(each)), each)
    if task == "regression":
        return RegressionTally(y, target_scale, target_mean)
    return ClassTally(task, len(y), threshold, auc_classes)


def evaluation(
    outputs: FloatArray | Float64,
    y: FloatArray | IntArray,
    task: Task,
    *,
    classes: Sequence[object] | None = None,
    target_scale: float = 1.0,
    target_mean: float = 0.0,
    threshold: float = 0.5,
    horizons: Sequence[int] = (),
) -> dict[str, Any]:
    """All metrics of raw outputs (rows, outputs), logits or standardised values, against the encoded target, (rows,) or
    (rows, ``horizons``): as in ``model.json``, but None where a value is not finite.

    A regression target was standardised by ``target_mean`` and ``target_scale``. With ``classes``, the labels in order,
    the result includes confusion matrix and metrics of each class. ``threshold`` is the decision threshold of a binary
    model.
    """
    found = tally(task, y, target_scale=target_scale, target_mean=target_mean, threshold=threshold, horizons=horizons)
    for first in range(0, len(y), BLOCK_ROWS):
        found.add(outputs[first : first + BLOCK_ROWS], y[first : first + BLOCK_ROWS])
    return described(found, classes)


def described(found: AnyTally, classes: Sequence[object] | None = None) -> dict[str, Any]:
    """The number of rows and all metrics of a tally; with ``classes``, the labels, also confusion matrix and metrics of
    each class, and with several horizons the metrics of each. None stands for a value that is not finite."""
    details: dict[str, Any] = {}
    if isinstance(found, HorizonTally):
        details = found.details()
    elif isinstance(found, ClassTally) and classes:
        details = found.details(classes)
    return {"rows": found.rows} | _finite(found.scores()) | details


def r2(mse: float, y: FloatArray | IntArray) -> float | None:
    """The coefficient of determination; for a constant target 1 without any error, otherwise 0. None for one row. With
    several horizons, (rows, horizons), ``mse`` is the mean over them, which weights them by their variance."""
    if len(y) < 2:
        return None
    if y.min() == y.max():
        return 0.0 if mse else 1.0
    variance = float(y.astype(np.float64).var(axis=0).mean())
    return 1.0 - mse / variance


def class_weights(
    class_weight: Literal["balanced"] | Mapping[str, float] | None,
    classes: Sequence[object] | None,
    y: FloatArray | IntArray,
) -> tuple[float, ...] | None:
    """The spec's ``class_weight`` in class order; None where all classes count the same. ``y`` are class numbers.

    ``balanced`` is rows / (classes x rows of the class), as in scikit-learn.
    """
    if class_weight is None or classes is None:
        return None
    if class_weight == "balanced":
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        return tuple((len(y) / (len(classes) * np.maximum(counts, 1))).tolist())
    return tuple(float(class_weight.get(str(label), 1.0)) for label in classes)
