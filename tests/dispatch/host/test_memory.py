"""Memory is measured on real processes: one that takes what it is told to."""

import os
import sys
from types import SimpleNamespace

import pytest

from epochd.core.settings import Settings
from epochd.dispatch.host import cgroupfs, memory

GIB = 2**30
TAKE = """
import os, sys, time
if sys.argv[2:]:
    os.fork()  # the child takes as much again
taken = bytearray(int(sys.argv[1]) * 2**20)
for place in range(0, len(taken), 4096):
    taken[place] = 1
os.write(1, b"taken\\n")  # in one piece, beside what the other writes
time.sleep(1000)
"""


@pytest.fixture
def taking(marked):
    """A process that has taken so many MiB; one more with ``twice`` in its group."""

    def start(megabytes, *twice):
        process = marked(sys.executable, "-c", TAKE, str(megabytes), *twice)
        for _ in range(1 + len(twice)):
            assert process.line() == "taken"
        return process

    return start


def test_what_a_process_has_for_itself_is_what_it_took(taking):
    small, large = taking(1), taking(101)
    used = memory.used_by_groups([small.pid, large.pid])
    assert used[large.pid] - used[small.pid] == pytest.approx(100 * 2**20, rel=0.1)


def test_all_of_a_group_counts(taking):
    one, two = taking(100), taking(100, "twice")
    used = memory.used_by_groups([one.pid, two.pid])
    assert used[two.pid] - used[one.pid] == pytest.approx(100 * 2**20, rel=0.2)


def test_a_group_that_is_gone_has_nothing():
    assert memory.used_by_groups([2**22 + 1]) == {2**22 + 1: 0}


def test_other_groups_do_not_count(taking):
    taking(100)
    group = os.getpgid(0)
    assert memory.used_by_groups([group])[group] > 0
    assert memory.used_by_groups([]) == {}


def test_a_training_may_take_its_slots_share_of_the_machine(monkeypatch):
    monkeypatch.setattr(memory, "total_bytes", memory.total_bytes.__wrapped__)
    for limits, whole in [([], 10 * GIB), ([9 * GIB, 2 * GIB], 2 * GIB), ([2**63 - 4096], 10 * GIB)]:
        monkeypatch.setattr(cgroupfs, "limits", lambda limits=limits: limits)
        monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(total=10 * GIB))
        assert memory.limit_mb(Settings(slots=2)) == whole // 2 // 2**20
        assert memory.limit_mb(Settings(slots=2, memory_mb=700)) == 700
