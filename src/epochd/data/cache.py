"""Encoded rows in a file, for data that are larger than memory should hold.

The table is read once, in order and in batches; each row goes to its place on its side of the split. The
files are plain float32 and are mapped, not read: training touches only the rows of its next chunk. A cache
is named by what went into it, so trainings share it, and it can be deleted at any time while none runs.
"""

import hashlib
import json
import mmap
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.data.arrays import FloatArray, IntArray, Part
from epochd.data.encode import Encoder

BATCH_ROWS = 65_536


def key(fingerprint: str, encoder: Encoder, rows: IntArray) -> str:
    """A name for the rows of one side of a split, from content, encoding and row numbers."""
    found = hashlib.sha256(fingerprint.encode())
    found.update(json.dumps(encoder.as_json(), sort_keys=True).encode())
    found.update(np.ascontiguousarray(rows).data)
    return found.hexdigest()[:32]


def part(folder: Path, table: pl.LazyFrame, encoder: Encoder, rows: IntArray, y: FloatArray | IntArray) -> Part:
    """These rows of the table, encoded into ``folder`` unless they are there already; x is memory-mapped.

    ``rows`` is sorted; ``y`` is their encoded target, which stays in memory.
    """
    shape = (len(rows), encoder.width)
    if not folder.exists():
        _publish(folder, lambda path: _write(path / "x.float32", shape, table, encoder, rows))
    return Part(np.memmap(folder / "x.float32", np.float32, "r", shape=shape), y)


def forget_pages(x: FloatArray) -> None:
    """Let go of the pages that reading a mapped array has brought in; they stay in the system's file cache."""
    base = x
    while base is not None and not isinstance(base, mmap.mmap):
        base = base.base  # type: ignore[assignment]
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def is_mapped(x: FloatArray) -> bool:
    return isinstance(x, np.memmap)


def _publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Fill a temporary folder and rename it; if another training was faster, its folder stays."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".tmp-{folder.name}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        write(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not folder.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(path: Path, shape: tuple[int, int], table: pl.LazyFrame, encoder: Encoder, rows: IntArray) -> None:
    try:
        out = np.memmap(path, np.float32, "w+", shape=shape)
    except OSError as error:
        raise _no_room(shape, error) from None
    done = 0
    for first, frame in batches(table.select(encoder.feature_names)):
        chosen = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + frame.height)] - first
        if len(chosen):
            out[done : done + len(chosen)] = encoder.features(frame[chosen])
            done += len(chosen)
            forget_pages(out)
    out.flush()


def batches(table: pl.LazyFrame) -> Iterator[tuple[int, pl.DataFrame]]:
    """The table's rows in order: the first row's number, and a frame of at most ``BATCH_ROWS``."""
    first = 0
    for frame in table.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True, engine="streaming"):
        for piece in frame.iter_slices(BATCH_ROWS):
            yield first, piece
            first += piece.height


def _no_room(shape: tuple[int, int], error: OSError) -> DataError:
    needed = shape[0] * shape[1] * 4 / 2**30
    message = f"the encoded rows need {needed:.1f} GiB in the cache folder, which cannot be had: {error.strerror}"
    return DataError([Problem("dataset", message, "free space, or point EPOCHD_DATA_DIR at a larger disk")])
