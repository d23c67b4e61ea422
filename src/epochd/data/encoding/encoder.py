"""Encoding of table columns as inputs of a network, and decoding of its outputs as labels and values.

An encoder is fitted on training rows only (``fit``) and is part of the model. Its state is JSON, which keeps floats
exactly, so that a model predicts the same everywhere.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from math import prod
from typing import Any, Self, get_args

import numpy as np
import polars as pl

from epochd.core import metric_table
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import CorruptFile, DataError, Problem, similar_names
from epochd.core.spec_fields import TargetTransform
from epochd.core.specs import Task
from epochd.core.target_scale import TargetScale
from epochd.data.columns.reading import Reading
from epochd.data.encoding import sequence, values
from epochd.data.encoding.categorical import Codes, OneHot, as_text
from epochd.data.encoding.dates import Date
from epochd.data.encoding.image import Image
from epochd.data.encoding.labels import Label, encode_labels, label_kind
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.sequence import LONGER, Channel, Longer
from epochd.data.encoding.text import HashedText
from epochd.data.encoding.values import Float64
from epochd.data.schema import Kind

Column = Number | Boolean | OneHot | Codes | HashedText | Date | Channel | Image
FITTED_KINDS: dict[type[Column], Kind] = {
    Number: Kind.NUMBER,
    Boolean: Kind.BOOLEAN,
    OneHot: Kind.CATEGORY,
    Codes: Kind.CATEGORY,
    HashedText: Kind.CATEGORY,
    Date: Kind.DATE,
    Channel: Kind.LIST,
    Image: Kind.IMAGE,
}
"""The kind of table column that each is fitted on."""
COLUMN_TYPES = {kind.kind: kind for kind in FITTED_KINDS}

FILL_VALUES = 1 << 19
"""Values of rows that are filled together (2 MiB). Rows of a wide table are far apart in memory: a few rows at a time
stay in the processor's cache until all columns are written."""


PREDICTION = "prediction"
ROW = re.compile(r"\brow (\d+)\b")


@dataclass(slots=True)
class EncodedColumns:
    """Encoded columns: ``numbers`` (float32, (rows,)), each with its channel, and ``ones``, the one-hot columns: each
    row has a 1 at the channel plus an offset (int64, (rows,)). ``texts`` are columns that are too wide to be kept
    encoded: each with its first channel and its values."""

    numbers: list[tuple[int, FloatArray]] = field(default_factory=list)
    ones: list[tuple[int, IntArray]] = field(default_factory=list)
    texts: list[tuple[int, HashedText, pl.Series]] = field(default_factory=list)

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
            for channel, column, texts in self.texts:
                these = texts[here] if rows is None else texts.gather(rows[here])
                column.transform(these, part[:, channel : channel + column.width])


@dataclass(frozen=True, slots=True)
class Predictions:
    """Decoded outputs. ``labels`` are classes as in the dataset, or values in the unit of the target;
    ``probabilities`` is float64 (n, classes), in the order of the encoder's classes, None for regression. With several
    horizons ``values`` (float64, (n, horizons)) are all values, and ``labels`` those of the first horizon."""

    labels: list[Label]
    probabilities: Float64 | None
    values: Float64 | None = None


@dataclass(frozen=True, slots=True)
class EncodedPart:
    """Rows that are encoded together, ``frame`` by ``encoder``; ``rows`` are their numbers in the whole frame (None: it
    is the whole frame)."""

    frame: pl.DataFrame
    encoder: "Encoder"
    rows: IntArray | None = None

    @contextmanager
    def numbered(self) -> Iterator[None]:
        """Count the rows in each DataError raised inside as those of the whole frame."""
        try:
            yield
        except DataError as error:
            if (rows := self.rows) is None:
                raise
            problems = [
                replace(one, message=ROW.sub(lambda found: f"row {rows[int(found[1]) - 1] + 1}", one.message, count=1))
                for one in error.problems
            ]
            raise DataError(problems) from None


@dataclass(frozen=True, slots=True)
class Encoder:
    """Fitted columns and target. ``classes`` is None for regression, whose target is transformed (unless
    ``target_transform`` is None) and standardised by ``target_mean`` and ``target_scale`` (0 and 1 otherwise). A
    column of pictures is the only one.

    With list columns each row is a sequence of ``steps``, and all other values are repeated on each step that exists.
    ``masked`` adds a last channel that is 1 for these steps and 0 for padding. It is set if training rows differed in
    length or were shorter than the longest list of the dataset; otherwise shorter rows are padded without a mask.
    ``longer`` says what happens to lists of more than ``steps`` elements; where they are read, ``parts`` divides
    rows so that the numbers of a row do not depend on the lengths of others. ``horizons`` are those of the outputs
    where a regression predicts several; all are values of the one target.

    The columns in ``known`` are known in advance: each step of a window also has their values so many rows ``ahead``,
    in channels behind those of the row itself; at the last step that is the row of the target. ``windowed`` is the
    encoder of such steps.

    ``readings`` say how columns of text were read in training: features, target, and columns of time and group.
    """

    columns: tuple[Column, ...]
    target_column: str
    task: Task
    classes: tuple[Label, ...] | None = None
    target_mean: float = 0.0
    target_scale: float = 1.0
    steps: int | None = None
    masked: bool = False
    readings: Mapping[str, Reading] = field(default_factory=dict)
    target_transform: TargetTransform | None = None

    longer: Longer = "refused"
    horizons: tuple[int, ...] = ()
    known: tuple[str, ...] = ()
    ahead: tuple[int, ...] = ()

    @property
    def target_units(self) -> TargetScale:
        """What converts a regression target, and the predictions of it."""
        return TargetScale(self.target_mean, self.target_scale, self.target_transform)

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
        """(channel, number of codes) of each column of codes, for an embedding, also of values that are ahead."""
        if self.ahead:
            return self.windowed.embedded
        return tuple((channel, column.codes) for column, channel in self._channels() if isinstance(column, Codes))

    @property
    def outputs(self) -> int:
        """Outputs of a network for this target: 1, the number of classes of a multiclass task, or of horizons."""
        if self.horizons:
            return len(self.horizons)
        return len(self.classes) if self.task == "multiclass" and self.classes else 1

    @property
    def prediction_names(self) -> list[str]:
        """The columns of predictions: ``prediction``, or ``prediction_<horizon>`` for each of several horizons."""
        return [f"{PREDICTION}_{horizon}" for horizon in self.horizons] or [PREDICTION]

    @property
    def feature_names(self) -> list[str]:
        """The table columns that ``features`` needs."""
        return [column.name for column in self.columns]

    @property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of the table columns that it was fitted on: features and target."""
        of_features = {column.name: FITTED_KINDS[type(column)] for column in self.columns}
        return {self.target_column: label_kind(self.classes)} | of_features

    @property
    def expected(self) -> dict[str, Kind]:
        """The kinds of columns that a format should yield; those that ``readings`` read may be text, too."""
        return {name: reading.kind for name, reading in self.readings.items()} | self.kinds

    def read(self, frame: pl.DataFrame, names: Sequence[str] | None = None) -> pl.DataFrame:
        """The frame with the columns of text (of these ``names``; None: all) read as in training; others are as they
        were. Raise DataError for each column with a value that cannot be read."""
        found, problems = [], []
        for name in self.readings if names is None else [name for name in names if name in self.readings]:
            if name in frame.columns:
                try:
                    found.append(self.column(frame, name))
                except DataError as error:
                    problems += error.problems
        if problems:
            raise DataError(problems)
        return frame.with_columns(found) if found else frame

    @property
    def has_missing_numbers(self) -> bool:
        """Whether numbers or truth values may be what stands for a missing value, such as -999."""
        return any(reading.missing and reading.kind is not Kind.CATEGORY for reading in self.readings.values())

    @property
    def of_read_rows(self) -> "Encoder":
        """The encoder of rows whose text has been read as in training, and need not be read again."""
        return replace(self, readings={})

    @property
    def reach(self) -> int:
        """How many rows after its last one a window needs for columns that are known in advance."""
        return max(self.ahead, default=0)

    @property
    def windowed(self) -> "Encoder":
        """The encoder of a step of a window, with a column ``<name>+<rows>`` for each value that is ahead."""
        if not self.ahead:
            return self
        columns, readings = list(self.columns), dict(self.readings)
        for rows in self.ahead:
            taken = {column.name for column in columns}
            for column in self.columns:
                if column.name in self.known:
                    name = f"{column.name}+{rows}"
                    while name in taken:
                        name += "_"
                    columns.append(replace(column, name=name))
                    if column.name in readings:
                        readings[name] = readings[column.name]
        return replace(self, columns=tuple(columns), known=(), ahead=(), readings=readings)

    @property
    def known_channels(self) -> list[int]:
        """The channels of the columns that are known in advance, in the order of the columns."""
        named = [(column, first) for column, first in self._channels() if column.name in self.known]
        return [first + place for column, first in named for place in range(column.width)]

    def with_ahead(self, ordered: FloatArray) -> FloatArray:
        """Encoded rows in the order of windows, (rows, channels), with the channels that are ahead of each; 0 where no
        row follows. Those at the end of a group are of the next one, which no window reads."""
        if not self.ahead:
            return ordered
        found = np.zeros((len(ordered), self.windowed.width), np.float32)
        found[:, : self.width] = ordered
        known = ordered[:, self.known_channels]
        for place, rows in enumerate(self.ahead):
            first = self.width + place * known.shape[1]
            found[: max(len(found) - rows, 0), first : first + known.shape[1]] = known[rows:]
        return found

    def window_steps(self, encoded: FloatArray, index: IntArray) -> FloatArray:
        """The steps of windows, (windows, steps, channels), from encoded rows; ``index`` (windows, steps + ``reach``)
        are the rows of each window and those after it."""
        if not self.ahead:
            return encoded[index]
        steps, known = index.shape[1] - self.reach, encoded[:, self.known_channels]
        later = [known[index[:, rows : rows + steps]] for rows in self.ahead]
        return np.concatenate([encoded[index[:, :steps]], *later], axis=-1)

    @property
    def list_columns(self) -> list[str]:
        """The columns of lists."""
        return [column.name for column in self.columns if isinstance(column, Channel)]

    def parts(self, frame: pl.DataFrame) -> Iterator[EncodedPart]:
        """The rows of a frame to encode together: all of them, but for lists that are longer than ``steps`` and read:
        rows of each such length are apart, with an encoder of so many steps. Raise DataError for missing columns, for
        rows without a list, and for lists that are too long to read."""
        if self.longer != "read" or self.steps is None:
            yield EncodedPart(frame, self)
            return
        self.require_columns(frame)
        lists = [frame.get_column(name) for name in self.list_columns]
        found = sequence.common_lengths(lists)
        if (found > sequence.MAX_STEPS).any():
            raise sequence.too_long(lists, found)
        if not (found > self.steps).any():
            yield EncodedPart(frame, self)
            return
        sizes = np.maximum(found, self.steps)
        for size in np.unique(sizes).tolist():
            rows = np.flatnonzero(sizes == size)
            yield EncodedPart(frame[rows], replace(self, steps=size), rows)

    def check(self, frame: pl.DataFrame) -> None:
        """Raise the DataErrors that encoding these rows would raise."""
        for part in self.parts(frame):
            with part.numbered():
                part.encoder.features(part.frame)

    def cut_warning(self, frame: pl.DataFrame) -> str | None:
        """What to say of the lists of these rows that are cut; None if there are none."""
        if self.longer != "cut" or self.steps is None:
            return None
        found = sequence.common_lengths([frame.get_column(name) for name in self.list_columns])
        if not (count := int((found > self.steps).sum())):
            return None
        row = int(np.argmax(found > self.steps))
        return (
            f"{count:,} of {frame.height:,} rows have longer lists than any in training, the first in row {row + 1} "
            f"with {found[row]:,} elements: only the first {self.steps} of each list are read"
        )

    def shortened(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame, with lists cut to ``steps`` elements where that is what happens to longer ones."""
        if self.longer != "cut" or self.steps is None:
            return frame
        return sequence.shortened(frame, [name for name in self.list_columns if name in frame.columns], self.steps)

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
        """The target as in ``arrays.InMemoryDataset``. Raise DataError for a missing value, an unknown label, or a
        value that cannot be transformed."""
        series = self.column(frame, self.target_column)
        if self.task == "regression":
            numbers = values.numbers(series)
            standard = self.target_units.standardised(numbers)
            if np.isnan(standard).any():
                row = int(np.argmax(np.isnan(standard)))
                what = "missing" if np.isnan(numbers[row]) else "not above -1, so it has no logarithm"
                raise values.bad_value(series, row, what)
            return standard.astype(np.float32)
        codes = encode_labels(series, self.classes or ())
        return codes.astype(np.float32) if self.task == "binary" else codes

    def decode(self, outputs: FloatArray, threshold: float = 0.5) -> Predictions:
        """Labels and probabilities from raw outputs (n, outputs): logits, or standardised values for regression. The
        second of two classes is predicted above the probability ``threshold``, otherwise the most probable class."""
        wide = outputs.astype(np.float64)
        if self.classes is None:
            values = self.target_units.restored(wide)
            return Predictions(values[:, 0].tolist(), None, values if self.horizons else None)
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
        readings = {name: reading.as_json() for name, reading in self.readings.items()}
        columns = [column.as_json() for column in self.columns]
        lists = {name: list(getattr(self, name)) for name in ("horizons", "known", "ahead")}
        return state | {"columns": columns, "classes": classes, "readings": readings} | lists

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
                readings={name: Reading.from_json(one) for name, one in state.get("readings", {}).items()},
                target_transform=_stored_transform(state.get("target_transform")),
                longer=_longer(state.get("longer", "refused")),
                horizons=tuple(int(horizon) for horizon in state.get("horizons", ())),
                known=tuple(values.stored_text(name) for name in state.get("known", ())),
                ahead=tuple(int(rows) for rows in state.get("ahead", ())),
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

    def column(self, frame: pl.DataFrame, name: str) -> pl.Series:
        """A column, read as in training. Raise DataError for a value that cannot be read."""
        series, reading = frame.get_column(name), self.readings.get(name)
        return series if reading is None else reading.strictly(series)

    def _encode(self, frame: pl.DataFrame) -> EncodedColumns | FloatArray:
        self.require_columns(frame)
        if self.image is not None:
            return self.image.transform(frame)
        if self.steps is None:
            return self._encode_scalars(frame)
        return self._encode_sequences(self.shortened(frame), self.steps)

    def _encode_scalars(self, frame: pl.DataFrame) -> EncodedColumns:
        """All encoded columns but the list columns."""
        found, problems = EncodedColumns(), []
        for column, channel in self._channels():
            try:
                series = self.column(frame, column.name)
                if isinstance(column, OneHot):
                    found.ones.append((channel, column.positions(series)))
                elif isinstance(column, HashedText):
                    found.texts.append((channel, column, as_text(series)))
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


def _stored_transform(value: Any) -> TargetTransform | None:
    """The transform in a stored state; models of older versions have none."""
    if value is not None and value not in get_args(TargetTransform):
        raise ValueError(f"target_transform is {value!r}")
    return value  # type: ignore[no-any-return]


def _longer(state: Any) -> Longer:
    if state not in LONGER.values():
        raise ValueError(f"longer is {state!r}")
    return state  # type: ignore[no-any-return]
