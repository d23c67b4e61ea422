"""From table columns to the numbers that a network sees, and back from its outputs to labels and units.

An encoder is fitted on training rows only and is part of the model: its whole state is JSON, in which
floats survive exactly, so that a model predicts anywhere what it would have predicted here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.errors import CorruptFile, DataError, Problem
from epochd.core.specs import Task
from epochd.data.arrays import FloatArray, IntArray
from epochd.data.kinds import Kind, kind_of, way_out
from epochd.data.sources import MISSING
from epochd.data.targets import Label, encode_labels, plain

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Number:
    """A column that is standardised; a missing value becomes the training mean, that is 0."""

    name: str
    mean: float
    scale: float

    width = 1

    @classmethod
    def fit(cls, values: pl.Series) -> Self:
        return cls(values.name, *_mean_and_scale(_numbers(values)))

    def write(self, values: pl.Series, out: FloatArray) -> None:
        """Fill ``out`` (n, 1); raise DataError for a value that is no number or too large for float32."""
        standard = (_numbers(values) - self.mean) / self.scale
        with np.errstate(over="ignore"):
            out[:, 0] = np.where(np.isnan(standard), 0.0, standard)
        if not np.isfinite(out).all():
            row = int(np.argmin(np.isfinite(out[:, 0])))
            raise _not_a_number(values, row, "infinite or too large a number")

    def as_json(self) -> dict[str, Any]:
        return {"kind": "number", "name": self.name, "mean": self.mean, "scale": self.scale}


@dataclass(frozen=True, slots=True)
class Category:
    """A text column with one encoded column for each training value, and a last one for all else."""

    name: str
    categories: tuple[str, ...]

    @classmethod
    def fit(cls, values: pl.Series) -> Self:
        return cls(values.name, tuple(values.cast(pl.String).drop_nulls().unique().sort().to_list()))

    @property
    def width(self) -> int:
        return len(self.categories) + 1

    def write(self, values: pl.Series, out: FloatArray) -> None:
        """Set one 1 in each row of ``out`` (n, width), which comes as zeros."""
        if kind_of(values.dtype) is Kind.UNSUPPORTED:
            raise _wrong_type(values, "text")
        known = values.cast(pl.String).cast(pl.Enum(self.categories), strict=False)
        codes = known.to_physical().cast(pl.Int64).fill_null(len(self.categories))
        out[np.arange(len(out)), codes.to_numpy()] = 1.0

    def as_json(self) -> dict[str, Any]:
        return {"kind": "category", "name": self.name, "categories": list(self.categories)}


@dataclass(frozen=True, slots=True)
class Predictions:
    """Outputs in the user's terms. ``labels`` are classes as in the dataset, or values in the target's unit;
    ``probabilities`` is float64 (n, classes), in the order of the encoder's classes, None for regression."""

    labels: list[Label]
    probabilities: Float64 | None


@dataclass(frozen=True, slots=True)
class Encoder:
    """Fitted columns and target. ``classes`` is None for regression, whose target is standardised by
    ``target_mean`` and ``target_scale`` (0 and 1 otherwise)."""

    columns: tuple[Number | Category, ...]
    target_column: str
    task: Task
    classes: tuple[Label, ...] | None = None
    target_mean: float = 0.0
    target_scale: float = 1.0

    @classmethod
    def fit(
        cls, frame: pl.DataFrame, features: Sequence[str], target: str, task: Task, classes: Sequence[Label] | None
    ) -> Self:
        """Learn means, scales and categories from ``frame``, which must hold training rows only."""
        columns = [fit_column(frame.get_column(name)) for name in features]
        return cls.of(columns, frame.get_column(target), task, classes)

    @classmethod
    def of(
        cls, columns: Sequence[Number | Category], target: pl.Series, task: Task, classes: Sequence[Label] | None
    ) -> Self:
        """From columns that are fitted already, and the training rows' target."""
        if task == "regression":
            return cls(tuple(columns), target.name, task, None, *_mean_and_scale(_numbers(target)))
        return cls(tuple(columns), target.name, task, tuple(classes or ()))

    @property
    def width(self) -> int:
        """Columns of ``features``."""
        return sum(column.width for column in self.columns)

    @property
    def outputs(self) -> int:
        """Outputs of a network for this target: 1, or one for each class of a multiclass task."""
        return len(self.classes) if self.task == "multiclass" and self.classes else 1

    @property
    def feature_names(self) -> list[str]:
        """The table columns that ``features`` needs."""
        return [column.name for column in self.columns]

    def features(self, frame: pl.DataFrame) -> FloatArray:
        """Encoded rows, float32 (n, width). Columns may come in any order and with others among them.

        Raise DataError that names every missing column, or for each unusable column its first such row.
        """
        self._require_columns(frame)
        out = np.zeros((frame.height, self.width), dtype=np.float32)
        start, problems = 0, []
        for column in self.columns:
            try:
                column.write(frame.get_column(column.name), out[:, start : start + column.width])
            except DataError as error:
                problems += error.problems
            start += column.width
        if problems:
            raise DataError(problems)
        return out

    def target(self, frame: pl.DataFrame) -> FloatArray | IntArray:
        """The target as in ``arrays.Part``. Raise DataError for a missing value or an unknown label."""
        values = frame.get_column(self.target_column)
        if self.task == "regression":
            standard = (_numbers(values) - self.target_mean) / self.target_scale
            if np.isnan(standard).any():
                raise _not_a_number(values, int(np.argmax(np.isnan(standard))), "missing")
            return standard.astype(np.float32)
        codes = encode_labels(values, self.classes or ())
        return codes.astype(np.float32) if self.task == "binary" else codes

    def decode(self, outputs: FloatArray) -> Predictions:
        """Labels and probabilities from raw outputs (n, outputs): logits, or standardised values for regression."""
        wide = outputs.astype(np.float64)
        if self.classes is None:
            return Predictions((wide[:, 0] * self.target_scale + self.target_mean).tolist(), None)
        # two classes are a softmax over the logits (0, z): the same as the sigmoid of z
        logits = np.column_stack([np.zeros(len(wide)), wide[:, 0]]) if self.task == "binary" else wide
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        labels = [self.classes[number] for number in logits.argmax(axis=1)]
        return Predictions(labels, powers / powers.sum(axis=1, keepdims=True))

    def as_json(self) -> dict[str, Any]:
        """The whole state, for ``json.dumps``; ``from_json`` gives back an equal encoder."""
        return {
            "columns": [column.as_json() for column in self.columns],
            "target_column": self.target_column,
            "task": self.task,
            "classes": None if self.classes is None else list(self.classes),
            "target_mean": self.target_mean,
            "target_scale": self.target_scale,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The encoder that ``as_json`` described. Raise CorruptFile if the state makes no sense."""
        try:
            classes = state["classes"]
            return cls(
                columns=tuple(_column_from(column) for column in state["columns"]),
                target_column=state["target_column"],
                task=state["task"],
                classes=None if classes is None else tuple(classes),
                target_mean=state["target_mean"],
                target_scale=state["target_scale"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"the encoder's state cannot be understood ({error!r}): was it edited?") from None

    def _require_columns(self, frame: pl.DataFrame) -> None:
        missing = [name for name in self.feature_names if name not in frame.columns]
        if missing:
            message = f"missing columns: {', '.join(map(repr, missing))}"
            raise DataError([Problem("columns", message, "the model needs every column it was trained on")])


def _column_from(state: Mapping[str, Any]) -> Number | Category:
    if state["kind"] == "number":
        return Number(state["name"], state["mean"], state["scale"])
    if state["kind"] == "category":
        return Category(state["name"], tuple(state["categories"]))
    raise ValueError(f"unknown kind {state['kind']!r}")


def fit_column(values: pl.Series) -> Number | Category:
    """Learn one column from its training rows."""
    match kind_of(values.dtype):
        case Kind.NUMBER:
            return Number.fit(values)
        case Kind.CATEGORY:
            return Category.fit(values)
        case Kind.UNSUPPORTED:
            raise _wrong_type(values, "numbers or text")


def _mean_and_scale(numbers: Float64) -> tuple[float, float]:
    """Mean, and standard deviation (ddof 0) after missing values became the mean; 0 and 1 where there is none.

    NumPy in float64 adds up in a fixed order, whatever the number of threads.
    """
    present = numbers[~np.isnan(numbers)]
    if len(present) == 0:
        return 0.0, 1.0
    if present.min() == present.max():  # rounding would make a constant's deviation tiny instead of 0
        return float(present[0]), 1.0
    mean = float(present.mean())
    scale = float(np.sqrt(np.square(present - mean).sum() / len(numbers)))
    return mean, scale or 1.0


def _numbers(values: pl.Series) -> Float64:
    """Float64 (n,), NaN where missing; numbers written as text are read. Raise DataError for anything else."""
    if kind_of(values.dtype) is Kind.UNSUPPORTED:
        raise _wrong_type(values, "numbers")
    values = plain(values)
    if values.dtype == pl.String:
        text = values.str.strip_chars()
        text = text.set(text.is_in(MISSING), None)
        numbers = text.cast(pl.Float64, strict=False)
        bad = numbers.is_null() & text.is_not_null()
        if bad.any():
            raise _not_a_number(values, bad.arg_max() or 0, "not a number")
        values = numbers
    return values.cast(pl.Float64).to_numpy()


def _not_a_number(values: pl.Series, row: int, what: str) -> DataError:
    message = f"row {row + 1} of column {values.name!r} is {what}: {values[row]!r}"
    return DataError([Problem(values.name, message, "give a number, or leave the value out if it is unknown")])


def _wrong_type(values: pl.Series, wanted: str) -> DataError:
    message = f"column {values.name!r} has the type {values.dtype}, which cannot be read as {wanted}"
    return DataError([Problem(values.name, message, way_out(values.dtype))])
