"""Many at once: nothing is lost, nothing happens twice, and every log stays whole."""

import asyncio
from collections import defaultdict

from epochd.core.errors import StaleAttempt
from epochd.core.events import FINAL_TYPES, Event, Report, ReportKind
from epochd.core.jobs import State
from epochd.store import attempts, events, jobs
from epochd.store.db import Database
from tests.support.attempts import COMPLETED, LEASE, SPEC, Attempt, epoch, started


async def test_a_storm_of_submits_gives_each_its_own_job(db: Database) -> None:
    made = await asyncio.gather(*[jobs.submit(db, SPEC) for _ in range(100)])
    assert len({job.id for job in made}) == 100
    assert (await jobs.counts(db))[State.PENDING] == 100
    assert sorted([await jobs.position(db, job.id) or 0 for job in made[:10]]) == sorted(
        {await jobs.position(db, job.id) or 0 for job in made[:10]}
    )


async def test_twenty_claims_at_once_take_twenty_jobs(db: Database) -> None:
    await asyncio.gather(*[jobs.submit(db, SPEC) for _ in range(15)])
    claims = await asyncio.gather(*[attempts.claim(db, lease_seconds=LEASE) for _ in range(20)])
    taken = [claim for claim in claims if claim is not None]
    assert len({job.id for job, _ in taken}) == len({token for _, token in taken}) == 15
    assert {job.attempt for job, _ in taken} == {1}


async def test_the_same_report_sent_by_ten_at_once_counts_once(db: Database) -> None:
    attempt = await started(db)
    batch = [attempt.next(ReportKind.EPOCH, epoch(i)) for i in (1, 2, 3)]
    await asyncio.gather(*[attempt.send(*batch) for _ in range(10)])
    assert [event.seq for event in await attempt.log()] == [1, 2, 3, 4, 5]


async def test_workers_and_people_at_once_leave_every_log_whole_and_heard_in_order(db: Database) -> None:
    heard: dict[str, list[Event]] = defaultdict(list)
    db.listen(lambda batch: [heard[event.task_id].append(event) for event in batch] and None)
    made = await asyncio.gather(*[jobs.submit(db, SPEC) for _ in range(12)])
    claims = await asyncio.gather(*[attempts.claim(db, lease_seconds=LEASE) for _ in made])
    claimed = [Attempt(db, *claim) for claim in claims if claim is not None]
    await asyncio.gather(*[_train(attempt) for attempt in claimed], *[jobs.pause(db, job.id) for job in made[::2]])
    for job in made:
        log = await events.after(db, job.id, 0)
        assert [event.seq for event in log] == list(range(1, 8))
        assert log == heard[job.id]
        assert log[-1].type in FINAL_TYPES


async def _train(attempt: Attempt) -> None:
    for number in range(1, 5):
        await attempt.say(ReportKind.EPOCH, epoch(number))
    await attempt.say(ReportKind.COMPLETED, COMPLETED)


async def test_many_writers_on_one_job_are_heard_in_the_order_of_its_log(db: Database) -> None:
    attempt = await started(db)
    heard: list[int] = []
    db.listen(lambda batch: heard.extend(event.seq for event in batch))
    batch: list[Report] = []
    for number in range(1, 21):
        batch.append(attempt.next(ReportKind.EPOCH, epoch(number)))
    await asyncio.gather(*[attempt.send(*batch[:upto]) for upto in range(1, 21)])
    assert heard == list(range(3, 23))


async def test_of_a_completion_and_a_release_at_once_exactly_one_happens(db: Database) -> None:
    for _ in range(5):
        attempt = await started(db)
        done, released = await asyncio.gather(
            attempt.say(ReportKind.COMPLETED, COMPLETED),
            attempts.release_attempt(db, attempt.id, 1, reason="silent"),
            return_exceptions=True,
        )
        state = (await attempt.job()).state
        assert state is (State.PENDING if released else State.COMPLETED)
        assert isinstance(done, StaleAttempt) is bool(released)
        if released:
            await jobs.stop(db, attempt.id)
