"""Encoded rows in files, for data that are larger than memory should hold.

A table is encoded in one pass into a file of plain float32, which is mapped, not read: training touches only the rows
of its next steps. A file is named by what went into it, so trainings that encode the same data alike share it.

    <folder>/<key>/            rows.float32, and complete.json, which comes last
    <folder>/<key>-<random>/   the same on its way: renamed when it is complete
    <folder>/<key>.lock        held by the process that builds it, while the others wait
    <folder>/room.lock         held while room is made for a new file

A process that has a file open holds a shared lock on it, which the system releases when the process dies: a
file without a lock is not in use. Everything here can be deleted at any time. What is mapped stays mapped.
"""

import fcntl
import hashlib
import json
import mmap
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl

import epochd
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError, OutOfSpace, Problem
from epochd.data.encoding.encoder import Encoder
from epochd.data.feed.dataset import forget_pages as forget_pages
from epochd.data.tables.table import counting_from

ROWS, COMPLETE, ROOM = "rows.float32", "complete.json", "room.lock"


def table(
    folder: Path,
    cap: int,
    fingerprint: str,
    encoder: Encoder,
    rows: int,
    batches: Callable[[], Iterator[pl.DataFrame]],
    place: IntArray | None = None,
) -> FloatArray:
    """All rows of a dataset, encoded: float32 (rows, width), mapped from ``folder``, where they are built if need be.

    ``batches`` yields the rows in their order; row i is written to ``place[i]`` (None: at i). All files of the
    folder together take ``cap`` bytes at most; the least recently opened of those that are not open are deleted first.
    Raise DataError or OutOfSpace if there is no room, and whatever ``batches`` and the encoder raise.
    """
    shape, name = (rows, encoder.width), key(fingerprint, encoder, place)
    found = _open(folder / name, shape)
    if found is None:
        with _alone(folder / f"{name}.lock"):
            found = _open(folder / name, shape)
            if found is None:
                found = _build(folder / name, cap, shape, lambda out: _fill(out, encoder, batches(), place))
    return found


def key(fingerprint: str, encoder: Encoder, place: IntArray | None) -> str:
    """A name for encoded rows, from their content, encoding and order."""
    found = hashlib.sha256(f"{epochd.__version__} {fingerprint} ".encode())
    found.update(json.dumps(encoder.as_json(), sort_keys=True).encode())
    if place is not None:
        found.update(np.ascontiguousarray(place).data)
    return found.hexdigest()[:32]


def _open(folder: Path, shape: tuple[int, int]) -> FloatArray | None:
    """The rows in a folder, marked as just used; None unless they are complete."""
    try:
        with (folder / ROWS).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            written = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
            size = os.fstat(file.fileno()).st_size
            if written != {"shape": list(shape)} or size != _bytes(shape):
                return None
            os.utime(folder / COMPLETE)
            return _mapped(file, shape)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _mapped(file: BinaryIO, shape: tuple[int, int], access: int = mmap.ACCESS_READ) -> FloatArray:
    """A file as an array. The mapping keeps the file's lock until the array is gone."""
    if 0 in shape:
        return np.empty(shape, np.float32)
    return np.ndarray(shape, np.float32, mmap.mmap(file.fileno(), _bytes(shape), access=access))


def _build(folder: Path, cap: int, shape: tuple[int, int], fill: Callable[[FloatArray], None]) -> FloatArray:
    """Fill a new file, then give it its name."""
    temporary = folder.parent / f"{folder.name}-{secrets.token_hex(4)}"
    try:
        with _allocate(temporary, cap, shape) as file:
            fill(_mapped(file, shape, mmap.ACCESS_WRITE))
            os.fsync(file.fileno())
            _publish(temporary, folder, shape)
            return _mapped(file, shape)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _publish(temporary: Path, folder: Path, shape: tuple[int, int]) -> None:
    """Rename a folder that is complete, in the place of what is left of an older one."""
    try:
        (temporary / COMPLETE).write_text(json.dumps({"shape": shape}), encoding="utf-8")
        with _alone(folder.parent / ROOM):
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
    except OSError:  # the cache was deleted meanwhile: the mapped rows are still valid
        pass


def _fill(out: FloatArray, encoder: Encoder, batches: Iterator[pl.DataFrame], place: IntArray | None) -> None:
    done = 0
    for frame in batches:
        end = done + frame.height
        if end > len(out):
            break
        with counting_from(done):
            if place is None:
                encoder.transform(frame, [(None, out[done:end].reshape(frame.height, *encoder.shape))])
            else:
                out[place[done:end]] = encoder.features(frame)
        forget_pages(out)
        done = end
    if done != len(out):
        message = f"the dataset had {len(out)} rows at first and another number a moment later"
        raise DataError([Problem("dataset", message, "do not write to a dataset while it is read; start again")])


def _allocate(folder: Path, cap: int, shape: tuple[int, int]) -> BinaryIO:
    """A new file in a new folder, open and locked, whose place on the disk is taken: filling it cannot fail."""
    needed = _bytes(shape)
    with _alone(folder.parent / ROOM), ExitStack() as undo:
        _make_room(folder.parent, cap, needed)
        folder.mkdir(parents=True)
        file = undo.enter_context((folder / ROWS).open("x+b"))
        fcntl.flock(file, fcntl.LOCK_SH)
        try:
            if needed:
                os.posix_fallocate(file.fileno(), 0, needed)
        except OSError as error:
            raise _disk_full(needed, f"the disk refused them: {error.strerror}") from None
        undo.pop_all()
        return file


def _make_room(folder: Path, cap: int, needed: int) -> None:
    """Delete files that are not in use: unfinished ones of dead processes, and as needed those opened longest ago.

    Raise OutOfSpace if that is not enough for now, DataError if it never will be.
    """
    if needed > cap:
        raise DataError([beyond(needed, cap)])
    sizes = {entry: _size(entry) for entry in folder.iterdir() if entry.is_dir()}

    def lacks() -> bool:
        return sum(sizes.values()) + needed > cap or needed > shutil.disk_usage(folder).free

    for entry in sorted(sizes, key=_last_used):
        if (_is_unfinished(entry) or lacks()) and _evict(entry):
            del sizes[entry]
    if sum(sizes.values()) + needed > cap:
        reason = f"trainings now use {_shown(sum(sizes.values()))} of the {_shown(cap)} of EPOCHD_CACHE_MB"
        raise OutOfSpace(f"{_need(needed)}; {reason}. The training waits until others are done", needed)
    if lacks():
        raise _disk_full(needed, f"the disk has {_shown(shutil.disk_usage(folder).free)} left")


def _size(folder: Path) -> int:
    """Bytes of a folder's rows; 0 if they have just been deleted."""
    try:
        return (folder / ROWS).stat().st_size
    except FileNotFoundError:
        return 0


def _is_unfinished(folder: Path) -> bool:
    return "-" in folder.name


def _last_used(folder: Path) -> tuple[bool, int]:
    """Unfinished folders first, then by the time of the last opening."""
    try:
        return not _is_unfinished(folder), (folder / COMPLETE).stat().st_mtime_ns
    except FileNotFoundError:
        return not _is_unfinished(folder), 0


def _evict(folder: Path) -> bool:
    """Delete a folder unless its rows are open somewhere. One that a dead process left half-made is open nowhere."""
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
def _alone(path: Path) -> Iterator[None]:
    """Hold an exclusive lock with this name, waiting for its holder; the file is deleted at the end."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = path.open("ab")
        except FileNotFoundError:  # the folder was deleted a moment ago
            continue
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, path):
                continue
            try:
                yield
                return
            finally:
                if _is_at(file, path):
                    path.unlink()


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Whether the path still leads to the open file; who waited for a lock may hold it on a file that is gone."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _bytes(shape: tuple[int, int]) -> int:
    return shape[0] * shape[1] * 4


def _shown(size: int) -> str:
    power, unit = next((p, u) for p, u in ((3, "GiB"), (2, "MiB"), (1, "KiB")) if size >= 1024**p or p == 1)
    return f"{size / 1024**power:.1f} {unit}"


def beyond(needed: int, cap: int) -> Problem:
    """What to say of encoded rows (bytes) that will never fit into the cache."""
    message = f"{_need(needed)}; it may take {_shown(cap)} (EPOCHD_CACHE_MB)"
    return Problem("dataset", message, "raise EPOCHD_CACHE_MB or EPOCHD_RESIDENT_MB, or train on fewer rows or columns")


def _disk_full(needed: int, reason: str) -> OutOfSpace:
    message = f"{_need(needed)}; {reason}. Free space on it, or point EPOCHD_DATA_DIR at a larger disk"
    return OutOfSpace(f"the disk is full: {message}", needed)


def _need(size: int) -> str:
    return f"the dataset's encoded rows need {_shown(size)} in the cache folder"
