"""How much memory a training takes, all its processes together.

A worker refuses itself more than its share (``worker.limits``), but each of its ranks would get as much
again. So the server looks from outside, once a second, where a limit is set and the kernel does not hold
the worker to it (``cgroups``).
"""

import os
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import psutil


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
