"""Workers that die, trainings that go back, tasks that have to wait for something, configs that change on the way."""

from typing import Any

import pytest

from epochd.core.errors import InvalidSpec
from epochd.core.events import FINAL_TYPES, ReportKind, Type
from epochd.core.job_values import Checkpoint, JobError, WorkerIdentity
from epochd.core.jobs import State
from epochd.core.specs import TrainingSpec
from epochd.store import attempts, events, jobs
from epochd.store.db import Database
from tests.support.attempts import CHECKPOINT, LEASE, NOW, SPEC, Attempt, claimed, epoch, history, started

CRASH = {"code": "worker_died", "message": "the worker was killed by signal SIGKILL", "log_tail": ["last line"]}
FULL = {"code": "disk_full", "message": "no room", "problems": [], "needed_bytes": 10**9}


async def crash(db: Database, attempt: Attempt) -> None:
    assert await attempts.crash_attempt(db, attempt.id, attempt.number, JobError(**CRASH))


async def test_a_job_whose_worker_died_waits_again_and_says_why(db: Database) -> None:
    attempt = await started(db)
    await crash(db, attempt)
    job = await attempt.job()
    assert (job.state, job.crashes, job.strikes, job.error) == (State.PENDING, 1, 1, None)
    last = (await attempt.log())[-1]
    assert last.payload["crash"] == {"attempt": 1, "strikes": 1} | CRASH


async def test_three_deaths_without_a_newer_checkpoint_are_poison(db: Database) -> None:
    attempt = await started(db)
    for _ in range(2):
        await crash(db, attempt)
        attempt = await claimed(db)
    await crash(db, attempt)
    job = await attempt.job()
    assert (job.state, job.crashes) == (State.FAILED, 3)
    assert job.error is not None
    assert job.error.code == "poison"
    assert "SIGKILL" in job.error.message


async def test_a_newer_checkpoint_forgives_and_the_same_one_again_does_not(db: Database) -> None:
    attempt = await started(db)
    await crash(db, attempt)
    attempt = await claimed(db)
    await attempt.say(ReportKind.CHECKPOINT, CHECKPOINT)
    assert (await attempt.job()).strikes == 0
    await crash(db, attempt)
    attempt = await claimed(db)
    await attempt.say(ReportKind.CHECKPOINT, CHECKPOINT)
    assert ((await attempt.job()).strikes, (await attempt.job()).crashes) == (1, 2)


async def test_a_crash_on_the_way_to_a_pause_or_a_stop_obeys_it(db: Database) -> None:
    for order, state in ((jobs.pause, State.PAUSED), (jobs.stop, State.CANCELLED)):
        attempt = await started(db)
        await order(db, attempt.id)
        await crash(db, attempt)
        assert (await attempt.job()).state is state


async def test_a_renewed_lease_is_not_taken_for_an_expired_one(db: Database) -> None:
    attempt = await started(db)
    await attempt.send(now=NOW + LEASE)
    late = NOW + LEASE + 1
    assert not await attempts.crash_attempt(db, attempt.id, 1, JobError(**CRASH), only_expired=True, now=late)
    assert await attempts.crash_attempt(db, attempt.id, 1, JobError(**CRASH), only_expired=True, now=late + LEASE)


async def test_preemptions_are_counted_apart_from_crashes(db: Database) -> None:
    attempt = await started(db)
    await attempts.release_attempt(db, attempt.id, 1, reason="restart")
    attempt = await claimed(db)
    await attempts.request_release(db)
    await attempt.say(ReportKind.PAUSED, CHECKPOINT)
    job = await attempt.job()
    assert (job.state, job.preemptions, job.crashes) == (State.PENDING, 2, 0)


@pytest.mark.parametrize(("ask", "state"), [(jobs.pause, State.PAUSED), (jobs.stop, State.CANCELLED)])
async def test_an_attempt_that_is_released_for_a_pause_or_a_stop_is_no_preemption(
    db: Database, ask: Any, state: State
) -> None:
    attempt = await started(db)
    await ask(db, attempt.id)
    await attempts.release_attempt(db, attempt.id, 1, reason="no worker had started it")
    job = await attempt.job()
    assert (job.state, job.preemptions) == (state, 0)


async def test_an_epoch_that_comes_out_the_same_again_is_told_once(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.EPOCH, epoch(1))
    await attempt.say(ReportKind.EPOCH, epoch(2, loss=0.4))
    await crash(db, attempt)
    attempt = await claimed(db)
    for number, loss in ((1, 0.5), (2, 0.4), (3, 0.3)):
        again = epoch(number, loss)
        again["metrics"]["time_per_epoch"] = 9.0
        await attempt.say(ReportKind.EPOCH, again)
    told = [event.payload["progress"]["current_epoch"] for event in await attempt.log() if event.type is Type.PROGRESS]
    assert told == [1, 2, 3]


async def test_an_epoch_that_comes_out_otherwise_is_told_again_and_stands(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.EPOCH, epoch(1))
    await crash(db, attempt)
    attempt = await claimed(db)
    await attempt.say(ReportKind.EPOCH, epoch(1, loss=0.25))
    assert [row["train_loss"] for row in await history(db, attempt.id)] == [0.25]


async def test_a_rollback_takes_back_the_epochs_after_it(db: Database) -> None:
    attempt = await started(db)
    for number in (1, 2):
        await attempt.say(ReportKind.EPOCH, epoch(number))
    await attempt.say(ReportKind.ROLLBACK, {"epoch": 1, "learning_rate": 0.0001, "message": "diverged"})
    assert (await attempt.job()).current_epoch == 1
    assert [row["epoch"] for row in await history(db, attempt.id)] == [1]
    await attempt.say(ReportKind.EPOCH, epoch(2))
    assert [row["epoch"] for row in await history(db, attempt.id)] == [1, 2]


def measured(number: int, loss: float, best: int) -> dict[str, Any]:
    return epoch(number, loss) | {"best": {"loss": loss, "epoch": best}}


async def test_progress_never_shows_an_epoch_that_was_taken_back(db: Database) -> None:
    attempt = await started(db)
    reports = [measured(1, 0.5, 1), measured(2, 0.7, 1), measured(3, 0.4, 3)]
    for report in reports:
        await attempt.say(ReportKind.EPOCH, report)
    await attempt.say(ReportKind.ROLLBACK, {"epoch": 2, "learning_rate": 0.0001, "message": "diverged"})
    job = await attempt.job()
    assert (job.latest_metrics, job.best_metrics) == (reports[1]["metrics"], reports[1]["best"])
    await attempt.say(ReportKind.ROLLBACK, {"epoch": 0, "learning_rate": 0.00001, "message": "diverged"})
    job = await attempt.job()
    assert (job.current_epoch, job.latest_metrics, job.best_metrics) == (0, None, None)


async def test_epochs_and_the_rollback_that_takes_them_back_may_come_in_one_batch(db: Database) -> None:
    attempt = await started(db)
    back = {"epoch": 1, "learning_rate": 0.0001, "message": "diverged"}
    said = [
        (ReportKind.EPOCH, measured(1, 0.5, 1)),
        (ReportKind.EPOCH, measured(2, 0.4, 2)),
        (ReportKind.ROLLBACK, back),
    ]
    await attempt.send(*[attempt.next(*word) for word in said], attempt.next(ReportKind.EPOCH, measured(2, 0.4, 2)))
    job = await attempt.job()
    assert (job.current_epoch, job.best_metrics) == (2, {"loss": 0.4, "epoch": 2})
    assert [event.type for event in await attempt.log()][-4:] == ["progress", "progress", "rollback", "progress"]


async def test_an_epoch_that_comes_out_otherwise_takes_back_the_epochs_after_it(db: Database) -> None:
    attempt = await started(db)
    for number in (1, 2, 3):
        await attempt.say(ReportKind.EPOCH, epoch(number))
    await crash(db, attempt)
    attempt = await claimed(db)
    await attempt.say(ReportKind.EPOCH, epoch(2, loss=0.25))
    assert [row["train_loss"] for row in await history(db, attempt.id)] == [0.5, 0.25]
    assert (await attempt.job()).current_epoch == 2


async def test_a_blocked_job_is_paused_with_its_reason_until_it_is_resumed(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.HELD, FULL)
    assert [job.id for job in await jobs.blocked(db, "disk_full")] == [attempt.id]
    job = await attempt.job()
    assert (job.state, job.error) == (State.PAUSED, JobError.from_json(FULL))
    assert not [event for event in await attempt.log() if event.type in FINAL_TYPES]
    assert (await jobs.resume(db, attempt.id)).error is None
    assert await jobs.blocked(db, "disk_full") == []


async def test_a_blocked_job_that_somebody_pauses_waits_for_somebody(db: Database) -> None:
    before, after = await started(db), await started(db)
    await jobs.pause(db, before.id)
    for attempt in (before, after):
        await attempt.say(ReportKind.HELD, FULL)
    await jobs.pause(db, after.id)
    for attempt in (before, after):
        job = await attempt.job()
        assert (job.state, job.error) == (State.PAUSED, None)
        assert not await jobs.unblock(db, attempt.id, "disk_full", "room again")


async def test_a_resume_may_change_how_long_and_how_fast_a_job_learns(db: Database) -> None:
    attempt = await started(db)
    await jobs.pause(db, attempt.id)
    await attempt.say(ReportKind.PAUSED, CHECKPOINT)
    job = await jobs.resume(db, attempt.id, {"epochs": 9, "learning_rate_scheduler": "cosine"})
    assert (job.spec.epochs, job.spec.learning_rate_scheduler) == (9, "cosine")
    assert (await jobs.get(db, job.id)).spec.epochs == 9
    assert job.revisions[0].changes["epochs"] == [3, 9]
    assert (await attempt.log())[-1].payload["changes"]["learning_rate_scheduler"] == ["step", "cosine"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"epochs": 2}, "epochs"),
        ({"hidden_units": [4]}, "hidden_units"),
        ({"epoch": 9}, "epoch"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"T_max": 5}, "T_max"),
    ],
)
async def test_a_change_that_cannot_be_made_changes_nothing(db: Database, changes: dict, field: str) -> None:
    job = await jobs.submit(db, SPEC)
    await jobs.pause(db, job.id)
    with pytest.raises(InvalidSpec) as refused:
        await jobs.resume(db, job.id, changes)
    assert [problem.field for problem in refused.value.problems] == [field]
    assert (await jobs.get(db, job.id)).state is State.PAUSED


async def test_which_process_runs_an_attempt_is_known_as_long_as_it_runs(db: Database) -> None:
    attempt = await started(db)
    await attempts.set_worker(db, attempt.id, 1, WorkerIdentity(7, 1.5))
    assert (await attempt.job()).worker == WorkerIdentity(7, 1.5)
    await crash(db, attempt)
    await attempts.set_worker(db, attempt.id, 1, WorkerIdentity(8, 1.5))
    assert (await attempt.job()).worker is None


async def test_the_last_step_is_known_apart_from_the_heartbeat(db: Database) -> None:
    attempt = await started(db)
    await attempts.report(db, attempt.id, 1, attempt.token, [], lease_seconds=LEASE, idle_seconds=4.0, now=NOW + 12)
    job = await attempt.job()
    assert (job.progress_at, job.lease_until) == (NOW + 8, NOW + 12 + LEASE)
    await crash(db, attempt)
    assert (await (await claimed(db)).job()).progress_at is None


async def test_a_job_that_goes_on_from_another_names_it(db: Database) -> None:
    parent = await jobs.submit(db, SPEC)

    async def provide(task_id: str) -> Checkpoint:
        return Checkpoint.from_json(CHECKPOINT | {"path": f"checkpoints/{task_id}/1"})

    child = await jobs.submit(
        db, TrainingSpec(target_column="target", epochs=9), parent=parent, provide_checkpoint=provide
    )
    job = await jobs.get(db, child.id)
    assert (job.parent, job.checkpoint) == (parent.id, await provide(job.id))
    assert (await events.after(db, child.id, 0))[0].payload["parent"] == parent.id


async def test_a_blocked_job_is_let_in_again_in_its_old_place_unless_it_was_paused_since(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.HELD, FULL)
    before = await attempt.job()
    assert not await jobs.unblock(db, attempt.id, "another_reason", "a test")
    assert await jobs.unblock(db, attempt.id, "disk_full", "there is room")
    job = await attempt.job()
    assert (job.state, job.error, job.queued_at) == (State.PENDING, None, before.queued_at)
    told = [event.payload for event in await attempt.log()][-2:]
    assert told[0] == {"level": "info", "message": "there is room"}
    assert not await jobs.unblock(db, attempt.id, "disk_full", "there is room")


async def test_no_lease_outlasts_a_clock_that_was_set_back(db: Database) -> None:
    attempt = await started(db)
    await attempts.shorten_leases(db, LEASE, now=NOW + 5)
    assert (await attempt.job()).lease_until == NOW + LEASE, "it ends in time"
    await attempts.shorten_leases(db, LEASE, now=NOW - 3600)
    assert (await attempt.job()).lease_until == NOW - 3600 + LEASE


async def test_a_new_attempt_has_finished_no_step_yet(db: Database) -> None:
    attempt = await started(db)
    await attempts.report(db, attempt.id, 1, attempt.token, [], lease_seconds=LEASE, idle_seconds=4.0, now=NOW + 12)
    await crash(db, attempt)
    assert (await (await claimed(db)).job()).progress_at is None
