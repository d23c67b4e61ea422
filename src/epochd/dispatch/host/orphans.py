"""Nothing is left behind: processes that outlived their worker are ended, and the dead among them are buried.

A worker that is killed takes its process group with it, but a process may have left the group, or the
server may have died in the middle. As a subreaper (or as the first process of a container) the server
also becomes the parent of such processes, and a dead one stays in the system's table until its parent
has asked for it.
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

FIRST_SWEEP_SECONDS, SWEEP_SECONDS = 5.0, 30.0
"""After a start, workers of a former server that have nothing to do end by themselves first."""
SETTLED_SECONDS = 5.0
"""A process younger than this may be a worker that the executor is only just starting."""


def find(data_dir: Path, leaders: Collection[int]) -> list[psutil.Process]:
    """Processes that work for this data directory and belong to none of the workers that are known (``leaders``)."""
    return [
        process
        for process in processes.marked(data_dir)
        if process.pid != os.getpid() and _is_settled(process) and processes.leader_of(process, leaders) is None
    ]


def end(process: psutil.Process) -> bool:
    """Kill an orphan; False if it was gone already."""
    with suppress(psutil.NoSuchProcess):
        process.kill()
        logger.warning("process %d, left behind by a worker that is gone, was ended", process.pid)
        return True
    return False


def _is_settled(process: psutil.Process) -> bool:
    try:
        return processes.age(process.pid) > SETTLED_SECONDS
    except (psutil.Error, OSError):
        return False


class Sweeper:
    """Goes through the system's processes now and then. ``leaders`` are the workers known at the moment, ``own``
    those among them that this process has started and waits for."""

    def __init__(self, data_dir: Path, leaders: Callable[[], set[int]], own: Callable[[], list[int]]) -> None:
        self._data_dir = data_dir
        self._leaders = leaders
        self._own = own
        self._dead: set[tuple[int, float]] = set()

    async def sweep(self) -> None:
        """End orphans; bury what has been dead since the last time; remove the groups that this leaves empty."""
        for process in await asyncio.to_thread(find, self._data_dir, self._leaders()):
            if processes.leader_of(process, self._leaders()) is None:
                end(process)
        self._bury(await asyncio.to_thread(processes.zombies))
        cgroups.sweep(self._data_dir, self._leaders())

    def _bury(self, dead: set[tuple[int, float]]) -> None:
        """Who started a child waits for it at once; so one that stays dead from sweep to sweep came from others."""
        for pid, _ in dead & self._dead:
            if pid not in self._own():
                with suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                    logger.info("process %d, left behind by a worker, was cleared away", pid)
        self._dead = dead
