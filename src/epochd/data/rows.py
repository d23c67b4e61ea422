"""Encoded columns become rows, some thousands at a time.

A row of a wide table lies far from the next one. Column after column, each number would wait for its row to come from
memory; a few rows stay in the processor's cache until all columns have been there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from epochd.data.arrays import FloatArray, IntArray

AT_ONCE = 1 << 19
"""Values of rows that are filled together: 2 MiB."""


@dataclass(slots=True)
class Columns:
    """What fills rows: numbers (float32, (rows,)), each at its channel, and ones, of which each row has one, at a
    channel and so many (int64, (rows,)) further."""

    numbers: list[tuple[int, FloatArray]] = field(default_factory=list)
    ones: list[tuple[int, IntArray]] = field(default_factory=list)

    def add(self, channel: int, values: Sequence[FloatArray]) -> None:
        """Numbers of this channel and the next ones."""
        self.numbers += enumerate(values, channel)

    def fill(self, out: FloatArray) -> None:
        """Write all into ``out`` (rows, channels), which comes as zeros."""
        size = max(1, AT_ONCE // max(1, out.shape[1]))
        for first in range(0, len(out), size):
            piece, at = out[first : first + size], slice(first, first + size)
            for channel, values in self.numbers:
                piece[:, channel] = values[at]
            here = np.arange(len(piece))
            for channel, places in self.ones:
                piece[here, places[at] + channel] = 1.0
