"""Prefetching: rows of memory-mapped files are read for the next chunks while the engine trains on the current ones.

A block holds the rows of several chunks in the order of the file, so that an epoch takes few passes over the file. Rows
that are augmented are different in each epoch, so they are passed in blocks from memory, too.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice
from math import prod

import numpy as np

from epochd.core.arrays import IntArray
from epochd.data.feed.batches import MAX_CHUNK_VALUES, Batches, Chunk
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset

BLOCK_VALUES = MAX_CHUNK_VALUES
"""Feature values per block (16 MiB). Two blocks are in memory, besides the copy of the engine."""


Dataset = InMemoryDataset | MemmapDataset
Block = tuple[InMemoryDataset, list[tuple[Chunk, IntArray]]]
"""The rows of several chunks; and each chunk, with the positions of its rows among these, in training order."""


def chunks(
    batches: Batches, train: Dataset, epoch: int, done: int = 0
) -> Iterator[tuple[Chunk, IntArray, InMemoryDataset | None]]:
    """The chunks of the epoch from step ``done`` on, each with its row numbers in the rows that the engine has loaded,
    and the block of rows to load before it (None: they are loaded)."""
    planned = batches.chunks(epoch, done)
    if isinstance(train, InMemoryDataset) and batches.augmentation is None:
        yield from ((chunk, chunk.rows, None) for chunk in planned)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        current = None
        for group in chain(_grouped(batches, train, planned), [None]):
            following = thread.submit(_read, batches, train, group, epoch) if group else None
            if current:
                rows, found = current.result()
                for number, (chunk, positions) in enumerate(found):
                    yield chunk, positions, rows if number == 0 else None
            current = following


def initial_rows(batches: Batches, train: Dataset) -> InMemoryDataset:
    """The rows to build an engine with: all in memory, or the first block, which is the largest."""
    if isinstance(train, InMemoryDataset) and batches.augmentation is None:
        return train
    return _read(batches, train, next(_grouped(batches, train, batches.chunks(0))), 0)[0]


def block(batches: Batches, train: Dataset, epoch: int, first: int, count: int) -> InMemoryDataset:
    """The rows of the ``count`` chunks of an epoch from step ``first`` on, as ``chunks`` gives them: every machine of a
    training reads its own."""
    return _read(batches, train, list(islice(batches.chunks(epoch, first), count)), epoch)[0]


def _grouped(batches: Batches, train: Dataset, planned: Iterator[Chunk]) -> Iterator[list[Chunk]]:
    """The chunks of each block."""
    size = max(1, BLOCK_VALUES // (batches.chunk_steps * batches.batch_size * prod(train.shape)))
    return iter(lambda: list(islice(planned, size)), [])


def _read(batches: Batches, train: Dataset, group: list[Chunk], epoch: int) -> Block:
    rows = np.concatenate([chunk.rows for chunk in group])
    order = np.arange(len(rows))
    if isinstance(train, MemmapDataset):
        order = np.argsort(train.first[rows])  # reading is fastest in the order of the file
    positions = np.empty_like(order)
    positions[order] = np.arange(len(order))
    ends = np.cumsum([len(chunk.rows) for chunk in group])
    found, parts = train.gather(rows[order]), list(zip(group, np.split(positions, ends[:-1]), strict=True))
    for chunk, part in parts:
        batches.augmented(found.x, part, epoch * batches.steps + chunk.first_step)
    return replace(found, block=(epoch, group[0].first_step, len(group))), parts
