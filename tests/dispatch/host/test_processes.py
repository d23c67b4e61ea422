import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from tests.support.stage import Marked, is_alive, until

from epochd.dispatch.host import processes


def test_a_worker_lives_until_it_is_dead(marked):
    worker = marked()
    identity = worker.identity
    assert processes.is_alive(identity)
    os.kill(worker.pid, signal.SIGKILL)
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(identity), "though its pid is still taken: it has not been reaped"


def test_nobody_is_alive_who_is_not_known():
    assert not processes.is_alive(None)
    assert processes.identify(2**22 + 1) is None


@pytest.mark.parametrize("change", [{"created": 1.0}, {"pid": os.getpid()}, {"pid": 2**22 + 1}])
def test_a_number_alone_proves_nothing(marked, change):
    assert not processes.is_alive(replace(marked().identity, **change))


def test_a_process_without_the_mark_is_no_worker():
    assert not processes.is_alive(processes.identify(os.getpid()))


def test_the_clock_of_the_day_tells_nothing_of_who_is_who(marked, monkeypatch):
    worker = marked()
    identity, age = worker.identity, processes.age(worker.pid)
    monkeypatch.setattr("time.time", lambda: 0.0)
    assert processes.is_alive(identity)
    assert 0 <= age <= processes.age(worker.pid) < 60


def test_an_age_is_right(marked):
    began = psutil.Process(os.getpid()).create_time()
    worker = psutil.Process(marked().pid).create_time()
    assert processes.age(os.getpid()) == pytest.approx(worker - began, abs=2)


def test_a_directory_finds_its_own_processes_however_it_is_spelled(marked, tmp_path):
    mine, other = marked(), Marked(tmp_path / "other")
    (tmp_path / "link").symlink_to(tmp_path)
    try:
        assert [process.pid for process in processes.find_marked(tmp_path / "link")] == [mine.pid]
    finally:
        other.end()


def test_whoever_is_in_its_group_or_comes_from_it_belongs_to_a_worker(marked):
    worker = marked("sh", "-c", "sleep 1000 & echo $!; setsid sleep 1000 & echo $!; wait")
    inside, outside = (psutil.Process(int(worker.line())) for _ in range(2))
    try:
        assert processes.leader_of(inside, {worker.pid}) == worker.pid
        assert processes.leader_of(outside, {worker.pid}) == worker.pid
        assert processes.leader_of(inside, set()) is None
    finally:
        outside.kill()


async def test_the_end_of_a_group_reaches_what_outlived_its_leader(marked, tmp_path):
    worker = marked("sh", "-c", "sleep 1000 & echo $!; exec sleep 1000")
    rank, identity = int(worker.line()), worker.identity
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: worker.child.poll() is not None)
    processes.kill_group(identity, tmp_path)
    await until(lambda: not is_alive(rank))


def test_whoever_is_killed_has_ended_afterwards(marked, tmp_path):
    """Though the kernel first frees what it has: here a tenth of a second and more."""
    program = """
import threading, time
for _ in range(8):
    threading.Thread(target=time.sleep, args=(1000,)).start()
held = bytearray(b"x") * (500 << 20)
print(1, flush=True)
time.sleep(1000)
"""
    worker = marked(sys.executable, "-c", program)
    assert worker.line() == "1"
    processes.kill_group(worker.identity, tmp_path)
    assert worker.child.poll() is not None


async def test_a_subreaper_becomes_the_parent_of_its_grandchildren():
    program = """
import subprocess, sys
from epochd.dispatch.host import processes
processes.become_subreaper()
child = subprocess.run(["sh", "-c", "sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE, text=True)
print(child.stdout.strip(), flush=True)
sys.stdin.read()
"""
    adopter = psutil.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
    grandchild = psutil.Process(int(adopter.stdout.readline()))
    await until(lambda: grandchild.ppid() == adopter.pid)
    grandchild.kill()
    adopter.communicate()


def test_this_machine_has_what_the_readings_come_from():
    assert Path("/proc/self/stat").exists() == processes.HAS_PROC
