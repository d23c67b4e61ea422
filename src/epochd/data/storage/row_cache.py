"""Encoded rows in memory-mapped files of plain float32, for data above the memory limit.

The name of a file is a hash of its inputs, so trainings with the same data and encoding share it.

    <folder>/<key>/            rows.float32, and complete.json, which is written last
    <folder>/<key>-<random>/   the same while it is built; renamed when it is complete
    <folder>/<key>.lock        locked by the process that builds it, while others wait
    <folder>/room.lock         locked while space is freed for a new file

A process that has a file open holds a shared lock on it: a file without a lock is not in use. All of this can be
deleted at any time; existing mappings stay valid.
"""

import fcntl
import hashlib
import json
import mmap
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

import epochd
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError, OutOfSpace, Problem
from epochd.data.encoding.encoder import Encoder
from epochd.data.feed.dataset import release_pages
from epochd.data.tables.table import add_row_offset, rows_changed

ROWS, COMPLETE, ROOM_LOCK = "rows.float32", "complete.json", "room.lock"


def cached_rows(
    folder: Path,
    cap: int,
    fingerprint: str,
    encoder: Encoder,
    rows: int,
    batches: Callable[[], Iterator[pl.DataFrame]],
    position: IntArray | None = None,
) -> FloatArray:
    """All rows of a dataset, encoded: float32 (rows, width), mapped from ``folder``, where they are built if missing.

    ``batches`` yields the rows in order; row i is written to row ``position[i]`` (None: row i). The files of the folder
    take ``cap`` bytes in total at most: files that are not open are deleted, the least recently opened first. Raise
    DataError or OutOfSpace if there is not enough space, and the errors of ``batches`` and the encoder.
    """
    shape, home = (rows, encoder.windowed.width), folder / cache_key(fingerprint, encoder, position)
    if (found := _open(home, shape)) is not None:
        return found
    with exclusive_lock(home.with_name(f"{home.name}.lock")):
        if (found := _open(home, shape)) is None:
            found = _build(home, cap, shape, lambda out: _fill(out, encoder.of_read_rows, batches(), position))
        return found


def cache_key(fingerprint: str, encoder: Encoder, position: IntArray | None) -> str:
    """The name of encoded rows: a hash of their content, encoding and order."""
    found = hashlib.sha256(f"{epochd.__version__} {fingerprint} ".encode())
    found.update(json.dumps(encoder.as_json(), sort_keys=True).encode())
    if position is not None:
        found.update(np.ascontiguousarray(position).data)
    return found.hexdigest()[:32]


def _open(folder: Path, shape: tuple[int, int]) -> FloatArray | None:
    """The rows in a folder, whose time of last use is updated; None unless they are complete."""
    try:
        with (folder / ROWS).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            written = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
            if written != {"shape": list(shape)} or os.fstat(file.fileno()).st_size != _bytes(shape):
                return None
            os.utime(folder / COMPLETE)
            return _map(file, shape)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _map(file: BinaryIO, shape: tuple[int, int], access: int = mmap.ACCESS_READ) -> FloatArray:
    """A file as a mapped array, which keeps the lock of the file until it is deleted."""
    if 0 in shape:
        return np.empty(shape, np.float32)
    return np.ndarray(shape, np.float32, mmap.mmap(file.fileno(), _bytes(shape), access=access))


def _build(folder: Path, cap: int, shape: tuple[int, int], fill: Callable[[FloatArray], None]) -> FloatArray:
    """Fill a new file in a temporary folder, then rename the folder. The file is allocated on disk under the lock, so
    that filling it cannot fail."""
    needed, temporary = _bytes(shape), folder.parent / f"{folder.name}-{secrets.token_hex(4)}"
    try:
        with exclusive_lock(folder.parent / ROOM_LOCK):
            _make_room(folder.parent, cap, needed)
            temporary.mkdir(parents=True)
            file = (temporary / ROWS).open("x+b")
            fcntl.flock(file, fcntl.LOCK_SH)
            try:
                if needed:
                    os.posix_fallocate(file.fileno(), 0, needed)
            except OSError as error:
                file.close()
                raise _disk_full(needed, f"they cannot be allocated: {error.strerror}") from None
        with file:
            fill(_map(file, shape, mmap.ACCESS_WRITE))
            os.fsync(file.fileno())
            _publish(temporary, folder, shape)
            return _map(file, shape)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, folder: Path, shape: tuple[int, int]) -> None:
    """Mark a folder as complete and rename it, replacing the remains of an older one."""
    with suppress(OSError):  # the cache was deleted meanwhile: the mapped rows are still valid
        (temporary / COMPLETE).write_text(json.dumps({"shape": shape}), encoding="utf-8")
        with exclusive_lock(folder.parent / ROOM_LOCK):
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)


def _fill(out: FloatArray, encoder: Encoder, batches: Iterator[pl.DataFrame], position: IntArray | None) -> None:
    done = 0
    for frame in batches:
        end = done + frame.height
        if end > len(out):
            break
        with add_row_offset(done):
            if position is None:
                encoder.transform(frame, [(None, out[done:end].reshape(frame.height, *encoder.shape))])
            else:
                _write(out, encoder, position[done:end], encoder.features(frame))
        release_pages(out)
        done = end
    if done != len(out):
        raise rows_changed(len(out))


def _write(out: FloatArray, encoder: Encoder, position: IntArray, encoded: FloatArray) -> None:
    """Write rows to their positions, and what is known in advance to the positions so many rows before."""
    if not encoder.ahead:
        out[position] = encoded
        return
    out[position, : encoder.width] = encoded
    channels, known = encoder.known_channels, encoded[:, encoder.known_channels]
    for place, rows in enumerate(encoder.ahead):
        first, exists = encoder.width + place * len(channels), position >= rows
        out[position[exists] - rows, first : first + len(channels)] = known[exists]


def _make_room(folder: Path, cap: int, needed: int) -> None:
    """Delete files that are not in use: unfinished ones, and as needed the least recently opened.

    Raise OutOfSpace if there is not enough space now, DataError if the file exceeds the cap.
    """
    if needed > cap:
        raise DataError([exceeds_cap(needed, cap)])
    sizes = {entry: _stat(entry / ROWS)[0] for entry in folder.iterdir() if entry.is_dir()}
    finished = {entry: "-" not in entry.name for entry in sizes}

    def is_short() -> bool:
        return sum(sizes.values()) + needed > cap or needed > shutil.disk_usage(folder).free

    for entry in sorted(sizes, key=lambda entry: (finished[entry], _stat(entry / COMPLETE)[1])):
        if (not finished[entry] or is_short()) and _evict(entry):
            del sizes[entry]
    if sum(sizes.values()) + needed > cap:
        reason = f"trainings now use {_format_size(sum(sizes.values()))} of the {_format_size(cap)} of EPOCHD_CACHE_MB"
        raise OutOfSpace(f"{_space_needed(needed)}; {reason}. The training waits until others have finished", needed)
    if is_short():
        raise _disk_full(needed, f"the disk has {_format_size(shutil.disk_usage(folder).free)} left")


def _stat(file: Path) -> tuple[int, int]:
    """Bytes and modification time of a file; zeros if it has just been deleted."""
    try:
        found = file.stat()
    except FileNotFoundError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _evict(folder: Path) -> bool:
    """Delete a folder unless its rows are open in a process; return whether it is deleted."""
    try:
        with (folder / ROWS).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        shutil.rmtree(folder, ignore_errors=True)
    return True


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Wait for an exclusive lock on this file and hold it; the file is deleted at the end."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:  # the folder has just been deleted
            continue
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_same_file(file, path):
                continue
            try:
                yield
                return
            finally:
                if _is_same_file(file, path):
                    path.unlink()


def _is_same_file(file: BinaryIO, path: Path) -> bool:
    """Whether the path still names the open file, which may have been deleted while this process waited."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _bytes(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1] * 4


def _format_size(size: int) -> str:
    power, unit = next((p, u) for p, u in ((3, "GiB"), (2, "MiB"), (1, "KiB")) if size >= 1024**p or p == 1)
    return f"{size / 1024**power:.1f} {unit}"


def exceeds_cap(needed: int, cap: int) -> Problem:
    """The problem of encoded rows (``needed`` bytes) that exceed the maximum size of the cache."""
    message = f"{_space_needed(needed)}; it may take {_format_size(cap)} (EPOCHD_CACHE_MB)"
    return Problem("dataset", message, "raise EPOCHD_CACHE_MB or EPOCHD_RESIDENT_MB, or train on fewer rows or columns")


def _disk_full(needed: int, reason: str) -> OutOfSpace:
    advice = "Free space on the disk, or set EPOCHD_DATA_DIR to a folder on a larger one"
    return OutOfSpace(f"the disk is full: {_space_needed(needed)}; {reason}. {advice}", needed)


def _space_needed(size: int) -> str:
    return f"the dataset's encoded rows need {_format_size(size)} in the cache folder"
