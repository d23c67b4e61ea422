"""Functions that the readers of the tests call; each is one thing that can happen to a process."""

import ctypes
import os
import sqlite3
import sys
import time
from pathlib import Path

from epochd.core.errors import DataError, Problem, TooLarge
from epochd.core.specs import TrainingSpec


def echo(spec: TrainingSpec, path: Path, pairs: dict[str, tuple[int, float | None]]) -> TrainingSpec:
    assert isinstance(path, Path)
    assert isinstance(pairs, dict)
    return spec


def process() -> int:
    print("a library writes to standard output")
    os.write(1, b"so does a library in C")
    return os.getpid()


def problem() -> None:
    raise DataError([Problem("target_column", "there is none", "name one")])


def too_large() -> None:
    raise TooLarge("too many rows")


def crash() -> None:
    ctypes.string_at(0)


def allocate(size: int) -> int:
    return len(bytes(size))


def endless_query(started: Path) -> None:
    started.touch()
    sqlite3.connect(":memory:").execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    )


def interrupted(started: Path, noticed: Path) -> None:
    try:
        started.touch()
        time.sleep(60)
    except KeyboardInterrupt:
        noticed.touch()


def bug() -> None:
    raise RuntimeError("a mistake in the program")


kept: list[bytes] = []


def grow(megabytes: int) -> int:
    kept.append(b"x" * (megabytes << 20))
    return os.getpid()


def wait_for_calls(seconds: float) -> None:
    """A reader that has grown is replaced when it has had no call for so long."""
    vars(sys.modules["__main__"])["QUIET_SECONDS"] = seconds


def many(number: int) -> list[str]:
    return ["text"] * number


def leave() -> None:
    os._exit(0)
