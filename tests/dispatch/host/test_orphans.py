import os
import signal

import psutil
import pytest
from tests.support.stage import is_alive, until

from epochd.dispatch.host import orphans


@pytest.fixture(autouse=True)
def _any_age(monkeypatch):
    monkeypatch.setattr(orphans, "MIN_AGE_SECONDS", -1.0)


def sweeper(tmp_path, *leaders, own=()):
    return orphans.Sweeper(tmp_path, lambda: {*leaders}, lambda: [*own])


async def test_what_belongs_to_no_worker_is_ended_and_told(marked, tmp_path, caplog):
    worker, orphan = marked(), marked()
    await sweeper(tmp_path, worker.pid).sweep()
    await until(lambda: not is_alive(orphan.pid))
    assert is_alive(worker.pid)
    assert f"killed process {orphan.pid}, whose worker does not exist any more" in caplog.text


async def test_what_a_living_worker_has_started_is_left_alone(marked, tmp_path):
    worker = marked("sh", "-c", "sleep 1000 & echo $!; setsid sleep 1000 & echo $!; wait")
    started = [int(worker.line()) for _ in range(2)]
    await sweeper(tmp_path, worker.pid).sweep()
    assert all(map(is_alive, started))
    os.kill(worker.pid, signal.SIGKILL)
    worker.child.wait()
    await sweeper(tmp_path).sweep()
    await until(lambda: not any(map(is_alive, started)))


async def test_a_worker_that_is_only_just_being_started_is_left_alone(marked, tmp_path, monkeypatch):
    monkeypatch.setattr(orphans, "MIN_AGE_SECONDS", 5.0)
    young = marked()
    await sweeper(tmp_path).sweep()
    assert is_alive(young.pid)


async def test_workers_of_other_servers_are_left_alone(marked, tmp_path):
    other = marked()
    await sweeper(tmp_path / "elsewhere").sweep()
    assert is_alive(other.pid)


async def test_zombies_are_reaped_at_the_second_sweep_unless_somebody_waits_for_them(marked, tmp_path):
    own, stray = marked(), marked()
    found = sweeper(tmp_path, own=[own.pid])
    for process in (own, stray):
        os.kill(process.pid, signal.SIGKILL)
    await until(lambda: not is_alive(own.pid) and not is_alive(stray.pid))
    await found.sweep()
    assert [psutil.pid_exists(process.pid) for process in (own, stray)] == [True, True]
    await found.sweep()
    assert [psutil.pid_exists(process.pid) for process in (own, stray)] == [True, False]
    assert own.child.wait() == -signal.SIGKILL
