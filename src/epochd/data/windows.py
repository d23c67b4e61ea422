"""The rows of each chunk, gathered from mapped files one chunk ahead of the training that needs them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from epochd.data import cache
from epochd.data.arrays import Part
from epochd.data.batches import Batches, Chunk


def windows(batches: Batches, train: Part, epoch: int, done: int = 0) -> Iterator[tuple[Chunk, Part | None]]:
    """The epoch's chunks from step ``done`` on, each with its rows in memory; None where all rows are resident."""
    chunks = batches.chunks(epoch, done)
    if not cache.is_mapped(train.x):
        yield from ((chunk, None) for chunk in chunks)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="gather") as ahead:
        waiting = None
        for chunk in chunks:
            coming = chunk, ahead.submit(gather, train, chunk)
            if waiting:
                yield waiting[0], waiting[1].result()
            waiting = coming
        if waiting:
            yield waiting[0], waiting[1].result()


def resident(batches: Batches, train: Part) -> Part:
    """What an engine is built with: all rows, or the first window of mapped ones."""
    return gather(train, next(batches.chunks(0))) if cache.is_mapped(train.x) else train


def gather(train: Part, chunk: Chunk) -> Part:
    """A chunk's rows in training order. The file is read in its own order, which the disk likes better."""
    order = np.argsort(chunk.rows)
    x = np.empty((len(chunk.rows), *train.x.shape[1:]), np.float32)
    x[order] = train.x[chunk.rows[order]]
    cache.forget_pages(train.x)
    return Part(x, train.y[chunk.rows])
