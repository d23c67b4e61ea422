"""Version 2 of the control groups, played on plain files: what the kernel makes of what is written to them.

What ``/proc/self`` says of a process's groups can be played alone, for either version.
"""

import errno
import os
import shutil
from pathlib import Path

import pytest

from epochd.dispatch.host import cgroupfs

MEMORY = {
    "memory.current": "0",
    "memory.peak": "0",
    "memory.max": "max",
    "memory.swap.max": "max",
    "memory.oom.group": "0",
    "memory.stat": "anon 0\nactive_file 0\ninactive_file 0\nfile_mapped 0\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
}


def tell(proc: Path, groups: str, *mounts: str) -> Path:
    """Let ``proc`` say that a process is in these groups, and where they are mounted (root, point, kind, options)."""
    proc.mkdir(exist_ok=True)
    (proc / "cgroup").write_text(groups)
    lines = [mount.split() for mount in mounts]
    (proc / "mountinfo").write_text(
        "".join(
            f"30 29 0:27 {root} {point} rw,relatime shared:9 - {kind} cgroup {options}\n"
            for root, point, kind, options in lines
        )
    )
    return proc


class Kernel:
    """A machine with version 2, on which the test's process is in a group with others (``members``)."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = folder / "tree"
        self.proc = folder / "proc"
        self.root.mkdir()
        (self.root / "cgroup.subtree_control").write_text("memory")
        for name in ("make", "remove", "write"):
            monkeypatch.setattr(cgroupfs, name, getattr(self, name))

    def place(self, path: str, *members: int, controllers: str = "cpu memory pids") -> Path:
        """Put this process into a group, beside ``members``."""
        home = self.root / path.strip("/")
        home.mkdir(parents=True, exist_ok=True)
        (home / "cgroup.controllers").write_text(controllers)
        (home / "cgroup.type").write_text("domain")
        (home / "cgroup.subtree_control").write_text("")
        (home / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in (os.getpid(), *members)))
        tell(self.proc, f"0::{path}\n", f"/ {self.root} cgroup2 rw")
        return home

    def members(self, group: Path) -> list[int]:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]

    def make(self, group: Path) -> None:
        group.mkdir(exist_ok=True)
        names = {"cgroup.procs": "", "cgroup.subtree_control": "", "cgroup.type": "domain"}
        if "memory" in (group.parent / "cgroup.subtree_control").read_text():
            names |= MEMORY
        for name, text in names.items():
            (group / name).write_text(text)

    def remove(self, group: Path) -> bool:
        if group.exists() and self.members(group):
            return False
        shutil.rmtree(group, ignore_errors=True)
        return True

    def write(self, file: Path, value: str) -> None:
        if not file.exists():
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(file))
        match file.name:
            case "cgroup.procs":
                self._move(int(value), file.parent)
            case "cgroup.subtree_control" if (file.parent / "cgroup.type").exists() and self.members(file.parent):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(file))
            case _:
                file.write_text(value.removeprefix("+"))

    def _move(self, pid: int, target: Path) -> None:
        if (target / "cgroup.subtree_control").read_text():
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(target))
        for procs in self.root.rglob("cgroup.procs"):
            left = [str(member) for member in self.members(procs.parent) if member != pid]
            procs.write_text("\n".join(left + [str(pid)] * (procs.parent == target)))
