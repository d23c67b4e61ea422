"""A model's metrics beside those of its baselines, and what a reader of the report must be warned of."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from epochd.core import metric_table
from epochd.report.texts import Both, metric, named
from epochd.report.values import Mark, Metrics, Part, Warned

FEW_ROWS = 50
"""With fewer held-out rows, the figures depend much on chance."""
MAX_CLASSES = 20
"""Classes that a warning lists."""


def baseline(name: str) -> Both:
    """The text of a baseline's name."""
    return named("baseline", name.replace(" ", "_"))


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
    shown, value, other = named("part", part.name), metrics.get(name), metric_table.best_baseline(baselines, name)
    if value is not None and other is not None and not metric_table.is_better(name, value, other[1]):
        compared = {"metric": metric(name), "value": value, "baseline": baseline(other[0]), "other": other[1]}
        yield Warned("not_better", {"part": shown} | compared)
    if part.name != "train" and part.total < FEW_ROWS:
        yield Warned("few_rows", {"part": shown, "rows": part.total})
    if part.classification is not None:
        never = [one.label for one in part.classification.per_class if one.rows and not one.predicted]
        if never:
            yield Warned("never_predicted", {"part": shown, "classes": ", ".join(never[:MAX_CLASSES])})
