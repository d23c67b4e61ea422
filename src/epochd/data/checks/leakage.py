"""Target leakage: features that are equal to the target, map one-to-one to it, or are nearly a multiple of it.

A leak holds in every row, so it shows in the first rows of the table. Only the candidates found there are compared in
the rest of a large table, in its second pass.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from epochd.core.specs import TrainingSpec
from epochd.data.checks.features import is_huge
from epochd.data.checks.issue import Issue, problem, shown, warning
from epochd.data.checks.statistics import ColumnStatistics, Statistics
from epochd.data.checks.target import Target
from epochd.data.encoding.values import Float64
from epochd.data.schema import MAX_LISTED, Kind, col, kind_of
from epochd.data.tables.table import python_values

CORRELATED = 0.999
"""A correlation with the target, positive or negative, beyond which a feature is probably made from it."""
MIN_ROWS = 10
"""In fewer rows much is equal by chance."""
SAMPLE = 200
"""Rows in which most columns already show that they do not map one-to-one to the target."""
FEW = 50
"""Numbers and dates with more distinct values than this are not compared one-to-one with a numeric target: where whole
rows are repeated, each value comes with one other."""
NUMERIC = (Kind.NUMBER, Kind.BOOLEAN)
CODES = (*NUMERIC, Kind.CATEGORY, Kind.DATE)


@dataclass(slots=True)
class LeakCandidates:
    """Names of features that are equal to the target, map one-to-one to it, or are correlated with it (name →
    coefficient)."""

    equal: list[str] = field(default_factory=list)
    one_to_one: list[str] = field(default_factory=list)
    correlated: dict[str, float] = field(default_factory=dict)

    def questions(self, statistics: Statistics, target: str) -> list[pl.Expr]:
        """What the second pass has to answer about them. Nothing if the first rows are the whole table. Numbers are
        compared with two texts in the first rows only."""
        if statistics.is_whole or not (self.equal or self.one_to_one or self.correlated):
            return []
        is_text = kind_of(statistics.schema[target]) is Kind.CATEGORY
        correlated = [] if is_text else list(self.correlated)
        names = (target, *self.equal, *correlated)
        value = {name: col(name).cast(pl.String) if is_text else _number(name, statistics.schema) for name in names}
        return [
            col(target).n_unique().alias("leak classes"),
            *((value[name] != value[target]).any().alias(f"leak differs {name}") for name in self.equal),
            *(col(name).n_unique().alias(f"leak values {name}") for name in self.one_to_one),
            *(pl.struct(col(name), col(target)).n_unique().alias(f"leak pairs {name}") for name in self.one_to_one),
            *(pl.corr(value[name], value[target]).alias(f"leak correlation {name}") for name in correlated),
        ]

    def confirmed(self, answers: Mapping[str, Any]) -> "LeakCandidates":
        """Those that the answers of the second pass confirm; all of them where nothing was asked."""
        if "leak classes" not in answers:
            return self
        classes = answers["leak classes"]
        correlated = {name: answers.get(f"leak correlation {name}", value) for name, value in self.correlated.items()}
        return LeakCandidates(
            [name for name in self.equal if not answers[f"leak differs {name}"]],
            [n for n in self.one_to_one if answers[f"leak values {n}"] == answers[f"leak pairs {n}"] == classes],
            {name: value for name, value in correlated.items() if value is not None and abs(value) > CORRELATED},
        )


def candidates(statistics: Statistics, target: Target, spec: TrainingSpec) -> LeakCandidates:
    """Compare the features with the target in the first rows. In a forecast the whole window lies before its target:
    nothing is a leak but what is said to be known in advance. In a large table the task may not be known yet
    (``target.task`` is None); a feature is then compared in every way, and ``check`` sorts it out."""
    found, head = LeakCandidates(), statistics.head
    known = set(spec.known_in_advance or ()) if spec.ahead else set()
    if (spec.forecasts and not known) or target.issues or statistics.rows < MIN_ROWS or statistics.target is None:
        return found
    answers = head.get_column(spec.target_column)
    varied = [f for f in statistics.features if not (f.is_constant or f.name == spec.target_column)]
    varied = [f for f in varied if not spec.forecasts or f.name in known]
    comparable = [f for f in varied if not (f.kind is Kind.NUMBER and is_huge(f))]
    _compare(head, [f.name for f in comparable if f.kind in NUMERIC], answers, target, found)
    if kind_of(answers.dtype) is not Kind.CATEGORY and target.classes is None:
        texts = [feature for feature in comparable if feature.kind is Kind.CATEGORY]
        written = [f.name for f in texts if f.numbers and f.stray is None and not f.missing]
        same = head.select((_number(name, head.schema) == _number(answers.name, head.schema)).all() for name in written)
        found.equal += [name for name in written if same[name].item()]
    codes = _possible_codes(head, comparable, answers, target.task != "regression")
    for name in [name for name in codes if name not in found.equal]:
        values = head.get_column(name)
        pairs = pl.DataFrame({"value": values, "answer": answers}).unique()
        if pairs.height == pairs["value"].n_unique() == pairs["answer"].n_unique():
            equal = values.dtype == answers.dtype and pairs.select((pl.col("value") == pl.col("answer")).all()).item()
            (found.equal if equal else found.one_to_one).append(name)
    return found


def check(found: LeakCandidates, statistics: Statistics, target: Target, spec: TrainingSpec) -> Iterator[Issue]:
    """Problems of features that give the target away; warnings of those that may."""
    name, features = spec.target_column, statistics.features
    if target.issues or target.task is None:
        return
    advice = "list the other columns in feature_columns" if len(features) > 1 else "add other columns"
    if spec.feature_columns is not None:
        advice = "take it out of feature_columns"
    certain = {one: f"is equal to the target {name!r} in every row" for one in found.equal}
    likely = {one: f"are almost perfectly correlated ({value:+.4f})" for one, value in found.correlated.items()}
    for one in found.one_to_one:
        value, answer = (python_values(found)[0] for found in statistics.head.head(1).select(col(one), col(name)))
        value = value if isinstance(value, str | int | float) else str(value)
        example = f"where one is {shown(value)}, the other is {shown(answer)}, such as in row 1"
        if target.classes is not None:
            certain[one] = f"maps one-to-one to the target {name!r}: {example}"
            likely.pop(one, None)
        else:
            likely.setdefault(one, f"map one-to-one to each other: {example}")
    for one, what in list(certain.items())[:MAX_LISTED]:
        hint = f"a model that is given the target learns nothing else: {advice}"
        yield problem("feature_columns", f"{one!r} {what}", hint)
    for one, what in list(likely.items())[:MAX_LISTED]:
        yield warning(f"{one!r} and the target {name!r} {what}: if it is made from the target, {advice}")


def _possible_codes(
    head: pl.DataFrame, features: Sequence[ColumnStatistics], answers: pl.Series, classes: bool
) -> list[str]:
    """Features of which a sample has as many distinct values as one of the target. For a numeric target its values must
    be repeated, on average, and columns of numbers and dates count only if they have few."""
    distinct = answers.n_unique()
    if not classes and 2 * distinct > len(answers):
        return []
    kinds = CODES if classes or distinct <= FEW else (Kind.CATEGORY,)
    possible = [feature.name for feature in features if feature.kind in kinds and not feature.missing]
    counts = head.head(SAMPLE).select(col(name).n_unique() for name in possible)
    wanted = answers.head(SAMPLE).n_unique()
    return [name for name in possible if counts[name].item() == wanted]


def _compare(
    head: pl.DataFrame, names: Sequence[str], answers: pl.Series, target: Target, found: LeakCandidates
) -> None:
    """Which columns of numbers are equal to the target, or correlated with it? Two texts count as 0 and 1."""
    is_text = kind_of(answers.dtype) is Kind.CATEGORY
    if not names or (is_text and target.task != "binary"):
        return
    value = _number(answers.name, head.schema)
    if is_text:
        value = (col(answers.name).cast(pl.String) == str((target.classes or [""])[-1])).cast(pl.Float64)
    numbers = head.select(value).to_series().to_numpy()
    given = head.select(_number(name, head.schema) for name in names).to_numpy()
    equal = (given == numbers[:, None]).all(axis=0)
    for name, is_equal, value in zip(names, equal, _correlations(given, numbers), strict=True):
        if is_equal and not is_text:
            found.equal.append(name)
        elif abs(value) > CORRELATED:
            found.correlated[name] = float(value)


def _correlations(given: Float64, numbers: Float64) -> Float64:
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


def _number(name: str, schema: pl.Schema) -> pl.Expr:
    """The values as numbers; text is null where it is none."""
    if kind_of(schema[name]) is Kind.CATEGORY:
        return col(name).cast(pl.String).cast(pl.Float64, strict=False)
    return (col(name) if isinstance(schema[name], pl.Decimal) else col(name).to_physical()).cast(pl.Float64)
