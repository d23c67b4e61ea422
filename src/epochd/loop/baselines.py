"""Scores of trivial predictions, for comparison with a model's, and warnings that follow from the comparison.

``majority class`` always predicts the most frequent class of the training rows, the first of several; ``prior`` gives
each row the training rows' shares of the classes as probabilities; ``mean`` predicts the mean of the training target.
``last value`` and ``seasonal naive`` repeat an earlier value of the target of a time series.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from epochd.core import metric_table
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task
from epochd.core.target_scale import UNSCALED, TargetScale
from epochd.loop import metrics
from epochd.loop.classification import Float64, LabelCounts

SMALLEST_SHARE = float(np.finfo(np.float64).eps)
"""The probability of a class that no training row has."""
LISTED = 10
"""Classes that a warning names."""
Naive = Mapping[str, FloatArray | IntArray]
"""Encoded targets that are predicted for each row, by the name of the baseline."""


def baselines(
    task: Task,
    train_y: FloatArray | IntArray,
    y: FloatArray | IntArray,
    *,
    outputs: int = 1,
    units: TargetScale = UNSCALED,
    train_weights: FloatArray | None = None,
    weights: FloatArray | None = None,
    naive: Naive | None = None,
    horizons: Sequence[int] = (),
) -> list[dict[str, Any]]:
    """The metrics of each baseline on rows with the encoded target ``y``, and its ``name``; each has those metrics of
    the model that are defined for it. ``outputs`` is the number of the network's outputs; ``weights`` and
    ``train_weights`` are those of the rows with ``y`` and of the training rows; ``horizons`` are as in
    ``metrics.tally``."""
    if task == "regression":
        forecasts: dict[str, Any] = {
            "mean": np.broadcast_to(_mean(train_y, units, train_weights), y.shape),
            **(naive or {}),
        }
        return [
            {"name": name}
            | metrics.evaluation(
                values.reshape(len(y), -1),
                y,
                task,
                weights=weights,
                units=units,
                horizons=horizons,
            )
            for name, values in forecasts.items()
        ]
    constant = np.broadcast_to(_prior(task, train_y, outputs, train_weights), (len(y), outputs))
    of_prior = metrics.evaluation(constant, y, task, weights=weights)
    known = metric_table.METRICS
    majority = {name: value for name, value in of_prior.items() if name in known and known[name].uses_labels}
    prior = {name: value for name, value in of_prior.items() if name in known and not known[name].uses_labels}
    numbers, classes = y.astype(np.int64), max(2, outputs)
    of_rows = None if weights is None else weights.astype(np.float64)
    repeated = {
        name: LabelCounts.of(numbers, values.astype(np.int64), classes, of_rows).scores(task)
        for name, values in (naive or {}).items()
    }
    found = {"majority class": majority, "prior": prior | {"loss": prior["log_loss"]}, **repeated}
    return [{"name": name} | scores for name, scores in found.items()]


def _mean(y: FloatArray | IntArray, units: TargetScale, weights: FloatArray | None) -> Float64:
    """The output that stands for the mean of the target in its own unit."""
    if units.transform is None:
        return np.asarray(np.average(y.astype(np.float64), weights=weights))
    return units.standardised(np.asarray(np.average(units.restored(y), weights=weights)))


def _prior(task: Task, train_y: FloatArray | IntArray, outputs: int, weights: FloatArray | None) -> Float64:
    """The outputs, (outputs,), that stand for the shares of the classes in the training rows."""
    counts = np.bincount(train_y.astype(np.int64), weights, max(2, outputs))
    shares = counts / counts.sum()
    shares = np.clip(shares, SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    return np.asarray(np.log(shares[1:] / shares[:1]) if task == "binary" else np.log(shares))


def warnings(
    metric: str, scores: Mapping[str, Any], baselines: Sequence[Mapping[str, Any]], rows: str
) -> Iterator[str]:
    """A warning if the model is not better than its best baseline, and one for classes that it never predicts. ``rows``
    names the rows that were scored, as in "the validation rows"."""
    value, best = scores.get(metric), metric_table.best_baseline(baselines, metric)
    if value is not None and best is not None and not metric_table.is_better(metric, value, best[1]):
        yield (
            f"the model is not better than its baseline: {metric} on {rows} is {value:.4g}, "
            f"that of the baseline {best[0]!r} is {best[1]:.4g}"
        )
    missed = [entry for entry in scores.get("per_class", ()) if entry["support"] and not entry["predicted"]]
    if missed:
        named = ", ".join(f"{entry['label']!r} ({entry['support']:,} rows)" for entry in missed[:LISTED])
        more = f" and {len(missed) - LISTED} more" if len(missed) > LISTED else ""
        yield f"never predicted for {rows}: {'class' if len(missed) == 1 else 'classes'} {named}{more}"
