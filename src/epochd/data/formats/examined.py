"""What was found in a file, kept as long as the file stays the same, since a file is opened several times for one task.

A file that was modified a moment ago may change again without a change of its times, so what is found then is not kept.
"""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")

SETTLED_SECONDS = 2.0
"""Seconds since the modification of a file before what is found is kept: the coarsest resolution of file times."""
MAX_KEPT = 200

_kept: dict[tuple[Any, ...], Any] = {}
"""By path, size, modification time and inode of the file, and what was asked for; the oldest are removed first."""


def once(path: Path, asked: tuple[Any, ...], examine: Callable[[], T]) -> T:
    """The result of ``examine`` on this file, from before if there is one. Raise OSError if it does not exist."""
    stat = os.stat(path)
    key = str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino, asked
    if key not in _kept:
        found = examine()
        if time.time() - stat.st_mtime < SETTLED_SECONDS:
            return found
        _kept[key] = found
        while len(_kept) > MAX_KEPT:
            _kept.pop(next(iter(_kept)), None)
    return cast(T, _kept[key])
