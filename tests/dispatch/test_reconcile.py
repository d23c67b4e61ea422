"""Each disagreement between database and system is staged with real processes, found, and mended."""

import os
import signal

import pytest

from epochd.core.events import ReportKind
from epochd.core.jobs import State
from epochd.dispatch import reconcile, watchdog
from epochd.dispatch.host import gpus, orphans
from epochd.dispatch.host.gpus import GpuProcess
from epochd.store import attempts, jobs
from tests.support.executors import FakeExecutor
from tests.support.stage import SPEC, arrival, is_alive, until


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Two looks follow each other at once, and the server's own watch does not come in between and mend it first."""

    async def sleep(self):
        pass

    monkeypatch.setattr(watchdog.Watchdog, "check", sleep)
    monkeypatch.setattr(reconcile, "CONFIRM_SECONDS", 0.0)
    monkeypatch.setattr(orphans, "MIN_AGE_SECONDS", -1.0)


@pytest.fixture
def inherited(db, marked):
    """Makes a job that a previous server has left running, with a worker that lives."""

    async def left(lease_seconds=3600):
        worker = marked()
        await jobs.submit(db, SPEC)
        job, _ = await attempts.claim(db, lease_seconds=lease_seconds)
        await attempts.set_worker(db, job.id, 1, worker.identity)
        return job, worker

    return left


def found(snapshot):
    return [(finding.code, finding.task_id, finding.pid) for finding in snapshot.findings]


async def test_where_all_is_well_nothing_is_found_and_nothing_done(open_stage, executor, inherited):
    job, worker = await inherited()
    stage = await open_stage(executor)
    snapshot, done = await stage.dispatcher.reconciler.repair()
    assert (snapshot.findings, done) == ([], [])
    [running] = snapshot.running
    assert (running.task_id, running.pid, running.is_alive) == (job.id, worker.pid, True)
    assert running.memory > 0
    assert 3500 < running.lease_left <= 3600


async def test_a_job_that_waits_for_its_worker_to_warm_up_is_well(open_stage, executor):
    executor.warm.clear()
    stage = await open_stage(executor)
    await stage.until((await stage.submit()).id, State.RUNNING)
    assert (await stage.dispatcher.reconciler.compare()).findings == []


async def test_a_job_without_its_process_is_found_and_goes_on(open_stage, executor, inherited):
    job, worker = await inherited()
    stage = await open_stage(executor)
    worker.end()
    snapshot, done = await stage.dispatcher.reconciler.repair()
    assert found(snapshot) == [("running_without_process", job.id, worker.pid)]
    assert done == [f"task {job.id}, which has lost its worker, was requeued and continues from its checkpoint"]
    assert (await arrival(executor)).attempt == 2


async def test_a_job_that_nobody_is_known_to_train_is_released(open_stage, db):
    executor = FakeExecutor(slots=2)
    await jobs.submit(db, SPEC)
    job, _ = await attempts.claim(db, lease_seconds=-1)
    stage = await open_stage(executor)
    snapshot, _ = await stage.dispatcher.reconciler.repair()
    assert found(snapshot) == [("running_without_process", job.id, None)]
    assert (await arrival(executor)).attempt == 2


async def test_a_silent_inherited_is_found_and_its_job_goes_on(open_stage, executor, inherited):
    job, worker = await inherited(lease_seconds=-1)
    stage = await open_stage(executor)
    snapshot, done = await stage.dispatcher.reconciler.repair()
    assert found(snapshot) == [("silent_worker", job.id, worker.pid)]
    assert "was killed" in done[0]
    assert not is_alive(worker.pid)
    assert (await arrival(executor)).attempt == 2


async def test_a_silent_worker_of_this_server_is_killed_by_its_executor(open_stage, executor, marked):
    executor.worker = marked().identity
    stage = await open_stage(executor)
    job = await stage.submit()
    ticket = await arrival(executor)
    await stage.dispatcher._running.own[job.id, 1].launch
    await stage.report(ticket, (ReportKind.LOG, {"level": "info", "message": "its last"}), lease=-1)
    snapshot, _ = await stage.dispatcher.reconciler.repair()
    assert found(snapshot) == [("silent_worker", job.id, executor.worker.pid)]
    assert executor.killed == [(job.id, 1)]
    assert [crash["code"] for crash in await stage.crashes(job.id)] == ["worker_silent"]


async def test_a_process_without_a_job_is_found_and_ended(open_stage, executor, marked):
    stage, orphan = await open_stage(executor), marked()
    looked = await stage.dispatcher.reconciler.compare()
    assert found(looked) == [("process_without_job", None, orphan.pid)]
    assert is_alive(orphan.pid), "to look changes nothing"
    _, done = await stage.dispatcher.reconciler.repair()
    assert done == [f"process {orphan.pid} was killed"]
    await until(lambda: not is_alive(orphan.pid))


async def test_what_is_gone_at_the_second_look_is_left_alone(open_stage, inherited, monkeypatch):
    job, worker = await inherited()
    executor = FakeExecutor()
    stage = await open_stage(executor)
    os.kill(worker.pid, signal.SIGKILL)
    worker.child.wait()
    reconciler = stage.dispatcher.reconciler
    first = await reconciler.compare()
    await attempts.release_attempt(stage.db, job.id, 1, reason="it was seen by others")
    looks = iter([first, await reconciler.compare()])

    async def compare():
        return next(looks)

    monkeypatch.setattr(reconciler, "compare", compare)
    snapshot, done = await reconciler.repair()
    assert (len(snapshot.findings), done) == (1, [])


@pytest.mark.parametrize(("owned", "codes"), [([0], ["gpu_process_unknown"]), ([1], [])])
async def test_a_foreign_process_on_a_gpu_of_ours_is_told_and_left_alone(
    open_stage, executor, marked, tmp_path, monkeypatch, owned, codes
):
    monkeypatch.setattr(gpus, "list_processes", lambda: [GpuProcess(os.getpid(), 0, None)])
    stage = await open_stage(executor)
    stage.dispatcher.gpus.owned = owned
    snapshot, done = await stage.dispatcher.reconciler.repair()
    assert ([finding.code for finding in snapshot.findings], done) == (codes, [])


async def test_a_worker_on_its_gpu_is_no_finding(open_stage, executor, inherited, monkeypatch):
    _, worker = await inherited()
    monkeypatch.setattr(gpus, "list_processes", lambda: [GpuProcess(worker.pid, 0, 2**30)])
    stage = await open_stage(executor)
    stage.dispatcher.gpus.owned = [0]
    snapshot = await stage.dispatcher.reconciler.compare()
    assert (snapshot.findings, snapshot.gpu_users) == ([], [GpuProcess(worker.pid, 0, 2**30)])


@pytest.mark.parametrize(("taken", "number"), [([0], 0), ([], 1)])
async def test_a_number_that_means_nothing_here_belongs_to_the_training_that_has_the_gpu(
    open_stage, executor, monkeypatch, taken, number
):
    monkeypatch.setattr(gpus, "list_processes", lambda: [GpuProcess(2**22 + 1, 0, None)])
    stage = await open_stage(executor)
    stage.dispatcher.gpus.owned = [0]
    stage.dispatcher.gpus.reserve(("task", 1), taken)
    assert len((await stage.dispatcher.reconciler.compare()).findings) == number
