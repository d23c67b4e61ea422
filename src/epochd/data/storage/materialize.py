"""From encoded rows to examples: in memory where they fit, otherwise as pieces of a mapped file."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.data.encoding.encoder import Encoder
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.splitting.sliding_windows import Examples
from epochd.data.storage import row_cache
from epochd.data.tables.table import Table, counting_from, within

Targets = Mapping[str, FloatArray | IntArray]


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """Where examples may live: in memory up to ``limit`` bytes, beyond that in files in ``folder``, which together take
    ``cap`` bytes at most."""

    folder: Path
    limit: int
    cap: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows become the examples of each side: one each, or in windows of ``steps`` rows. Row i of the dataset stands
    at ``place[i]`` of the encoded rows (None: at i)."""

    sides: Mapping[str, Examples]
    steps: int | None = None
    place: IntArray | None = None

    def shape(self, encoder: Encoder) -> tuple[int, ...]:
        """The shape of one example."""
        return encoder.shape if self.steps is None else (self.steps, encoder.width)

    def bytes(self, encoder: Encoder) -> int:
        """What all examples take in memory."""
        return sum(len(side.first) for side in self.sides.values()) * prod(self.shape(encoder)) * 4


def materialize(
    table: Table, layout: Layout, encoder: Encoder, y: Targets, policy: StoragePolicy | None, fingerprint: str
) -> dict[str, InMemoryDataset | MemmapDataset]:
    """The examples of each side, whose encoded targets ``y`` has; ``fingerprint`` is that of the table's content."""
    if policy is None or layout.bytes(encoder) <= policy.limit:
        x = _single(table, layout, encoder) if layout.steps is None else _windows(table, layout, encoder)
        return {name: InMemoryDataset(x[name], y[name]) for name in layout.sides}
    stored = row_cache.table(
        policy.folder,
        policy.cap,
        fingerprint,
        encoder,
        table.rows,
        lambda: (frame for _, frame in table.batches(encoder.feature_names)),
        layout.place,
    )
    shape, steps = layout.shape(encoder), layout.steps or 1
    return {name: MemmapDataset(stored, side.first, steps, shape, y[name]) for name, side in layout.sides.items()}


def _single(table: Table, layout: Layout, encoder: Encoder) -> dict[str, FloatArray]:
    """Each row at its place on its side; the rows of a side are sorted."""
    x = {name: np.zeros((len(side.rows), *encoder.shape), np.float32) for name, side in layout.sides.items()}
    for first, frame in table.batches(encoder.feature_names):
        of_side = {name: within(side.rows, first, frame.height) for name, side in layout.sides.items()}
        with counting_from(first):
            encoder.transform(
                frame, [(layout.sides[name].rows[at] - first, x[name][at]) for name, at in of_side.items()]
            )
    return x


def _windows(table: Table, layout: Layout, encoder: Encoder) -> dict[str, FloatArray]:
    """All rows once in the order of windows, then a copy of them for each window that they are part of."""
    rows = np.empty((table.rows, encoder.width), np.float32)
    for first, frame in table.batches(encoder.feature_names):
        with counting_from(first):
            encoded = encoder.features(frame)
        at = slice(first, first + len(encoded))
        rows[at if layout.place is None else layout.place[at]] = encoded
    x = {name: np.empty((len(side.first), *layout.shape(encoder)), np.float32) for name, side in layout.sides.items()}
    for name, side in layout.sides.items():
        for step in range(layout.steps or 1):
            x[name][:, step] = rows[side.first + step]
    return x
