"""Jobs that wait for room on the disk."""

import asyncio
from types import SimpleNamespace

import pytest

from epochd.core.events import Report, ReportKind, Type
from epochd.core.jobs import State
from epochd.core.settings import Settings
from epochd.dispatch import readmission
from epochd.store import attempts, events, jobs
from tests.support.stage import SPEC, arrival

NEEDED = 100 * 2**20


@pytest.fixture
def disk(monkeypatch):
    """The disk and the clock; ``free`` bytes, ``now`` seconds."""
    disk = SimpleNamespace(free=0, now=1000.0)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=disk.free))
    monkeypatch.setattr(readmission, "time", SimpleNamespace(monotonic=lambda: disk.now))
    return disk


@pytest.fixture
def block(db):
    """A job whose worker had to leave it for lack of room; or the same one once more."""

    async def blocked_job():
        if not (await jobs.counts(db))[State.PENDING]:
            await jobs.submit(db, SPEC)
        job, token = await attempts.claim(db, lease_seconds=60)
        payload = {"code": "disk_full", "message": "no room", "problems": [], "needed_bytes": NEEDED}
        reports = [Report(1, ReportKind.HELD, payload)]
        await attempts.report(db, job.id, job.attempt, token, reports, lease_seconds=60)
        return job

    return blocked_job


@pytest.fixture
def room(db, tmp_path, disk):
    return readmission.Readmission(db, Settings(data_dir=tmp_path))


async def state(db, job):
    return (await jobs.get(db, job.id)).state


async def test_a_job_goes_on_once_there_is_room_and_some_to_spare(db, room, disk, block):
    job = await block()
    for disk.free in (NEEDED, int(1.09 * NEEDED)):
        await room.check()
        assert await state(db, job) is State.PAUSED
    disk.free = 2 * NEEDED
    await room.check()
    found = await jobs.get(db, job.id)
    assert (found.state, found.error, found.queued_at) == (State.PENDING, None, job.queued_at)
    [told] = [event.payload for event in await events.after(db, job.id, 0) if event.type is Type.LOG]
    assert "200 MiB are free on the disk and 100 MiB are needed" in told["message"]


async def test_a_job_that_an_object_store_blocks_tries_it_again_and_waits_longer_each_time(db, tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(readmission.time, "monotonic", lambda: now[0])
    store = readmission.Readmission(db, Settings(data_dir=tmp_path, storage=f"file://{tmp_path}/bucket"))
    job = await jobs.submit(db, SPEC)
    waited = []
    for _ in range(3):
        claimed, token = await attempts.claim(db, lease_seconds=60)
        payload = {"code": "storage_unavailable", "message": "503", "problems": []}
        await attempts.report(
            db, job.id, claimed.attempt, token, [Report(1, ReportKind.HELD, payload)], lease_seconds=60
        )
        began = now[0]
        while await state(db, job) is State.PAUSED:
            await store.check()
            now[0] += 1
        waited.append(now[0] - began)
    assert waited == [1, 10, 20]


async def test_room_is_given_away_once(db, room, disk, block):
    first, second = await block(), await block()
    disk.free = int(1.5 * NEEDED)
    await room.check()
    assert [await state(db, job) for job in (first, second)] == [State.PENDING, State.PAUSED]


async def test_what_a_person_has_paused_stays_paused(db, room, disk, block):
    job = await block()
    await jobs.pause(db, job.id)
    disk.free = 10 * NEEDED
    await room.check()
    assert await state(db, job) is State.PAUSED
    assert not await jobs.unblock(db, job.id, "disk_full", "room")


async def test_one_that_finds_no_room_after_all_is_tried_less_and_less_often(db, room, disk, block):
    disk.free = 10 * NEEDED
    job, tried = await block(), []
    for _ in range(40):
        await room.check()
        if await state(db, job) is State.PENDING:
            tried.append(disk.now - 1000)
            await block()
        disk.now += readmission.CHECK_SECONDS
    assert tried == [0, 10, 30, 70, 150, 310]


async def test_the_dispatcher_looks_for_room_by_itself(open_stage, executor, db, disk, block):
    job = await block()
    disk.free = 10 * NEEDED
    await open_stage(executor)
    async with asyncio.timeout(10):
        assert (await arrival(executor)).task_id == job.id
