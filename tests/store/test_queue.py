"""The order of the queue: by priority, then by time; owners; and the release of a job that makes room."""

import pytest

from epochd.core.errors import IllegalMove
from epochd.core.events import ReportKind, Type
from epochd.core.jobs import ALL_GPUS, ONE_IF_ANY, Command, JobKind, State
from epochd.store import attempts, events, jobs, queue
from epochd.store.queue import Completed
from tests.support.attempts import CHECKPOINT, COMPLETED, LEASE, NOW, SPEC, claimed, epoch, started


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


async def test_a_page_of_the_queue_leaves_out_users_and_jobs_that_need_too_many_gpus(db):
    requests = [{"num_gpus": 2}, {"num_gpus": 1}, {"device": "cpu"}, {}, {"num_gpus": "auto"}, {"num_gpus": 9}]
    made = [await jobs.submit(db, of(**one), now=NOW + i, owner="ann") for i, one in enumerate(requests)]
    bobs = await jobs.submit(db, of(device="cpu"), now=NOW + 9, owner="bob")
    nobodys = await jobs.submit(db, of(device="cpu"), now=NOW + 10)
    page = await queue.pending(db, limit=9)
    assert [job.id for job in page] == [job.id for job in (*made, bobs, nobodys)]
    assert [job.gpu_request for job in page] == [2, 1, 0, ONE_IF_ANY, ALL_GPUS, 9, 0, 0]
    small = await queue.pending(db, limit=9, gpus=2, owned=4)
    assert [job.id for job in small] == [job.id for job in (*made[1:4], made[5], bobs, nobodys)]
    least = await queue.pending(db, limit=9, gpus=1, owned=4)
    assert [job.id for job in least] == [job.id for job in (made[2], made[5], bobs, nobodys)]
    assert [job.id for job in await queue.pending(db, limit=9, without=["ann"])] == [bobs.id, nobodys.id]
    assert len(await queue.pending(db, limit=2)) == 2


async def test_what_runs_is_told_with_what_its_end_is_estimated_by(db):
    await jobs.submit(db, of(dataset="iris", framework="pytorch"), owner="ann", now=NOW)
    attempt = await claimed(db)
    metrics = {"epoch": 1, "train_loss": 1.0, "time_per_epoch": 2.5}
    await attempt.say(ReportKind.EPOCH, epoch(1) | {"metrics": metrics})
    [found] = await queue.running(db)
    assert (found.id, found.attempt, found.owner, found.kind) == (attempt.id, 1, "ann", JobKind.TRAINING)
    assert (found.framework, found.dataset, found.epochs, found.current_epoch) == ("pytorch", "iris", 3, 1)
    assert (found.latest_metrics, found.command, found.started_at) == (metrics, Command.CONTINUE, NOW)
    assert await queue.used(db) == {"ann": 1}


async def test_how_long_completed_jobs_took_is_told_newest_first_without_the_time_in_the_queue(db):
    for number, seconds in enumerate((10.0, 20.0)):
        attempt = await started(db, of(dataset="iris", framework="jax"))
        await attempt.say(ReportKind.EPOCH, epoch(number + 1))
        await attempt.say(ReportKind.COMPLETED, COMPLETED | {"timings": {"train": seconds, "data": 1.0}})
    without = await started(db)
    await without.say(ReportKind.COMPLETED, COMPLETED)
    found = await queue.completed(db, kind=JobKind.TRAINING, limit=9)
    expected = [Completed(JobKind.TRAINING, "jax", "iris", n, seconds) for n, seconds in ((1, 11.0), (2, 21.0))]
    assert sorted(found) == expected
    assert await queue.completed(db, kind=JobKind.PREDICTION, limit=9) == []
