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
from epochd.core.spec_checks import labels_of
from epochd.core.specs import Task
from epochd.core.target_scale import UNSCALED, TargetScale
from epochd.loop.classification import ClassTally, Float64, Scores, total, weighted_rows

BLOCK_ROWS = 65_536
"""The most rows that are scored at a time."""
ZERO = 2.0**-23
"""A target is 0 if it is smaller than this share of mean and scale, the resolution of standardised float32 values."""


class Tally(Protocol):
    """Sums over scored rows, from which the metrics follow. Rows are added in blocks, in order."""

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray, weights: FloatArray | None = None) -> None:
        """Add rows: raw outputs (rows, outputs), the encoded target (rows,), and weights (rows,), None: all 1."""

    def scores(self) -> Scores:
        """All metrics of the task; the loss alone if it is not finite."""


@dataclass(slots=True)
class RegressionTally:
    """Weighted sums over rows of a regression, whose whole target is ``y`` in these ``units``, with the ``weights`` of
    all rows (None: 1). The loss is that of the standardised target; all else is in the target's own unit. Without a
    transform that follows from the standardised target: ``squares`` are those of the loss, and ``absolute`` is
    multiplied by the scale at the end."""

    y: FloatArray | IntArray
    units: TargetScale
    weights: FloatArray | None = None
    rows: int = 0
    weight: float = 0.0
    loss: float = 0.0
    squares: float = 0.0
    absolute: float = 0.0
    relative: float = 0.0
    symmetric: float = 0.0
    zeros: int = 0

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray, weights: FloatArray | None = None) -> None:
        self.rows += len(y)
        outputs, y, of_rows = weighted_rows(outputs, y, weights)
        self.weight += len(y) if of_rows is None else float(of_rows.sum())
        error = outputs[:, 0].astype(np.float64) - y
        self.loss += total(error**2, of_rows)
        if not isfinite(self.loss):
            return  # nothing else is defined
        truth = self.units.restored(y)
        if self.units.transform is None:
            self.absolute += total(np.abs(error), of_rows)
            error *= self.units.scale
        else:
            error = self.units.restored(outputs[:, 0]) - truth
            self.absolute += total(np.abs(error), of_rows)
            self.squares += total(error**2, of_rows)
        size, distance = np.abs(truth), np.abs(error)
        is_zero = size <= ZERO * (abs(self.units.mean) + self.units.scale)
        self.zeros += int(is_zero.sum())
        self.relative += total(distance / np.where(is_zero, 1.0, size), of_rows)
        both = size + np.abs(truth + error)
        self.symmetric += total(2 * distance / np.where(both > 0, both, 1.0), of_rows)

    def scores(self) -> Scores:
        loss = self.loss / self.weight
        if not isfinite(loss):
            return {"loss": loss}
        if self.units.transform is None:
            mse, determined, unit = loss, r2(loss, self.y, self.weights), self.units.scale
        else:
            mse, unit = self.squares / self.weight, 1.0
            determined = r2(mse, self.units.restored(self.y), self.weights)
        return {
            "loss": loss,
            "r2": determined,
            "mae": self.absolute / self.weight * unit,
            "rmse": mse**0.5 * unit,
            "mape": None if self.zeros else self.relative / self.weight,
            "smape": self.symmetric / self.weight,
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

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray, weights: FloatArray | None = None) -> None:
        for place, found in enumerate(self.tallies):
            found.add(outputs[:, place : place + 1], y[:, place], weights)

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
    weights: FloatArray | None = None,
    units: TargetScale = UNSCALED,
    threshold: float = 0.5,
    auc_classes: int = 1_000_000,
    horizons: Sequence[int] = (),
) -> AnyTally:
    """An empty tally for rows whose encoded target is ``y`` and which have these weights; parameters as in
    ``evaluation`` and ``ClassTally``."""
    if task == "regression" and y.ndim > 1:
        each = [RegressionTally(y[:, place], units, weights) for place in range(y.shape[1])]
        return HorizonTally(horizons or range(1, 1 + len(each)), each)
    if task == "regression":
        return RegressionTally(y, units, weights)
    return ClassTally(task, len(y), threshold, auc_classes)


def evaluation(
    outputs: FloatArray | Float64,
    y: FloatArray | IntArray,
    task: Task,
    *,
    classes: Sequence[object] | None = None,
    weights: FloatArray | None = None,
    units: TargetScale = UNSCALED,
    threshold: float = 0.5,
    horizons: Sequence[int] = (),
) -> dict[str, Any]:
    """All metrics of raw outputs (rows, outputs), logits or standardised values, against the encoded target, (rows,) or
    (rows, ``horizons``): as in ``model.json``, but None where a value is not finite.

    ``units`` are those in which a regression target was standardised. With ``weights`` (rows,), not all 0, metrics are
    weighted as by ``sample_weight`` in scikit-learn; numbers of rows, also in the confusion matrix, are not. With
    ``classes``, the labels in order, the result includes confusion matrix and metrics of each class. ``threshold`` is
    the decision threshold of a binary model.
    """
    found = tally(
        task,
        y,
        weights=weights,
        units=units,
        threshold=threshold,
        horizons=horizons,
    )
    for first in range(0, len(y), BLOCK_ROWS):
        block = slice(first, first + BLOCK_ROWS)
        found.add(outputs[block], y[block], None if weights is None else weights[block])
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


def r2(mse: float, y: FloatArray | IntArray | Float64, weights: FloatArray | None = None) -> float | None:
    """The coefficient of determination of rows with the target ``y``, a mean squared error in its unit, and these
    weights; for a constant target 1 without any error, otherwise 0. None for one row, and where it is not finite. With
    several horizons, (rows, horizons), ``mse`` is the mean over them, which weights them by their variance."""
    wide = y.astype(np.float64)
    if weights is not None:
        wide, weights = wide[weights > 0], weights[weights > 0]
    if len(wide) < 2:
        return None
    if weights is None:
        variance = float(wide.var(axis=0).mean())
    else:
        mean = np.average(wide, axis=0, weights=weights)
        variance = float(np.average((wide - mean) ** 2, axis=0, weights=weights).mean())
    if wide.min() == wide.max() or not variance:
        return 0.0 if mse else 1.0
    found = 1.0 - mse / variance
    return found if isfinite(found) else None


def class_weights(
    class_weight: Literal["balanced"] | Mapping[str, float] | None,
    classes: Sequence[object] | None,
    y: FloatArray | IntArray,
    weights: FloatArray | None = None,
) -> tuple[float, ...] | None:
    """The spec's ``class_weight`` in class order; None where all classes count the same. ``y`` are class numbers.

    ``balanced`` is rows / (classes x rows of the class), as in scikit-learn. Rows with ``weights`` count as much as
    these, so that all classes have the same total weight.
    """
    if class_weight is None or classes is None:
        return None
    if class_weight == "balanced":
        counts = np.bincount(y.astype(np.int64), weights, len(classes))
        counts[counts == 0] = 1
        return tuple(((len(y) if weights is None else float(weights.sum())) / (len(classes) * counts)).tolist())
    given = {label: class_weight[name] for name, label in labels_of(class_weight, classes).items()}
    return tuple(float(given.get(label, 1.0)) for label in classes)
