"""Classes of a target: their codes, and how messages list them."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem
from epochd.data.schema import Kind

Label = bool | int | float | str
"""A class as in the dataset, in a type that JSON has."""


MAX_NUMBER = 1e100
"""Larger magnitudes have no variance in float64."""


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
    distinct = values.unique().sort()
    found = distinct.to_list()
    numbers = [None if value is None else known.get(value, known.get(str(value))) for value in found]
    if None in numbers:
        strange = found[numbers.index(None)]
        row = (values.is_null() if strange is None else values == strange).arg_max()
        shown = "no label" if strange is None else f"the label {strange!r}"
        message = f"row {1 + (row or 0)} has {shown}; the classes are {listed(classes)}"
        raise DataError([Problem(raw.name, message, "correct the label, or train on data that have this class")])
    if values.dtype.is_integer():  # twice as fast as by hashes
        codes: IntArray = np.array(numbers, np.int64)[distinct.search_sorted(values).to_numpy()]
        return codes
    return values.replace_strict(found, numbers, return_dtype=pl.Int64).to_numpy().astype(np.int64)


def label_kind(classes: Sequence[Label] | None) -> Kind:
    """The kind of a target column with these classes (None: a regression)."""
    if classes and isinstance(classes[0], bool):
        return Kind.BOOLEAN
    return Kind.CATEGORY if classes and isinstance(classes[0], str) else Kind.NUMBER


def listed(labels: Sequence[Label], most: int = 10) -> str:
    """The first of these labels, or names, for a message."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(repr, labels[:most])) + more


MAX_CODES = 100_000
"""Categories that get a code of their own; rarer ones share the last code."""
