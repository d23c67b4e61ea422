"""Summaries of a column in bounded memory: a uniform sample, and an estimate of the distinct values."""

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]

SKETCH_HASHES = 4_096
"""Hashes that estimate the number of distinct values: the relative error is about 1/√SKETCH_HASHES, 1.6 %."""
HASH_SEED = 20_240_101


class Sample:
    """The values with the smallest random keys: all values up to a maximum number, then a uniform sample of them."""

    def __init__(self) -> None:
        self.values: Floats = np.empty(0)
        self.is_whole = True
        self._keys: Floats = np.empty(0)

    def add(self, values: Floats, keys: Floats, most: int) -> None:
        """Add one batch: values and random keys, both (n,); keep at most ``most`` values."""
        if not self.is_whole:
            is_candidate = keys < self._keys.max()
            values, keys = values[is_candidate], keys[is_candidate]
        self.values = np.concatenate([self.values, values])
        self._keys = np.concatenate([self._keys, keys])
        if len(self.values) > most:
            kept = np.argpartition(self._keys, most)[:most]
            self.values, self._keys, self.is_whole = self.values[kept], self._keys[kept], False

    def quartiles(self) -> list[float] | None:
        return np.quantile(self.values, [0.25, 0.5, 0.75]).tolist() if len(self.values) else None


class DistinctSketch:
    """Estimates the number of distinct values from the smallest of their hashes (Bar-Yossef et al., 2002)."""

    def __init__(self) -> None:
        self._smallest = np.empty(0, np.uint64)

    def add(self, values: pl.Series) -> None:
        hashes = values.hash(HASH_SEED).to_numpy()
        if len(self._smallest) == SKETCH_HASHES:
            hashes = hashes[hashes < self._smallest[-1]]
        self._smallest = np.unique(np.concatenate([self._smallest, hashes]))[:SKETCH_HASHES]

    @property
    def distinct(self) -> int:
        if len(self._smallest) < SKETCH_HASHES:
            return len(self._smallest)
        return round((SKETCH_HASHES - 1) / (float(self._smallest[-1]) / 2**64))
