"""This machine's own kernel ends trainings that take more than they may: in real groups, where we may make some."""

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.stage import STAND_IN, until
from tests.support.tickets import ticket

from epochd.core.jobs import State
from epochd.core.settings import Settings
from epochd.dispatch.host import cgroupfs, cgroups, orphans
from epochd.dispatch.host.cgroups import Groups
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.store import jobs

MIB = 2**20
LIMIT = 256
TAKE_WHEN_ASKED = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
taken = b"x" * (400 * 2**20)
signal.pause()
"""


@pytest.fixture
def groups(tmp_path, caplog):
    opened = Groups(tmp_path, LIMIT)
    opened.open()
    if opened.mechanism == cgroups.FALLBACK:
        pytest.skip(f"no group can be made here: {caplog.text}")
    yield opened
    opened.close()


@pytest.fixture
def local(groups, tmp_path):
    settings = Settings(data_dir=tmp_path, slots=1, gpus="none", memory_mb=LIMIT)
    return LocalExecutor(settings, command=STAND_IN, groups=groups)


@pytest.fixture
def inherited(groups, marked):
    """A worker of a previous server with a memory cap, which it exceeds when it gets SIGUSR1."""
    worker = marked(sys.executable, "-c", TAKE_WHEN_ASKED)
    assert worker.line() == "ready"
    worker.memory_cap = cgroups.limit_memory(groups.admit(worker.pid), LIMIT)
    return worker


def ticket_of(name, data_dir):
    return ticket(data_dir, task_id=name, name=name, memory_mb=LIMIT)


def made(groups):
    """The groups that there are."""
    return [path for path in groups._home.iterdir() if path.name.startswith(cgroups._prefix(groups._data_dir))]


def assert_tells_limit_and_peak(error):
    assert error.code == "out_of_memory"
    for words in ("more than the 256 MiB", "EPOCHD_MEMORY_MB", "its peak was 256 MiB", "batch_size"):
        assert words in error.message


@pytest.mark.parametrize("how", ["take 400 MiB", "take 400 MiB in a rank"])
async def test_a_training_that_takes_more_than_it_may_fails_at_once_with_limit_and_peak(open_stage, local, groups, how):
    stage = await open_stage(local, memory_mb=LIMIT)
    failed = await stage.until((await stage.submit(how)).id, State.FAILED)
    assert_tells_limit_and_peak(failed.error)
    assert failed.attempt == 1
    await stage.until((await stage.submit("hang")).id, State.RUNNING)
    await until(lambda: len(made(groups)) == 1)
    await stage.dispatcher.stop(0)
    assert made(groups) == []


async def test_a_warm_worker_has_a_memory_cap_from_ticket_to_done_and_no_longer(local, groups, tmp_path):
    exits = asyncio.Queue()
    await local.start(exits.put)
    await until(lambda: local.health()["warm"])
    [group] = made(groups)
    limit = group / cgroupfs.files_of(group).limit
    endless = limit.read_text()
    seen = []
    for name in ("done", "hang"):
        ticket = ticket_of(name, tmp_path)
        worker = await local.launch(ticket)
        seen.append(worker.memory_cap)
        if name == "done":
            assert (await exits.get()).overrun is None
            assert limit.read_text() == endless
            assert "memory capped True" in ticket.log_path.read_text()
    assert {cap.path for cap in seen} == {str(group)}
    assert int(limit.read_text()) == pytest.approx(seen[-1].before + LIMIT * MIB, abs=MIB)
    await local.close()
    assert (await exits.get()).overrun is None, "it was the server that ended it"


async def test_where_there_are_no_groups_a_worker_is_told_to_limit_itself(tmp_path, caplog):
    settings = Settings(data_dir=tmp_path, slots=1, gpus="none", memory_mb=LIMIT)
    local = LocalExecutor(settings, command=STAND_IN, groups=Groups(tmp_path, LIMIT, tmp_path / "nowhere"))
    exits = asyncio.Queue()
    await local.start(exits.put)
    assert (await local.launch(ticket_of("done", tmp_path))).memory_cap is None
    assert "memory capped False" in (await exits.get()).log_tail
    assert local.health()["memory"] == cgroups.FALLBACK
    assert caplog.text.count("workers get no control groups") == 1
    await local.close()


async def test_an_inherited_worker_keeps_its_memory_cap_and_its_overrun_is_reported(
    open_stage, executor, leave, inherited
):
    job, _ = await leave(replace(inherited.identity, memory_cap=inherited.memory_cap))
    stage = await open_stage(executor, lease_seconds=2, memory_mb=LIMIT)
    assert (await jobs.get(stage.db, job.id)).state is State.RUNNING
    os.kill(inherited.pid, signal.SIGUSR1)
    assert_tells_limit_and_peak((await stage.until(job.id, State.FAILED)).error)


async def test_a_worker_that_the_kernel_ended_while_no_server_was_there_has_failed(
    open_stage, executor, leave, inherited
):
    job, _ = await leave(replace(inherited.identity, memory_cap=inherited.memory_cap))
    os.kill(inherited.pid, signal.SIGUSR1)
    inherited.child.wait()
    stage = await open_stage(executor)
    assert_tells_limit_and_peak((await stage.until(job.id, State.FAILED)).error)


def test_the_next_server_clears_away_empty_groups_and_none_with_a_process(groups, inherited, tmp_path):
    Groups(tmp_path, None).open()
    assert [str(path) for path in made(groups)] == [inherited.memory_cap.path]
    assert cgroupfs.own(Path(f"/proc/{inherited.pid}"))[0] == made(groups)[0], "it is in there still"
    inherited.end()
    Groups(tmp_path, None).open()
    assert made(groups) == []


async def test_a_sweep_keeps_the_group_of_a_worker_whose_end_is_still_to_be_judged(groups, inherited, tmp_path):
    known = {inherited.pid}
    sweeper = orphans.Sweeper(tmp_path, lambda: known, lambda: [])
    inherited.end()
    await sweeper.sweep()
    assert len(made(groups)) == 1
    known.clear()
    await sweeper.sweep()
    assert made(groups) == []
