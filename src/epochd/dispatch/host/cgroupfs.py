"""The kernel's control groups as files: both versions of them, and the way to a group that may have others below.

https://docs.kernel.org/admin-guide/cgroup-v2.html and https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
say what the files mean. Nothing else in epochd touches them. Whatever fails raises OSError with the file's name.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from epochd.core.errors import EpochdError

PROC = Path("/proc/self")
MEMBERS = "cgroup.procs"
SERVER = "epochd-server"
"""The group into which the server moves itself, where its own may hold no process any more."""
MARKS = ("user.delegate", "trusted.delegate")
"""How systemd marks a group that it leaves to a service."""


@dataclass(frozen=True, slots=True)
class Files:
    """What a version calls its files; ``mapped`` is a word in ``memory.stat``.

    Of ``peaks`` the first that there is counts: in version 1 from the last time that it was written to, in version
    2 (since Linux 5.19) from the group's beginning. ``no_swap`` is what allows no swap beside the limit (None: the
    limit itself), ``kills`` where the processes are counted that were killed for memory.
    """

    version: str
    usage: str
    peaks: tuple[str, ...]
    limit: str
    swap: str
    no_swap: str | None
    endless: str
    mapped: str
    kills: tuple[str, str]


V1 = Files(
    version="cgroup v1",
    usage="memory.usage_in_bytes",
    peaks=("memory.memsw.max_usage_in_bytes", "memory.max_usage_in_bytes"),
    limit="memory.limit_in_bytes",
    swap="memory.memsw.limit_in_bytes",
    no_swap=None,
    endless="-1",
    mapped="mapped_file",
    kills=("memory.oom_control", "oom_kill"),
)
V2 = Files(
    version="cgroup v2",
    usage="memory.current",
    peaks=("memory.peak",),
    limit="memory.max",
    swap="memory.swap.max",
    no_swap="0",
    endless="max",
    mapped="file_mapped",
    kills=("memory.events", "oom_kill"),
)


def files_of(group: Path) -> Files:
    return V1 if (group / V1.limit).exists() else V2


def own(proc: Path = PROC) -> tuple[Path, Path]:
    """The group that accounts for this process's memory, and the root of its tree.

    Of a server that has moved itself it is the one above. Raises EpochdError or OSError if there is none.
    """
    entries = [line.split(":", 2)[1:] for line in (proc / "cgroup").read_text().splitlines()]
    paths = {controller: path for controllers, path in entries for controller in controllers.split(",")}
    kind, controller = ("cgroup", "memory") if "memory" in paths else ("cgroup2", "")
    path = PurePosixPath(paths.get(controller, ""))
    for root, point in _mounts(proc, kind, controller):
        if path.is_relative_to(root):
            group = point / path.relative_to(root)
            return (group.parent if group.name == SERVER else group), point
    raise EpochdError("this process is in no group that accounts for memory")


def limits(proc: Path = PROC) -> list[int]:
    """The limits (bytes) of the group that accounts for this process's memory, and of those above it that can be seen.

    None where there is no such group, or none is limited: version 1 tells that as a number beyond any memory.
    """
    try:
        group, root = own(proc)
    except (EpochdError, OSError):
        return []
    seen = [above for above in (group, *group.parents) if above.is_relative_to(root)]
    return [limit for above in seen if (limit := _limit(above)) is not None]


def _limit(group: Path) -> int | None:
    file = group / files_of(group).limit
    try:
        text = file.read_text().strip()
    except FileNotFoundError:  # the root of version 2 has none
        return None
    return int(text) if text.isdecimal() else None


def _mounts(proc: Path, kind: str, controller: str) -> Iterator[tuple[str, Path]]:
    """Which part of a tree is to be seen where, by proc_pid_mountinfo(5)."""
    for line in (proc / "mountinfo").read_text().splitlines():
        mount, _, system = line.partition(" - ")
        _, _, _, root, point, *_ = mount.split()
        found, _, options = system.split(" ", 2)
        if found == kind and controller in ["", *options.split(",")]:
            yield root, Path(point)


def hand_down(group: Path, root: Path) -> None:
    """Let the groups below ours limit memory. Raises EpochdError or OSError where that is not for us to do.

    Version 1 asks nothing. In version 2 a group that hands a controller down may have no process of its own:
    of a container all of them move into a group below, elsewhere the server alone. If that leaves others, they
    are none of ours, the kernel refuses, and all is put back.
    """
    if files_of(group) is V1 or "memory" in _words(group / "cgroup.subtree_control"):
        return
    if group != root and not _is_delegated(group):
        raise EpochdError(f"{group} is not delegated to this server")
    if "memory" not in _words(group / "cgroup.controllers"):
        raise EpochdError(f"{group} has no memory controller")
    if (group / "cgroup.type").exists():
        _leave(group, _words(group / MEMBERS) if group == root else [str(os.getpid())])
    else:  # the root of the machine, which may keep its processes
        write(group / "cgroup.subtree_control", "+memory")


def _leave(group: Path, pids: Iterable[str]) -> None:
    leaf = group / SERVER
    make(leaf)
    try:
        _move(pids, leaf)
        write(group / "cgroup.subtree_control", "+memory")
    except OSError:
        _move(_words(leaf / MEMBERS), group)
        remove(leaf)
        raise


def _move(pids: Iterable[str], group: Path) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            write(group / MEMBERS, pid)


def _is_delegated(group: Path) -> bool:
    """Whether a group is our user's own, or marked. Root could write to any, but may not meddle with all."""
    if 0 != group.stat().st_uid == os.geteuid():
        return True
    for mark in MARKS:
        with suppress(OSError):
            if os.getxattr(group, mark) == b"1":
                return True
    return False


def make(group: Path) -> None:
    group.mkdir(exist_ok=True)


def remove(group: Path) -> bool:
    """Remove a group; False while there is a process in it, which the kernel sees to."""
    try:
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def write(file: Path, value: str) -> None:
    try:
        file.write_text(value)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def number(group: Path, name: str, word: str = "") -> int:
    """The number that a file of a group holds, or that follows a word in it; 0 without that word."""
    text = (group / name).read_text()
    if not word:
        return int(text)
    pairs = (line.split() for line in text.splitlines())
    return next((int(value) for found, value in pairs if found == word), 0)


def _words(file: Path) -> list[str]:
    return file.read_text().split()
