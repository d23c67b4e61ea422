"""Features that give the answer away: equal to the target, a code for it, or nearly a multiple of it.

A leak holds in every row, so it shows in the beginning of the table; only what looks like one there is looked for in
the rest of a large table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl

from epochd.core.errors import Problem
from epochd.core.specs import TrainingSpec
from epochd.data.checks.features import is_huge
from epochd.data.checks.statistics import Feature
from epochd.data.checks.target import Target
from epochd.data.encoding.values import Float64
from epochd.data.schema import MAX_TOLD, Kind, col, kind_of
from epochd.data.tables.table import View, shown

CORRELATED = 0.999
"""A correlation with the target, either way, beyond which a feature is probably made from it."""

MIN_ROWS = 10
"""In fewer rows much is equal by chance."""

SAMPLE = 200
"""Rows in which most columns already show that they are no code for the target."""

FEW = 50
"""Numbers and dates with more distinct values than this are no code for a quantity: where whole rows are repeated,
each value comes with one other."""

NUMERIC = (Kind.NUMBER, Kind.BOOLEAN)
CODES = (Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY, Kind.DATE)


@dataclass(slots=True)
class LeakCandidates:
    """Names of features that are equal to the target, stand one to one for its classes (``renamed``) or for its numbers
    (``paired``), or are correlated with it."""

    equal: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    paired: list[str] = field(default_factory=list)
    correlated: dict[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.equal or self.renamed or self.paired or self.correlated)


@dataclass(frozen=True, slots=True)
class Leaks:
    """What was found."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examine(view: View, features: Sequence[Feature], target: Target, spec: TrainingSpec) -> Leaks:
    """Compare the features with the target. In a forecast all of a window lies before its target: nothing is a leak."""
    if spec.forecasts or target.task is None or target.problems or view.rows < MIN_ROWS:
        return Leaks()
    comparable = [f for f in features if not (f.is_constant or f.name == spec.target_column or _is_huge_number(f))]
    suspects = _suspects(view.head, comparable, target, spec.target_column)
    if suspects and not view.is_whole:
        suspects = _confirmed(suspects, view, spec.target_column)
    return Leaks(_problems(suspects, view, features, spec), _warnings(suspects, view, features, spec))


def _is_huge_number(feature: Feature) -> bool:
    return feature.kind is Kind.NUMBER and is_huge(feature)


def _suspects(head: pl.DataFrame, features: Sequence[Feature], target: Target, name: str) -> LeakCandidates:
    answers, found = head.get_column(name), LeakCandidates()
    numbers = _numbers(answers, target)
    if numbers is not None:
        _compare(head, [f for f in features if f.kind in NUMERIC], answers, numbers, found)
    if target.classes is None:
        _compare_texts(head, features, answers, found)
    matching = found.paired if target.classes is None else found.renamed
    for feature in _possible_codes(head, features, answers, target.classes is not None):
        _match(feature, head.get_column(feature.name), answers, found, matching)
    return found


def _compare_texts(head: pl.DataFrame, features: Sequence[Feature], answers: pl.Series, found: LeakCandidates) -> None:
    """Which columns of numbers written as text are equal to a target of numbers?"""
    written = [f.name for f in features if f.numbers and f.stray is None and not f.missing]
    same = head.select((_number(name, head.schema) == _number(answers.name, head.schema)).all() for name in written)
    found.equal += [name for name in written if same[name].item()]


def _possible_codes(
    head: pl.DataFrame, features: Sequence[Feature], answers: pl.Series, classes: bool
) -> list[Feature]:
    """Features of which a sample has as many distinct values as one of the target. Quantities have codes only if they
    are repeated, on average, and columns of numbers and dates only for few."""
    distinct = answers.n_unique()
    if not classes and 2 * distinct > len(answers):
        return []
    kinds = CODES if classes or distinct <= FEW else (Kind.CATEGORY,)
    possible = [feature for feature in features if feature.kind in kinds and not feature.missing]
    sample, wanted = head.head(SAMPLE), answers.head(SAMPLE).n_unique()
    counts = sample.select(col(feature.name).n_unique() for feature in possible)
    return [feature for feature in possible if counts[feature.name].item() == wanted]


def _numbers(answers: pl.Series, target: Target) -> Float64 | None:
    """The target as numbers, 0 and 1 for two classes; None for more classes that are text."""
    if kind_of(answers.dtype) is not Kind.CATEGORY:
        return answers.to_frame().select(_number(answers.name, answers.to_frame().schema)).to_series().to_numpy()
    if target.task != "binary":
        return None
    return (answers.cast(pl.String) == str((target.classes or [""])[-1])).cast(pl.Float64).to_numpy()


def _compare(
    head: pl.DataFrame, features: Sequence[Feature], answers: pl.Series, numbers: Float64, found: LeakCandidates
) -> None:
    """Which columns of numbers are equal to the target, or correlated with it?"""
    if not features:
        return
    given = head.select(_number(feature.name, head.schema) for feature in features).to_numpy()
    is_text = kind_of(answers.dtype) is Kind.CATEGORY
    equal = [not is_text and bool(same) for same in (given == numbers[:, None]).all(axis=0)]
    for feature, is_equal, value in zip(features, equal, correlations(given, numbers), strict=True):
        if is_equal:
            found.equal.append(feature.name)
        elif abs(value) > CORRELATED:
            found.correlated[feature.name] = float(value)


def correlations(given: Float64, numbers: Float64) -> Float64:
    """Pearson's coefficient of each column of ``given`` (n, columns) with ``numbers`` (n,), over the rows in which the
    column is not NaN; NaN where it or the numbers do not vary."""
    present = ~np.isnan(given)
    count = np.maximum(present.sum(axis=0), 1)
    centred = np.where(present, given - np.where(present, given, 0.0).sum(axis=0) / count, 0.0)
    numbers = numbers - numbers.mean()
    means = numbers @ present / count
    spread = np.sqrt(np.maximum(numbers**2 @ present - count * means**2, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Float64 = numbers @ centred / (np.sqrt((centred**2).sum(axis=0)) * spread)
    return np.where(present.sum(axis=0) < MIN_ROWS, np.nan, found)


def _match(feature: Feature, values: pl.Series, answers: pl.Series, found: LeakCandidates, matching: list[str]) -> None:
    """Does each value of a feature stand for one of the target, and each of the target for one of the feature?"""
    if feature.name in found.equal:
        return
    pairs = pl.DataFrame({"value": values, "answer": answers}).unique()
    if pairs.height == pairs["value"].n_unique() == pairs["answer"].n_unique():
        same = values.dtype == answers.dtype and pairs.select((pl.col("value") == pl.col("answer")).all()).item()
        (found.equal if same else matching).append(feature.name)


def _confirmed(suspects: LeakCandidates, view: View, target: str) -> LeakCandidates:
    """Those that are suspect in the whole table. Numbers are compared with two texts in its beginning only."""
    is_text = kind_of(view.schema[target]) is Kind.CATEGORY
    value = _text if is_text else partial(_number, schema=view.schema)
    correlated = [] if is_text else list(suspects.correlated)
    matched = [*suspects.renamed, *suspects.paired]
    answers = view.ask(
        [
            col(target).n_unique().alias("classes"),
            *((value(name) != value(target)).any().alias(f"equal {name}") for name in suspects.equal),
            *(col(name).n_unique().alias(f"values {name}") for name in matched),
            *(pl.struct(col(name), col(target)).n_unique().alias(f"pairs {name}") for name in matched),
            *(pl.corr(value(name), value(target)).alias(f"correlation {name}") for name in correlated),
        ]
    )
    matched = [name for name in matched if answers[f"values {name}"] == answers[f"pairs {name}"] == answers["classes"]]
    found = {name: answers.get(f"correlation {name}", value) for name, value in suspects.correlated.items()}
    return LeakCandidates(
        [name for name in suspects.equal if not answers[f"equal {name}"]],
        [name for name in suspects.renamed if name in matched],
        [name for name in suspects.paired if name in matched],
        {name: value for name, value in found.items() if value is not None and abs(value) > CORRELATED},
    )


def _number(name: str, schema: pl.Schema) -> pl.Expr:
    """The values as numbers; text is null where it is none."""
    if kind_of(schema[name]) is Kind.CATEGORY:
        return _text(name).cast(pl.Float64, strict=False)
    this = col(name)
    return (this if isinstance(schema[name], pl.Decimal) else this.to_physical()).cast(pl.Float64)


def _text(name: str) -> pl.Expr:
    return col(name).cast(pl.String)


def _problems(suspects: LeakCandidates, view: View, features: Sequence[Feature], spec: TrainingSpec) -> list[Problem]:
    target = spec.target_column
    told = {name: f"is equal to the target {target!r} in every row" for name in suspects.equal}
    told |= {
        name: f"is the target {target!r} in other words: {_example(view, name, target)}" for name in suspects.renamed
    }
    hint = "a model that is shown its answer learns nothing: " + _way_out([f.name for f in features], spec)
    found = [Problem("feature_columns", f"{name!r} {what}", hint) for name, what in told.items()]
    return found[:MAX_TOLD]


def _example(view: View, name: str, target: str) -> str:
    value, answer = view.head.select(col(name), col(target)).row(0)
    value = value if isinstance(value, str | int | float) else str(value)
    return f"where one is {shown(value)}, the other is {shown(answer)}, such as in row 1"


def _warnings(suspects: LeakCandidates, view: View, features: Sequence[Feature], spec: TrainingSpec) -> list[str]:
    target = spec.target_column
    told = {
        name: f"are almost perfectly correlated ({value:+.4f})"
        for name, value in suspects.correlated.items()
        if name not in suspects.renamed
    }
    for name in suspects.paired:
        told.setdefault(name, f"stand for each other in every row: {_example(view, name, target)}")
    way_out = f"if it is made from the target, {_way_out([f.name for f in features], spec)}"
    return [f"{name!r} and the target {target!r} {what}: {way_out}" for name, what in list(told.items())[:MAX_TOLD]]


def _way_out(names: Sequence[str], spec: TrainingSpec) -> str:
    if spec.feature_columns is not None:
        return "take it out of feature_columns"
    return "list the other columns in feature_columns" if len(names) > 1 else "add other columns"
