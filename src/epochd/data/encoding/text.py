"""Columns of free text, such as comments and titles: hashed n-grams, whatever the language.

A hash needs no vocabulary: the width is bounded, and a word that no training row had is encoded like any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from epochd.core.arrays import FloatArray
from epochd.core.feature_options import MAX_TEXT_WIDTH
from epochd.data.encoding import categorical, hashing, values
from epochd.data.encoding.values import Fitted


@dataclass(frozen=True, slots=True)
class HashedText(Fitted):
    """The signed counts of n-grams (``hashing.signed_counts``) in so many ``columns``, divided by their Euclidean norm,
    so that long texts weigh as much as short ones; zeros for a text without words. ``flag`` adds a column that is 1
    where the text is missing."""

    kind: ClassVar[str] = "text"
    name: str
    columns: int
    flag: bool

    @property
    def width(self) -> int:
        return self.columns + self.flag

    def transform(self, series: pl.Series, out: FloatArray) -> None:
        """Fill ``out`` (n, width). Raise DataError for a type that cannot be read as text."""
        texts = categorical.as_text(series)
        for first, counts in hashing.signed_counts(texts, self.columns):
            norms = np.sqrt(np.einsum("ij,ij->i", counts, counts))
            part = out[first : first + len(counts), : self.columns]
            np.divide(counts, np.where(norms == 0, 1.0, norms)[:, None], out=part, casting="same_kind")
        if self.flag:
            out[:, -1] = texts.is_null().to_numpy()

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        columns = int(values.stored_number(state["columns"]))
        if not 1 <= columns <= MAX_TEXT_WIDTH:
            raise ValueError(f"{columns} columns of hashed text")
        return cls(values.stored_text(state["name"]), columns, values.stored_bool(state["flag"]))


@dataclass(slots=True)
class TextFit:
    """Fits a column of free text: whether it has missing values."""

    name: str
    columns: int
    missing: bool = field(default=False, init=False)

    def partial_fit(self, series: pl.Series) -> None:
        self.missing |= series.null_count() > 0

    def finalize(self) -> HashedText:
        return HashedText(self.name, self.columns, self.missing)
