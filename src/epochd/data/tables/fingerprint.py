"""The identity of a dataset's content: jobs record it, resumes and caches compare it.

A hash is cached as long as the size, inode and modification time of the file stay the same. A file that was modified a
moment ago may change again without a change of these, so its hash is not cached.
"""

import hashlib
import os
import time
from pathlib import Path

from epochd.data import formats

SETTLED_SECONDS = 2.0
"""Seconds since the modification of a file before its hash is cached: the coarsest resolution of file times."""
MAX_CACHED = 10_000
"""Hashes in the cache; the oldest are removed first."""
HASHED_BYTES = 64 << 20
"""Bytes of a dataset up to which ``quick`` hashes all of it: about 0.05 s."""
SAMPLES, SAMPLE_BYTES = 16, 1 << 16
SAMPLED = "sampled:"
"""Prefix of a fingerprint that is not a hash of the whole content."""

_cache: dict[tuple[str, int, int, int], str] = {}
"""Hashes by path, size, modification time and inode."""


def of(path: Path) -> str:
    """SHA-256 in hexadecimal: of a file's bytes, or of a folder's lines of relative path and file's SHA-256.

    Raise OSError if it cannot be read; FormatError for a folder that is no dataset.
    """
    if not path.is_dir():
        return _of_file(path)
    digest = hashlib.sha256()
    for file in formats.files_in(path):
        digest.update(f"{file.relative_to(path).as_posix()} {_of_file(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        before = os.fstat(file.fileno())
        key = str(path), before.st_size, before.st_mtime_ns, before.st_ino
        if key in _cache:
            return _cache[key]
        found = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(file.fileno())
    is_same = key[1:] == (after.st_size, after.st_mtime_ns, after.st_ino)
    if is_same and time.time() - after.st_mtime > SETTLED_SECONDS:
        _cache[key] = found
        while len(_cache) > MAX_CACHED:
            _cache.pop(next(iter(_cache)), None)
    return found


def quick(path: Path) -> str:
    """``of`` for datasets up to HASHED_BYTES; for larger ones SAMPLED and the SHA-256 of size, modification time and
    SAMPLES evenly spaced pieces of each file, of which a picture has none. Raise the same errors as ``of``."""
    if size(path) <= HASHED_BYTES:
        return of(path)
    digest, are_pictures = hashlib.sha256(), formats.is_picture_folder(path)
    for file in formats.files_in(path) if path.is_dir() else [path]:
        stat = file.stat()
        name = file.relative_to(path).as_posix() if are_pictures else file.name
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode(errors="surrogateescape"))
        if are_pictures:
            continue
        with file.open("rb") as content:
            for number in range(SAMPLES):
                content.seek(max(0, stat.st_size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                digest.update(content.read(SAMPLE_BYTES))
    return SAMPLED + digest.hexdigest()


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
