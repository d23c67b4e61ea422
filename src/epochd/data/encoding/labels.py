"""Classes of a target: their labels, and the class numbers of its values."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem
from epochd.data.encoding.values import plain
from epochd.data.schema import Kind

Label = bool | int | float | str
"""A class as in the dataset, as a JSON type."""
DTYPES: dict[type, pl.DataType] = {float: pl.Float64(), bool: pl.Boolean(), str: pl.String()}
INTEGERS: dict[pl.DataType, tuple[int, int]] = {pl.Int64(): (-(2**63), 2**63 - 1), pl.UInt64(): (0, 2**64 - 1)}
"""The types of columns of labels; of integers, with their bounds, the first one that holds them all."""


def encode_labels(raw: pl.Series, classes: Sequence[Label]) -> IntArray:
    """Class numbers, int64 (n,): positions in ``classes``. Raise DataError for a missing or unknown label."""
    values = plain(raw)
    known = {str(label): number for number, label in enumerate(classes)}
    known |= {label: number for number, label in enumerate(classes)}  # type: ignore[misc]
    distinct = values.unique().sort()
    found = distinct.to_list()
    numbers = [None if value is None else known.get(value, known.get(str(value))) for value in found]
    if None in numbers:
        unknown = found[numbers.index(None)]
        row = (values.is_null() if unknown is None else values == unknown).arg_max()
        shown = "no label" if unknown is None else f"the label {unknown!r}"
        message = f"row {1 + (row or 0)} has {shown}; the classes are {listed(classes)}"
        raise DataError([Problem(raw.name, message, "correct the label, or train on data that contain this class")])
    if values.dtype.is_integer():  # twice as fast as hashing
        codes: IntArray = np.array(numbers, np.int64)[distinct.search_sorted(values).to_numpy()]
        return codes
    return values.replace_strict(found, numbers, return_dtype=pl.Int64).to_numpy().astype(np.int64)


def label_kind(classes: Sequence[Label] | None) -> Kind:
    """The kind of a target column with these classes (None: a regression)."""
    if classes and isinstance(classes[0], bool):
        return Kind.BOOLEAN
    return Kind.CATEGORY if classes and isinstance(classes[0], str) else Kind.NUMBER


def label_column(name: str, labels: Sequence[Label | None], classes: Sequence[Label] | None) -> pl.Series:
    """Labels of these classes (None: values of a regression) as a column; integers that 64 bits cannot hold as text."""
    kind = float if classes is None else type(classes[0])
    if kind is not int:
        return pl.Series(name, labels, DTYPES[kind])
    numbers = [int(label) for label in classes or ()]
    for dtype, (lowest, highest) in INTEGERS.items():
        if lowest <= min(numbers) and max(numbers) <= highest:
            return pl.Series(name, labels, dtype)
    return pl.Series(name, [None if label is None else str(label) for label in labels], pl.String)


def listed(labels: Sequence[Label], most: int = 10) -> str:
    """The first of these labels, or names, for a message."""
    more = f" and {len(labels) - most} more" if len(labels) > most else ""
    return ", ".join(map(repr, labels[:most])) + more
