"""Which processes of this machine are ours: found by a mark in their environment, told apart by when they began.

A worker carries the data directory in its environment and so does everything that it starts, and it leads a
process group of its own. So whatever outlives its parent can be found again, and a process number that the
system has given to somebody else is not mistaken for ours.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

MARK = "EPOCHD_WORKER_OF"
"""The variable that names the data directory a process works for."""
PR_SET_CHILD_SUBREAPER = 36
HAS_PROC = sys.platform == "linux"


def mark_of(data_dir: Path) -> str:
    """What ``MARK`` says for a data directory, however it is spelled."""
    return str(data_dir.resolve())


def identity(pid: int) -> dict[str, Any] | None:
    """``{"pid", "created"}`` of a living process; None if there is none."""
    try:
        return {"pid": pid, "created": _began(pid)}
    except (psutil.Error, OSError):
        return None


def lives(worker: dict[str, Any] | None) -> bool:
    """Whether the process of this identity still runs, and is a worker at all."""
    if worker is None:
        return False
    try:
        process = psutil.Process(worker["pid"])
        return _began(process.pid) == worker["created"] and MARK in process.environ() and _runs(process)
    except (psutil.Error, OSError):
        return False


def age(pid: int) -> float:
    """For how many seconds a process has been there. Raises psutil.Error or OSError if it is gone."""
    return (time.clock_gettime(time.CLOCK_BOOTTIME) if HAS_PROC else time.time()) - _began(pid)


def marked(data_dir: Path) -> list[psutil.Process]:
    """All living processes that work for this data directory."""
    mark, found = mark_of(data_dir), []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and _runs(process):
                found.append(process)
    return found


def leader_of(process: psutil.Process, leaders: Collection[int]) -> int | None:
    """Which of these workers a process belongs to, by its group or its forebears; None if to none of them."""
    with suppress(psutil.Error, OSError):
        if (group := os.getpgid(process.pid)) in leaders:
            return group
        return next((parent.pid for parent in process.parents() if parent.pid in leaders), None)
    return None


def end_group(worker: dict[str, Any], data_dir: Path) -> None:
    """Kill a worker and all that it started; of a dead one, what is left, and nobody who has its number now."""
    if lives(worker):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker["pid"], signal.SIGKILL)
    for process in marked(data_dir):
        with suppress(psutil.Error, OSError):
            if os.getpgid(process.pid) == worker["pid"]:
                process.kill()


def adopt_grandchildren() -> None:
    """Become the parent of what a dying child leaves behind (Linux), so that it does not escape to init."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def zombies() -> set[tuple[int, float]]:
    """Dead children of this process that nobody has waited for yet: their numbers, and when they began."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.Error, OSError):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.add((child.pid, _began(child.pid)))
    return found


def _runs(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE


def _began(pid: int) -> float:
    """When a process began, by a clock that nobody sets: seconds since the machine's start (elsewhere, epoch)."""
    if not HAS_PROC:
        return psutil.Process(pid).create_time()
    # Field 22 of proc(5); the second, the name, may hold anything and ends at the last parenthesis.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
