"""Cleanup of orphans: processes that outlived their worker are killed, and zombies are reaped.

The end of a worker kills its process group, but a process may have left it, or the server may have died before. As a
subreaper, or the first process of a container, the server becomes the parent of such processes.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

import psutil

from epochd.dispatch.host import cgroups, processes

logger = logging.getLogger(__name__)

FIRST_SWEEP_SECONDS, SWEEP_SECONDS = 5.0, 30.0  # the first waits until idle workers of a previous server exit
MIN_AGE_SECONDS = 5.0  # a younger process may be a worker that the executor is starting at the moment


def find(data_dir: Path, leaders: Collection[int]) -> list[psutil.Process]:
    """Processes that work for this data directory and belong to none of the known workers (``leaders``)."""
    found = []
    for process in processes.find_marked(data_dir):
        with suppress(psutil.Error, OSError):
            is_other = process.pid != os.getpid() and processes.age(process.pid) > MIN_AGE_SECONDS
            if is_other and processes.leader_of(process, leaders) is None:
                found.append(process)
    return found


def kill(process: psutil.Process) -> bool:
    """Kill an orphan; False if it does not exist any more."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
        logger.warning("killed process %d, whose worker does not exist any more", process.pid)
        return True
    return False


class Sweeper:
    """``leaders`` returns the pids of all known workers, ``own`` those that this process has started and waits for."""

    def __init__(self, data_dir: Path, leaders: Callable[[], set[int]], own: Callable[[], list[int]]) -> None:
        self._data_dir = data_dir
        self._leaders = leaders
        self._own = own
        self._zombies: set[tuple[int, float]] = set()

    async def sweep(self) -> None:
        """Kill orphans, reap zombies that were there at the last sweep, and remove empty control groups."""
        for process in await asyncio.to_thread(find, self._data_dir, self._leaders()):
            if processes.leader_of(process, self._leaders()) is None:
                kill(process)
        self._reap(await asyncio.to_thread(processes.zombies))
        cgroups.sweep(self._data_dir, self._leaders())

    def _reap(self, zombies: set[tuple[int, float]]) -> None:
        """Children of this process are waited for at once, so a zombie at two sweeps in a row is an adopted one."""
        for pid, _ in zombies & self._zombies:
            if pid not in self._own():
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                    logger.info("reaped process %d of a previous worker", pid)
        self._zombies = zombies
