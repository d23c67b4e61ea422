"""Raw rows as the tensors that a model's graph takes.

Values are read by the rules of the encoder, and refused with its errors: a graph cannot refuse a value. Nothing here
needs ``onnx``.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem
from epochd.data.columns.reading import Reading
from epochd.data.encoding import categorical, sequence, values
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.image import Image
from epochd.data.encoding.numeric import Boolean, Number, boolean_numbers
from epochd.data.encoding.scaling import Linear, Scale
from epochd.data.encoding.sequence import Channel, Flags
from epochd.data.encoding.values import Float64
from epochd.onnx_graph import inputs
from epochd.onnx_graph.inputs import MISSING_TIME, Input, Start

Tensor = npt.NDArray[Any]
Read = Callable[[pl.Series], Tensor]
"""Reads a column as an array (rows,); raises DataError."""
PLAIN_NUMBERS, PLAIN_BOOLEANS, PLAIN_TEXT = ({*kinds, type(None)} for kinds in ((int, float), (bool,), (str,)))
SAFE_SCALED, SAFE_NUMBER = 3e38, 8e307
"""Scaled values that float32 can hold, and numbers whose difference float64 can hold."""


@dataclass(slots=True)
class Feeds:
    """Converts rows for a graph that starts at ``start`` (``starts_at`` in ``model.json``), many times if need be.

    With sliding windows of ``sequence_length`` rows, ``windows`` (int64, (n, sequence_length + ``encoder.reach``)) are
    the positions of each window's rows in the frame, oldest first, and of the rows after it of which columns are known
    in advance.
    """

    encoder: Encoder
    sequence_length: int | None = None
    start: Start = "columns"
    _inputs: list[Input] = field(init=False, repr=False)
    _numbers: list[tuple[Number, str]] = field(init=False, repr=False)
    _limits: Float64 = field(init=False, repr=False)
    _others: list[tuple[Column, str, Read]] = field(init=False, repr=False)
    """Columns that are neither numbers nor lists, with the names of their inputs."""

    def __post_init__(self) -> None:
        self._inputs = inputs.column_inputs(self.encoder, self.sequence_length) if self.start == "columns" else []
        columns = list(zip(self.encoder.columns, self._inputs, strict=False))
        self._numbers = [(column, part.name) for column, part in columns if isinstance(column, Number)]
        self._limits = np.array([[_limit(column.scale)] for column, _ in self._numbers]).reshape(-1, 1)
        self._others = [
            (column, part.name, _reader(column, str(part.missing)))
            for column, part in columns
            if not isinstance(column, Number | Channel | Image)
        ]

    def __call__(self, frame: pl.DataFrame, windows: IntArray | None = None) -> dict[str, Tensor]:
        """The tensor of each input. Columns may be in any order, with others among them. Raise what
        ``Encoder.features`` raises, and ValueError if there are windows without a ``sequence_length``, or none with
        one."""
        if (windows is None) != (self.sequence_length is None):
            raise ValueError("a model with a sequence_length, and no other, needs the rows of each window")
        if windows is not None:
            return next(self.of_windows(frame, [windows]))
        if self.start == "features":
            return {inputs.FEATURES: self.encoder.features(frame)}
        self.encoder.require_columns(frame)
        if self.encoder.image is not None:
            return {self._inputs[0].name: self.encoder.image.pixels(frame).astype(np.float32)}
        frame = self.encoder.shortened(frame)
        exists = self._step_mask(frame) if self.encoder.steps is not None else None
        found = {name: column[:, None] for name, column in self._scalars(frame).items()}
        return found if exists is None else found | self._lists(frame, exists)

    def of_windows(self, frame: pl.DataFrame, parts: Iterable[IntArray]) -> Iterator[dict[str, Tensor]]:
        """The tensors for each part of the windows of a frame, whose rows are converted once. Raise DataError."""
        if self.start == "features":
            encoded = self.encoder.features(frame)
            yield from ({inputs.FEATURES: self.encoder.window_steps(encoded, windows)} for windows in parts)
            return
        self.encoder.require_columns(frame)
        found, steps = self._scalars(frame), self.sequence_length or 1
        of_column = {part.column: part.name for part in self._inputs if part.ahead is None}
        later = [(part.name, of_column[part.column], part.ahead) for part in self._inputs if part.ahead is not None]
        for windows in parts:
            now = {name: column[windows[:, :steps]] for name, column in found.items()}
            yield now | {name: found[column][windows[:, rows : rows + steps]] for name, column, rows in later}

    def plain(self, columns: Mapping[str, Sequence[Any]]) -> dict[str, Tensor] | None:
        """The tensors of rows whose values are of the plain JSON types of their columns: numbers, text, booleans, None.
        A table would take most of the time of a single row. None if a value has to be converted or refused, a column is
        missing, or the model has lists, dates, pictures or windows."""
        if self.sequence_length is not None or self.start != "columns" or self.encoder.steps is not None:
            return None
        if self.encoder.image is not None:
            return None
        given = [columns.get(number.name) for number, _ in self._numbers]
        if not all(values is not None and set(map(type, values)) <= PLAIN_NUMBERS for values in given):
            return None
        try:
            block = np.array(given, np.float64)  # None becomes NaN
        except OverflowError:  # an integer of more than 308 digits
            return None
        if given and (np.abs(block) > self._limits).any():
            return None
        found = {name: line[:, None] for (_, name), line in zip(self._numbers, block, strict=True)}
        for column, name, read in self._others:
            tensor_or_none = _plain_column(column, columns.get(column.name), read, self.encoder.readings)
            if tensor_or_none is None:
                return None
            found[name] = tensor_or_none[:, None]
        return found

    def _scalars(self, frame: pl.DataFrame) -> dict[str, Tensor]:
        """The values of all columns but lists, (rows,). Raise DataError with the first problem of each column."""
        problems: dict[str, list[Problem]] = {}
        found: dict[str, Tensor] = {}
        for column, name, read in self._others:
            try:
                found[name] = read(self.encoder.column(frame, column.name))
            except DataError as error:
                problems[column.name] = error.problems
        found |= self._read_numbers(frame, problems)
        if problems:
            raise DataError([problem for name in self.encoder.feature_names for problem in problems.get(name, [])])
        return found

    def _read_numbers(self, frame: pl.DataFrame, problems: dict[str, list[Problem]]) -> dict[str, Tensor]:
        """Columns of numbers, (rows,), all of which are compared with their limits at once; problems are added."""
        block = np.zeros((len(self._numbers), frame.height))
        for line, (column, _) in zip(block, self._numbers, strict=True):
            try:
                line[:] = values.numbers(self.encoder.column(frame, column.name))
            except DataError as error:
                problems[column.name] = error.problems
        over = np.abs(block) > self._limits
        for place in np.flatnonzero(over.any(axis=1)) if over.any() else ():
            column = self._numbers[place][0]
            series = self.encoder.column(frame, column.name)
            try:
                column.transform(series, np.empty((len(series), column.width), np.float32))
            except DataError as error:
                problems[column.name] = error.problems
        return {name: line for (_, name), line in zip(self._numbers, block, strict=True)}

    def _step_mask(self, frame: pl.DataFrame) -> Flags:
        names = [column.name for column in self.encoder.columns if isinstance(column, Channel)]
        return sequence.step_mask([frame.get_column(name) for name in names], self.encoder.steps or 1)

    def _lists(self, frame: pl.DataFrame, exists: Flags) -> dict[str, Tensor]:
        """The elements of lists, (rows, steps), and their lengths, (rows, 1), if there is such an input."""
        found: dict[str, Tensor] = {}
        for column, part in zip(self.encoder.columns, self._inputs, strict=False):
            if isinstance(column, Channel):
                series = frame.get_column(column.name)
                elements = sequence.elements(series)
                if (np.abs(elements) > _limit(column.scale)).any():
                    column.transform(series, exists, np.zeros(exists.shape, np.float32))
                found[part.name] = np.full(exists.shape, np.nan)
                found[part.name][exists] = elements
        if inputs.has_lengths(self.encoder):
            found[self._inputs[-1].name] = exists.sum(axis=1, keepdims=True)
        return found


def _reader(column: Column, missing: str) -> Read:
    match column:
        case Boolean():
            return boolean_numbers
        case OneHot() | Codes():
            return _text_reader(column, missing)
        case Date():
            return lambda series: _microseconds(column.local(series))
    raise TypeError(f"a graph has no input for columns of kind {column.kind!r}")


def _plain_column(
    column: Column, given: Sequence[Any] | None, read: Read, readings: Mapping[str, Reading]
) -> Tensor | None:
    """A column of booleans or text, (rows,); None if it is of another kind, or a value has to be converted."""
    types = set() if given is None else set(map(type, given))
    if isinstance(column, Boolean) and given is not None and types <= PLAIN_BOOLEANS:
        return np.array(given, np.float64)
    if isinstance(column, OneHot | Codes) and given is not None and types <= PLAIN_TEXT:
        reading = readings.get(column.name)
        if reading is not None:
            given = [None if value is None else reading.clean_text(value) for value in given]
        return read(pl.Series(given, dtype=pl.String))
    return None


def _text_reader(column: OneHot | Codes, missing: str) -> Read:
    """Text as objects. Where a value is the text that stands for a missing one, another unknown text replaces it."""
    unknown = inputs.missing_text({*column.categories, missing})

    def read(series: pl.Series) -> Tensor:
        texts = categorical.as_text(series)
        found = texts.to_numpy(writable=True)
        found[found == missing] = unknown
        if texts.null_count():
            found[texts.is_null().to_numpy()] = missing
        return found

    return read


def _microseconds(times: pl.Series) -> IntArray:
    """Int64 (n,), rounded down; dates at midnight. NumPy's NaT is MISSING_TIME."""
    if times.dtype != pl.Time:
        return times.to_numpy().astype("datetime64[us]").view(np.int64)
    found = times.to_physical().to_numpy()
    if found.dtype == np.int64:
        return found // 1_000
    return np.where(np.isnan(found), MISSING_TIME, found // 1_000).astype(np.int64)


def _limit(scale: Scale) -> float:
    """A magnitude up to which every number can certainly be encoded."""
    if isinstance(scale, Linear):
        return min(SAFE_SCALED * abs(scale.scale) - abs(scale.centre), SAFE_NUMBER)
    return sys.float_info.max
