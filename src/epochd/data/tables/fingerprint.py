"""What a dataset's content is, in 64 characters: jobs record it, resumes and caches compare it.

Hashing reads every byte, so a result is remembered for as long as the file looks untouched. A file that was
modified a moment ago is not trusted to look different after the next change.
"""

import hashlib
import os
import time
from pathlib import Path

from epochd.data.formats import parquet

SETTLED_SECONDS = 2.0
"""How long a file must lie untouched for its fingerprint to be remembered: the coarsest file times are so coarse."""
REMEMBERED = 10_000

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
