"""The order of rows in an epoch, which depends on (seed, epoch), and its division into chunks of steps.

A resume in the middle of an epoch needs no random state, and sums in the same groups as an uninterrupted run.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.data.feed.augmentation import Augmentation

CHUNK_FLOPS = 1.5e9
"""Floating-point operations per chunk: about 0.1 s on one CPU core, so that pause and stop take effect quickly."""
MAX_CHUNK_STEPS = 512
MAX_CHUNK_VALUES = 4_000_000
"""Feature values per chunk (16 MiB), since streaming keeps a few chunks in memory."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive steps of one epoch; ``rows`` are int64 row numbers, ``batch_size`` per step, fewer in the last."""

    rows: IntArray
    first_step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Batches:
    """How ``rows`` training rows are divided into steps and chunks, and how they are augmented in each step.

    ``chosen`` (rows,) are the numbers of these rows if they are a part of the rows that an engine has; None: all.
    """

    rows: int
    batch_size: int
    seed: int
    chunk_steps: int
    augmentation: Augmentation | None = None
    chosen: IntArray | None = None

    @classmethod
    def plan(
        cls,
        rows: int,
        batch_size: int,
        seed: int,
        flops_per_row: float,
        width: int,
        augmentation: Augmentation | None = None,
    ) -> "Batches":
        """Choose the chunk length from operations and values (``width``) per row, never from measured time."""
        size = min(batch_size, rows)
        steps = min(CHUNK_FLOPS / (flops_per_row * size), MAX_CHUNK_VALUES / (width * size), MAX_CHUNK_STEPS)
        return cls(rows, batch_size, seed, max(1, int(steps)), augmentation)

    @property
    def steps(self) -> int:
        """Steps in one epoch."""
        return ceil(self.rows / self.batch_size)

    def augmented(self, x: FloatArray, positions: IntArray, first: int) -> None:
        """Augment the rows of a chunk, which are at these positions of ``x`` in training order; ``first`` is the number
        of its first step in the training."""
        if self.augmentation is not None:
            for step, start in enumerate(range(0, len(positions), self.batch_size), first):
                batch = positions[start : start + self.batch_size]
                x[batch] = self.augmentation.apply(x[batch], step)

    def chunks(self, epoch: int, done: int = 0) -> Iterator[Chunk]:
        """The chunks of an epoch (0-based) from step ``done`` on, which is the first step of a chunk."""
        order = epoch_order(self.rows, self.seed, epoch)
        if self.chosen is not None:
            order = self.chosen[order]
        for first in range(done, self.steps, self.chunk_steps):
            steps = min(self.chunk_steps, self.steps - first)
            yield Chunk(order[first * self.batch_size : (first + steps) * self.batch_size], first, steps)


def epoch_order(rows: int, seed: int, epoch: int) -> IntArray:
    """The permutation of an epoch: PCG64 keyed by (seed, epoch)."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(rows)
