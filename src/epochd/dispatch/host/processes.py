"""Worker processes on this machine: found by a variable in their environment, which all processes that they start
inherit, and identified by pid and start time, so that a reused pid is not mistaken for a worker.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

from epochd.core.job_values import WorkerIdentity

MARK = "EPOCHD_WORKER_OF"  # the environment variable with the data directory that a process works for
HAS_PROC = sys.platform == "linux"
END_SECONDS = 10.0
"""How long processes that were killed are waited for."""

logger = logging.getLogger(__name__)


def mark_of(data_dir: Path) -> str:
    """The value of ``MARK`` for a data directory: its resolved path."""
    return str(data_dir.resolve())


def identify(pid: int) -> WorkerIdentity | None:
    """The identity of a process; None if it does not exist."""
    try:
        return WorkerIdentity(pid, _start_time(pid))
    except (psutil.Error, OSError):
        return None


@cache
def this_machine() -> str:
    """What tells the pids of this machine from those of any other, or of one before its last start: its name, the id of
    its boot, and the namespace of pids (of a container)."""
    boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    started = boot.read_text().strip() if boot.exists() else f"{psutil.boot_time():.0f}"
    return f"{socket.gethostname()} {started} {namespace.stat().st_ino if namespace.exists() else 0}"


def is_elsewhere(worker: WorkerIdentity | None) -> bool:
    """Whether the process belongs to another machine, so that nothing is known of its pid."""
    return worker is not None and worker.machine not in (None, this_machine())


def is_alive(worker: WorkerIdentity | None) -> bool:
    """Whether the process still runs, on this machine, and is a worker."""
    if worker is None or is_elsewhere(worker):
        return False
    try:
        process = psutil.Process(worker.pid)
        return _start_time(process.pid) == worker.created and MARK in process.environ() and _is_running(process)
    except (psutil.Error, OSError):
        return False


def age(pid: int) -> float:
    """Seconds since a process started. Raises psutil.Error or OSError if it does not exist."""
    return (time.clock_gettime(time.CLOCK_BOOTTIME) if HAS_PROC else time.time()) - _start_time(pid)


def find_marked(data_dir: Path) -> list[psutil.Process]:
    """All running processes that work for this data directory."""
    mark, found = mark_of(data_dir), []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.environ().get(MARK) == mark and _is_running(process):
                found.append(process)
    return found


def leader_of(process: psutil.Process, leaders: Collection[int]) -> int | None:
    """The worker that a process belongs to, by its process group or its ancestors; None if it belongs to none."""
    with suppress(psutil.Error, OSError):
        if (group := os.getpgid(process.pid)) in leaders:
            return group
        return next((parent.pid for parent in process.parents() if parent.pid in leaders), None)
    return None


def kill_group(worker: WorkerIdentity, data_dir: Path) -> None:
    """Kill a worker and all processes that it started, even after its death, but not one that reuses its pid; return
    once they have ended, which takes a moment while the kernel frees their memory. Does nothing for a worker on another
    machine."""
    if is_elsewhere(worker):
        return
    killed = {process for process in find_marked(data_dir) if _is_of(process, worker)}
    if is_alive(worker):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
    killed.update(process for process in find_marked(data_dir) if _is_of(process, worker))
    for process in killed:
        with suppress(psutil.Error):
            process.kill()
    until = time.monotonic() + END_SECONDS
    while left := [process for process in killed if not _has_ended(process)]:
        if time.monotonic() > until:
            logger.warning("processes of worker %d were killed and have not ended: %s", worker.pid, left)
            return
        time.sleep(0.01)


def become_subreaper() -> None:
    """Become the parent of orphaned descendants (Linux), instead of init."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def zombies() -> set[tuple[int, float]]:
    """The pids and start times of dead children that have not been waited for."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.Error, OSError):
            if child.status() == psutil.STATUS_ZOMBIE:
                found.add((child.pid, _start_time(child.pid)))
    return found


def _is_of(process: psutil.Process, worker: WorkerIdentity) -> bool:
    """Whether a process is in the group of a worker."""
    with suppress(OSError):
        return os.getpgid(process.pid) == worker.pid
    return False


def _has_ended(process: psutil.Process) -> bool:
    """Whether a process is gone, or a zombie whose threads have all ended; its first thread may end before others."""
    try:
        return not process.is_running() or (not _is_running(process) and process.num_threads() <= 1)
    except psutil.Error:
        return True


def _is_running(process: psutil.Process) -> bool:
    return process.status() != psutil.STATUS_ZOMBIE


def _start_time(pid: int) -> float:
    """The start time of a process, by a clock that cannot be set: seconds since the boot (not on Linux: epoch)."""
    if not HAS_PROC:
        return psutil.Process(pid).create_time()
    # Field 22 of proc(5); field 2, the name, may contain any character and ends at the last parenthesis.
    fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
