import os

import pytest
from tests.support.cgroup_tree import Kernel, tell

from epochd.core.errors import EpochdError
from epochd.dispatch.host import cgroupfs

SERVICE = "/system.slice/epochd.service"


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    return Kernel(tmp_path, monkeypatch)


@pytest.fixture
def delegated(monkeypatch):
    monkeypatch.setattr(os, "getxattr", lambda path, name: b"1" if name == "user.delegate" else b"0", raising=False)


@pytest.mark.parametrize(
    ("groups", "mounts", "found"),
    [
        pytest.param("0::/a/b\n", ["/ /cg cgroup2 rw"], ("/cg/a/b", "/cg"), id="version 2"),
        pytest.param("0::/\n", ["/ /cg cgroup2 rw"], ("/cg", "/cg"), id="a container's own tree"),
        pytest.param("0::/a/epochd-server\n", ["/ /cg cgroup2 rw"], ("/cg/a", "/cg"), id="a server that has moved"),
        pytest.param(
            "4:cpu,memory:/a\n1:name=systemd:/b\n0::/c\n",
            ["/ /cg/unified cgroup2 rw", "/ /cg/pids cgroup rw,pids", "/ /cg/memory cgroup rw,cpu,memory"],
            ("/cg/memory/a", "/cg/memory"),
            id="version 1 beside a version 2 that has no memory",
        ),
        pytest.param(
            "4:memory:/docker/1f\n", ["/docker/1f /cg cgroup rw,memory"], ("/cg", "/cg"), id="a part of the tree"
        ),
    ],
)
def test_the_group_of_this_process_is_where_its_tree_is_mounted(tmp_path, groups, mounts, found):
    proc = tell(tmp_path / "proc", groups, *mounts)
    assert tuple(map(str, cgroupfs.own(proc))) == found


@pytest.mark.parametrize(
    ("groups", "mount", "file"),
    [
        pytest.param("0::/a/b\n", "cgroup2 rw", cgroupfs.V2.limit, id="version 2"),
        pytest.param("4:memory:/a/b\n", "cgroup rw,memory", cgroupfs.V1.limit, id="version 1"),
    ],
)
def test_what_a_group_above_ours_may_take_is_a_limit_too(tmp_path, groups, mount, file):
    root = tmp_path / "tree"
    (root / "a" / "b").mkdir(parents=True)
    (tmp_path / file).write_text("1")  # outside of the tree
    (root / "a" / file).write_text(f"{2**30}\n")
    (root / "a" / "b" / file).write_text("max\n" if file == cgroupfs.V2.limit else f"{2**63 - 4096}\n")
    found = cgroupfs.limits(tell(tmp_path / "proc", groups, f"/ {root} {mount}"))
    assert min(found) == 2**30


def test_where_memory_is_accounted_for_by_no_group_there_is_no_limit(tmp_path):
    assert cgroupfs.limits(tmp_path / "nowhere") == []
    assert cgroupfs.limits(tell(tmp_path / "proc", "0::/a\n", "/ /cg/pids cgroup rw,pids")) == []


@pytest.mark.parametrize(
    ("groups", "mount"),
    [
        pytest.param("0::/a\n", "/ /cg/pids cgroup rw,pids", id="no tree"),
        pytest.param("4:memory:/\n", "/../.. /cg cgroup rw,memory", id="a tree that begins outside"),
        pytest.param("0::/../c\n", "/a /cg cgroup2 rw", id="a group outside of what is mounted"),
    ],
)
def test_a_group_that_cannot_be_seen_is_none(tmp_path, groups, mount):
    with pytest.raises(EpochdError, match="no control group that accounts for memory"):
        cgroupfs.own(tell(tmp_path / "proc", groups, mount))


@pytest.mark.usefixtures("delegated")
def test_a_service_moves_into_a_group_below_and_hands_memory_down(kernel):
    home = kernel.place(SERVICE)
    cgroupfs.delegate_memory(home, kernel.root)
    assert kernel.members(home / cgroupfs.SERVER) == [os.getpid()]
    assert kernel.members(home) == []
    assert (home / "cgroup.subtree_control").read_text() == "memory"
    tell(kernel.proc, f"0::{SERVICE}/{cgroupfs.SERVER}\n", f"/ {kernel.root} cgroup2 rw")
    assert cgroupfs.own(kernel.proc) == (home, kernel.root)
    cgroupfs.delegate_memory(home, kernel.root)
    assert kernel.members(home / cgroupfs.SERVER) == [os.getpid()], "a second time there is nothing to do"


@pytest.mark.usefixtures("delegated")
def test_processes_of_others_stay_where_they_are_and_so_does_the_server(kernel):
    home = kernel.place(SERVICE, 4711)
    with pytest.raises(OSError, match=r"busy.*cgroup.subtree_control"):
        cgroupfs.delegate_memory(home, kernel.root)
    assert sorted(kernel.members(home)) == sorted([os.getpid(), 4711])
    assert not (home / cgroupfs.SERVER).exists()


def test_in_a_container_all_move(kernel):
    home = kernel.place("/", 1, 7)
    cgroupfs.delegate_memory(home, kernel.root)
    assert sorted(kernel.members(home / cgroupfs.SERVER)) == sorted([1, 7, os.getpid()])


def test_the_root_of_a_machine_keeps_its_processes(kernel):
    home = kernel.place("/", 1, 7)
    (home / "cgroup.type").unlink()
    cgroupfs.delegate_memory(home, kernel.root)
    assert len(kernel.members(home)) == 3
    assert (home / "cgroup.subtree_control").read_text() == "memory"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
@pytest.mark.parametrize(("user", "owner", "is_ours"), [(0, 0, False), (1000, 1000, True), (1000, 0, False)])
def test_a_group_without_systemds_mark_is_ours_if_it_belongs_to_our_user_and_never_roots(
    kernel, monkeypatch, user, owner, is_ours
):
    home = kernel.place(SERVICE)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    os.chown(home, owner, owner)
    if is_ours:
        cgroupfs.delegate_memory(home, kernel.root)
        assert kernel.members(home) == []
    else:
        with pytest.raises(EpochdError, match=r"epochd\.service is not delegated to this server"):
            cgroupfs.delegate_memory(home, kernel.root)


def test_a_container_that_was_given_no_memory_controller_says_so(kernel):
    home = kernel.place("/", controllers="cpu pids")
    with pytest.raises(EpochdError, match="has no memory controller"):
        cgroupfs.delegate_memory(home, kernel.root)
    assert kernel.members(home) == [os.getpid()]


def test_numbers_are_read_alone_or_beside_a_word(tmp_path):
    (tmp_path / "memory.current").write_text("4096\n")
    (tmp_path / "memory.events").write_text("oom 1\noom_kill 12\n")
    assert cgroupfs.number(tmp_path, "memory.current") == 4096
    assert cgroupfs.number(tmp_path, "memory.events", "oom_kill") == 12
    assert cgroupfs.number(tmp_path, "memory.events", "unheard_of") == 0
