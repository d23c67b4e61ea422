"""What there is to predict: the task that a target column suggests, its classes, and what rules it out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.data.arrays import IntArray
from epochd.data.kinds import Kind, kind_of, way_out

Label = bool | int | float | str
"""A class as it stands in the dataset; JSON can carry it."""

MAX_INTEGER_CLASSES = 20
"""Whole numbers with more distinct values than this are quantities rather than classes."""
MAX_CLASSES = 1_000
MAX_NUMBER = 1e100
"""Larger magnitudes have no variance in float64."""


@dataclass(frozen=True, slots=True)
class Target:
    """A target column understood. ``task`` is None when its problems leave it open; ``classes`` are sorted, and
    None for regression."""

    task: Task | None = None
    classes: list[Label] | None = None
    problems: list[Problem] = field(default_factory=list)


def examine(raw: pl.Series, spec: TrainingSpec) -> Target:
    """Decide the task of the target column and list everything that speaks against training on it."""
    if kind_of(raw.dtype) is Kind.UNSUPPORTED:
        return Target(problems=[_problem(f"{raw.name!r} has the type {raw.dtype}", way_out(raw.dtype))])
    problems = _missing(raw)
    values = plain(raw).drop_nulls()
    if values.is_empty():
        return Target(problems=problems)
    if too_large := _too_large(values):
        return Target(spec.task, problems=[*problems, too_large])
    distinct = values.n_unique()
    if distinct == 1:
        message = f"every row of {raw.name!r} has the same value, {values[0]!r}: there is nothing to learn"
        return Target(spec.task, problems=[*problems, _problem(message, "choose another target_column, or add rows")])
    task = spec.task or _infer(values, distinct)
    if refused := _refused(values, distinct, task, spec):
        return Target(task, problems=[*problems, refused])
    if task == "regression":
        return Target(task, problems=problems)
    counts = values.value_counts(name="rows of the class").sort(by=pl.nth(0))
    return Target(task, counts.to_series(0).to_list(), problems + _rare(counts, spec))


def plain(values: pl.Series) -> pl.Series:
    """The same values as one of Polars' plain types: text for categoricals, float for decimals."""
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        return values.cast(pl.String)
    return values.cast(pl.Float64) if isinstance(values.dtype, pl.Decimal) else values


def encode_labels(raw: pl.Series, classes: Sequence[Label]) -> IntArray:
    """Class numbers, int64 (n,): positions in ``classes``. Raise DataError for a missing or unknown label."""
    values = plain(raw)
    known = {str(label): number for number, label in enumerate(classes)}
    known |= {label: number for number, label in enumerate(classes)}  # type: ignore[misc]
    found = values.unique().to_list()
    numbers = [None if value is None else known.get(value, known.get(str(value))) for value in found]
    if None in numbers:
        strange = found[numbers.index(None)]
        row = (values.is_null() if strange is None else values == strange).arg_max()
        shown = "no label" if strange is None else f"the label {strange!r}"
        message = f"row {1 + (row or 0)} has {shown}; the classes are {_listed(classes)}"
        raise DataError([Problem(raw.name, message, "correct the label, or leave the row out")])
    return values.replace_strict(found, numbers, return_dtype=pl.Int64).to_numpy().astype(np.int64)


def _missing(raw: pl.Series) -> list[Problem]:
    missing = raw.null_count()
    if missing == 0:
        return []
    if missing == len(raw):
        return [_problem(f"{raw.name!r} has no value in any of the {missing} rows", "choose another target_column")]
    first = (raw.is_null().arg_max() or 0) + 1
    rows = "1 row has" if missing == 1 else f"{missing} rows have"
    message = f"{rows} no value of {raw.name!r} (of {len(raw)}; the first is row {first})"
    return [_problem(message, "a row without its target cannot be learned from: fill it in or remove it")]


def _too_large(values: pl.Series) -> Problem | None:
    if not values.dtype.is_float():
        return None
    bad = (values.abs() > MAX_NUMBER).arg_true()
    if bad.is_empty():
        return None
    message = f"{values.name!r} has {len(bad)} infinite or huge values, such as {values[bad[0]]!r}"
    return _problem(message, "replace or remove them")


def _infer(values: pl.Series, distinct: int) -> Task:
    """The task that the values suggest.

    Booleans and text are classes. Floats are quantities, unless they are exactly 0 and 1. Whole numbers are
    classes if there are two of them, or at most MAX_INTEGER_CLASSES that are small, close together and repeated.
    """
    if values.dtype in (pl.Boolean, pl.String):
        return "binary" if distinct == 2 else "multiclass"
    if values.dtype.is_float():
        return "binary" if distinct == 2 and values.is_in([0.0, 1.0]).all() else "regression"
    if distinct == 2:
        return "binary"
    low, high = _range(values)
    dense = high - low < 2 * distinct and abs(low) <= 2 * MAX_INTEGER_CLASSES
    repeated = 2 * distinct <= len(values)
    return "multiclass" if distinct <= MAX_INTEGER_CLASSES and dense and repeated else "regression"


def _range(values: pl.Series) -> tuple[float, float]:
    low, high = values.min(), values.max()
    return float(low), float(high)  # type: ignore[arg-type]


def _refused(values: pl.Series, distinct: int, task: Task, spec: TrainingSpec) -> Problem | None:
    """Why this task cannot be done with this target."""
    name = values.name
    if task == "regression" and values.dtype == pl.String:
        strange = values.filter(values.cast(pl.Float64, strict=False).is_null())
        shown = repr(strange[0]) if len(strange) else "text"
        message = f"task is 'regression', but {name!r} has values that are not numbers, such as {shown}"
        return Problem("task", message, "correct the values, or leave task out to predict classes")
    if task == "binary" and distinct != 2:
        message = f"task is 'binary', but {name!r} has {distinct} distinct values"
        return Problem("task", message, "use 'multiclass' or 'regression', or leave task out")
    if task == "multiclass" and distinct > MAX_CLASSES:
        message = f"{name!r} has {distinct} distinct values, too many for classes (the limit is {MAX_CLASSES})"
        return Problem("task" if spec.task else "target_column", message, "group rare values, or choose another target")
    return None


def _rare(counts: pl.DataFrame, spec: TrainingSpec) -> list[Problem]:
    """Classes of one row cannot stand on both sides of a split."""
    rare = counts.filter(pl.nth(1) < 2).to_series(0).to_list()
    if not rare or spec.validation_split == 0:
        return []
    which = f"class {rare[0]!r} has" if len(rare) == 1 else f"classes {_listed(rare)} each have"
    message = f"{which} only 1 row: it cannot be both trained on and validated"
    return [_problem(message, "add rows, merge or remove rare classes, or set validation_split to 0")]


def _problem(message: str, hint: str) -> Problem:
    return Problem("target_column", message, hint)


def _listed(labels: Sequence[Label], most: int = 10) -> str:
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(repr, labels[:most])) + more
