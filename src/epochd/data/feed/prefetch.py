"""Rows of mapped files for the next chunks, gathered while the engine trains on those of the present ones.

A window holds the rows of several chunks in the file's order, so that few passes over the file make an epoch; the
engine, which looks rows up by number anyway, brings them into training order.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod

import numpy as np

from epochd.core.arrays import IntArray
from epochd.data.feed.batches import MAX_CHUNK_VALUES, Batches, Chunk
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset

WINDOW_VALUES = MAX_CHUNK_VALUES
"""Features per window (16 MiB); two windows are in memory, and what the engine copies."""


@dataclass(frozen=True, slots=True)
class Window:
    """Rows for several chunks; ``places`` are where each chunk's rows stand, in their order."""

    part: InMemoryDataset
    chunks: list[Chunk]
    places: list[IntArray]


def windows(
    batches: Batches, train: InMemoryDataset | MemmapDataset, epoch: int, done: int = 0
) -> Iterator[tuple[Chunk, IntArray, InMemoryDataset | None]]:
    """The epoch's chunks from step ``done`` on: chunk, its rows' numbers for the engine, and the window that the engine
    is to load before it; None where it has the rows."""
    chunks = batches.chunks(epoch, done)
    if isinstance(train, InMemoryDataset):
        yield from ((chunk, chunk.rows, None) for chunk in chunks)
        return
    for window in _ahead(train, _grouped(batches, train, chunks)):
        part: InMemoryDataset | None = window.part
        for chunk, places in zip(window.chunks, window.places, strict=True):
            yield chunk, places, part
            part = None


def resident(batches: Batches, train: InMemoryDataset | MemmapDataset) -> InMemoryDataset:
    """What an engine is built with: all rows, or a first window, than which none is larger."""
    if isinstance(train, InMemoryDataset):
        return train
    return _gather(train, next(_grouped(batches, train, batches.chunks(0)))).part


def _grouped(batches: Batches, train: MemmapDataset, chunks: Iterator[Chunk]) -> Iterator[list[Chunk]]:
    """Chunks by window."""
    values = batches.chunk_steps * batches.batch_size * prod(train.shape)
    size = max(1, WINDOW_VALUES // values)
    group: list[Chunk] = []
    for chunk in chunks:
        group.append(chunk)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _ahead(train: MemmapDataset, groups: Iterator[list[Chunk]]) -> Iterator[Window]:
    with ThreadPoolExecutor(1, thread_name_prefix="gather") as thread:
        waiting = None
        for group in groups:
            coming = thread.submit(_gather, train, group)
            if waiting:
                yield waiting.result()
            waiting = coming
        if waiting:
            yield waiting.result()


def _gather(train: MemmapDataset, chunks: list[Chunk]) -> Window:
    rows = np.concatenate([chunk.rows for chunk in chunks])
    order = train.order(rows)
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    ends = np.cumsum([len(chunk.rows) for chunk in chunks])
    return Window(train.gather(rows[order]), chunks, np.split(places, ends[:-1]))
