"""Encoded columns become rows, some thousands at a time.

A row of a wide table lies far from the next one. Column after column, each number would wait for its row to come from
memory; a few rows stay in the processor's cache until all columns have been there.
"""

from dataclasses import dataclass, field

import numpy as np

from epochd.core.arrays import FloatArray, IntArray

AT_ONCE = 1 << 19
"""Values of rows that are filled together: 2 MiB."""


@dataclass(slots=True)
class Columns:
    """What fills rows: numbers (float32, (rows,)), each at its channel, and ones, of which each row has one, at a
    channel and so many (int64, (rows,)) further."""

    numbers: list[tuple[int, FloatArray]] = field(default_factory=list)
    ones: list[tuple[int, IntArray]] = field(default_factory=list)

    def add(self, channel: int, values: FloatArray) -> None:
        """Numbers (float32, (channels, rows)) of this channel and the next ones."""
        self.numbers += enumerate(values, channel)

    def fill(self, out: FloatArray, rows: IntArray | None = None) -> None:
        """Write the rows of these numbers (None: all) into ``out`` (n, channels), which comes as zeros."""
        size = max(1, AT_ONCE // max(1, out.shape[1]))
        for first in range(0, len(out), size):
            at = slice(first, first + size)
            self._fill(out[at], at if rows is None else rows[at])

    def _fill(self, out: FloatArray, rows: IntArray | slice) -> None:
        here = np.arange(len(out))
        for channel, values in self.numbers:
            out[:, channel] = values[rows]
        for channel, places in self.ones:
            out[here, places[rows] + channel] = 1.0
