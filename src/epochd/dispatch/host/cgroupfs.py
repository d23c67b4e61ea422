"""The files of control groups, versions 1 and 2, and the delegation of the memory controller to child groups.

The files are documented in https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. Failures raise OSError with the name of the file.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from epochd.core.errors import EpochdError

PROC = Path("/proc/self")
MEMBERS = "cgroup.procs"
SERVER = "epochd-server"  # the child group for the server, where its own group may not contain processes


@dataclass(frozen=True, slots=True)
class Files:
    """The file names of one version; ``mapped`` is a key in ``memory.stat``, ``kills`` the file and key of a counter.

    The first existing file of ``peaks`` has the peak usage: in version 1 since its last reset, in version 2 (from Linux
    5.19) since the group was created. ``no_swap`` is the swap limit that allows none (None: the memory limit).
    """

    version: str
    usage: str
    peaks: tuple[str, ...]
    limit: str
    swap: str
    no_swap: str | None
    unlimited: str
    mapped: str
    kills: tuple[str, str]


V1 = Files(
    version="cgroup v1",
    usage="memory.usage_in_bytes",
    peaks=("memory.memsw.max_usage_in_bytes", "memory.max_usage_in_bytes"),
    limit="memory.limit_in_bytes",
    swap="memory.memsw.limit_in_bytes",
    no_swap=None,
    unlimited="-1",
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
    unlimited="max",
    mapped="file_mapped",
    kills=("memory.events", "oom_kill"),
)


def files_of(group: Path) -> Files:
    return V1 if (group / V1.limit).exists() else V2


def own(proc: Path = PROC) -> tuple[Path, Path]:
    """The group that accounts for the memory of this process (for a server in ``SERVER`` the parent), and the root of
    its tree. Raises EpochdError or OSError if there is none."""
    entries = [line.split(":", 2)[1:] for line in (proc / "cgroup").read_text().splitlines()]
    paths = {controller: path for controllers, path in entries for controller in controllers.split(",")}
    kind, controller = ("cgroup", "memory") if "memory" in paths else ("cgroup2", "")
    path = PurePosixPath(paths.get(controller, ""))
    for line in (proc / "mountinfo").read_text().splitlines():  # see proc_pid_mountinfo(5)
        mount, _, system = line.partition(" - ")
        _, _, _, root, point, *_ = mount.split()  # the mounted part of a tree, and where it is mounted
        found, _, options = system.split(" ", 2)
        if found == kind and controller in ["", *options.split(",")] and path.is_relative_to(root):
            group = Path(point) / path.relative_to(root)
            return (group.parent if group.name == SERVER else group), Path(point)
    raise EpochdError("this process is in no control group that accounts for memory")


def limits(proc: Path = PROC) -> list[int]:
    """The memory limits (bytes) of the group of this process and of its visible ancestors, where there are any.
    Version 1 reports no limit as a number above any memory size."""
    try:
        group, root = own(proc)
    except (EpochdError, OSError):
        return []
    found = []
    for one in (group, *group.parents):
        with suppress(FileNotFoundError):  # the root group of version 2 has no limit
            if one.is_relative_to(root) and (text := (one / files_of(one).limit).read_text().strip()).isdecimal():
                found.append(int(text))
    return found


def delegate_memory(group: Path, root: Path) -> None:
    """Enable the memory controller for child groups. Raises EpochdError or OSError where that is not permitted.

    Version 1 needs no change. In version 2 a group with an enabled controller may not contain processes: in a container
    all of them move into a child group, elsewhere the server alone. If processes of others remain, the kernel rejects
    the change, and it is undone.
    """
    if files_of(group) is V1 or "memory" in _words(group / "cgroup.subtree_control"):
        return
    if group != root and not _is_delegated(group):
        raise EpochdError(f"the control group {group} is not delegated to this server")
    if "memory" not in _words(group / "cgroup.controllers"):
        raise EpochdError(f"{group} has no memory controller")
    if not (group / "cgroup.type").exists():  # the root group of the machine, which may contain processes
        return write(group / "cgroup.subtree_control", "+memory")
    pids, leaf = _words(group / MEMBERS) if group == root else [str(os.getpid())], group / SERVER
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
    """Whether the group belongs to our user, or is marked as delegated. Root could write to groups that are not."""
    if 0 != group.stat().st_uid == os.geteuid():
        return True
    for name in ("user.delegate", "trusted.delegate"):  # with which systemd marks a group delegated to a service
        with suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def make(group: Path) -> None:
    group.mkdir(exist_ok=True)


def remove(group: Path) -> bool:
    """Remove a group; False while it contains a process."""
    try:
        group.rmdir()
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return True


def write(file: Path, value: str) -> None:
    try:
        file.write_text(value)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(file)) from None


def number(group: Path, name: str, key: str = "") -> int:
    """The number in a file of a group, or the number after ``key`` in it; 0 if the key is missing."""
    text = (group / name).read_text()
    if not key:
        return int(text)
    pairs = (line.split() for line in text.splitlines())
    return next((int(value) for found, value in pairs if found == key), 0)


def _words(file: Path) -> list[str]:
    return file.read_text().split()
