"""How much memory a training may take, and how much it does, all its processes together.

A worker refuses itself more than its share (``worker.limits``), but each of its ranks would get as much
again. So the server looks from outside, once a second, where a limit is set and the kernel does not hold
the worker to it (``cgroups``).
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
    """How many MiB one training may take: the operator's word, else an equal share of the machine's memory."""
    return settings.memory_mb or machine() // settings.slots // 2**20


@cache
def machine() -> int:
    """Bytes of memory that the server and all its trainings may take: the machine's, or less in a container."""
    return min([psutil.virtual_memory().total, *cgroupfs.limits()])


def of_groups(leaders: Collection[int]) -> dict[int, int]:
    """The bytes in memory that belong to each process group alone; 0 for a group that is gone.

    Pages that are shared with files are left out: the system takes them back when it needs them, and what a
    framework's libraries take is there once however many processes use it.
    """
    used = dict.fromkeys(leaders, 0)
    for pid in psutil.pids():
        with suppress(psutil.Error, OSError):
            if (group := os.getpgid(pid)) in used:
                used[group] += _own_bytes(psutil.Process(pid).memory_info())
    return used


def of_group(leader: int) -> int:
    """The same for one process group."""
    return of_groups([leader])[leader]


def _own_bytes(info: Any) -> int:
    return int(info.rss) - int(getattr(info, "shared", 0))
