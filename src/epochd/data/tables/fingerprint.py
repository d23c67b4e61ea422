"""What identifies a dataset's content: jobs record it, resumes and caches compare it.

Hashing reads every byte, so a result is remembered for as long as the file's size, inode and time of modification stay
the same. A file that was modified a moment ago may change again without a change of these, so its hash is not
remembered. Where the hash of a large file would take too long, samples of it replace the content.
"""

import hashlib
import os
import time
from pathlib import Path

from epochd.data.formats import parquet

SETTLED_SECONDS = 2.0
"""How long a file must lie untouched for its fingerprint to be remembered: the coarsest file times are so coarse."""
REMEMBERED = 10_000
HASHED_BYTES = 64 << 20
"""Datasets up to this size are hashed while a client waits: a twentieth of a second."""
SAMPLES, SAMPLE_BYTES = 16, 1 << 16
SAMPLED = "sampled:"
"""What the fingerprint of a large dataset begins with when it is not the hash of the whole content."""

_known: dict[tuple[str, int, int, int], str] = {}


def of(path: Path) -> str:
    """SHA-256 in hexadecimal: of a file's bytes, or of a folder's lines of relative path and file's SHA-256.

    Raise OSError if it cannot be read; Unreadable for a folder without Parquet files.
    """
    if not path.is_dir():
        return _of_file(path)
    digest = hashlib.sha256()
    for file in parquet.parts(path):
        digest.update(f"{file.relative_to(path).as_posix()} {_of_file(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        before = _look(path, os.fstat(file.fileno()))
        if before in _known:
            return _known[before]
        found = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    if _look(path, after) == before and time.time() - after.st_mtime > SETTLED_SECONDS:
        _remember(before, found)
    return found


def _look(path: Path, stat: os.stat_result) -> tuple[str, int, int, int]:
    return str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino


def _remember(look: tuple[str, int, int, int], found: str) -> None:
    _known[look] = found
    while len(_known) > REMEMBERED:
        _known.pop(next(iter(_known)), None)


def quick(path: Path) -> str:
    """``of`` for datasets up to HASHED_BYTES; for larger ones SAMPLED and the SHA-256 of the sizes, the times of
    modification and SAMPLES evenly spaced pieces of each file. Raise as ``of``."""
    if size(path) <= HASHED_BYTES:
        return of(path)
    digest = hashlib.sha256()
    for file in parquet.parts(path) if path.is_dir() else [path]:
        stat = file.stat()
        digest.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        with file.open("rb") as content:
            for number in range(SAMPLES):
                content.seek(max(0, stat.st_size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                digest.update(content.read(SAMPLE_BYTES))
    return SAMPLED + digest.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
