"""The order of the queue: by priority, then by time; owners; and the release of a job that makes room."""

import pytest

from epochd.core.errors import IllegalMove
from epochd.core.events import ReportKind, Type
from epochd.core.jobs import Command, State
from epochd.store import attempts, events, jobs
from tests.support.attempts import CHECKPOINT, LEASE, NOW, SPEC, claimed, started


def of(priority: int = 0, **options: object):
    return SPEC.model_copy(update={"priority": priority, **options})


async def test_the_queue_is_ordered_by_priority_and_then_by_time(db):
    made = [(await jobs.submit(db, of(n), now=NOW + i)).id for i, n in enumerate((0, -5, 7, 0, 7))]
    expected = [made[2], made[4], made[0], made[3], made[1]]
    assert [job.id for job in (await jobs.waiting(db, limit=9))[0]] == expected
    assert [await jobs.position(db, task_id) for task_id in expected] == [1, 2, 3, 4, 5]
    assert await jobs.positions(db, made) == {task_id: n for n, task_id in enumerate(expected, 1)}
    assert [(await claimed(db)).id for _ in made] == expected
    assert await jobs.positions(db, made) == {}


async def test_a_job_that_was_chosen_starts_before_those_ahead_of_it_but_only_once(db):
    await jobs.submit(db, of(), now=NOW)
    later = await jobs.submit(db, of(), now=NOW + 1)
    job, _ = await attempts.claim(db, lease_seconds=LEASE, task_id=later.id)
    assert job.id == later.id
    assert await attempts.claim(db, lease_seconds=LEASE, task_id=later.id) is None


async def test_the_priority_of_a_waiting_job_can_be_changed_and_its_log_says_so(db):
    first, second = [await jobs.submit(db, of(), now=NOW + i) for i in (0, 1)]
    changed = await jobs.prioritise(db, second.id, 3)
    assert (changed.priority, changed.spec.priority) == (3, 3)
    assert await jobs.get(db, second.id) == changed
    assert await jobs.position(db, first.id) == 2
    last = (await events.after(db, second.id, 0))[-1]
    assert (last.type, last.payload["message"]) == (Type.LOG, "the priority was changed from 0 to 3")
    await jobs.prioritise(db, second.id, 3)
    assert (await jobs.get(db, second.id)).last_seq == last.seq


async def test_the_priority_of_a_running_job_cannot_be_changed(db):
    attempt = await started(db)
    with pytest.raises(IllegalMove, match="only the priority of a pending or paused task"):
        await jobs.prioritise(db, attempt.id, 1)


async def test_a_paused_job_is_resumed_with_another_priority(db):
    job = await jobs.submit(db, of())
    await jobs.pause(db, job.id)
    resumed = await jobs.resume(db, job.id, {"priority": 9})
    assert (resumed.priority, resumed.spec.priority) == (9, 9)
    assert resumed.revisions[0].changes == {"priority": [0, 9]}
    assert await jobs.get(db, job.id) == resumed


async def test_jobs_are_found_by_their_owner(db):
    mine = await jobs.submit(db, of(), owner="王")
    await jobs.submit(db, of())
    assert mine.owner == "王"
    assert await jobs.find(db, owner="王") == ([mine], 1)
    assert (await jobs.find(db))[1] == 2


async def test_a_job_that_makes_room_keeps_its_place_and_counts_no_crash(db):
    attempt = await started(db)
    later = await jobs.submit(db, of(), now=NOW + 1)
    assert await attempts.request_room(db, attempt.id, attempt.number, "another")
    assert not await attempts.request_room(db, attempt.id, attempt.number, "another")
    assert await attempt.say(ReportKind.STARTED, {}) is Command.RELEASE
    await attempt.say(ReportKind.PAUSED, CHECKPOINT)
    job = await attempt.job()
    assert (job.state, job.preemptions, job.crashes) == (State.PENDING, 1, 0)
    assert (await jobs.position(db, job.id), await jobs.position(db, later.id)) == (1, 2)
    told = [event.payload["message"] for event in await attempt.log() if event.type is Type.LOG]
    assert told == ["made room for task another of higher priority: it continues from its checkpoint"]


async def test_a_job_that_its_user_pauses_is_not_asked_to_make_room(db):
    attempt = await started(db)
    await jobs.pause(db, attempt.id)
    assert not await attempts.request_room(db, attempt.id, attempt.number, "another")
    assert not await attempts.request_room(db, attempt.id, attempt.number + 1, "another")
