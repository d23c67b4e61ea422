"""Groups of workers: the kernel itself holds a worker, with all that it starts, to its share of memory (Linux).

A worker that refuses itself more (``worker.limits``) cannot count its ranks, and the server's look once a
second (``memory``) comes late. So each worker gets a control group of its own below the server's, which is
limited while a ticket is in hand. Where no group can be had the other two remain, and the log says once why.
"""

import hashlib
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from epochd.core.errors import EpochdError
from epochd.dispatch.host import cgroupfs
from epochd.dispatch.host.cgroupfs import PROC, V1, V2, Files, files_of, number
from epochd.dispatch.host.processes import HAS_PROC, mark_of

logger = logging.getLogger(__name__)

STAT = "memory.stat"
PRECISION = 2**20
"""Memory is granted in pieces, so a peak may stay below the limit by some of them."""
WITHOUT = "rlimit" if HAS_PROC else "watch"
"""What is left to limit a training where there are no groups."""


@dataclass(frozen=True, slots=True)
class MemoryCap:
    """What a training is held to: ``limit`` bytes more than the group at ``path`` had ``before``.

    ``kills`` and ``ooms`` are what the kernel had counted by then.
    """

    path: str
    before: int
    limit: int
    kills: int
    ooms: int

    @property
    def most(self) -> int:
        """What the whole group may have, in bytes."""
        return self.before + self.limit


@dataclass(frozen=True, slots=True)
class Overrun:
    """That the kernel has ended a training: what it might take and the most that it took, in bytes."""

    limit: int
    peak: int


class Groups:
    """Gives workers groups, for as long as that works; ``mechanism`` is what limits trainings, None without a limit.

    ``proc`` is where the kernel tells of this process.
    """

    def __init__(self, data_dir: Path, memory_mb: int | None, proc: Path = PROC) -> None:
        self.mechanism = None if memory_mb is None else WITHOUT
        self._data_dir = data_dir
        self._memory_mb = memory_mb
        self._proc = proc
        self._home: Path | None = None

    def open(self) -> None:
        """Clear away what a former server has left; find out whether workers can have groups, and say so."""
        sweep(self._data_dir, proc=self._proc)
        if self._memory_mb is None:
            return
        try:
            self._home, self.mechanism = _prepare(self._data_dir, self._proc)
            logger.info("a training may take %d MiB; the kernel sees to it (%s)", self._memory_mb, self.mechanism)
        except (EpochdError, OSError) as error:
            self._do_without(error)

    def close(self) -> None:
        """Clear away the groups of all workers that have ended; what trains on stays where it is."""
        sweep(self._data_dir, proc=self._proc)

    def admit(self, pid: int) -> Path | None:
        """Put a process that was only just started into a group of its own; None where that cannot be done."""
        if self._home is None:
            return None
        group = self._home / f"{_prefix(self._data_dir)}{pid}"
        try:
            _admit(pid, group)
        except OSError as error:
            cgroupfs.remove(group)
            if not isinstance(error, ProcessLookupError):  # else it has ended already
                self._do_without(error)
            return None
        return group

    def _do_without(self, error: Exception) -> None:
        self._home, self.mechanism = None, WITHOUT
        logger.warning(
            "workers get no control groups: %s. A training that takes more than %d MiB is refused it, or ended within "
            "some seconds; docs/operations.md (Memory) says how to have the kernel see to it",
            error,
            self._memory_mb,
        )


def _prepare(data_dir: Path, proc: Path) -> tuple[Path, str]:
    """The group below which workers can have theirs, and the version. Raises EpochdError or OSError."""
    home, root = cgroupfs.own(proc)
    cgroupfs.hand_down(home, root)
    probe = home / f"{_prefix(data_dir)}0"
    cgroupfs.make(probe)
    try:
        files = files_of(probe)
        if not (probe / files.limit).exists():
            raise EpochdError(f"groups below {home} cannot limit memory")
        return home, files.version
    finally:
        cgroupfs.remove(probe)


def _prefix(data_dir: Path) -> str:
    """How the names of a data directory's groups begin; a process number follows."""
    return f"epochd-{hashlib.sha256(mark_of(data_dir).encode()).hexdigest()[:8]}-"


def _admit(pid: int, group: Path) -> None:
    cgroupfs.remove(group)  # that of a dead worker which had this number
    cgroupfs.make(group)
    if files_of(group) is V2:
        cgroupfs.write(group / "memory.oom.group", "1")  # all at once: no rank is left to wait for another
    cgroupfs.write(group / cgroupfs.MEMBERS, str(pid))


def sweep(data_dir: Path, known: Collection[int] = (), proc: Path = PROC) -> list[Path]:
    """Remove the groups of workers that are gone, but not of ``known`` ones, whose counts may still be asked for.

    Returns those that are left. They stay as long as there is a process in them: the kernel sees to that.
    """
    left = []
    with suppress(OSError, EpochdError):
        home, _ = cgroupfs.own(proc)
        for group in home.glob(f"{_prefix(data_dir)}*"):
            if int(group.name.rpartition("-")[2]) in known or not cgroupfs.remove(group):
                left.append(group)
    return left


def hold(group: Path | None, megabytes: int | None) -> MemoryCap | None:
    """Allow a group so many MiB more than it has now; None if there is no limit, or none that the kernel takes."""
    if group is None or megabytes is None:
        return None
    try:
        return _hold(group, files_of(group), megabytes * 2**20)
    except OSError as error:
        logger.warning("the kernel does not hold a training to its memory: %s", error)
        lift(group)
        return None


def _hold(group: Path, files: Files, limit: int) -> MemoryCap:
    lift(group)
    held = MemoryCap(str(group), _kept_bytes(group, files), limit, number(group, *files.kills), _ooms(group, files))
    for name in files.peaks:
        if files is V1 and (group / name).exists():
            cgroupfs.write(group / name, "0")
    cgroupfs.write(group / files.limit, str(held.most))
    if (group / files.swap).exists():
        cgroupfs.write(group / files.swap, files.no_swap or str(held.most))
    return held


def _kept_bytes(group: Path, files: Files) -> int:
    """What a group has without the pages of files that nobody has mapped, which the kernel takes back at will."""
    cached = number(group, STAT, "active_file") + number(group, STAT, "inactive_file")
    return number(group, files.usage) - max(0, cached - number(group, STAT, files.mapped))


def lift(group: Path) -> None:
    """Let a group take what there is. Swap comes first: in version 1 it may not be less than memory without it."""
    files = files_of(group)
    for name in (files.swap, files.limit):
        if (group / name).exists():
            with suppress(OSError):
                cgroupfs.write(group / name, files.endless)


def overrun(held: MemoryCap | None) -> Overrun | None:
    """Whether the kernel has ended a training for its limit; None if not, or if nothing can be said any more.

    A kill counts whatever was short of memory, the machine too; so the group's own limit must have been met as well.
    """
    if held is None:
        return None
    group = Path(held.path)
    files = files_of(group)
    with suppress(OSError):
        peak = next((number(group, name) for name in files.peaks if (group / name).exists()), held.most)
        is_met = peak > held.most - PRECISION if files is V1 else _ooms(group, files) > held.ooms
        if is_met and number(group, *files.kills) > held.kills:
            return Overrun(held.limit, min(peak, held.most) - held.before)
    return None


def _ooms(group: Path, files: Files) -> int:
    """How often a group has met its limit and found nothing to give back; version 1 does not count that."""
    return 0 if files is V1 else number(group, "memory.events", "oom")


def hold_of(worker: dict[str, Any] | None) -> MemoryCap | None:
    """What a worker is held to, by what has been written down of it."""
    return MemoryCap(**worker["hold"]) if worker is not None and "hold" in worker else None
