"""From table columns to the numbers that a network sees, and back from its outputs to labels and units.

An encoder is fitted on training rows only (``fitting``) and is part of the model: its whole state is JSON, in which
floats survive exactly, so that a model predicts anywhere what it would have predicted here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Self

import numpy as np
import polars as pl

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import CorruptFile, DataError, Problem, similar_names
from epochd.core.specs import Task
from epochd.data.encoding import sequence, values
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.labels import Label, encode_labels, label_kind
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.sequence import Channel
from epochd.data.encoding.values import Float64
from epochd.data.schema import Kind

Dense = Number | Boolean | Codes | Date
"""A column that becomes numbers, most of them not 0."""
Column = Dense | OneHot | Channel
MEANT = {
    Number: Kind.NUMBER,
    Boolean: Kind.BOOLEAN,
    OneHot: Kind.CATEGORY,
    Codes: Kind.CATEGORY,
    Date: Kind.DATE,
    Channel: Kind.LIST,
}
"""The kinds of table columns that encoded ones are fitted on."""
KINDS: dict[str, type[Column]] = {kind.kind: kind for kind in (Number, Boolean, OneHot, Codes, Date, Channel)}


AT_ONCE = 1 << 19
"""Values of rows that are filled together (2 MiB). A row of a wide table lies far from the next one in memory: a few
rows stay in the processor's cache until all columns have been written."""


@dataclass(slots=True)
class Columns:
    """What fills rows: numbers (float32, (rows,)), each at its channel, and ones, of which each row has one, at a
    channel and so many (int64, (rows,)) further."""

    numbers: list[tuple[int, FloatArray]] = field(default_factory=list)
    ones: list[tuple[int, IntArray]] = field(default_factory=list)

    def add(self, channel: int, values: FloatArray) -> None:
        """Numbers (float32, (channels, rows)) of this channel and the next ones."""
        self.numbers += enumerate(values, channel)

    def fill(self, out: FloatArray, rows: IntArray | None = None) -> None:
        """Write the rows of these numbers (None: all) into ``out`` (n, channels), which comes as zeros."""
        size = max(1, AT_ONCE // max(1, out.shape[1]))
        for first in range(0, len(out), size):
            at = slice(first, first + size)
            self._fill(out[at], at if rows is None else rows[at])

    def _fill(self, out: FloatArray, rows: IntArray | slice) -> None:
        here = np.arange(len(out))
        for channel, numbers in self.numbers:
            out[:, channel] = numbers[rows]
        for channel, places in self.ones:
            out[here, places[rows] + channel] = 1.0


@dataclass(frozen=True, slots=True)
class Predictions:
    """Outputs in the user's terms. ``labels`` are classes as in the dataset, or values in the target's unit;
    ``probabilities`` is float64 (n, classes), in the order of the encoder's classes, None for regression."""

    labels: list[Label]
    probabilities: Float64 | None


@dataclass(frozen=True, slots=True)
class Encoder:
    """Fitted columns and target. ``classes`` is None for regression, whose target is standardised by
    ``target_mean`` and ``target_scale`` (0 and 1 otherwise).

    With list columns each row is a sequence of ``steps``, and all other values are repeated on each of its steps that
    exist; ``masked`` adds a last channel that is 1 for those and 0 for padding. It is there if training rows differed
    in length or were shorter than the dataset's longest; otherwise a shorter row is padded without it.
    """

    columns: tuple[Column, ...]
    target_column: str
    task: Task
    classes: tuple[Label, ...] | None = None
    target_mean: float = 0.0
    target_scale: float = 1.0
    steps: int | None = None
    masked: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an encoded row: (width,), or (steps, channels) with list columns."""
        channels = sum(column.width for column in self.columns) + self.masked
        return (channels,) if self.steps is None else (self.steps, channels)

    @property
    def width(self) -> int:
        """How many numbers an encoded row has."""
        return prod(self.shape)

    @property
    def embedded(self) -> tuple[tuple[int, int], ...]:
        """(channel, number of codes) of each column of codes, for which vectors are to be learned."""
        return tuple((place.start, column.codes) for column, place in self._placed() if isinstance(column, Codes))

    @property
    def outputs(self) -> int:
        """Outputs of a network for this target: 1, or one for each class of a multiclass task."""
        return len(self.classes) if self.task == "multiclass" and self.classes else 1

    @property
    def feature_names(self) -> list[str]:
        """The table columns that ``features`` needs."""
        return [column.name for column in self.columns]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of the table columns that it was fitted on: of the features, and of the target."""
        meant = {column.name: MEANT[type(column)] for column in self.columns}
        return {self.target_column: label_kind(self.classes)} | meant

    def features(self, frame: pl.DataFrame) -> FloatArray:
        """Encoded rows, float32 (n, *shape). Columns may come in any order and with others among them.

        Raise DataError that names every missing column, or for each unusable column its first such row.
        """
        self._require_columns(frame)
        if self.steps is not None:
            return self._sequences(frame, self.steps)
        out = np.zeros((frame.height, *self.shape), dtype=np.float32)
        self._scalars(frame).fill(out)
        return out

    def transform(self, frame: pl.DataFrame, sides: Sequence[tuple[IntArray | None, FloatArray]]) -> None:
        """``features`` of some rows (None: all) for each side, written into an array (n, *shape) that comes as zeros:
        where values are ones of many columns, few of its numbers are touched."""
        self._require_columns(frame)
        found = self._scalars(frame) if self.steps is None else self._sequences(frame, self.steps)
        for rows, out in sides:
            if isinstance(found, Columns):
                found.fill(out, rows)
            elif rows is None:
                out[:] = found
            else:
                np.take(found, rows, axis=0, out=out, mode="clip")  # unlike "raise": no buffer

    def target(self, frame: pl.DataFrame) -> FloatArray | IntArray:
        """The target as in ``arrays.InMemoryDataset``. Raise DataError for a missing value or an unknown label."""
        series = frame.get_column(self.target_column)
        if self.task == "regression":
            standard = (values.numbers(series) - self.target_mean) / self.target_scale
            if np.isnan(standard).any():
                raise values.bad_value(series, int(np.argmax(np.isnan(standard))), "missing")
            return standard.astype(np.float32)
        codes = encode_labels(series, self.classes or ())
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
            "steps": self.steps,
            "masked": self.masked,
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The encoder that ``as_json`` described. Raise CorruptFile if the state makes no sense."""
        try:
            classes, steps = state["classes"], state["steps"]
            columns = tuple(KINDS[column["kind"]].from_json(column) for column in state["columns"])
            if (steps is None) == any(isinstance(column, Channel) for column in columns):
                raise ValueError(f"steps is {steps!r}")
            return cls(
                columns=columns,
                target_column=values.text(state["target_column"]),
                task=state["task"],
                classes=None if classes is None else tuple(classes),
                target_mean=values.finite(state["target_mean"]),
                target_scale=values.finite(state["target_scale"]),
                steps=None if steps is None else int(steps),
                masked=values.truth(state["masked"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"the encoder's state cannot be understood ({error!r}): was it edited?") from None

    def _placed(self) -> Iterator[tuple[Column, slice]]:
        """Each column with its place on the last axis."""
        start = 0
        for column in self.columns:
            yield column, slice(start, start + column.width)
            start += column.width

    def _scalars(self, frame: pl.DataFrame) -> Columns:
        """All but the list columns, encoded."""
        found, problems = Columns(), []
        for column, place in self._placed():
            try:
                series = frame.get_column(column.name)
                if isinstance(column, OneHot):
                    found.ones.append((place.start, column.places(series)))
                elif not isinstance(column, Channel):
                    found.add(place.start, _numbers(column, series))
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)
        return found

    def _sequences(self, frame: pl.DataFrame, steps: int) -> FloatArray:
        """Encoded rows, float32 (n, steps, channels)."""
        channels = [(column, place.start) for column, place in self._placed() if isinstance(column, Channel)]
        exists = sequence.existing([frame.get_column(column.name) for column, _ in channels], steps)
        scalars = np.zeros((frame.height, self.shape[-1]), dtype=np.float32)
        self._scalars(frame).fill(scalars)
        if self.masked:
            scalars[:, -1] = 1.0
        out = scalars[:, None, :] * exists[:, :, None]
        for column, channel in channels:
            column.transform(frame.get_column(column.name), exists, out[:, :, channel])
        return out

    def _require_columns(self, frame: pl.DataFrame) -> None:
        missing = [name for name in self.feature_names if name not in frame.columns]
        if missing:
            message = f"missing columns: {', '.join(map(repr, missing))}"
            hint = "the model needs every column it was trained on" + _nearest(missing, frame.columns)
            raise DataError([Problem("columns", message, hint)])


def _numbers(column: Dense, series: pl.Series) -> FloatArray:
    """A column's numbers, float32 (width, n)."""
    found = np.empty((column.width, len(series)), np.float32)
    column.transform(series, found.T)
    return found


def _nearest(missing: Sequence[str], present: Sequence[str]) -> str:
    """For the first missing names that resemble one that is there: which one."""
    found = [(name, similar_names(name, present, 1)) for name in missing[:20]]
    found_near = [f"{near[0]!r} for {name!r}" for name, near in found if near]
    return f"; there is {', '.join(found_near)}" if found_near else ""
