"""What workers report: applied once, in order, by the attempt that runs, and with its events or not at all."""

from typing import Any

import pytest

from epochd.core.errors import EpochdError, IllegalMove, StaleAttempt
from epochd.core.events import FINAL_TYPES, Report, ReportKind, Type
from epochd.core.job_values import Checkpoint, JobError, Phase
from epochd.core.jobs import Command, State
from epochd.store import attempts, jobs
from epochd.store.db import Database
from tests.support.attempts import (
    CHECKPOINT,
    COMPLETED,
    FAILED,
    LAST_WORDS,
    LEASE,
    NOW,
    SPEC,
    STARTED,
    Attempt,
    claimed,
    epoch,
    in_state,
    started,
)

FINAL = [State.COMPLETED, State.FAILED, State.CANCELLED]


async def test_a_training_from_start_to_end_leaves_its_whole_story(db: Database) -> None:
    attempt = await started(db)
    await attempt.send(attempt.next(ReportKind.STARTED, STARTED), attempt.next(ReportKind.EPOCH, epoch(1, 0.7)))
    await attempt.say(ReportKind.LOG, {"level": "info", "message": "half way"})
    await attempt.say(ReportKind.COMPLETED, COMPLETED, now=NOW + 5)
    log = await attempt.log()
    assert [event.seq for event in log] == [1, 2, 3, 4, 5, 6]
    assert [event.type for event in log] == ["state", "state", "state", "progress", "log", "complete"]
    assert log[2].payload == {"state": "running", "started": STARTED}
    assert log[3].payload == {
        "progress": {
            "current_epoch": 1,
            "total_epochs": 3,
            "training_state": "running",
            "latest_metrics": {"epoch": 1, "train_loss": 0.7},
            "best_metrics": {"loss": 0.7, "epoch": 1},
        }
    }
    assert log[4].payload == {"level": "info", "message": "half way"}


async def test_completion_sets_artifact_summary_and_best_metrics_with_its_event(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.STARTED, STARTED)
    assert await attempt.say(ReportKind.COMPLETED, COMPLETED, now=NOW + 5) is Command.CONTINUE
    job, event = await attempt.job(), (await attempt.log())[-1]
    assert (job.state, job.artifact, job.finished_at, job.lease_until) == (State.COMPLETED, "models/x", NOW + 5, None)
    assert job.summary == {**STARTED, "seconds": 1.5, "stopped_early": False, "timings": {"queue": 0.0}}
    assert job.best_metrics == COMPLETED["best"]
    assert (event.payload["artifact"], event.payload["summary"]) == (job.artifact, job.summary)
    assert event.payload["progress"]["training_state"] == "completed"
    assert job.last_seq == event.seq


async def test_the_seconds_of_all_attempts_add_up_and_a_pause_counts_for_none(db: Database) -> None:
    await jobs.submit(db, SPEC, now=NOW)
    assert (await jobs.waiting(db, limit=1))[0][0].timings(NOW + 3)["queue"] == 3.0
    first = await claimed(db, NOW + 4)
    await jobs.pause(db, first.id, now=NOW + 5)
    await first.say(ReportKind.PAUSED, CHECKPOINT | {"timings": {"start": 1.0, "train": 2.0}}, now=NOW + 6)
    paused = await first.job()
    assert paused.checkpoint == Checkpoint.from_json(CHECKPOINT), "they are no part of the checkpoint"
    await jobs.resume(db, first.id, now=NOW + 100)
    second = await claimed(db, NOW + 101)
    await second.say(ReportKind.COMPLETED, COMPLETED | {"timings": {"train": 0.5, "pack": 0.25}}, now=NOW + 102)
    job, event = await second.job(), (await second.log())[-1]
    ours = {"queue": 5.0, "start": 1.0, "train": 2.5, "pack": 0.25}
    assert job.timings(NOW + 500) == dict.fromkeys(Phase, 0.0) | ours
    assert event.payload["summary"]["timings"] == ours


async def test_after_a_crash_the_queue_counts_from_the_crash_although_the_place_is_kept(db: Database) -> None:
    attempt = await started(db)
    await attempts.crash_attempt(db, attempt.id, 1, JobError("worker_died", "it died"), now=NOW + 50)
    assert (await attempt.job()).queued_at == NOW
    again = await claimed(db, NOW + 52)
    assert (await again.job()).timings(NOW + 52)["queue"] == 2.0


async def test_an_error_that_holds_a_training_does_not_contain_its_seconds(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.HELD, FAILED | {"timings": {"data": 1.0}})
    job = await attempt.job()
    assert job.error == JobError.from_json(FAILED)
    assert job.timings(NOW)["data"] == 1.0


async def test_warnings_about_the_result_join_those_of_the_start(db: Database) -> None:
    attempt = await started(db)
    before = (await attempt.job()).warnings
    await attempt.say(ReportKind.COMPLETED, COMPLETED | {"warnings": ["not better than its baseline"]})
    assert (await attempt.job()).warnings == [*before, "not better than its baseline"]


async def test_failure_keeps_what_the_worker_said(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.FAILED, FAILED)
    assert ((await attempt.job()).state, (await attempt.job()).error) == (State.FAILED, JobError.from_json(FAILED))
    assert (await attempt.log())[-1].payload == {"error": FAILED}


async def test_a_checkpoint_becomes_the_place_to_go_on_from(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.CHECKPOINT, CHECKPOINT)
    assert (await attempt.job()).checkpoint == Checkpoint.from_json(CHECKPOINT)
    assert (await attempt.log())[-1].payload == {"checkpoint": CHECKPOINT}


ASKED = {
    Command.PAUSE: State.PAUSED,
    Command.CANCEL: State.CANCELLED,
    Command.RELEASE: State.PENDING,
    Command.CONTINUE: State.PENDING,
}


async def _ask(db: Database, attempt: Attempt, command: Command) -> None:
    match command:
        case Command.PAUSE:
            await jobs.pause(db, attempt.id)
        case Command.CANCEL:
            await jobs.stop(db, attempt.id)
        case Command.RELEASE:
            assert await attempts.request_release(db) == [attempt.id]


@pytest.mark.parametrize("command", ASKED)
async def test_a_worker_that_yields_leaves_its_job_in_the_state_that_was_asked(db: Database, command: Command) -> None:
    attempt = await started(db)
    await _ask(db, attempt, command)
    assert await attempt.say(ReportKind.PAUSED, CHECKPOINT) is Command.CONTINUE
    job = await attempt.job()
    assert (job.state, job.checkpoint, job.queued_at) == (ASKED[command], Checkpoint.from_json(CHECKPOINT), NOW)
    assert (job.command, job.lease_until) == (Command.CONTINUE, None)


@pytest.mark.parametrize("command", ASKED)
async def test_an_attempt_released_by_the_server_leaves_the_state_that_was_asked(
    db: Database, command: Command
) -> None:
    attempt = await started(db)
    await _ask(db, attempt, command)
    assert await attempts.release_attempt(db, attempt.id, 1, reason="restart")
    assert (await attempt.job()).state is ASKED[command]
    if command is not Command.CANCEL:
        assert (await attempt.log())[-1].payload == {"state": ASKED[command], "reason": "restart"}


async def test_a_released_job_is_first_in_the_queue_again(db: Database) -> None:
    attempt = await started(db)
    await jobs.submit(db, SPEC, now=NOW + 1)
    await attempts.request_release(db)
    await attempt.say(ReportKind.PAUSED, CHECKPOINT, now=NOW + 2)
    assert await jobs.position(db, attempt.id) == 1


async def test_a_pause_before_anything_was_done_keeps_the_former_checkpoint(db: Database) -> None:
    first = await started(db)
    await jobs.pause(db, first.id)
    await first.say(ReportKind.PAUSED, CHECKPOINT)
    await jobs.resume(db, first.id)
    second = await claimed(db)
    await jobs.pause(db, second.id)
    await second.say(ReportKind.PAUSED, {})
    assert (await second.job()).checkpoint == Checkpoint.from_json(CHECKPOINT)


async def test_a_repeated_batch_is_applied_once(db: Database) -> None:
    attempt = await started(db)
    batch = [attempt.next(ReportKind.EPOCH, epoch(1)), attempt.next(ReportKind.EPOCH, epoch(2))]
    await attempt.send(*batch)
    once = await attempt.job()
    await attempt.send(*batch)
    assert await attempt.job() == once
    await attempt.send(*batch, attempt.next(ReportKind.EPOCH, epoch(3)))
    assert (await attempt.job()).last_seq == once.last_seq + 1


@pytest.mark.parametrize("state", LAST_WORDS)
async def test_a_repeated_last_word_is_answered_after_the_end(db: Database, state: State) -> None:
    attempt = await started(db)
    if state is State.PAUSED:
        await jobs.pause(db, attempt.id)
    last = attempt.next(*LAST_WORDS[state])
    await attempt.send(last)
    ended = await attempt.job()
    assert ended.state is state
    assert await attempt.send(last) is Command.CONTINUE
    assert await attempt.job() == ended


@pytest.mark.parametrize("state", FINAL)
async def test_a_final_state_absorbs_whatever_comes(db: Database, state: State) -> None:
    attempt = await in_state(db, state)
    assert isinstance(attempt, Attempt)
    ended = await attempt.job()
    for kind, payload in [*LAST_WORDS.values(), (ReportKind.EPOCH, epoch(9))]:
        with pytest.raises(StaleAttempt):
            await attempt.say(kind, payload)
    with pytest.raises(StaleAttempt):
        await attempt.send()
    assert not await attempts.fail_attempt(db, attempt.id, 1, JobError("died", "late"))
    assert not await attempts.release_attempt(db, attempt.id, 1, reason="late")
    assert await attempt.job() == ended
    assert [event.type in FINAL_TYPES for event in await attempt.log()].count(True) == 1


async def test_a_former_attempt_is_fenced_off(db: Database) -> None:
    first = await started(db)
    await attempts.release_attempt(db, first.id, 1, reason="silent")
    with pytest.raises(StaleAttempt):
        await first.say(ReportKind.EPOCH, epoch(1))
    second = await claimed(db)
    before = await second.job()
    with pytest.raises(StaleAttempt, match=r"attempt 1 of task .* is not running any more"):
        await first.say(ReportKind.COMPLETED, COMPLETED)
    with pytest.raises(StaleAttempt):
        await first.send()
    assert await second.job() == before


async def test_the_token_must_be_that_of_the_attempt(db: Database) -> None:
    one, other = await started(db), await started(db)
    for token in ("guess", other.token, one.token + "x", "ключ"):
        with pytest.raises(StaleAttempt):
            await one.send(Report(1, ReportKind.EPOCH, epoch(1)), token=token)
        with pytest.raises(StaleAttempt):
            await one.send(token=token)
    assert (await one.job()).reported == 0


async def test_a_report_to_an_unknown_task_is_stale(db: Database) -> None:
    attempt = await started(db)
    attempt.id = "epoch_training_20260101_000000_abcdef"
    with pytest.raises(StaleAttempt):
        await attempt.send()
    with pytest.raises(StaleAttempt):
        await attempt.say(ReportKind.LOG, {"level": "info", "message": "?"})
    assert not await attempts.fail_attempt(db, attempt.id, 1, JobError("died", "gone"))


BAD_BATCHES: dict[str, tuple[list[Report], type[EpochdError], str]] = {
    "gap": (
        [Report(1, ReportKind.EPOCH, epoch(1)), Report(3, ReportKind.EPOCH, epoch(3))],
        IllegalMove,
        "send 2 first",
    ),
    "after the final report": (
        [Report(1, ReportKind.COMPLETED, COMPLETED), Report(2, ReportKind.EPOCH, epoch(1))],
        IllegalMove,
        "final report",
    ),
    "payload without metrics": ([Report(1, ReportKind.EPOCH, {"best": {}})], IllegalMove, "has no 'metrics'"),
    "nan": ([Report(1, ReportKind.EPOCH, epoch(1, float("nan")))], EpochdError, "Use None for NaN"),
    "nan in the log": ([Report(1, ReportKind.LOG, {"message": float("inf")})], EpochdError, "Use None for NaN"),
}


@pytest.mark.parametrize("what", BAD_BATCHES)
async def test_a_batch_with_one_bad_report_leaves_nothing(db: Database, what: str) -> None:
    attempt = await started(db)
    before, log = await attempt.job(), await attempt.log()
    batch, kind, message = BAD_BATCHES[what]
    with pytest.raises(kind, match=message):
        await attempt.send(*batch)
    assert (await attempt.job(), await attempt.log()) == (before, log)


async def test_a_report_renews_the_lease(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.EPOCH, epoch(1), now=NOW + 1)
    assert (await attempt.job()).lease_until == NOW + 1 + LEASE


async def test_a_heartbeat_writes_only_when_a_third_of_the_lease_is_gone(db: Database) -> None:
    attempt = await started(db)
    await attempt.send(now=NOW + 4)
    assert (await attempt.job()).lease_until == NOW + LEASE
    await attempt.send(now=NOW + 6)
    assert (await attempt.job()).lease_until == NOW + 6 + LEASE
    assert len(await attempt.log()) == 2


async def test_a_silent_worker_is_found_by_its_lease(db: Database) -> None:
    silent = await started(db)
    await jobs.submit(db, SPEC, now=NOW)
    lively = await claimed(db, now=NOW + 10)
    assert await attempts.expired(db, now=NOW + 14) == []
    assert [job.id for job in await attempts.expired(db, now=NOW + 16)] == [silent.id]
    assert {job.id for job in await jobs.running(db)} == {silent.id, lively.id}


async def test_a_dead_worker_fails_its_job_with_its_last_lines(db: Database) -> None:
    attempt = await started(db)
    assert await attempts.fail_attempt(db, attempt.id, 1, JobError("died", "killed", log_tail=["a", "b"]), now=NOW)
    error: dict[str, Any] = {"code": "died", "message": "killed", "problems": [], "log_tail": ["a", "b"]}
    job = await attempt.job()
    assert job.error is not None
    assert (job.state, job.error.as_json(), job.finished_at) == (State.FAILED, error, NOW)
    assert ((await attempt.log())[-1].type, (await attempt.log())[-1].payload) == (Type.FAILED, {"error": error})


async def test_a_worker_that_dies_while_it_is_stopped_leaves_a_cancelled_job(db: Database) -> None:
    attempt = await started(db)
    await jobs.stop(db, attempt.id)
    assert await attempts.fail_attempt(db, attempt.id, 1, JobError("died", "killed"))
    assert ((await attempt.job()).state, (await attempt.job()).error) == (State.CANCELLED, None)


async def test_the_death_of_a_former_worker_concerns_nobody(db: Database) -> None:
    first = await started(db)
    await attempts.release_attempt(db, first.id, 1, reason="restart")
    assert not await attempts.fail_attempt(db, first.id, 1, JobError("died", "killed"))
    await claimed(db)
    assert not await attempts.fail_attempt(db, first.id, 1, JobError("died", "killed"))
    assert (await first.job()).state is State.RUNNING


async def test_only_jobs_without_another_command_are_asked_to_release(db: Database) -> None:
    going, pausing = await started(db), await started(db)
    await jobs.pause(db, pausing.id)
    await jobs.submit(db, SPEC)
    assert await attempts.request_release(db) == [going.id]
    assert (await going.send(), await pausing.send()) == (Command.RELEASE, Command.PAUSE)
    assert await attempts.request_release(db) == []
