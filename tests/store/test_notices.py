"""What servers that share a database tell one another."""

import asyncio
from collections.abc import AsyncIterator

import psycopg
import pytest

from epochd.core.errors import NotFound
from epochd.store import jobs, models, notices
from epochd.store.db import Database
from epochd.store.notices import Notice, NoticeListener
from tests.support.attempts import SPEC


class Heard:
    """The notices that a server has received, and how often it has connected."""

    def __init__(self, db: Database, server: str) -> None:
        self.notices: asyncio.Queue[Notice] = asyncio.Queue()
        self.connections = 0
        self.listener = NoticeListener(db.direct_arguments(), server, self.notices.put_nowait, self._connected)

    async def _connected(self) -> None:
        self.connections += 1

    async def next(self) -> Notice:
        async with asyncio.timeout(10):
            return await self.notices.get()


@pytest.fixture
def store() -> str:
    return "postgresql"


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Database]:
    """The database as another server has opened it."""
    database = Database(database_url, server="other")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def heard(db: Database) -> AsyncIterator[Heard]:
    found = Heard(db, "own")
    running = asyncio.create_task(found.listener.run())
    async with asyncio.timeout(10):
        await found.listener.is_listening.wait()
    yield found
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_each_commit_with_events_says_where_to_look(other: Database, heard: Heard) -> None:
    job = await jobs.submit(other, SPEC)
    await jobs.pause(other, job.id)
    assert await heard.next() == Notice(notices.EVENTS, [[job.id, 1, 1, True]])
    assert await heard.next() == Notice(notices.EVENTS, [[job.id, 2, 2, True]])


async def test_what_a_server_has_told_itself_is_not_heard(database_url: str, other: Database, heard: Heard) -> None:
    own = Database(database_url, server="own")
    await own.open()
    await jobs.submit(own, SPEC)
    told = await jobs.submit(other, SPEC)
    assert (await heard.next()).entries[0][0] == told.id
    await own.close()


async def test_a_transaction_that_fails_tells_nothing(other: Database, heard: Heard) -> None:
    async def fail() -> None:
        async with other.write() as transaction:
            transaction.tell(notices.REMOVED, "x")
            raise NotFound("no")

    with pytest.raises(NotFound):
        await fail()
    await models.set_alias(other, "models/churn", "champion", "x")
    assert await heard.next() == Notice(notices.ALIASES, ["models/churn"])


async def test_a_removed_task_is_told(other: Database, heard: Heard) -> None:
    job = await jobs.submit(other, SPEC)
    await jobs.stop(other, job.id)
    await jobs.remove(other, job.id)
    assert [(await heard.next()).topic for _ in range(3)] == [notices.EVENTS, notices.EVENTS, notices.REMOVED]


async def test_a_server_without_others_tells_nothing(db: Database, heard: Heard, other: Database) -> None:
    await jobs.submit(db, SPEC)
    told = await jobs.submit(other, SPEC)
    assert (await heard.next()).entries[0][0] == told.id


async def test_long_notices_are_divided_and_keep_their_order(other: Database, heard: Heard) -> None:
    entries = [[f"task_{number}", "é" * 400] for number in range(100)]
    async with other.write() as transaction:
        transaction.tell(notices.ACTIVITIES, *entries, ["too long", "x" * 9_000])
    received: list[object] = []
    while len(received) < len(entries):
        received += (await heard.next()).entries
    assert received == entries


async def test_a_lost_connection_is_made_again(db: Database, other: Database, heard: Heard) -> None:
    with psycopg.connect(**db.direct_arguments(), autocommit=True) as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        connection.execute(ended)
    async with asyncio.timeout(10):
        while heard.connections < 2:  # noqa: ASYNC110 (the count sets no event)
            await asyncio.sleep(0.01)
        await heard.listener.is_listening.wait()
    job = await jobs.submit(other, SPEC)
    while (found := await heard.next()).entries[0][0] != job.id:
        pass
    assert found.topic == notices.EVENTS
