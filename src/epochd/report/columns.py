"""Encoded rows read back: the values of raw columns, what they look like in the training rows, and example rows.

Values are decoded from the encoded rows that the worker has, which needs no second look at the dataset. They are
float32, so numbers are rounded to five digits where they are shown as examples.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.image import EXAMPLE_PICTURE, Image
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.scaling import CONSTANT_SCALE, Linear, Scale
from epochd.data.encoding.sequence import Channel
from epochd.data.encoding.text import HashedText
from epochd.report.texts import number
from epochd.report.values import ColumnProfile

Float64 = npt.NDArray[np.float64]

MAX_FREQUENT = 5
RESOLUTION = 2.0**-20
"""Decoded numbers below this share of the scale are 0: encoded ones are float32."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Encoded:
    """Rows as the encoder has written them, float32 (rows, channels) or (rows, steps, channels); of windows, which have
    the steps although the encoder knows none, too."""

    encoder: Encoder
    x: FloatArray

    def columns(self) -> Iterator[tuple[Column, slice]]:
        """Each column with its channels."""
        first = 0
        for column in self.encoder.columns:
            yield column, slice(first, first + column.width)
            first += column.width

    def numbers(self, column: Column, channels: slice) -> Float64:
        """The values of a column of numbers, booleans (1 and 0), dates (days since 1970, or since midnight) or lists,
        float64 (values,): one per row, or per step that exists. NaN where missing or unknown."""
        x = self._steps(column)[..., channels]
        first = x[:, 0].astype(np.float64) if x.shape[1] else np.full(len(x), np.nan)
        match column:
            case Number(scale=scale) | Channel(scale=scale):
                found = unscaled(scale, first)
            case Boolean():
                found = np.where(first == 0, np.nan, (first + 1) / 2)
            case Date(elapsed=elapsed) if elapsed is not None:
                found = unscaled(elapsed, first)
            case _:
                found = np.full(len(x), np.nan)
        if getattr(column, "flag", False):
            found = np.where(x[:, -1] == 1, np.nan, found)
        return found

    def codes(self, column: OneHot | Codes, channels: slice) -> npt.NDArray[np.int64]:
        """The position of each value among the categories; those behind them are missing or unknown."""
        x = self._steps(column)[..., channels]
        found = x[:, 0] if isinstance(column, Codes) else x.argmax(axis=1)
        return found.astype(np.int64)

    def _steps(self, column: Column) -> FloatArray:
        """(values, channels): of a sequence, all steps of a list, the last row of a window, the first step of a value
        that is repeated on each."""
        if self.x.ndim == 2:
            return self.x
        if self.encoder.steps is None:
            return self.x[:, -1]
        if not isinstance(column, Channel):
            return self.x[:, 0]
        exists = self.x[..., -1] == 1 if self.encoder.masked else np.ones(self.x.shape[:2], np.bool_)
        found: FloatArray = self.x[exists]
        return found


def unscaled(scale: Scale, encoded: Float64) -> Float64:
    """The numbers that were encoded as these; the only number of a constant column."""
    if not isinstance(scale, Linear):
        return np.interp(encoded, scale.scores, scale.values)
    if scale.scale == CONSTANT_SCALE:
        return np.full(encoded.shape, scale.centre)
    found = encoded * scale.scale + scale.centre
    found[np.abs(found) < RESOLUTION * scale.scale] = 0.0
    return found


def profiles(rows: Encoded) -> list[ColumnProfile]:
    """Each column as these rows have it."""
    return [_profile(rows, column, channels) for column, channels in rows.columns()]


def _profile(rows: Encoded, column: Column, channels: slice) -> ColumnProfile:
    if isinstance(column, Image):
        return ColumnProfile(column.name, column.kind, 0.0)
    if isinstance(column, OneHot | Codes):
        codes = rows.codes(column, channels)
        counts = np.bincount(codes, minlength=len(column.categories) + 2)
        order = np.argsort(-counts[: len(column.categories)], kind="stable")[:MAX_FREQUENT]
        frequent = [(column.categories[code], float(counts[code] / len(codes))) for code in order if counts[code]]
        missing = float(counts[len(column.categories)] / len(codes)) if isinstance(column, OneHot) else None
        if isinstance(column, OneHot) and not column.flag:
            missing = 0.0
        return ColumnProfile(column.name, column.kind, missing, distinct=len(column.categories), frequent=frequent)
    numbers = rows.numbers(column, channels)
    known = numbers[np.isfinite(numbers)]
    missing = _missing_share(rows, column, channels)
    if isinstance(column, Boolean):
        shares = [("true", float((known == 1).mean())), ("false", float((known == 0).mean()))] if len(known) else []
        return ColumnProfile(column.name, column.kind, missing, distinct=len(np.unique(known)), frequent=shares)
    if not len(known):
        return ColumnProfile(column.name, column.kind, missing)
    low, high = (_shown(column, value) for value in (known.min(), known.max()))
    return ColumnProfile(column.name, column.kind, missing, low, high)


def _missing_share(rows: Encoded, column: Column, channels: slice) -> float:
    if not getattr(column, "flag", False):
        return 0.0
    return float((rows._steps(column)[:, channels.stop - 1] == 1).mean())


def _shown(column: Column, value: float) -> str:
    found = _plain(column, value)
    return found if isinstance(found, str) else number(found)


def _plain(column: Column, value: float) -> Any:
    """One decoded value as JSON: a number of five digits, true or false, the text of a date or time."""
    if isinstance(column, Boolean):
        return value == 1
    if not isinstance(column, Date):
        rounded = float(f"{value:.5g}")
        return int(rounded) if rounded.is_integer() and abs(rounded) < 1e15 else rounded
    moment = EPOCH + timedelta(minutes=round(value * 1_440))
    if column.clock:
        return moment.strftime("%H:%M:%S")
    return moment.strftime("%Y-%m-%dT%H:%M:%S" if moment.hour or moment.minute else "%Y-%m-%d")


EXAMPLE_DATE, EXAMPLE_TIME, EXAMPLE_TEXT = "2024-12-31", "13:45:00", "free text"


def example_rows(rows: Encoded) -> list[dict[str, Any]]:
    """Raw rows, as a prediction takes them, that are encoded (about) as these are; None where missing or unknown. A
    date whose elapsed time is not encoded is any date, and a hashed text is any text. Of windows, only the last row of
    each."""
    return [_example_row(Encoded(rows.encoder, rows.x[number : number + 1])) for number in range(len(rows.x))]


def _example_row(row: Encoded) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column, channels in row.columns():
        if isinstance(column, Image):
            found[column.name] = EXAMPLE_PICTURE
            continue
        if isinstance(column, OneHot | Codes):
            code = int(row.codes(column, channels)[0])
            found[column.name] = column.categories[code] if code < len(column.categories) else None
            continue
        values = row.numbers(column, channels)
        plain = [_plain(column, value) if math.isfinite(value) else None for value in values.tolist()]
        if isinstance(column, Date) and column.elapsed is None:
            plain = [EXAMPLE_TIME if column.clock else EXAMPLE_DATE]
        if isinstance(column, HashedText):
            plain = [EXAMPLE_TEXT]
        found[column.name] = plain if isinstance(column, Channel) else plain[0]
    return found
