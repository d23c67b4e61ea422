"""The metrics of models in one table: their names, the tasks that have them, and which direction is better.

``loop.metrics`` computes them; their definitions are those of scikit-learn's functions in ``sklearn.metrics``.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from epochd.core.spec_fields import SpecFields, Task

TOP = 5
"""``top_5_accuracy`` exists only with more classes than this."""
CLASSIFICATION: tuple[Task, ...] = ("binary", "multiclass")


@dataclass(frozen=True, slots=True)
class Metric:
    """``uses_labels``: it compares predicted labels, not probabilities or values."""

    tasks: tuple[Task, ...]
    higher_is_better: bool = True
    uses_labels: bool = False


METRICS: dict[str, Metric] = {
    "loss": Metric((*CLASSIFICATION, "regression"), higher_is_better=False),
    "accuracy": Metric(CLASSIFICATION, uses_labels=True),
    "auc": Metric(CLASSIFICATION),
    "average_precision": Metric(("binary",)),
    "f1": Metric(CLASSIFICATION, uses_labels=True),
    "f1_weighted": Metric(("multiclass",), uses_labels=True),
    "precision": Metric(("binary",), uses_labels=True),
    "recall": Metric(("binary",), uses_labels=True),
    "balanced_accuracy": Metric(CLASSIFICATION, uses_labels=True),
    "log_loss": Metric(CLASSIFICATION, higher_is_better=False),
    "brier": Metric(("binary",), higher_is_better=False),
    "top_5_accuracy": Metric(("multiclass",)),
    "r2": Metric(("regression",)),
    "mae": Metric(("regression",), higher_is_better=False),
    "rmse": Metric(("regression",), higher_is_better=False),
    "mape": Metric(("regression",), higher_is_better=False),
    "smape": Metric(("regression",), higher_is_better=False),
}
RUNNING = ("loss", "accuracy", "r2")
"""What is measured of the training rows while they are trained on, where validation rows are evaluated."""


def names(task: Task, classes: int | None = None) -> list[str]:
    """The metrics of a task, with this number of classes if it is known."""
    found = [name for name, metric in METRICS.items() if task in metric.tasks]
    return [name for name in found if name != "top_5_accuracy" or classes is None or classes > TOP]


def unprefixed(monitor: str) -> str:
    """The metric that a field of a history row contains: ``auc`` of ``val_auc``."""
    return monitor.removeprefix("val_").removeprefix("train_")


def main_metric(spec: SpecFields, task: Task) -> str:
    """The metric by which a model is compared with its baselines: the monitored one; instead of the loss RMSE for a
    regression, and balanced accuracy with class weights, which change the probabilities."""
    name = unprefixed(spec.watched)
    if name != "loss":
        return name
    if task == "regression":
        return "rmse"
    return "balanced_accuracy" if spec.class_weight is not None else name


def is_better(name: str, value: float, other: float) -> bool:
    """Whether a value of this metric is better than another one."""
    return value > other if METRICS[name].higher_is_better else value < other


def best_baseline(baselines: Iterable[Mapping[str, Any]], name: str) -> tuple[str, float] | None:
    """Name and value of the baseline that is best by this metric, the first of several; None if none has it."""
    found: tuple[str, float] | None = None
    for baseline in baselines:
        value = baseline.get(name)
        if value is not None and (found is None or is_better(name, value, found[1])):
            found = baseline["name"], value
    return found


def logit(probability: float) -> float:
    """The logit that belongs to a probability in (0, 1); of 0.5 it is exactly 0."""
    return math.log(probability / (1 - probability))
