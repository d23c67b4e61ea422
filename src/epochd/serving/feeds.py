"""Tensors of a model's graph: from a table, and without one from plain JSON values.

``model.json`` describes them in ``onnx``: ``starts_at`` is ``columns`` (a tensor per raw column) or ``features`` (the
encoded rows), and each of ``inputs`` has ``name``, ``column``, ``kind``, and what is ``missing``.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import IntArray
from epochd.data.encoding import values
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.numeric import Number
from epochd.data.encoding.scaling import Linear
from epochd.data.encoding.values import Float64
from epochd.data.schema import Kind
from epochd.serving.rows import Columns

Tensor = npt.NDArray[Any]
NONE = type(None)
PLAIN: dict[str, set[type]] = {"number": {int, float, NONE}, "boolean": {bool, NONE}, "text": {str, NONE}}
"""The JSON types of values that need no conversion, by the kind of an input."""
SAFE_SCALED, SAFE_NUMBER = 3e38, 8e307
"""Scaled values that float32 can hold, and numbers whose difference float64 can hold."""


@dataclass(frozen=True, slots=True)
class Feeds:
    """Tensors of a table. With sliding windows of ``sequence_length`` rows, ``windows`` (int64, (n, sequence_length))
    are the row numbers of each window."""

    encoder: Encoder
    sequence_length: int | None = None
    start: str = "columns"

    def __call__(self, frame: pl.DataFrame, windows: IntArray | None = None) -> dict[str, Tensor]:
        """The tensor of each input. Raises what ``Encoder.features`` raises."""
        features = self.encoder.features(frame)
        if self.start == "features":
            return {"features": features if windows is None else features[windows]}
        found = {name: self._column(frame.get_column(name)) for name in self.encoder.feature_names}
        return {name: part[:, None] if windows is None else part[windows] for name, part in found.items()}

    def _column(self, series: pl.Series) -> Tensor:
        if self.encoder.kinds[series.name] is Kind.CATEGORY:
            return series.cast(pl.String).fill_null("").to_numpy()
        return np.array(values.numbers(series), np.float64)


@dataclass(frozen=True, slots=True)
class PlainText:
    """An input of text: what is ``missing``, and what replaces a value that happens to be this text, which is no
    category."""

    name: str
    column: str
    missing: str
    unknown: str

    def tensor(self, given: Sequence[Any]) -> Tensor:
        named = {None: self.missing, self.missing: self.unknown}
        return np.array([named.get(value, value) for value in given], object)[:, None]


@dataclass(frozen=True, slots=True)
class PlainFeeds:
    """Tensors of plain JSON values for a graph whose inputs are numbers, booleans and text. ``numbers`` are name,
    column and JSON types of the first two, which are converted together; ``limits`` (inputs, 1) their largest
    magnitudes."""

    numbers: Sequence[tuple[str, str, set[type]]]
    limits: Float64
    texts: Sequence[PlainText]

    @classmethod
    def of(cls, encoder: Encoder, inputs: Sequence[Mapping[str, Any]]) -> "PlainFeeds | None":
        """The feeds of a graph with these inputs; None if there are others among them."""
        columns = {column.name: column for column in encoder.columns}
        if not inputs or not all(one["kind"] in PLAIN and one["column"] in columns for one in inputs):
            return None
        texts = [_plain_text(one, columns[one["column"]]) for one in inputs if one["kind"] == "text"]
        others = [one for one in inputs if one["kind"] != "text"]
        limits = np.array([[_limit(columns[one["column"]])] for one in others], np.float64).reshape(-1, 1)
        return cls([(one["name"], one["column"], PLAIN[one["kind"]]) for one in others], limits, texts)

    def __call__(self, columns: Columns) -> dict[str, Tensor] | None:
        """The tensor of each input, (rows, 1); None if a value has to be converted or named, or a column is missing."""
        kinds = [*self.numbers, *((one.name, one.column, PLAIN["text"]) for one in self.texts)]
        if not all(column in columns and set(map(type, columns[column])) <= types for _, column, types in kinds):
            return None
        found = {one.name: one.tensor(columns[one.column]) for one in self.texts}
        if not self.numbers:
            return found
        try:
            block = np.array([columns[column] for _, column, _ in self.numbers], np.float64)  # None becomes NaN
        except OverflowError:  # an integer of more than 308 digits
            return None
        if (np.abs(block) > self.limits).any():
            return None
        return found | {name: line for (name, _, _), line in zip(self.numbers, block[:, :, None], strict=True)}


def _plain_text(about: Mapping[str, Any], column: Column) -> PlainText:
    missing, unknown = str(about["missing"]), "?"
    categories = column.categories if isinstance(column, OneHot | Codes) else ()
    while unknown in {missing, *categories}:
        unknown += "?"
    return PlainText(about["name"], column.name, missing, unknown)


def _limit(column: Column) -> float:
    """A magnitude up to which every number of a column can certainly be encoded."""
    if isinstance(column, Number) and isinstance(column.scale, Linear):
        return min(SAFE_SCALED * abs(column.scale.scale) - abs(column.scale.centre), SAFE_NUMBER)
    return sys.float_info.max
