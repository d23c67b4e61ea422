"""Features that give the answer away: equal to the target, a renamed copy of it, or nearly a multiple of it.

A leak holds in every row, so it shows in the beginning of the table; only what looks like one there is looked for in
the rest of a large table.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from epochd.core.errors import Problem
from epochd.core.specs import TrainingSpec
from epochd.data.columns import Feature
from epochd.data.flaws import is_huge
from epochd.data.kinds import Kind, column, kind_of
from epochd.data.selection import MAX_TOLD
from epochd.data.targets import Target
from epochd.data.values import Float64
from epochd.data.view import View, shown

CORRELATED = 0.999
"""A correlation with the target, either way, beyond which a feature is probably made from it."""

MIN_ROWS = 10
"""In fewer rows much is equal by chance."""

NUMERIC = (Kind.NUMBER, Kind.BOOLEAN)
DISCRETE = (Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY, Kind.DATE)


@dataclass(slots=True)
class Suspects:
    """Names of features that are equal to the target, stand for its classes one to one, or are correlated with it."""

    equal: list[str] = field(default_factory=list)
    renamed: list[str] = field(default_factory=list)
    correlated: dict[str, float] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.equal or self.renamed or self.correlated)


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
    return Leaks(_problems(suspects, view, features, spec), _warnings(suspects, features, spec))


def _is_huge_number(feature: Feature) -> bool:
    return feature.kind is Kind.NUMBER and is_huge(feature)


def _suspects(head: pl.DataFrame, features: Sequence[Feature], target: Target, name: str) -> Suspects:
    answers, found = head.get_column(name), Suspects()
    numbers = _numbers(answers, target)
    if numbers is not None:
        _compare(head, [f for f in features if f.kind in NUMERIC or _is_written(f, head)], answers, numbers, found)
    classes = answers.n_unique()
    for feature in features if target.classes else ():
        if feature.kind in DISCRETE and not feature.missing and head.get_column(feature.name).n_unique() == classes:
            _match(feature, head.get_column(feature.name), answers, found)
    return found


def _is_written(feature: Feature, head: pl.DataFrame) -> bool:
    """Whether a text is a number everywhere, at least in the beginning of the table."""
    if feature.kind is not Kind.CATEGORY or not feature.numbers:
        return False
    return head.select(_number(feature.name, feature.dtype).is_not_null().all()).item() is True


def _numbers(answers: pl.Series, target: Target) -> Float64 | None:
    """The target as numbers, 0 and 1 for two classes; None for more classes that are text."""
    if kind_of(answers.dtype) is not Kind.CATEGORY:
        return answers.to_physical().cast(pl.Float64).to_numpy()
    if target.task != "binary":
        return None
    return (answers.cast(pl.String) == str((target.classes or [""])[-1])).cast(pl.Float64).to_numpy()


def _compare(
    head: pl.DataFrame, features: Sequence[Feature], answers: pl.Series, numbers: Float64, found: Suspects
) -> None:
    """Which columns of numbers are equal to the target, or correlated with it?"""
    if not features:
        return
    given = head.select(_number(feature.name, feature.dtype) for feature in features).to_numpy()
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


def _match(feature: Feature, values: pl.Series, answers: pl.Series, found: Suspects) -> None:
    """Does each value of a feature stand for one class, and each class for one value?"""
    if feature.name in found.equal:
        return
    pairs = pl.DataFrame({"value": values, "answer": answers}).unique()
    if pairs.height == pairs["value"].n_unique() == pairs["answer"].n_unique():
        same = values.dtype == answers.dtype and pairs.select((pl.col("value") == pl.col("answer")).all()).item()
        (found.equal if same else found.renamed).append(feature.name)
        found.correlated.pop(feature.name, None)


def _confirmed(suspects: Suspects, view: View, target: str) -> Suspects:
    """Those that are suspect in the whole table. Numbers are compared with two texts in its beginning only."""
    is_text = kind_of(view.schema[target]) is Kind.CATEGORY

    def value(name: str) -> pl.Expr:
        return column(name).cast(pl.String) if is_text else _number(name, view.schema[name])

    correlated = [] if is_text else list(suspects.correlated)
    answers = view.ask(
        [
            column(target).n_unique().alias("classes"),
            *(value(name).ne_missing(value(target)).any().alias(f"equal {name}") for name in suspects.equal),
            *(pl.struct(column(name), column(target)).n_unique().alias(f"pairs {name}") for name in suspects.renamed),
            *(column(name).n_unique().alias(f"values {name}") for name in suspects.renamed),
            *(pl.corr(value(name), value(target)).alias(f"correlation {name}") for name in correlated),
        ]
    )
    classes = answers["classes"]
    found = {name: answers.get(f"correlation {name}", value) for name, value in suspects.correlated.items()}
    return Suspects(
        [name for name in suspects.equal if not answers[f"equal {name}"]],
        [name for name in suspects.renamed if answers[f"pairs {name}"] == answers[f"values {name}"] == classes],
        {name: value for name, value in found.items() if value is not None and abs(value) > CORRELATED},
    )


def _number(name: str, dtype: pl.DataType) -> pl.Expr:
    """A column as float64; of text what it says, null where that is no number."""
    if kind_of(dtype) is Kind.CATEGORY:
        return column(name).cast(pl.String).cast(pl.Float64, strict=False)
    return column(name).to_physical().cast(pl.Float64)


def _problems(suspects: Suspects, view: View, features: Sequence[Feature], spec: TrainingSpec) -> list[Problem]:
    target = spec.target_column
    told = {name: f"is equal to the target {target!r} in every row" for name in suspects.equal}
    told |= {
        name: f"is the target {target!r} in other words: {_example(view, name, target)}" for name in suspects.renamed
    }
    hint = "a model that is shown its answer learns nothing: " + _way_out([f.name for f in features], spec)
    found = [Problem("feature_columns", f"{name!r} {what}", hint) for name, what in told.items()]
    return found[:MAX_TOLD]


def _example(view: View, name: str, target: str) -> str:
    value, answer = view.head.select(column(name), column(target)).row(0)
    return f"where one is {shown(value)}, the other is {shown(answer)}, such as in row 1"


def _warnings(suspects: Suspects, features: Sequence[Feature], spec: TrainingSpec) -> list[str]:
    return [
        f"{name!r} and the target {spec.target_column!r} are almost perfectly correlated ({value:+.4f}): "
        f"if it is made from the target, {_way_out([f.name for f in features], spec)}"
        for name, value in list(suspects.correlated.items())[:MAX_TOLD]
    ]


def _way_out(names: Sequence[str], spec: TrainingSpec) -> str:
    if spec.feature_columns is not None:
        return "take it out of feature_columns"
    return "list the other columns in feature_columns" if len(names) > 1 else "add other columns"
