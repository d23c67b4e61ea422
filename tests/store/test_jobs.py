"""Submitting, finding, claiming, and the moves that people ask for."""

import pytest

from epochd.core.errors import EpochdError, IllegalMove, NotFound
from epochd.core.events import FINAL_TYPES, ReportKind, Type
from epochd.core.job_values import Checkpoint
from epochd.core.jobs import TASK_ID, Command, State
from epochd.core.specs import TrainingSpec
from epochd.store import attempts, events, jobs
from epochd.store.db import Database
from tests.support.attempts import CHECKPOINT, LEASE, NOW, SPEC, claimed, epoch, in_state, started

NOBODY = "epoch_training_20260101_000000_abcdef"


async def test_a_submitted_job_reads_back_as_it_was_given(db: Database) -> None:
    spec = TrainingSpec(name="Müller 训练", target_column="y", learning_rate=1)
    job = await jobs.submit(db, spec, warnings=["built-in data"], summary={"framework": "pytorch"}, now=NOW)
    assert await jobs.get(db, job.id) == job
    assert TASK_ID.fullmatch(job.id)
    assert (job.state, job.spec, job.created_at, job.queued_at) == (State.PENDING, spec, NOW, NOW)
    assert (job.warnings, job.summary) == (["built-in data"], {"framework": "pytorch"})


async def test_a_spec_without_validation_rows_comes_back_with_the_same_meaning(db: Database) -> None:
    spec = TrainingSpec(target_column="y", validation_split=0)
    job = await jobs.submit(db, spec)
    assert (await jobs.get(db, job.id)).spec.model_dump() == spec.model_dump()


async def test_a_submit_is_the_first_event(db: Database) -> None:
    job = await jobs.submit(db, SPEC, now=NOW)
    [event] = await events.after(db, job.id, 0)
    assert (event.seq, event.attempt, event.type, event.at) == (1, 0, Type.STATE, NOW)
    assert event.payload == {"state": "pending"}


async def test_a_taken_id_is_drawn_again(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = iter([NOBODY, NOBODY, NOBODY[:-1] + "0"])
    monkeypatch.setattr(jobs, "new_task_id", lambda *_: next(ids))
    first, second = await jobs.submit(db, SPEC), await jobs.submit(db, SPEC)
    assert [first.id, second.id] == [NOBODY, NOBODY[:-1] + "0"]


async def test_a_summary_with_nan_is_refused_with_a_reason(db: Database) -> None:
    with pytest.raises(EpochdError, match="Use None for NaN"):
        await jobs.submit(db, SPEC, summary={"loss": float("nan")})
    assert (await jobs.counts(db))[State.PENDING] == 0


@pytest.mark.parametrize("task_id", [NOBODY, "nonsense", "epoch\0training", "'; DROP TABLE jobs"])
async def test_an_unknown_task_is_not_found_and_the_error_says_how_to_list(db: Database, task_id: str) -> None:
    for ask in (jobs.get, jobs.pause, jobs.resume, jobs.stop):
        with pytest.raises(NotFound, match="tasks lists all tasks"):
            await ask(db, task_id)
    assert await jobs.position(db, NOBODY) is None


async def test_find_pages_newest_first_and_counts_all(db: Database) -> None:
    made = [(await jobs.submit(db, SPEC, now=NOW + i)).id for i in range(5)]
    page, total = await jobs.find(db, limit=2, offset=1)
    assert ([job.id for job in page], total) == ([made[3], made[2]], 5)


async def test_find_filters_by_state_and_by_part_of_the_name(db: Database) -> None:
    for name in ("Churn 100%", "churn_2", "sales"):
        await jobs.submit(db, TrainingSpec(name=name, target_column="y"), now=NOW)
    await claimed(db)
    assert (await jobs.find(db, state=State.RUNNING))[1] == 1
    assert {job.spec.name for job in (await jobs.find(db, name="churn"))[0]} == {"Churn 100%", "churn_2"}
    assert [job.spec.name for job in (await jobs.find(db, name="%"))[0]] == ["Churn 100%"]
    assert [job.spec.name for job in (await jobs.find(db, name="n_"))[0]] == ["churn_2"]
    assert await jobs.find(db, name="nothing") == ([], 0)


async def test_find_filters_by_the_whole_name_of_the_dataset(db: Database) -> None:
    for dataset in ("iris", "iris 2", "鸢尾花"):
        await jobs.submit(db, TrainingSpec(target_column="y", dataset=dataset), now=NOW)
    for dataset in ("iris", "鸢尾花"):
        [job], total = await jobs.find(db, dataset=dataset)
        assert (job.training.dataset, total) == (dataset, 1)
    assert await jobs.find(db, dataset="iris\0 2") == (await jobs.find(db, dataset="iris 2"))


async def test_the_queue_is_in_the_order_of_positions(db: Database) -> None:
    first, second, third = [(await jobs.submit(db, SPEC, now=NOW + i)).id for i in range(3)]
    await jobs.pause(db, first)
    await jobs.resume(db, first, now=NOW + 10)
    found, total = await jobs.waiting(db, limit=2)
    assert ([job.id for job in found], total) == ([second, third], 3)
    rest, _ = await jobs.waiting(db, limit=2, offset=2)
    assert [job.id for job in rest] == [first]
    for place, job in enumerate([*found, *rest], start=1):
        assert await jobs.position(db, job.id) == place


async def test_counts_knows_every_state(db: Database) -> None:
    await jobs.submit(db, SPEC)
    await started(db)
    assert await jobs.counts(db) == dict.fromkeys(State, 0) | {State.PENDING: 1, State.RUNNING: 1}


async def test_the_queue_is_first_come_first_served(db: Database) -> None:
    made = [(await jobs.submit(db, SPEC, now=NOW + i)).id for i in (2, 0, 1)]
    assert [await jobs.position(db, task_id) for task_id in made] == [3, 1, 2]
    assert [(await claimed(db)).id for _ in made] == [made[1], made[2], made[0]]
    assert [await jobs.position(db, task_id) for task_id in made] == [None] * 3
    assert await attempts.claim(db, lease_seconds=LEASE) is None


async def test_jobs_of_one_instant_are_served_in_the_order_of_their_positions(db: Database) -> None:
    made = [(await jobs.submit(db, SPEC, now=NOW)).id for _ in range(4)]
    by_position = sorted(made, key=dict(zip(made, [await jobs.position(db, i) for i in made], strict=True)).get)
    assert [(await claimed(db)).id for _ in made] == by_position


async def test_a_claim_begins_an_attempt_with_a_lease_and_a_token(db: Database) -> None:
    attempt = await started(db)
    job = await attempt.job()
    assert (job.state, job.attempt, job.command, job.reported) == (State.RUNNING, 1, Command.CONTINUE, 0)
    assert (job.lease_until, job.started_at) == (NOW + LEASE, NOW)
    assert (await attempt.log())[-1].payload == {"state": "running", "attempt": 1}
    assert len(attempt.token) >= 32


async def test_only_the_hash_of_a_token_is_stored(db: Database) -> None:
    attempt = await started(db)
    async with db.read() as connection:
        row = (await connection.execute(jobs.table.select())).one()
    assert len(row.token_hash) == 64
    assert attempt.token not in repr(row)


async def test_the_next_attempt_starts_afresh_but_keeps_what_was_reached(db: Database) -> None:
    first = await started(db)
    await first.send(first.next(ReportKind.EPOCH, epoch(1)), first.next(ReportKind.CHECKPOINT, CHECKPOINT))
    await attempts.release_attempt(db, first.id, 1, reason="restart")
    second = await claimed(db, now=NOW + 60)
    job = await second.job()
    assert (second.id, second.number, job.reported, job.started_at) == (first.id, 2, 0, NOW)
    assert (job.checkpoint, job.current_epoch) == (Checkpoint.from_json(CHECKPOINT), 1)
    assert second.token != first.token


async def test_pausing_a_waiting_job_takes_it_from_the_queue_at_once(db: Database) -> None:
    job = await jobs.submit(db, SPEC)
    assert (await jobs.pause(db, job.id)).state is State.PAUSED
    assert await attempts.claim(db, lease_seconds=LEASE) is None


async def test_pausing_a_running_job_is_for_its_worker_to_do(db: Database) -> None:
    attempt = await started(db)
    paused = await jobs.pause(db, attempt.id)
    assert (paused.state, paused.command) == (State.RUNNING, Command.PAUSE)
    assert await attempt.send() is Command.PAUSE
    with pytest.raises(IllegalMove, match="still pausing"):
        await jobs.resume(db, attempt.id)


async def test_pausing_twice_changes_nothing_the_second_time(db: Database) -> None:
    job = await jobs.submit(db, SPEC)
    first = await jobs.pause(db, job.id)
    assert await jobs.pause(db, job.id) == first
    assert first.last_seq == 2


async def test_a_resumed_job_goes_to_the_end_of_the_queue(db: Database) -> None:
    first = await jobs.submit(db, SPEC, now=NOW)
    await jobs.pause(db, first.id, now=NOW + 1)
    second = await jobs.submit(db, SPEC, now=NOW + 2)
    resumed = await jobs.resume(db, first.id, now=NOW + 3)
    assert (resumed.state, resumed.queued_at, resumed.created_at) == (State.PENDING, NOW + 3, NOW)
    assert (await jobs.position(db, second.id), await jobs.position(db, first.id)) == (1, 2)


async def test_stopping_a_running_job_is_for_its_worker_to_do_and_outranks_a_pause(db: Database) -> None:
    attempt = await started(db)
    await jobs.pause(db, attempt.id)
    await jobs.stop(db, attempt.id)
    assert await attempt.send() is Command.CANCEL
    for ask in (jobs.pause, jobs.resume):
        with pytest.raises(IllegalMove, match="being stopped"):
            await ask(db, attempt.id)


@pytest.mark.parametrize("state", [State.PENDING, State.PAUSED])
async def test_stopping_a_job_that_has_no_worker_is_final_at_once(db: Database, state: State) -> None:
    job = await jobs.submit(db, SPEC)
    if state is State.PAUSED:
        await jobs.pause(db, job.id)
    stopped = await jobs.stop(db, job.id, now=NOW)
    assert (stopped.state, stopped.finished_at) == (State.CANCELLED, NOW)
    assert await jobs.stop(db, job.id) == stopped
    [final] = [e for e in await events.after(db, job.id, 0) if e.type in FINAL_TYPES]
    assert (final.type, final.payload) == (Type.CANCELLED, {"state": "cancelled"})


MOVES = {
    (State.PENDING, "pause"): State.PAUSED,
    (State.PENDING, "resume"): None,
    (State.PENDING, "stop"): State.CANCELLED,
    (State.RUNNING, "pause"): State.RUNNING,
    (State.RUNNING, "resume"): None,
    (State.RUNNING, "stop"): State.RUNNING,
    (State.PAUSED, "pause"): State.PAUSED,
    (State.PAUSED, "resume"): State.PENDING,
    (State.PAUSED, "stop"): State.CANCELLED,
    (State.COMPLETED, "pause"): None,
    (State.COMPLETED, "resume"): None,
    (State.COMPLETED, "stop"): None,
    (State.FAILED, "pause"): None,
    (State.FAILED, "resume"): None,
    (State.FAILED, "stop"): None,
    (State.CANCELLED, "pause"): None,
    (State.CANCELLED, "resume"): None,
    (State.CANCELLED, "stop"): State.CANCELLED,
}


@pytest.mark.parametrize(("state", "verb"), MOVES, ids=lambda part: str(part))
async def test_every_request_in_every_state_leads_where_the_table_says(db: Database, state: State, verb: str) -> None:
    before = await jobs.get(db, (await in_state(db, state)).id)
    assert before.state is state
    ask, expected = getattr(jobs, verb), MOVES[state, verb]
    if expected is None:
        with pytest.raises(IllegalMove, match=before.id):
            await ask(db, before.id)
        assert await jobs.get(db, before.id) == before
    else:
        after = await ask(db, before.id)
        assert (after.state, await jobs.get(db, before.id)) == (expected, after)
        assert after.last_seq == before.last_seq + (expected is not state)
