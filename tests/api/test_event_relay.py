"""Two servers on one PostgreSQL: what one commits, the streams of the other receive once and in order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import psycopg
import pytest

from epochd.api.event_bus import EventBus
from epochd.api.event_relay import EventRelay
from epochd.api.responses import Activity
from epochd.core.events import Event, ReportKind
from epochd.core.jobs import State
from epochd.store import attempts, jobs
from epochd.store.db import Database
from epochd.store.notices import NoticeListener
from tests.support.attempts import COMPLETED, LEASE, SPEC, Attempt, epoch


@dataclass
class Server:
    """What a server has of the events."""

    db: Database
    bus: EventBus
    relay: EventRelay
    listener: NoticeListener
    heard: list[Event] = field(default_factory=list)
    wakes: int = 0

    def wake(self) -> None:
        self.wakes += 1

    async def until(self, look: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not look():  # noqa: ASYNC110 (what arrives sets no event)
                await asyncio.sleep(0.005)

    def seqs(self, task_id: str) -> list[int]:
        return [event.seq for event in self.heard if event.task_id == task_id]


@pytest.fixture
def database_url(new_postgres: Callable[..., str], migrated_postgres: str) -> str:
    return new_postgres(migrated_postgres)


@pytest.fixture
async def servers(database_url: str) -> AsyncIterator[list[Server]]:
    """Two of them."""
    found: list[Server] = []
    async with AsyncExitStack() as stack:
        for name in ("a", "b"):
            db, bus = Database(database_url, name), EventBus()
            await db.open()
            stack.push_async_callback(db.close)
            heard: list[Event] = []
            relay = EventRelay(db, bus, [heard.extend], lambda: server.wake())
            db.listen(relay.committed)
            listener = NoticeListener(db.direct_arguments(), name, relay.received, relay.replay)
            found.append(server := Server(db, bus, relay, listener, heard))
            running = asyncio.create_task(listener.run())
            telling = asyncio.create_task(relay.tell_activities())
            stack.push_async_callback(relay.close)
            stack.push_async_callback(ended, running, telling)
            async with asyncio.timeout(10):
                await listener.is_listening.wait()
        yield found


async def ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def claimed(db: Database) -> Attempt:
    claim = await attempts.claim(db, lease_seconds=LEASE)
    assert claim is not None
    return Attempt(db, *claim)


async def test_a_stream_at_one_server_receives_what_the_other_commits(servers: list[Server]) -> None:
    a, b = servers
    job = await jobs.submit(a.db, SPEC)
    with b.bus.subscribe(job.id) as subscriber:
        attempt = await claimed(a.db)
        for number in range(1, 4):
            await attempt.say(ReportKind.EPOCH, epoch(number))
        received: list[int] = []
        while received[-1:] != [5]:
            received += [line.seq for line in await subscriber.take()]
    assert received == [*range(received[0], 6)]
    assert received[0] in (1, 2)


async def test_commits_of_both_servers_on_one_task_are_published_once_and_in_order_at_both(
    servers: list[Server],
) -> None:
    a, b = servers
    job = await jobs.submit(a.db, SPEC)
    last = 1
    with a.bus.subscribe(job.id), b.bus.subscribe(job.id):
        for server in servers:
            server.relay.follow(job.id, 1)
        for number in range(40):
            first, second = (a, b) if number % 2 else (b, a)
            await jobs.pause(first.db, job.id)
            await jobs.resume(second.db, job.id)
        last = (await jobs.get(a.db, job.id)).last_seq
        for server in servers:
            await server.until(lambda server=server: server.seqs(job.id)[-1] == last)
    assert last == 81
    assert b.seqs(job.id) == [*range(1 if 1 in b.seqs(job.id) else 2, last + 1)]
    assert a.seqs(job.id) == [*range(1, last + 1)]


async def test_progress_that_nobody_follows_is_not_read_and_a_new_state_is(servers: list[Server]) -> None:
    a, b = servers
    job = await jobs.submit(a.db, SPEC)
    attempt = await claimed(a.db)
    await b.until(lambda: b.seqs(job.id) == [1, 2] and not b.relay._reading)
    await attempt.say(ReportKind.EPOCH, epoch(1))
    await attempt.say(ReportKind.EPOCH, epoch(2))
    await b.until(lambda: b.relay._last.get(job.id) == 4)
    await attempt.say(ReportKind.COMPLETED, COMPLETED)
    await b.until(lambda: 5 in b.seqs(job.id))
    assert b.seqs(job.id) == [1, 2, 5]
    assert b.heard[-1].job is not None
    assert b.heard[-1].job.state is State.COMPLETED


async def test_a_changed_state_wakes_the_other_dispatcher(servers: list[Server]) -> None:
    a, b = servers
    await jobs.submit(a.db, SPEC)
    await b.until(lambda: b.wakes == 1)


async def test_after_a_lost_connection_nothing_is_missing_and_nothing_repeated(
    servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epochd.store.notices.FIRST_BACKOFF_SECONDS", 0.01)
    a, b = servers
    listen, may_listen = b.listener._listen, asyncio.Event()

    async def listen_later() -> None:
        await may_listen.wait()
        await listen()

    monkeypatch.setattr(b.listener, "_listen", listen_later)
    job = await jobs.submit(a.db, SPEC)
    await b.until(lambda: b.seqs(job.id) == [1])
    attempt = await claimed(a.db)
    with b.bus.subscribe(job.id) as subscriber:
        await b.until(lambda: b.seqs(job.id)[-1] == 2)
        with psycopg.connect(**a.db.direct_arguments(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
            )
        await b.until(lambda: not b.listener.is_listening.is_set())
        for number in range(1, 6):
            await attempt.say(ReportKind.EPOCH, epoch(number))
        assert b.seqs(job.id) == [1, 2]
        may_listen.set()
        await b.until(lambda: b.seqs(job.id)[-1] == 7)
        lines = subscriber.take_waiting()
    assert b.seqs(job.id) == [*range(1, 8)]
    assert [line.seq for line in lines][-5:] == [3, 4, 5, 6, 7]


async def test_own_events_wait_for_those_of_the_other_server_before_them(servers: list[Server]) -> None:
    a, b = servers
    job = await jobs.submit(a.db, SPEC)
    await b.until(lambda: b.seqs(job.id) == [1])
    b.relay.received = lambda notice: None  # type: ignore[method-assign]
    b.listener._receive = lambda notice: None
    await jobs.pause(a.db, job.id)
    await jobs.resume(b.db, job.id)
    await b.until(lambda: b.seqs(job.id) == [1, 2, 3])


async def test_what_a_training_does_is_shown_at_the_other_server(servers: list[Server]) -> None:
    a, b = servers
    activity = Activity(epoch=3, step=1, steps=9)
    a.relay.note("epoch_training_1", activity)
    assert a.bus.activities == {"epoch_training_1": activity}
    await b.until(lambda: b.bus.activities)
    assert b.bus.activities == {"epoch_training_1": activity}


async def test_a_removed_task_ends_its_streams_at_the_other_server(servers: list[Server]) -> None:
    a, b = servers
    job = await jobs.submit(a.db, SPEC)
    with b.bus.subscribe(job.id) as subscriber:
        await jobs.stop(a.db, job.id)
        await b.until(lambda: b.seqs(job.id) == [1, 2])
        await jobs.remove(a.db, job.id)
        await b.until(lambda: subscriber.closed)


async def test_a_task_that_was_removed_while_no_notices_arrived_ends_its_streams(servers: list[Server]) -> None:
    a, b = servers
    job = await jobs.submit(a.db, SPEC)
    with b.bus.subscribe(job.id) as subscriber:
        b.listener._receive = lambda notice: None
        await jobs.stop(a.db, job.id)
        await jobs.remove(a.db, job.id)
        await b.relay.replay()
        assert subscriber.closed
