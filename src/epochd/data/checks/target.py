"""The target column: the task that it suggests, its classes, and what rules it out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from epochd.core.specs import Task, TrainingSpec
from epochd.data.checks.issue import Issue, Lookup, Row, Text, huge_values, option, problem, shown, such_as, warning
from epochd.data.checks.statistics import COUNTED_LABELS, MAX_CLASSES, TargetStatistics, plain_column
from epochd.data.encoding.labels import Label, listed
from epochd.data.encoding.values import MAX_NUMBER, plain
from epochd.data.schema import Kind, col, kind_of, type_advice

MAX_INTEGER_CLASSES = 20
"""Whole numbers with more distinct values than this are quantities rather than classes."""
FIELD = "target_column"
HEAVY_SKEW, LOG_GAIN = 2.0, 2.0
"""The skewness of a target from which its logarithm is suggested, and by which factor that must be less skewed. An
exponential distribution has the skewness 2."""
LEAST_SPREAD = 1e-10
"""The least range of a target relative to its largest magnitude. Of a smaller one, float64 keeps so few digits that
values in the unit of the target cannot be standardised again as they were trained on."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target column understood. ``task`` is None when its issues leave it open; ``classes`` are sorted, and None for
    regression."""

    task: Task | None = None
    classes: list[Label] | None = None
    issues: tuple[Issue, ...] = ()


def check(target: TargetStatistics, spec: TrainingSpec) -> Target:
    """Decide the task of the target column and list everything that rules out training on it."""
    if refused := unusable(target):
        return Target(issues=(refused,))
    issues = tuple(missing(target, FIELD))
    if not target.present:
        return Target(issues=issues)
    if too_large := huge(target, FIELD):
        return Target(spec.task, issues=(*issues, too_large))
    if target.distinct == 1 and target.counts is not None:
        value = target.counts.item(0, 0)
        message = f"every row of {target.name!r} has the same value, {value!r}: nothing can be learned"
        return Target(spec.task, issues=(*issues, problem(FIELD, message, "choose another target_column, or add rows")))
    task = spec.task or _infer(target)
    if refused := _refused(target, task, spec):
        return Target(task, issues=(*issues, refused))
    if task == "regression":
        more = (*_nearly_constant(target), *without_logarithm(target, spec, FIELD), *_skewed(target, spec))
        return Target(task, issues=(*issues, *more))
    assert target.counts is not None
    rare = target.counts.filter(pl.col("rows") < 2).to_series(0).to_list()
    if rare and spec.held_out != 0:
        issues = (*issues, _stray(target) or _rare(target, rare))
    elif spec.folds is not None:
        issues = (*issues, *_rarer_than_folds(target.counts, spec.folds))
    return Target(task, _classes(target, target.counts.to_series(0)), issues)


def _rarer_than_folds(counts: pl.DataFrame, folds: int) -> Iterator[Issue]:
    """A warning of classes that some folds lack."""
    rare = counts.filter(pl.col("rows") < folds).to_series(0).to_list()
    if rare:
        which = f"class {rare[0]!r} has" if len(rare) == 1 else f"classes {listed(rare)} each have"
        yield warning(f"{which} fewer rows than there are folds ({folds}): some folds are validated without it")


def preliminary(target: TargetStatistics, spec: TrainingSpec, head: pl.DataFrame) -> Target:
    """The target as far as it is known before the second pass, which may have to count its values."""
    if target.counts is not None or target.distinct > COUNTED_LABELS or unusable(target):
        return check(target, spec)
    values = plain(head.get_column(target.name)).drop_nulls().unique().sort()
    task = spec.task or _infer(replace(target, distinct=len(values)))
    return Target(task, None if task == "regression" else _classes(target, values))


def _classes(target: TargetStatistics, values: pl.Series) -> list[Label]:
    """The labels; whole numbers as integers, so that they are the same whatever their type."""
    is_number = kind_of(target.dtype) is Kind.NUMBER
    return [int(value) for value in values] if is_number and target.whole else values.to_list()


def unusable(target: TargetStatistics) -> Issue | None:
    """A problem if no target can be of this column's type."""
    name, dtype = target.name, target.dtype
    if kind_of(dtype) in (Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY):
        return None
    message = f"{name!r} has the type {dtype}, which cannot be predicted"
    lookup = Lookup(col(name).is_not_null(), (name,))
    hint = type_advice(dtype)
    if dtype == pl.Time:
        hint = f'if they are durations, set columns: {{"{name}": {{"type": "duration"}}}}; else {hint}'
    return Issue(FIELD, lambda row: (message + such_as(row), hint), (lookup,))


def missing(target: TargetStatistics, field: str, where: str = "") -> Iterator[Issue]:
    """A problem if rows have no target; ``where`` goes after the message."""
    name, rows = target.name, target.rows
    if target.missing == 0:
        return
    if target.present == 0:
        message = f"{name!r} has no value in any of the {rows} rows{where}"
        yield problem(field, message, "choose another target_column")
        return
    lacking = "1 row has" if target.missing == 1 else f"{target.missing} rows have"
    hint = "training needs the target of each row: fill it in, or train on a dataset of the rows that have one"

    def describe(row: Row | None) -> Text:
        place = f"; the first is row {row.number}" if row else ""
        return f"{lacking} no value of {name!r} (of {rows}{place}){where}", hint

    yield Issue(field, describe, (Lookup(col(name).is_null()),))


def huge(target: TargetStatistics, field: str, where: str = "") -> Issue | None:
    """A problem if a number is infinite or huge."""
    if target.low is None or target.high is None or max(-target.low, target.high) <= MAX_NUMBER:
        return None
    size = plain_column(target.name, target.dtype).cast(pl.Float64).abs()
    return huge_values(field, target.name, size, "replace them by the right values", where)


def without_logarithm(target: TargetStatistics, spec: TrainingSpec, field: str, where: str = "") -> Iterator[Issue]:
    """A problem if values have no logarithm that the spec asks for; ``where`` goes after the message."""
    name = target.name
    if spec.transform is None or target.low is None or target.low > -1:
        return
    hint = "correct the value, add a constant to all of them, or omit target_transform"

    def describe(row: Row | None) -> Text:
        place = f"row {row.number} is {shown(row.values[0])}" if row else f"the least value is {target.low:g}"
        return f"target_transform {spec.transform!r} needs values of {name!r} above -1, but {place}{where}", hint

    yield Issue(field, describe, (Lookup(plain_column(name, target.dtype).cast(pl.Float64) <= -1, (name,)),))


def _skewed(target: TargetStatistics, spec: TrainingSpec) -> Iterator[Issue]:
    """A warning if a few large values would dominate the loss, and the logarithm would help."""
    skewness, of_logarithm = target.skewness, target.log_skewness
    if spec.target_transform is not None or target.low is None or target.low < 0:
        return
    if skewness is None or of_logarithm is None or skewness < max(HEAVY_SKEW, LOG_GAIN * abs(of_logarithm)):
        return
    yield warning(
        f"the values of {target.name!r} are positive and heavily skewed (skewness {skewness:.1f}, of their logarithm "
        f"{of_logarithm:.1f}), so that few large ones dominate the loss: consider target_transform 'log1p', which "
        "trains on the logarithm and keeps predictions and metrics in the unit of the target"
    )


def _infer(target: TargetStatistics) -> Task:
    """The task that the values suggest, whatever their type. Booleans and text are classes. Whole numbers are, too, if
    there are two of them, or at most MAX_INTEGER_CLASSES that are small, close together and repeated. All other numbers
    are quantities."""
    distinct = target.distinct
    if kind_of(target.dtype) in (Kind.BOOLEAN, Kind.CATEGORY):
        return "binary" if distinct == 2 else "multiclass"
    low, high = target.low or 0.0, target.high or 0.0
    if not target.whole:
        return "regression"
    if distinct == 2:
        return "binary"
    dense = high - low < 2 * distinct and abs(low) <= 2 * MAX_INTEGER_CLASSES
    repeated = 2 * distinct <= target.present
    return "multiclass" if distinct <= MAX_INTEGER_CLASSES and dense and repeated else "regression"


def _refused(target: TargetStatistics, task: Task, spec: TrainingSpec) -> Issue | None:
    """Why this task cannot be done with this target."""
    name, distinct = target.name, target.distinct
    if task == "regression" and kind_of(target.dtype) is Kind.CATEGORY:
        message = f"task is 'regression', but {name!r} has values that are not numbers"
        hint = f"correct the values, set {option(name, 'number')} to read them as numbers, or leave task out"
        return Issue("task", lambda row: (message + (such_as(row) or ", but text"), hint), (_first_word(name),))
    if task == "binary" and distinct != 2:
        message = f"task is 'binary', but {name!r} has {distinct:,} distinct values"
        return problem("task", message, "use 'multiclass' or 'regression', or leave task out")
    if task == "multiclass" and distinct > MAX_CLASSES:
        message = f"{name!r} has {distinct:,} distinct values, too many for classes (the limit is {MAX_CLASSES:,})"
        hint = "group rare values, or choose another target"
        return _stray(target) or problem("task" if spec.task else FIELD, message, hint)
    if task == "regression" and spec.split == "stratified":
        message = f"split 'stratified' keeps the shares of classes, but {name!r} suggests a regression"
        return problem("split", message, "use 'random', 'time' or 'group', or set task if its values are classes")
    return None


def _nearly_constant(target: TargetStatistics) -> Iterator[Issue]:
    """A problem if the values differ in their last digits only."""
    if target.low is None or target.high is None:
        return
    size, spread = max(abs(target.low), abs(target.high)), target.high - target.low
    if spread < LEAST_SPREAD * size:
        message = (
            f"{target.name!r} varies by only {spread:.3g} around {target.low:.12g}, less than {LEAST_SPREAD:g} of its "
            "magnitude: too few digits of a 64-bit number are left to learn from"
        )
        hint = "subtract a constant from the target before the training, or choose another target_column"
        yield problem(FIELD, message, hint)


def _rare(target: TargetStatistics, rare: Sequence[Label]) -> Issue:
    """A problem of classes with one row: it cannot be on both sides of a split."""
    which = f"class {rare[0]!r} has" if len(rare) == 1 else f"classes {listed(rare)} each have"
    hint = "add rows, merge rare classes, or set validation_split and test_split to 0"
    if kind_of(target.dtype) is Kind.NUMBER:
        hint = f'if these numbers are counts or amounts rather than classes, set "task": "regression"; if not, {hint}'

    def describe(row: Row | None) -> Text:
        place = f" (row {row.number})" if row else ""
        return f"{which} only 1 row{place}: it cannot be both trained on and held out", hint

    return Issue(FIELD, describe, (Lookup(plain_column(target.name, target.dtype) == rare[0]),))


def _stray(target: TargetStatistics) -> Issue | None:
    """A problem if a single word has made text of a column of numbers."""
    if target.dtype != pl.String or 2 * target.numbers <= target.present or target.numbers == target.present:
        return None
    as_classes = option(target.name, "category")
    message = f"{target.name!r} is read as text: {target.numbers} of its values are numbers, but"

    def describe(row: Row | None) -> Text:
        which = f"{shown(row.values[0])} (row {row.number}) is not" if row else "others are not"
        return f"{message} {which}", f"correct the value, or set {as_classes} if the values are classes"

    return Issue(FIELD, describe, (_first_word(target.name),))


def _first_word(name: str) -> Lookup:
    """The first value that is not a number."""
    text = col(name).cast(pl.String)
    return Lookup(text.is_not_null() & text.cast(pl.Float64, strict=False).is_null(), (name,))
