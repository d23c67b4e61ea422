"""Control groups of workers: the kernel enforces the memory limit of a training, with all its processes (Linux).

The limit that a worker sets itself does not include its ranks, and the measurement once a second (``memory``) reacts
late. Where control groups are not available, these two remain, and the log states the reason once.
"""

import hashlib
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from epochd.core.errors import EpochdError
from epochd.core.job_values import MemoryCap
from epochd.dispatch.host import cgroupfs
from epochd.dispatch.host.cgroupfs import PROC, V1, V2, Files, files_of, number
from epochd.dispatch.host.processes import HAS_PROC, mark_of

logger = logging.getLogger(__name__)

STAT = "memory.stat"
PRECISION = 2**20  # the kernel charges memory in batches, so a peak may stay below the limit by some pages
FALLBACK = "rlimit" if HAS_PROC else "watch"


@dataclass(frozen=True, slots=True)
class Overrun:
    """The kernel has killed a training for its memory: its limit and its peak, in bytes."""

    limit: int
    peak: int


class Groups:
    """Creates the groups of workers. ``mechanism`` is what limits trainings; ``proc`` is this process in procfs."""

    def __init__(self, data_dir: Path, memory_mb: int | None, proc: Path = PROC) -> None:
        self.mechanism = None if memory_mb is None else FALLBACK
        self._data_dir = data_dir
        self._memory_mb = memory_mb
        self._proc = proc
        self._home: Path | None = None

    def open(self) -> None:
        """Remove groups of a previous server; find out whether groups are available, and log it."""
        sweep(self._data_dir, proc=self._proc)
        if self._memory_mb is None:
            return
        try:
            home, root = cgroupfs.own(self._proc)
            cgroupfs.delegate_memory(home, root)
            self._home, self.mechanism = home, _probe(home / f"{_prefix(self._data_dir)}0")
            allowed = "a training may use %d MiB of memory; the kernel enforces it (%s)"
            logger.info(allowed, self._memory_mb, self.mechanism)
        except (EpochdError, OSError) as error:
            self._disable(error)

    def close(self) -> None:
        """Remove the groups of all workers that have exited; the other groups remain."""
        sweep(self._data_dir, proc=self._proc)

    def admit(self, pid: int) -> Path | None:
        """Move a new process into a group of its own, and return the group; None if that fails."""
        if self._home is None:
            return None
        group = self._home / f"{_prefix(self._data_dir)}{pid}"
        try:
            cgroupfs.remove(group)  # of a dead worker with the same pid
            cgroupfs.make(group)
            if files_of(group) is V2:  # kill all processes at once, so that no rank waits for another
                cgroupfs.write(group / "memory.oom.group", "1")
            cgroupfs.write(group / cgroupfs.MEMBERS, str(pid))
        except OSError as error:
            cgroupfs.remove(group)
            if not isinstance(error, ProcessLookupError):  # otherwise the process has exited already
                self._disable(error)
            return None
        return group

    def _disable(self, error: Exception) -> None:
        self._home, self.mechanism = None, FALLBACK
        logger.warning(
            "workers get no control groups: %s. A training that uses more than %d MiB fails to allocate it, or is "
            "ended within seconds; docs/operations.md (Memory) describes how to let the kernel enforce the limit",
            error,
            self._memory_mb,
        )


def _probe(group: Path) -> str:
    """The version of a group that is made to find out whether it can limit memory. Raises EpochdError or OSError."""
    cgroupfs.make(group)
    try:
        if not (group / files_of(group).limit).exists():
            raise EpochdError(f"control groups below {group.parent} cannot limit memory")
        return files_of(group).version
    finally:
        cgroupfs.remove(group)


def _prefix(data_dir: Path) -> str:
    """The prefix of the names of groups for a data directory; a pid follows."""
    return f"epochd-{hashlib.sha256(mark_of(data_dir).encode()).hexdigest()[:8]}-"


def sweep(data_dir: Path, known: Collection[int] = (), proc: Path = PROC) -> list[Path]:
    """Remove the groups of workers that have exited, except those of ``known`` pids, whose counters may still be read.
    Returns the remaining groups."""
    left = []
    with suppress(OSError, EpochdError):
        home, _ = cgroupfs.own(proc)
        for group in home.glob(f"{_prefix(data_dir)}*"):
            if int(group.name.rpartition("-")[2]) in known or not cgroupfs.remove(group):
                left.append(group)
    return left


def limit_memory(group: Path | None, megabytes: int | None) -> MemoryCap | None:
    """Limit a group to ``megabytes`` MiB above its present usage; None without a limit, or if the kernel rejects it."""
    if group is None or megabytes is None:
        return None
    try:
        files = files_of(group)
        remove_limit(group)
        used, kills = _unreclaimable_bytes(group, files), number(group, *files.kills)
        cap = MemoryCap(str(group), used, megabytes * 2**20, kills, _ooms(group, files))
        for name in files.peaks:
            if files is V1 and (group / name).exists():
                cgroupfs.write(group / name, "0")
        cgroupfs.write(group / files.limit, str(cap.total))
        if (group / files.swap).exists():
            cgroupfs.write(group / files.swap, files.no_swap or str(cap.total))
        return cap
    except OSError as error:
        logger.warning("the kernel does not limit the memory of a training: %s", error)
        remove_limit(group)
        return None


def _unreclaimable_bytes(group: Path, files: Files) -> int:
    """The usage of a group without unmapped pages of files, which the kernel can reclaim."""
    cached = number(group, STAT, "active_file") + number(group, STAT, "inactive_file")
    return number(group, files.usage) - max(0, cached - number(group, STAT, files.mapped))


def remove_limit(group: Path) -> None:
    """Remove the limits of a group. Swap comes first: in version 1 its limit may not be below that of memory."""
    files = files_of(group)
    for name in (files.swap, files.limit):
        if (group / name).exists():
            with suppress(OSError):
                cgroupfs.write(group / name, files.unlimited)


def find_overrun(cap: MemoryCap | None) -> Overrun | None:
    """The overrun if the kernel has killed a training for its limit; None if not, or if the group does not exist."""
    if cap is None:
        return None
    group = Path(cap.path)
    files = files_of(group)
    with suppress(OSError):
        peak = next((number(group, name) for name in files.peaks if (group / name).exists()), cap.total)
        # The counter of kills includes those for a shortage of the whole machine, so the limit must have been met too.
        is_met = peak > cap.total - PRECISION if files is V1 else _ooms(group, files) > cap.ooms
        if is_met and number(group, *files.kills) > cap.kills:
            return Overrun(cap.limit, min(peak, cap.total) - cap.before)
    return None


def _ooms(group: Path, files: Files) -> int:
    """How often a group has reached its limit with nothing to reclaim; version 1 has no such counter."""
    return 0 if files is V1 else number(group, "memory.events", "oom")
