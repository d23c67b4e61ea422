"""The page: what the template shows, and the figures in it.

The page loads nothing and runs nothing. It contains both languages; a switch that needs no script hides one of them.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from epochd.core import metric_table
from epochd.report import comparison, figures, language, texts, usage
from epochd.report.figures import Cell, Drawing
from epochd.report.texts import Both, metric, named, number, percent, plain, say
from epochd.report.values import Binary, Curve, Metrics, Part, ReportData

CARDS = {
    "binary": ("auc", "accuracy", "f1"),
    "multiclass": ("accuracy", "balanced_accuracy"),
    "regression": ("r2", "mae"),
}
"""The metrics on top of the page, by task."""
MAX_CARDS = 2
MAX_CLASSES, MAX_COLUMNS, MAX_SKIPPED = 200, 200, 20


@dataclass(frozen=True, slots=True)
class Card:
    title: Both
    value: Cell
    note: Both | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """A part with its tables and figures."""

    part: Part
    title: Both
    drawings: list[Drawing]


def write(data: ReportData) -> str:
    """The report as one HTML page, which shows English first (see ``language.in_language``)."""
    sides = [_side(part) for part in data.parts]
    values = {
        "data": data,
        "about": data.about,
        "spec": data.about["spec"],
        "charset_and_language": Markup(language.ENGLISH),
        "choice": Markup(language.CHOICES["en"]),
        "cards": _cards(data),
        "metric_names": _metric_names(data),
        "columns": [
            (part, [found, *(data.baseline.get(part, []) if part in {side.part.name for side in sides} else [])])
            for part, found in data.metrics.items()
        ],
        "members": _members(data),
        "training": _training(data),
        "sides": sides,
        "shared": _shared(data.parts),
        "importance": _importance(data),
        "dependence": _dependence(data),
        "usage": usage.commands(data.usage),
        "changed": [(name, value, data.defaults.get(name)) for name, value in _changed(data)],
        "config": usage.visible_lines(json.dumps(data.about["spec"], ensure_ascii=False, indent=2)),
        "facts": list(_facts(data)),
    }
    return _environment().get_template("report.html").render(values)


@cache
def _environment() -> Environment:
    found = Environment(
        loader=PackageLoader("epochd.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {
        "t": say,
        "named": named,
        "metric": metric,
        "thinned": figures.thinned,
        "MAX_CLASSES": MAX_CLASSES,
    }
    found.globals |= {"baseline": comparison.baseline, "shade": shade, "listed": listed}
    found.globals |= {"MAX_COLUMNS": MAX_COLUMNS, "MAX_ROWS": figures.MAX_ROWS}
    found.filters |= {"number": number, "percent": percent, "score": texts.score, "plain": plain, "option": _option}
    return found


def _cards(data: ReportData) -> Iterator[Card]:
    """The figures on top of the page."""
    about = data.about
    part = next((name for name in ("test", "validation", "train") if name in data.metrics), None)
    if part is not None:
        names = [name for name in CARDS[about["task"]] if data.metrics[part].get(name) is not None]
        for name in names[:MAX_CARDS]:
            title = say("score_of", metric=metric(name), part=named("part", part))
            yield Card(title, number(data.metrics[part][name]), _best_baseline(data.baseline.get(part, []), name))
    key = "best_epoch_early" if about["stopped_early"] else "best_epoch_of"
    yield Card(say("best_epoch"), number(about["best_epoch"]), say(key, epochs=about["epochs"]))
    seconds = [row["time_per_epoch"] for row in data.history if row.get("time_per_epoch") is not None]
    if seconds:
        yield Card(
            say("training_time"), _duration(sum(seconds)), say("per_epoch", time=_duration(sum(seconds) / len(seconds)))
        )
    rows = about["facts"].get("rows", {})
    held_out = say("held_out_rows", validation=rows.get("validation", 0), test=rows.get("test", 0))
    yield Card(say("training_rows"), number(rows.get("train", 0)), held_out)
    if "parameters" in data.summary:
        spec, facts = about["spec"], about["facts"]
        network = say(
            "network",
            model=spec["model_type"],
            units="-".join(map(str, spec["hidden_units"])),
            framework=str(facts.get("framework", "")),
            device=str(facts.get("device", "")),
        )
        yield Card(say("weights"), number(data.summary["parameters"]), network)


def _best_baseline(baselines: Sequence[Metrics], name: str) -> Both | None:
    found = metric_table.best_baseline(baselines, name)
    return None if found is None else say("baseline_is", baseline=comparison.baseline(found[0]), value=found[1])


def _duration(seconds: float) -> Both:
    for key, unit in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * unit:
            return say(key, **{key: round(seconds / unit, 1)})
    return say("seconds", seconds=float(f"{seconds:.3g}"))


def _metric_names(data: ReportData) -> list[str]:
    """The metrics of any part or baseline in their order, without tables, counts and flags."""
    every: Iterable[Metrics] = chain(data.metrics.values(), chain.from_iterable(data.baseline.values()))
    return list(dict.fromkeys(name for one in every for name, value in one.items() if type(value) is float))


@dataclass(frozen=True, slots=True)
class MemberTable:
    """The metrics of several networks: a line for each with its number of rows, best epoch and metrics, the mean and
    the standard deviation."""

    title: Both
    note: Both
    name: Both
    metrics: list[str]
    lines: list[tuple[int, Metrics]]
    mean: Metrics
    std: Metrics


def _members(data: ReportData) -> MemberTable | None:
    found = data.about.get("metrics", {}).get("members")
    if found is None:
        return None
    texts_of = ("folds_title", "folds_note", "fold")
    if data.about["spec"].get("folds") is None:
        texts_of = ("ensemble_title", "ensemble_note", "member")
    title, note, one = (say(key, count=len(found["each"])) for key in texts_of)
    names = [name for name, value in found["mean"].items() if value is not None]
    return MemberTable(title, note, one, names, list(enumerate(found["each"], 1)), found["mean"], found["std"])


def _training(data: ReportData) -> list[Drawing]:
    """The curves over the epochs."""
    score = "r2" if data.about["task"] == "regression" else "accuracy"
    shown = [("loss", ["train_loss", "val_loss"], say("loss_title"))]
    shown.append(("score", [f"train_{score}", f"val_{score}"], say(f"{score}_title")))
    if data.watched not in {column for _, columns, _ in shown for column in columns}:
        shown.append(("watched", [data.watched], say("watched_title")))
    shown.append(("rate", ["learning_rate"], say("rate_title")))
    best = data.about["best_epoch"]
    found = (figures.epochs(name, data.history, columns, best, data.marks, title) for name, columns, title in shown)
    return [one for one in found if one is not None]


def _side(part: Part) -> Side:
    found: list[Drawing | None] = []
    if part.regression is not None:
        found += [figures.predicted(part.name, part.regression), figures.residuals(part.name, part.regression)]
    found += [figures.forecast(place, part.name, one) for place, one in enumerate(part.forecasts)]
    found.append(figures.sequences(part))
    return Side(part, named("part", part.name), [one for one in found if one is not None])


def _shared(parts: Sequence[Part]) -> list[Drawing]:
    """The figures with a line for each part."""
    found: dict[str, Binary] = {
        part.name: part.classification.binary for part in parts if part.classification and part.classification.binary
    }
    roc: dict[str, Curve] = {name: one.roc for name, one in found.items() if one.roc is not None}
    ranked: dict[str, Curve] = {
        name: one.precision_recall for name, one in found.items() if one.precision_recall is not None
    }
    share = next((found[name].positives / part.rows for part in parts if (name := part.name) in ranked), None)
    drawn = figures.curves("roc", roc), figures.curves("precision_recall", ranked, share), figures.calibration(found)
    return [one for one in drawn if one is not None]


def _importance(data: ReportData) -> Drawing | None:
    if data.importances is None:
        return None
    is_transformed = bool(data.about["spec"].get("target_transform") == "log1p")
    is_regression = data.about["task"] == "regression"
    return figures.importance(data.importances.columns, is_regression, is_transformed=is_transformed)


def _dependence(data: ReportData) -> list[Drawing]:
    if data.importances is None:
        return []
    y = say("mean_prediction")
    if data.about["task"] == "binary":
        y = say("mean_probability_of", label=data.labels[1])
    elif data.about["task"] == "multiclass":
        y = say("mean_probability")
    found = data.importances.dependence
    values = [value for one in found for line in one.lines for value in line.y]
    return [figures.dependence(place, one, y, (min(values), max(values))) for place, one in enumerate(found)]


def shade(matrix: Sequence[Sequence[int]]) -> list[list[tuple[int, float]]]:
    """The counts of a confusion matrix with their shares of the line."""
    return [[(count, count / max(1, sum(line))) for count in line] for line in matrix]


def _changed(data: ReportData) -> Iterator[tuple[str, Any]]:
    for name, value in data.about["spec"].items():
        if name not in data.defaults or value != data.defaults[name]:
            yield name, value


def _option(value: Any) -> str:
    """The value of an option as JSON."""
    return plain(json.dumps(value, ensure_ascii=False)).en


def _facts(data: ReportData) -> Iterator[tuple[Both, str]]:
    """What the numbers depend on."""
    about, facts = data.about, data.about["facts"]
    versions = about.get("versions", {})
    framework = " ".join(str(facts[name]) for name in ("framework", "framework_version", "version") if name in facts)
    found = {
        "task_id": about["task_id"],
        "created": data.created,
        "seed": about["spec"].get("seed"),
        "fingerprint": facts.get("fingerprint"),
        "validation_fingerprint": facts.get("validation_fingerprint"),
        "framework": framework,
        "device": facts.get("device"),
        "threads": facts.get("threads"),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
    }
    for name, value in found.items():
        if value not in (None, ""):
            yield say(f"fact_{name}"), plain(str(value)).en


def listed(names: Sequence[str]) -> str:
    """The first of these names, and how many there are besides."""
    more = f" (+{len(names) - MAX_SKIPPED:,})" if len(names) > MAX_SKIPPED else ""
    return ", ".join(names[:MAX_SKIPPED]) + more
