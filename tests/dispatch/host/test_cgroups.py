"""Groups of workers on a kernel that is played; ``test_overruns`` has them on this machine's own."""

import errno
import os

import pytest
from tests.support.cgroup_tree import Kernel, tell

from epochd.dispatch.host import cgroupfs, cgroups
from epochd.dispatch.host.cgroups import Groups, Overrun

MIB = 2**20
LIMIT = 256


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    return Kernel(tmp_path, monkeypatch)


@pytest.fixture
def groups(kernel, tmp_path):
    kernel.place("/", 1)
    opened = Groups(tmp_path, LIMIT, kernel.proc)
    opened.open()
    return opened


@pytest.fixture
def group(groups):
    return groups.admit(4711)


def test_a_worker_gets_a_group_that_dies_as_a_whole(groups, group, kernel):
    assert groups.mechanism == "cgroup v2"
    assert kernel.members(group) == [4711]
    assert (group / "memory.oom.group").read_text() == "1"
    assert (group / "memory.max").read_text() == "max"


def test_the_limit_counts_from_what_the_worker_has_and_is_lifted_again(group):
    (group / "memory.current").write_text(str(500 * MIB))
    (group / "memory.stat").write_text(f"active_file {120 * MIB}\ninactive_file {80 * MIB}\nfile_mapped {50 * MIB}\n")
    cap = cgroups.limit_memory(group, LIMIT)
    assert cap.before == (500 - 120 - 80 + 50) * MIB, "unmapped pages of files can be reclaimed"
    assert (group / "memory.max").read_text() == str((350 + LIMIT) * MIB)
    assert (group / "memory.swap.max").read_text() == "0"
    cgroups.remove_limit(group)
    assert (group / "memory.max").read_text() == (group / "memory.swap.max").read_text() == "max"


@pytest.mark.parametrize(
    ("oom", "kills", "is_told"),
    [
        pytest.param(1, 2, True, id="the limit was met, processes were killed"),
        pytest.param(1, 0, False, id="the limit was met"),
        pytest.param(0, 1, False, id="the machine was short of memory"),
    ],
)
def test_the_kernel_has_ended_a_training_if_its_own_limit_was_met(group, oom, kills, is_told):
    (group / "memory.current").write_text(str(100 * MIB))
    cap = cgroups.limit_memory(group, LIMIT)
    (group / "memory.events").write_text(f"max 9\noom {oom}\noom_kill {kills}\n")
    (group / "memory.peak").write_text(str(900 * MIB))
    assert cgroups.find_overrun(cap) == (Overrun(LIMIT * MIB, LIMIT * MIB) if is_told else None)
    (group / "memory.peak").unlink()
    assert (cgroups.find_overrun(cap) is not None) is is_told


def test_what_was_killed_before_is_not_this_trainings(group):
    (group / "memory.events").write_text("oom 1\noom_kill 1\n")
    assert cgroups.find_overrun(cgroups.limit_memory(group, LIMIT)) is None


def test_a_group_that_is_gone_tells_nothing(group, kernel):
    cap = cgroups.limit_memory(group, LIMIT)
    kernel.write(group.parent / cgroupfs.SERVER / "cgroup.procs", "4711")
    assert cgroupfs.remove(group)
    assert cgroups.find_overrun(cap) is None
    cgroups.remove_limit(group)


def test_without_a_limit_nobody_is_moved_and_no_memory_is_capped(kernel, tmp_path):
    home = kernel.place("/", 1)
    groups = Groups(tmp_path, None, kernel.proc)
    groups.open()
    assert (groups.mechanism, groups.admit(4711)) == (None, None)
    assert len(kernel.members(home)) == 2
    assert cgroups.limit_memory(home, None) is None


def test_a_limit_that_the_kernel_does_not_take_is_lifted_and_told(group, kernel, monkeypatch, caplog):
    def refuse(file, value):
        if value == "0":
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(file))
        kernel.write(file, value)

    monkeypatch.setattr(cgroupfs, "write", refuse)
    assert cgroups.limit_memory(group, LIMIT) is None
    assert (group / "memory.max").read_text() == "max"
    assert "the kernel does not limit the memory of a training" in caplog.text


def test_a_worker_that_has_ended_already_gets_none_and_the_next_one_does(groups, kernel, monkeypatch, caplog):
    def find_nobody(file, value):
        if file.name == "cgroup.procs":
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH), str(file))
        kernel.write(file, value)

    with monkeypatch.context() as patch:
        patch.setattr(cgroupfs, "write", find_nobody)
        assert groups.admit(4711) is None
    assert groups.admit(4712).name.endswith("-4712")
    assert groups.mechanism == "cgroup v2"
    assert caplog.text == ""


def test_a_group_that_cannot_be_made_is_told_once_and_then_done_without(groups, kernel, monkeypatch, caplog):
    def refuse(group):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(group))

    monkeypatch.setattr(cgroupfs, "make", refuse)
    assert [groups.admit(4711), groups.admit(4712)] == [None, None]
    assert groups.mechanism == cgroups.FALLBACK
    assert caplog.text.count("workers get no control groups") == 1
    assert "No space left" in caplog.text


@pytest.mark.parametrize(
    ("groups", "mount", "why"),
    [
        pytest.param("0::/a\n", "/ {0} cgroup rw,pids", "in no control group that accounts for memory", id="no tree"),
        pytest.param("0::/a\n", "/ {0} cgroup2 rw", "No such file or directory", id="no such group"),
        pytest.param("0::/a\n", None, "No such file or directory", id="no mounts"),
    ],
)
def test_where_there_are_no_groups_the_server_says_why_and_goes_on(tmp_path, caplog, groups, mount, why):
    proc = tell(tmp_path / "proc", groups, mount.format(tmp_path)) if mount else tmp_path / "nowhere"
    without = Groups(tmp_path, LIMIT, proc)
    without.open()
    assert (without.mechanism, without.admit(4711)) == (cgroups.FALLBACK, None)
    assert caplog.text.count("workers get no control groups") == 1
    assert why in caplog.text


def test_a_sweep_leaves_those_with_processes_those_known_and_those_of_others(groups, kernel, tmp_path):
    other = Groups(tmp_path / "elsewhere", LIMIT, kernel.proc)
    other.open()
    left = {pid: groups.admit(pid) for pid in (11, 12, 13)} | {14: other.admit(14)}
    for pid in (12, 13, 14):
        (left[pid] / "cgroup.procs").write_text("")
    cgroups.sweep(tmp_path, {13}, kernel.proc)
    assert [pid for pid, group in left.items() if group.exists()] == [11, 13, 14]
