"""Jobs that are removed: wholly, once, and only when they have ended."""

import asyncio

import pytest

from epochd.core.errors import IllegalMove, NotFound, StaleAttempt
from epochd.core.events import ReportKind
from epochd.core.job_values import JobError
from epochd.core.jobs import State
from epochd.store import attempts, events, jobs
from epochd.store.db import Database
from tests.support.attempts import SPEC, Attempt, epoch, in_state


@pytest.mark.parametrize("state", [state for state in State if state.is_final])
async def test_a_finished_job_goes_with_its_log_and_no_other(db: Database, state: State) -> None:
    other = await in_state(db, state)
    attempt = await in_state(db, state)
    assert (await jobs.remove(db, attempt.id)).state is state
    with pytest.raises(NotFound):
        await jobs.get(db, attempt.id)
    assert await events.after(db, attempt.id, 0) == []
    assert await jobs.ids(db) == {other.id}
    assert await events.after(db, other.id, 0) != []


@pytest.mark.parametrize("state", [state for state in State if not state.is_final])
async def test_a_job_that_has_not_ended_is_refused_and_stays_as_it_is(db: Database, state: State) -> None:
    job = await in_state(db, state)
    before = await jobs.get(db, job.id)
    with pytest.raises(IllegalMove, match=f"is {state}: only a finished task can be removed; stop it first"):
        await jobs.remove(db, job.id)
    assert await jobs.get(db, job.id) == before


@pytest.mark.parametrize("task_id", ["epoch_training_20260101_000000_abcdef", "nonsense", "a\0b"])
async def test_what_is_not_there_cannot_be_removed(db: Database, task_id: str) -> None:
    with pytest.raises(NotFound):
        await jobs.remove(db, task_id)


async def test_of_many_removals_at_once_one_succeeds(db: Database) -> None:
    job = await in_state(db, State.COMPLETED)
    found = await asyncio.gather(*[jobs.remove(db, job.id) for _ in range(5)], return_exceptions=True)
    assert sorted(type(one).__name__ for one in found) == ["Job", *["NotFound"] * 4]


async def test_a_child_keeps_the_name_of_its_parent(db: Database) -> None:
    attempt = await in_state(db, State.COMPLETED)
    child = await jobs.submit(db, SPEC, parent=await jobs.get(db, attempt.id))
    await jobs.remove(db, attempt.id)
    assert (await jobs.get(db, child.id)).parent == attempt.id


async def test_a_worker_of_a_removed_job_is_told_to_end(db: Database) -> None:
    attempt = await in_state(db, State.FAILED)
    assert isinstance(attempt, Attempt)
    await jobs.remove(db, attempt.id)
    with pytest.raises(StaleAttempt):
        await attempt.say(ReportKind.EPOCH, epoch(1))
    assert not await attempts.crash_attempt(db, attempt.id, 1, JobError("worker_died", "late"))
