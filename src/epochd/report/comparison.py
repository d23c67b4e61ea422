"""A model's metrics beside those of its baselines, and what a reader of the report must be warned of."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from epochd.core.specs import Task, TrainingSpec
from epochd.report.texts import Both, metric, named
from epochd.report.values import Mark, Metrics, Part, Warned

LOWER_IS_BETTER = frozenset({"loss", "log_loss", "brier", "mae", "rmse", "mape", "smape"})
FEW_ROWS = 50
"""With fewer held-out rows, the figures depend much on chance."""
MAX_CLASSES = 20
"""Classes that a warning lists."""


def is_better(name: str, value: float, other: float) -> bool:
    return value < other if name in LOWER_IS_BETTER else value > other


def best(baselines: Sequence[Metrics], name: str) -> Metrics | None:
    """The baseline with the best value of a metric; None if no baseline has it."""
    known = [one for one in baselines if one.get(name) is not None]
    choose = min if name in LOWER_IS_BETTER else max
    return choose(known, key=lambda one: one[name]) if known else None


def baseline(name: str) -> Both:
    """The text of a baseline's name."""
    return named("baseline", name.replace(" ", "_"))


def main_metric(spec: TrainingSpec, task: Task) -> str:
    """The metric that is compared with the baselines: the monitored one; instead of the loss RMSE for a regression, and
    balanced accuracy with class weights, which change the probabilities."""
    name = spec.watched.removeprefix("val_").removeprefix("train_")
    if name != "loss":
        return name
    if task == "regression":
        return "rmse"
    return "balanced_accuracy" if spec.class_weight is not None else name


def warnings(
    about: Mapping[str, Any],
    name: str,
    metrics: Mapping[str, Metrics],
    baselines: Mapping[str, Sequence[Metrics]],
    parts: Sequence[Part],
    marks: Sequence[Mark],
) -> Iterator[Warned]:
    """What a reader of the figures must know. ``about`` is the model's ``model.json``; ``name`` is the metric that is
    compared with the baselines."""
    for part in parts:
        yield from _of_part(part, name, metrics.get(part.name, {}), baselines.get(part.name, ()))
    if not any(part.name == "validation" for part in parts):
        yield Warned("no_validation", {})
    for mark in marks:
        if mark.kind == "rollback":
            yield Warned("rollback", {"epoch": mark.epoch})
    if about["best_epoch"] == about["epochs"] > 1:
        yield Warned("last_epoch", {})


def _of_part(part: Part, name: str, metrics: Metrics, baselines: Sequence[Metrics]) -> Iterator[Warned]:
    shown, value, other = named("part", part.name), metrics.get(name), best(baselines, name)
    if value is not None and other is not None and not is_better(name, value, other[name]):
        compared = {"metric": metric(name), "value": value, "baseline": baseline(other["name"]), "other": other[name]}
        yield Warned("not_better", {"part": shown} | compared)
    if part.name != "train" and part.total < FEW_ROWS:
        yield Warned("few_rows", {"part": shown, "rows": part.total})
    if part.classification is not None:
        never = [one.label for one in part.classification.per_class if one.rows and not one.predicted]
        if never:
            yield Warned("never_predicted", {"part": shown, "classes": ", ".join(never[:MAX_CLASSES])})
