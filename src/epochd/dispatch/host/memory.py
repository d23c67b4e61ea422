"""The memory limit of a training, and the memory that all its processes use.

A worker limits only its own process, not its ranks. So the server measures the process group once a second, where a
limit is set and no control group enforces it (``cgroups``).
"""

import os
from collections.abc import Collection
from contextlib import suppress
from functools import cache
from typing import Any

import psutil

from epochd.core.settings import Settings
from epochd.dispatch.host import cgroupfs


def limit_mb(settings: Settings) -> int:
    """The memory limit of one training in MiB: ``EPOCHD_MEMORY_MB``, else an equal share of the machine's memory."""
    return settings.memory_mb or total_bytes() // max(1, settings.slots) // 2**20


@cache
def total_bytes() -> int:
    """The memory available to the server and all trainings, in bytes: the machine's, or less in a container."""
    return min([psutil.virtual_memory().total, *cgroupfs.limits()])


def used_by_processes(pids: Collection[int]) -> dict[int, int]:
    """Process → bytes of memory that are not shared with files; 0 for a process that does not exist."""
    used = dict.fromkeys(pids, 0)
    for pid in pids:
        with suppress(psutil.Error, OSError):
            used[pid] = _unshared(pid)
    return used


def used_by_groups(leaders: Collection[int]) -> dict[int, int]:
    """Process group → bytes of memory that are not shared with files; 0 for a group that does not exist."""
    used = dict.fromkeys(leaders, 0)
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):
            if (group := os.getpgid(pid)) in used:
                used[group] += _unshared(pid)
    return used


def _unshared(pid: int) -> int:
    """Pages of files can be reclaimed, and all processes share the libraries of a framework."""
    info: Any = psutil.Process(pid).memory_info()
    return int(info.rss) - int(getattr(info, "shared", 0))
