"""What is kept of a column that is too large to keep: a sample of its values, a sketch of how many differ, a histogram.

All take a column in batches and have a fixed size.
"""

import math

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]

SKETCHED = 4_096
"""Hashes that estimate the number of distinct values: the error is about 1/√SKETCHED, 1.6 %."""
HASH_SEED = 20_240_101


class Sample:
    """The values with the smallest random keys: all of them while there are few, else an even sample."""

    def __init__(self) -> None:
        self.values: Floats = np.empty(0)
        self.is_whole = True
        self._keys: Floats = np.empty(0)

    def add(self, values: Floats, keys: Floats, most: int) -> None:
        if not self.is_whole:
            chosen = keys < self._keys.max()
            values, keys = values[chosen], keys[chosen]
        self.values = np.concatenate([self.values, values])
        self._keys = np.concatenate([self._keys, keys])
        if len(self.values) > most:
            kept = np.argpartition(self._keys, most)[:most]
            self.values, self._keys, self.is_whole = self.values[kept], self._keys[kept], False

    def quartiles(self) -> list[float] | None:
        return np.quantile(self.values, [0.25, 0.5, 0.75]).tolist() if len(self.values) else None


class Sketch:
    """The number of distinct values from the smallest of their hashes (Bar-Yossef et al., 2002)."""

    def __init__(self) -> None:
        self._smallest = np.empty(0, np.uint64)

    def add(self, values: pl.Series) -> None:
        hashes = values.hash(HASH_SEED).to_numpy()
        if len(self._smallest) == SKETCHED:
            hashes = hashes[hashes < self._smallest[-1]]
        self._smallest = np.unique(np.concatenate([self._smallest, hashes]))[:SKETCHED]

    @property
    def distinct(self) -> int:
        if len(self._smallest) < SKETCHED:
            return len(self._smallest)
        return round((SKETCHED - 1) / (float(self._smallest[-1]) / 2**64))


def edges(low: float, high: float, bins: int) -> Floats | None:
    """The borders of so many bins of one width: fewer where there are fewer floats between ``low`` and ``high``, and
    one bin without a width where they are equal. None if ``high - low`` is too large for a float."""
    if not math.isfinite(high - low):
        return None
    return _borders(np.linspace(low, high, bins + 1).clip(low, high))


def whole_edges(low: int, high: int) -> Floats:
    """The borders of a bin for each whole number, or for each float that stands for some where floats are sparser."""
    return _borders(np.array([float(number) for number in range(low, high + 1 + (low < high))]))


def _borders(found: Floats) -> Floats:
    borders = np.unique(found)
    return borders if len(borders) > 1 else borders.repeat(2)


def histogram(values: Floats, borders: Floats) -> npt.NDArray[np.int64]:
    """How many values lie in each bin, its left border included, and in the last one the right border too."""
    return np.histogram(values, borders)[0]
