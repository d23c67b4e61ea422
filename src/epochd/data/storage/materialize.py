"""Examples from encoded rows: in memory up to a limit, otherwise as ranges of a memory-mapped file."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import polars as pl

from epochd.core.arrays import FloatArray, IntArray
from epochd.data.encoding.encoder import Encoder
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.splitting.sliding_windows import Examples
from epochd.data.storage import row_cache
from epochd.data.tables.table import Table, add_row_offset, rows_in_batch

Targets = Mapping[str, FloatArray | IntArray]
Weights = Mapping[str, FloatArray]
"""The weights of the examples of each side, (examples,), with the mean 1; empty if all are 1."""


@dataclass(frozen=True, slots=True)
class StoragePolicy:
    """Where examples are stored: in memory up to ``limit`` bytes, above that in files in ``folder``, whose total size
    is at most ``cap`` bytes."""

    folder: Path
    limit: int
    cap: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The examples of each side: single rows, or windows of ``steps`` rows. Row i of the dataset is row ``position[i]``
    of the encoded rows (None: row i)."""

    sides: Mapping[str, Examples]
    steps: int | None = None
    position: IntArray | None = None

    def shape(self, encoder: Encoder) -> tuple[int, ...]:
        """The shape of one example."""
        return encoder.shape if self.steps is None else (self.steps, encoder.windowed.width)

    def bytes(self, encoder: Encoder) -> int:
        """Bytes of all examples in memory."""
        return sum(len(side.first) for side in self.sides.values()) * prod(self.shape(encoder)) * 4


def materialize(
    table: Table,
    layout: Layout,
    encoder: Encoder,
    y: Targets,
    policy: StoragePolicy | None,
    fingerprint: str,
    weights: Weights | None = None,
) -> dict[str, InMemoryDataset | MemmapDataset]:
    """The examples of each side, with encoded targets ``y`` and ``weights``. The text of the ``table`` has been read as
    the encoder reads it; ``fingerprint`` is that of its content."""
    weights = weights or {}
    if policy is None or layout.bytes(encoder) <= policy.limit:
        encode = _encode_rows if layout.steps is None else _encode_windows
        x = encode(table, layout, encoder.of_read_rows)
        return {name: InMemoryDataset(x[name], y[name], weights.get(name)) for name in layout.sides}

    def frames() -> Iterator[pl.DataFrame]:
        return (frame for _, frame in table.batches(encoder.feature_names))

    stored = row_cache.cached_rows(policy.folder, policy.cap, fingerprint, encoder, table.rows, frames, layout.position)
    shape, steps = layout.shape(encoder), layout.steps or 1
    return {
        name: MemmapDataset(stored, side.first, steps, shape, y[name], weights.get(name))
        for name, side in layout.sides.items()
    }


def _encode_rows(table: Table, layout: Layout, encoder: Encoder) -> dict[str, FloatArray]:
    """The encoded rows of each side; the row numbers of a side are sorted."""
    x = {name: np.zeros((len(side.rows), *encoder.shape), np.float32) for name, side in layout.sides.items()}
    for first, frame in table.batches(encoder.feature_names):
        of_side = {name: rows_in_batch(side.rows, first, frame.height) for name, side in layout.sides.items()}
        pieces = [(layout.sides[name].rows[at] - first, x[name][at]) for name, at in of_side.items()]
        with add_row_offset(first):
            encoder.transform(frame, pieces)
    return x


def _encode_windows(table: Table, layout: Layout, encoder: Encoder) -> dict[str, FloatArray]:
    """Encode all rows once, in the order of windows, then copy them into each window that contains them."""
    rows = np.empty((table.rows, encoder.width), np.float32)
    for first, frame in table.batches(encoder.feature_names):
        with add_row_offset(first):
            encoded = encoder.features(frame)
        at = slice(first, first + len(encoded))
        rows[at if layout.position is None else layout.position[at]] = encoded
    rows = encoder.with_ahead(rows)
    x = {name: np.empty((len(side.first), *layout.shape(encoder)), np.float32) for name, side in layout.sides.items()}
    for name, side in layout.sides.items():
        for step in range(layout.steps or 1):
            x[name][:, step] = rows[side.first + step]
    return x
