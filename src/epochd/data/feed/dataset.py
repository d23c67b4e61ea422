"""The encoded examples that the loop and the engines train on."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from epochd.core.arrays import FloatArray, IntArray

GATHER_ROWS, GATHER_VALUES = 2_048, 1 << 24
"""Examples and values that are read from a file before its pages are released: an example may map 64 KiB, so at most
128 MiB are mapped."""


@dataclass(frozen=True, slots=True)
class InMemoryDataset:
    """The examples of one split, in memory.

    ``x`` is float32 (examples, *shape). ``y`` is float32 (examples,) with 0 and 1 for binary, int64 (examples,)
    class numbers for multiclass, float32 (examples,) standardised values for regression, (examples, horizons) where
    several are predicted. ``weights`` are float32 (examples,) with the mean 1 over the side of the split; None: all 1.
    ``block`` is set for those of ``prefetch.block``: what it was called with.
    """

    x: FloatArray
    y: FloatArray | IntArray
    weights: FloatArray | None = None
    block: tuple[int, int, int] | None = None

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return self.x.shape[1:]

    def gather(self, examples: IntArray) -> InMemoryDataset:
        """A copy of these examples, in this order."""
        return InMemoryDataset(self.x[examples], self.y[examples])

    def padded(self, rows: int) -> InMemoryDataset:
        """The same examples, followed by rows of zeros up to ``rows`` rows."""
        missing = rows - len(self)
        if missing <= 0:
            return self
        y: Any = np.pad(self.y, [(0, missing)] + [(0, 0)] * (self.y.ndim - 1))
        weights = None if self.weights is None else np.pad(self.weights, (0, missing))
        return InMemoryDataset(np.pad(self.x, [(0, missing)] + [(0, 0)] * (self.x.ndim - 1)), y, weights)

    def shaped(self, shape: tuple[int, ...]) -> InMemoryDataset:
        """The same examples, each in another shape with as many values."""
        return InMemoryDataset(self.x.reshape(len(self), *shape), self.y, self.weights)


@dataclass(frozen=True, slots=True)
class MemmapDataset:
    """The examples of one split in a memory-mapped file.

    ``table`` is float32 (rows, width) and mapped. Example i consists of ``steps`` rows from row ``first[i]`` (int64)
    on, reshaped to ``shape``. ``y`` and ``weights`` are in memory, as in ``InMemoryDataset``.
    """

    table: FloatArray
    first: IntArray
    steps: int
    shape: tuple[int, ...]
    y: FloatArray | IntArray
    weights: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.first)

    def shaped(self, shape: tuple[int, ...]) -> MemmapDataset:
        """The same examples, each in another shape with as many values."""
        return MemmapDataset(self.table, self.first, self.steps, shape, self.y, self.weights)

    def gather(self, examples: IntArray) -> InMemoryDataset:
        """Read these examples into memory, in this order, and release the mapped pages."""
        x = np.empty((len(examples), *self.shape), np.float32)
        rows = x.reshape(len(examples) * self.steps, -1)
        at_once = max(1, min(GATHER_ROWS, GATHER_VALUES // max(1, prod(self.shape))))
        for start in range(0, len(examples), at_once):
            first = self.first[examples[start : start + at_once]]
            where = first if self.steps == 1 else (first[:, None] + np.arange(self.steps)).ravel()
            self.table.take(where, 0, out=rows[start * self.steps :][: len(where)], mode="clip")
            release_pages(self.table)
        return InMemoryDataset(x, self.y[examples], None if self.weights is None else self.weights[examples])

    def slices(self, size: int) -> Iterator[InMemoryDataset]:
        """All examples in order, ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.gather(np.arange(start, min(start + size, len(self))))


def release_pages(x: FloatArray) -> None:
    """Release the pages of a mapped array; they stay in the page cache of the system."""
    base: Any = x
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)
