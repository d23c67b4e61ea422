"""Encoding of plain JSON values without a table, which would take most of the time of a request with one row.

Only values that need no conversion are encoded here: numbers for numbers, text for text, booleans for booleans, null
for all. For anything else the caller makes a table, and the encoder converts or names the value.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.data.columns.reading import Reading
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.scaling import Linear
from epochd.data.encoding.values import Float64
from epochd.serving.rows import Columns

NUMBERS, TEXT, BOOLEANS = ({*kinds, type(None)} for kinds in ((int, float), (str,), (bool,)))


@dataclass(frozen=True, slots=True)
class PlainEncoder:
    """An encoder of numbers, text and booleans. Numbers with a linear scale (``names``) are encoded together: float64
    ``centre`` and ``scale`` (columns,), their ``channels`` and those of their flags (-1: no flag), int64 (columns,)."""

    names: tuple[str, ...]
    centre: Float64
    scale: Float64
    channels: IntArray
    flags: IntArray
    others: tuple[tuple[int, Column, dict[str, int]], ...]
    readings: Mapping[str, Reading]
    width: int

    @classmethod
    def of(cls, encoder: Encoder) -> "PlainEncoder | None":
        """The encoder of the same columns; None if there are dates or lists among them."""
        channel, numbers = 0, []
        others: list[tuple[int, Column, dict[str, int]]] = []
        for column in encoder.columns:
            match column:
                case Number(scale=Linear()):
                    numbers.append((channel, column))
                case OneHot(categories=categories) | Codes(categories=categories):
                    others.append((channel, column, {name: code for code, name in enumerate(categories)}))
                case Number() | Boolean():
                    others.append((channel, column, {}))
                case _:
                    return None
            channel += column.width
        scales = [cast(Linear, column.scale) for _, column in numbers]
        return cls(
            tuple(column.name for _, column in numbers),
            np.array([scale.centre for scale in scales], np.float64),
            np.array([scale.scale for scale in scales], np.float64),
            np.array([channel for channel, _ in numbers], np.int64),
            np.array([channel + 1 if column.flag else -1 for channel, column in numbers], np.int64),
            tuple(others),
            encoder.readings,
            channel,
        )

    def features(self, columns: Columns) -> FloatArray | None:
        """``Encoder.features`` of these columns, float32 (rows, width); None if a value has to be converted, cannot be
        encoded, or a column is missing."""
        try:
            return self._features(columns)
        except OverflowError:  # an integer of more than 308 digits
            return None

    def _features(self, columns: Columns) -> FloatArray | None:
        given = [columns.get(name) for name in self.names]
        if not all(values is not None and set(map(type, values)) <= NUMBERS for values in given):
            return None
        rows = len(next(iter(columns.values()))) if columns else 0
        out = np.zeros((rows, self.width), np.float32)
        if given and not self._fill_numbers(cast(list[list[Any]], given), out):
            return None
        for channel, column, codes in self.others:
            values = columns.get(column.name)
            reading = self.readings.get(column.name)
            if values is not None and reading is not None and isinstance(column, OneHot | Codes):
                values = [reading.clean_text(value) if type(value) is str else value for value in values]
            if values is None or not _fill(column, codes, values, out[:, channel : channel + column.width]):
                return None
        return out

    def _fill_numbers(self, given: Sequence[Sequence[Any]], out: FloatArray) -> bool:
        numbers = np.array(given, np.float64)  # None becomes NaN
        missing = np.isnan(numbers).T
        scaled = numbers.T - self.centre
        scaled /= self.scale
        scaled[missing] = 0.0
        with np.errstate(over="ignore"):
            small = scaled.astype(np.float32)
        if not np.isfinite(small).all():
            return False
        out[:, self.channels] = small
        flagged = self.flags >= 0
        if flagged.any():
            out[:, self.flags[flagged]] = missing[:, flagged]
        return True


def _fill(column: Column, codes: dict[str, int], values: Sequence[Any], out: FloatArray) -> bool:
    """Encode one column into ``out`` (rows, width) of zeros; False if that is not possible."""
    types = set(map(type, values))
    if isinstance(column, OneHot | Codes):
        if not types <= TEXT:
            return False
        if isinstance(column, Codes):
            out[:, 0] = [codes.get(value, len(codes)) for value in values]
        else:
            missing = len(codes) if column.flag else column.width - 1
            found = [missing if value is None else codes.get(value, column.width - 1) for value in values]
            out[np.arange(len(values)), found] = 1.0
        return True
    if not types <= (BOOLEANS if isinstance(column, Boolean) else NUMBERS):
        return False
    numbers = np.array(values, np.float64)
    encoded = column.scale.apply(numbers) if isinstance(column, Number) else numbers * 2 - 1
    missing_values = np.isnan(numbers)
    encoded[missing_values] = 0.0
    with np.errstate(over="ignore"):
        out[:, 0] = encoded
    if out.shape[1] > 1:
        out[:, 1] = missing_values
    return bool(np.isfinite(out[:, 0]).all())
