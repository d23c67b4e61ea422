"""Encoding of table columns as inputs of a network, and decoding of its outputs as labels and values.

An encoder is fitted on training rows only (``fit``) and is part of the model. Its state is JSON, which keeps floats
exactly, so that a model predicts the same everywhere.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, Self

import numpy as np
import polars as pl

from epochd.core import metric_table
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import CorruptFile, DataError, Problem, similar_names
from epochd.core.specs import Task
from epochd.data.encoding import sequence, values
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.image import Image
from epochd.data.encoding.labels import Label, encode_labels, label_kind
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.sequence import Channel
from epochd.data.encoding.values import Float64
from epochd.data.schema import Kind

Column = Number | Boolean | OneHot | Codes | Date | Channel | Image
FITTED_KINDS: dict[type[Column], Kind] = {
    Number: Kind.NUMBER,
    Boolean: Kind.BOOLEAN,
    OneHot: Kind.CATEGORY,
    Codes: Kind.CATEGORY,
    Date: Kind.DATE,
    Channel: Kind.LIST,
    Image: Kind.IMAGE,
}
"""The kind of table column that each is fitted on."""
COLUMN_TYPES = {kind.kind: kind for kind in FITTED_KINDS}

FILL_VALUES = 1 << 19
"""Values of rows that are filled together (2 MiB). Rows of a wide table are far apart in memory: a few rows at a time
stay in the processor's cache until all columns are written."""


@dataclass(slots=True)
class EncodedColumns:
    """Encoded columns: ``numbers`` (float32, (rows,)), each with its channel, and ``ones``, the one-hot columns: each
    row has a 1 at the channel plus an offset (int64, (rows,))."""

    numbers: list[tuple[int, FloatArray]] = field(default_factory=list)
    ones: list[tuple[int, IntArray]] = field(default_factory=list)

    def fill(self, out: FloatArray, rows: IntArray | None = None) -> None:
        """Write these rows (None: all) into ``out`` (n, channels), which must be zeros."""
        size = max(1, FILL_VALUES // max(1, out.shape[1]))
        for first in range(0, len(out), size):
            here = slice(first, first + size)
            part, chosen = out[here], here if rows is None else rows[here]
            each = np.arange(len(part))
            for channel, numbers in self.numbers:
                part[:, channel] = numbers[chosen]
            for channel, offsets in self.ones:
                part[each, offsets[chosen] + channel] = 1.0


@dataclass(frozen=True, slots=True)
class Predictions:
    """Decoded outputs. ``labels`` are classes as in the dataset, or values in the unit of the target;
    ``probabilities`` is float64 (n, classes), in the order of the encoder's classes, None for regression."""

    labels: list[Label]
    probabilities: Float64 | None


@dataclass(frozen=True, slots=True)
class Encoder:
    """Fitted columns and target. ``classes`` is None for regression, whose target is standardised by
    ``target_mean`` and ``target_scale`` (0 and 1 otherwise). A column of pictures is the only one.

    With list columns each row is a sequence of ``steps``, and all other values are repeated on each step that exists.
    ``masked`` adds a last channel that is 1 for these steps and 0 for padding. It is set if training rows differed in
    length or were shorter than the longest list of the dataset; otherwise shorter rows are padded without a mask.
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
        """The shape of an encoded row: (width,), (steps, channels) with list columns, or (height, width, channels) of
        pictures."""
        if self.image is not None:
            return self.image.shape
        channels = sum(column.width for column in self.columns) + self.masked
        return (channels,) if self.steps is None else (self.steps, channels)

    @property
    def image(self) -> Image | None:
        """The column of pictures, if it is one."""
        return next((column for column in self.columns if isinstance(column, Image)), None)

    @property
    def width(self) -> int:
        """Numbers per encoded row."""
        return prod(self.shape)

    @property
    def embedded(self) -> tuple[tuple[int, int], ...]:
        """(channel, number of codes) of each column of codes, for an embedding."""
        return tuple((channel, column.codes) for column, channel in self._channels() if isinstance(column, Codes))

    @property
    def outputs(self) -> int:
        """Outputs of a network for this target: 1, or the number of classes of a multiclass task."""
        return len(self.classes) if self.task == "multiclass" and self.classes else 1

    @property
    def feature_names(self) -> list[str]:
        """The table columns that ``features`` needs."""
        return [column.name for column in self.columns]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of the table columns that it was fitted on: features and target."""
        of_features = {column.name: FITTED_KINDS[type(column)] for column in self.columns}
        return {self.target_column: label_kind(self.classes)} | of_features

    def features(self, frame: pl.DataFrame) -> FloatArray:
        """Encoded rows, float32 (n, *shape). Columns may be in any order, with others among them. Raise DataError that
        names every missing column, or for each unusable column its first such row."""
        found = self._encode(frame)
        if not isinstance(found, EncodedColumns):
            return found
        out = np.zeros((frame.height, *self.shape), dtype=np.float32)
        found.fill(out)
        return out

    def transform(self, frame: pl.DataFrame, sides: Sequence[tuple[IntArray | None, FloatArray]]) -> None:
        """Write ``features`` of some rows (None: all) for each side into its array (n, *shape), which must be zeros:
        for one-hot columns only the ones are written."""
        found = self._encode(frame)
        for rows, out in sides:
            if isinstance(found, EncodedColumns):
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

    def decode(self, outputs: FloatArray, threshold: float = 0.5) -> Predictions:
        """Labels and probabilities from raw outputs (n, outputs): logits, or standardised values for regression. The
        second of two classes is predicted above the probability ``threshold``, otherwise the most probable class."""
        wide = outputs.astype(np.float64)
        if self.classes is None:
            return Predictions((wide[:, 0] * self.target_scale + self.target_mean).tolist(), None)
        # the sigmoid of a logit z is the softmax of (0, z)
        logits = np.column_stack([np.zeros(len(wide)), wide[:, 0]]) if self.task == "binary" else wide
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        if self.task == "binary":
            numbers = (wide[:, 0] > metric_table.logit(threshold)).astype(np.int64)
        else:
            numbers = logits.argmax(axis=1)
        labels = [self.classes[number] for number in numbers]
        return Predictions(labels, powers / powers.sum(axis=1, keepdims=True))

    def as_json(self) -> dict[str, Any]:
        """The whole state, for ``json.dumps``; ``from_json`` returns an equal encoder."""
        state = {part.name: getattr(self, part.name) for part in fields(self)}
        classes = None if self.classes is None else list(self.classes)
        return state | {"columns": [column.as_json() for column in self.columns], "classes": classes}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        """The encoder that ``as_json`` described. Raise CorruptFile if the state is invalid."""
        try:
            classes, steps = state["classes"], state["steps"]
            columns = tuple(COLUMN_TYPES[column["kind"]].from_json(column) for column in state["columns"])
            if len(columns) > 1 and any(isinstance(column, Image) for column in columns):
                raise ValueError("pictures beside other columns")
            if (steps is None) == any(isinstance(column, Channel) for column in columns):
                raise ValueError(f"steps is {steps!r}")
            return cls(
                columns=columns,
                target_column=values.stored_text(state["target_column"]),
                task=state["task"],
                classes=None if classes is None else tuple(classes),
                target_mean=values.stored_number(state["target_mean"]),
                target_scale=values.stored_number(state["target_scale"]),
                steps=None if steps is None else int(steps),
                masked=values.stored_bool(state["masked"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"the state of the encoder is invalid ({error!r}): was it edited?") from None

    def require_columns(self, frame: pl.DataFrame) -> None:
        """Raise DataError that names every missing column."""
        columns = set(frame.columns)
        missing = [name for name in self.feature_names if name not in columns]
        if missing:
            found = [(name, similar_names(name, frame.columns, 1)) for name in missing[:20]]
            near = [f"{names[0]!r} for {name!r}" for name, names in found if names]
            present = f"; there is {', '.join(near)}" if near else ""
            hint = f"the model needs every column that it was trained on{present}"
            raise DataError([Problem("columns", f"missing columns: {', '.join(map(repr, missing))}", hint)])

    def _channels(self) -> Iterator[tuple[Column, int]]:
        """Each column with its first channel, a position on the last axis."""
        channel = 0
        for column in self.columns:
            yield column, channel
            channel += column.width

    def _encode(self, frame: pl.DataFrame) -> EncodedColumns | FloatArray:
        self.require_columns(frame)
        if self.image is not None:
            return self.image.transform(frame)
        return self._encode_scalars(frame) if self.steps is None else self._encode_sequences(frame, self.steps)

    def _encode_scalars(self, frame: pl.DataFrame) -> EncodedColumns:
        """All encoded columns but the list columns."""
        found, problems = EncodedColumns(), []
        for column, channel in self._channels():
            try:
                series = frame.get_column(column.name)
                if isinstance(column, OneHot):
                    found.ones.append((channel, column.positions(series)))
                elif not isinstance(column, Channel | Image):
                    numbers = np.empty((column.width, frame.height), np.float32)
                    column.transform(series, numbers.T)
                    found.numbers += enumerate(numbers, channel)
            except DataError as error:
                problems += error.problems
        if problems:
            raise DataError(problems)
        return found

    def _encode_sequences(self, frame: pl.DataFrame, steps: int) -> FloatArray:
        """Encoded rows, float32 (n, steps, channels)."""
        channels = [(column, channel) for column, channel in self._channels() if isinstance(column, Channel)]
        exists = sequence.step_mask([frame.get_column(column.name) for column, _ in channels], steps)
        scalars = np.zeros((frame.height, self.shape[-1]), dtype=np.float32)
        self._encode_scalars(frame).fill(scalars)
        if self.masked:
            scalars[:, -1] = 1.0
        out = scalars[:, None, :] * exists[:, :, None]
        for column, channel in channels:
            column.transform(frame.get_column(column.name), exists, out[:, :, channel])
        return out
