"""What there is to predict: the task that a target column suggests, its classes, and what rules it out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import polars as pl

from epochd.core.errors import Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.data.encoding.labels import MAX_NUMBER, Label, listed
from epochd.data.schema import Kind, col, kind_of, way_out
from epochd.data.tables.table import View, shown

MAX_INTEGER_CLASSES = 20
"""Whole numbers with more distinct values than this are quantities rather than classes."""
MAX_CLASSES = 1_000


@dataclass(frozen=True, slots=True)
class Target:
    """A target column understood. ``task`` is None when its problems leave it open; ``classes`` are sorted, and
    None for regression."""

    task: Task | None = None
    classes: list[Label] | None = None
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Values:
    """What stands in a target column of ``rows`` rows. ``low`` and ``high`` are None for text.

    ``counts`` has each distinct value and how often it occurs, sorted; None where there are far too many for classes,
    and ``distinct`` then is an estimate.
    """

    name: str
    dtype: pl.DataType
    rows: int
    missing: int
    low: float | None
    high: float | None
    distinct: int
    counts: pl.DataFrame | None

    @property
    def present(self) -> int:
        return self.rows - self.missing


def examine(view: View, spec: TrainingSpec) -> Target:
    """Decide the task of the target column and list everything that speaks against training on it."""
    name = spec.target_column
    if refused := unusable(name, view):
        return Target(problems=[_problem(*refused)])
    values = read(name, view)
    problems = [_problem(*flaw) for flaw in missing(values, view)]
    if not values.present:
        return Target(problems=problems)
    if too_large := huge(values, view):
        return Target(spec.task, problems=[*problems, _problem(*too_large)])
    if values.distinct == 1 and values.counts is not None:
        message = f"every row of {name!r} has the same value, {values.counts.item(0, 0)!r}: there is nothing to learn"
        return Target(spec.task, problems=[*problems, _problem(message, "choose another target_column, or add rows")])
    task = spec.task or _infer(values)
    if refusal := _refused(values, task, spec, view):
        return Target(task, problems=[*problems, refusal])
    if task == "regression":
        return Target(task, problems=problems)
    assert values.counts is not None
    return Target(task, values.counts.to_series(0).to_list(), problems + _rare(values, spec, view))


def unusable(name: str, view: View) -> tuple[str, str] | None:
    """Why no target can be of this column's type: message and hint."""
    dtype = view.schema[name]
    if kind_of(dtype) in (Kind.NUMBER, Kind.BOOLEAN, Kind.CATEGORY):
        return None
    sample = view.first(col(name).is_not_null(), name)
    such = f", such as {shown(sample[1][0])} in row {sample[0]}" if sample else ""
    return f"{name!r} has the type {dtype}, which cannot be predicted{such}", way_out(dtype)


def read(name: str, view: View) -> Values:
    """Take the column's figures. Its values are counted where there may be few enough of them for classes."""
    dtype, this, value = view.schema[name], col(name), plain_column(name, view.schema[name])
    is_text = kind_of(dtype) is Kind.CATEGORY
    extremes = (
        [] if is_text else [value.min().cast(pl.Float64).alias("low"), value.max().cast(pl.Float64).alias("high")]
    )
    estimate = value.drop_nulls().n_unique() if view.is_whole else value.drop_nulls().approx_n_unique()
    found = view.ask([this.null_count().alias("missing"), estimate.alias("distinct"), *extremes])
    counts = None
    if found["distinct"] <= 2 * MAX_CLASSES:
        counted = view.table.select(value.alias("value")).filter(pl.col("value").is_not_null())
        counts = view.collect(counted.group_by("value").agg(rows=pl.len())).sort("value")
    distinct = min(found["distinct"], view.rows - found["missing"]) if counts is None else counts.height
    return Values(name, dtype, view.rows, found["missing"], found.get("low"), found.get("high"), distinct, counts)


def plain_column(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column's values as ``plain`` gives them; durations as numbers."""
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return col(name).cast(pl.String)
    if isinstance(dtype, pl.Decimal):
        return col(name).cast(pl.Float64)
    return col(name).to_physical().cast(pl.Float64) if dtype == pl.Duration else col(name)


def missing(values: Values, view: View) -> Iterator[tuple[str, str]]:
    """Message and hint if rows lack their target."""
    if values.missing == 0:
        return
    if values.present == 0:
        yield f"{values.name!r} has no value in any of the {values.rows} rows", "choose another target_column"
        return
    first = view.first(col(values.name).is_null())
    rows = "1 row has" if values.missing == 1 else f"{values.missing} rows have"
    place = f"; the first is row {first[0]}" if first else ""
    message = f"{rows} no value of {values.name!r} (of {values.rows}{place})"
    yield message, "a row without its target cannot be learned from: fill it in or remove it"


def huge(values: Values, view: View) -> tuple[str, str] | None:
    """Message and hint if a number is infinite or huge."""
    if values.low is None or values.high is None or max(-values.low, values.high) <= MAX_NUMBER:
        return None
    row = view.first(plain_column(values.name, values.dtype).cast(pl.Float64).abs() > MAX_NUMBER, values.name)
    where = f": row {row[0]} is {shown(row[1][0])}" if row else ""
    return f"{values.name!r} has infinite or huge values{where}", "replace or remove them"


def _infer(values: Values) -> Task:
    """The task that the values suggest.

    Booleans and text are classes. Floats are quantities, unless they are exactly 0 and 1. Whole numbers are
    classes if there are two of them, or at most MAX_INTEGER_CLASSES that are small, close together and repeated.
    """
    distinct = values.distinct
    if kind_of(values.dtype) in (Kind.BOOLEAN, Kind.CATEGORY):
        return "binary" if distinct == 2 else "multiclass"
    low, high = values.low or 0.0, values.high or 0.0
    if not values.dtype.is_integer():
        return "binary" if distinct == 2 and (low, high) == (0.0, 1.0) else "regression"
    if distinct == 2:
        return "binary"
    dense = high - low < 2 * distinct and abs(low) <= 2 * MAX_INTEGER_CLASSES
    repeated = 2 * distinct <= values.present
    return "multiclass" if distinct <= MAX_INTEGER_CLASSES and dense and repeated else "regression"


def _refused(values: Values, task: Task, spec: TrainingSpec, view: View) -> Problem | None:
    """Why this task cannot be done with this target."""
    name = values.name
    if task == "regression" and kind_of(values.dtype) is Kind.CATEGORY:
        text = col(name).cast(pl.String)
        row = view.first(text.is_not_null() & text.cast(pl.Float64, strict=False).is_null(), name)
        where = f"such as {shown(row[1][0])} in row {row[0]}" if row else "but text"
        message = f"task is 'regression', but {name!r} has values that are not numbers, {where}"
        return Problem("task", message, "correct the values, or leave task out to predict classes")
    if task == "binary" and values.distinct != 2:
        message = f"task is 'binary', but {name!r} has {values.distinct:,} distinct values"
        return Problem("task", message, "use 'multiclass' or 'regression', or leave task out")
    if task == "multiclass" and values.distinct > MAX_CLASSES:
        if stray := _stray(values, view):
            return stray
        message = (
            f"{name!r} has {values.distinct:,} distinct values, too many for classes (the limit is {MAX_CLASSES:,})"
        )
        return Problem("task" if spec.task else "target_column", message, "group rare values, or choose another target")
    if task == "regression" and spec.split == "stratified":
        message = f"split 'stratified' keeps the shares of classes, but {name!r} suggests a regression"
        return Problem("split", message, "use 'random', 'time' or 'group', or set task if its values are classes")
    return None


def _rare(values: Values, spec: TrainingSpec, view: View) -> list[Problem]:
    """Classes of one row cannot stand on both sides of a split."""
    assert values.counts is not None
    rare = values.counts.filter(pl.col("rows") < 2).to_series(0).to_list()
    if not rare or spec.held_out == 0:
        return []
    if stray := _stray(values, view):
        return [stray]
    row = view.first(plain_column(values.name, values.dtype) == rare[0])
    place = f" (row {row[0]})" if row else ""
    which = f"class {rare[0]!r} has" if len(rare) == 1 else f"classes {listed(rare)} each have"
    message = f"{which} only 1 row{place}: it cannot be both trained on and held out"
    hint = "add rows, merge or remove rare classes, or set validation_split and test_split to 0"
    return [_problem(message, hint)]


def _stray(values: Values, view: View) -> Problem | None:
    """The first word in a column of numbers, which has made all of it text."""
    if values.dtype != pl.String:
        return None
    text, number = col(values.name), col(values.name).cast(pl.Float64, strict=False)
    numbers = view.ask([number.count().alias("numbers")])["numbers"]
    row = view.first(text.is_not_null() & number.is_null(), values.name) if 2 * numbers > values.present else None
    if row is None:
        return None
    message = f"{values.name!r} is read as text: {numbers} of its values are numbers, but"
    return _problem(f"{message} {shown(row[1][0])} (row {row[0]}) is not", "correct the value, or leave the row out")


def _problem(message: str, hint: str) -> Problem:
    return Problem("target_column", message, hint)
