"""Several servers on one PostgreSQL: one leads, and what a former leader writes is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import psycopg
import pytest

from epochd.core.errors import Busy, NotLeader
from epochd.core.jobs import State
from epochd.store import attempts, jobs
from epochd.store.db import Database
from epochd.store.leadership import FencedDatabase, LeaderSession
from tests.support.attempts import SPEC

LEASE = 15.0
Open = Callable[[str], Awaitable[LeaderSession]]


@pytest.fixture
def store() -> str:
    return "postgresql"


@pytest.fixture
async def open_session(db: Database) -> AsyncIterator[Open]:
    sessions = []

    async def opened(server: str) -> LeaderSession:
        session = LeaderSession(db.direct_arguments(), server, f"http://{server}:8000")
        await session.open()
        sessions.append(session)
        return session

    yield opened
    for session in sessions:
        with suppress(psycopg.Error):
            await session.close()


async def backdate(db: Database) -> None:
    """Let the leader look as if it had not renewed its row for a long time."""
    async with db.write() as transaction:
        await transaction.connection.exec_driver_sql("UPDATE leader SET renewed_at = 0")


async def test_of_several_servers_one_leads_and_all_know_which(open_session: Open) -> None:
    a, b = await open_session("a"), await open_session("b")
    assert await a.leader() is None
    assert await a.campaign(LEASE, {"gpus": 2}) == 1
    assert await b.campaign(LEASE, {}) is None
    found = await b.leader()
    assert found is not None
    assert (found.term, found.server, found.url, dict(found.about)) == (1, "a", "http://a:8000", {"gpus": 2})
    assert 0 <= found.age < LEASE


async def test_a_leader_whose_connection_ends_is_followed_at_once_in_a_newer_term(open_session: Open) -> None:
    a, b = await open_session("a"), await open_session("b")
    await a.campaign(LEASE, {})
    await a.close()
    async with asyncio.timeout(10):
        while (term := await b.campaign(LEASE, {})) is None:  # noqa: ASYNC110 (the database closes a session by itself)
            await asyncio.sleep(0.01)
    assert term == 2


async def test_a_leader_that_resigns_is_followed_at_once(open_session: Open) -> None:
    a, b = await open_session("a"), await open_session("b")
    await a.resign(await a.campaign(LEASE, {}) or 0)
    assert await b.campaign(LEASE, {}) == 2
    assert await a.campaign(LEASE, {}) is None


async def test_a_leader_that_stands_still_for_a_lease_loses_the_lock(open_session: Open, db: Database) -> None:
    a, b = await open_session("a"), await open_session("b")
    await a.campaign(LEASE, {})
    assert await b.campaign(LEASE, {}) is None
    await backdate(db)
    async with asyncio.timeout(10):
        while (term := await b.campaign(LEASE, {})) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert term == 2
    with pytest.raises(psycopg.Error):
        await a.renew(1, {})


async def test_a_renewal_keeps_the_term_until_another_server_has_taken_over(open_session: Open, db: Database) -> None:
    a = await open_session("a")
    await a.campaign(LEASE, {})
    await backdate(db)
    assert await a.renew(1, {"gpus": 1})
    found = await a.leader()
    assert found is not None
    assert (found.term, dict(found.about)) == (1, {"gpus": 1})
    assert found.age < LEASE
    assert not await a.renew(0, {})


async def test_what_a_former_leader_writes_is_refused_and_changes_nothing(open_session: Open, db: Database) -> None:
    a, b = await open_session("a"), await open_session("b")
    former = FencedDatabase(db, await a.campaign(LEASE, {}) or 0, LEASE)
    await jobs.submit(db, SPEC)
    claimed = await attempts.claim(former, lease_seconds=LEASE)
    assert claimed is not None
    await a.resign(former.term)
    present = FencedDatabase(db, await b.campaign(LEASE, {}) or 0, LEASE)
    with pytest.raises(NotLeader, match=r"term 1.*term 2"):
        await attempts.release_attempt(former, claimed[0].id, 1, reason="lost")
    with pytest.raises(NotLeader):
        await attempts.claim(former, lease_seconds=LEASE)
    assert (await jobs.get(db, claimed[0].id)).state is State.RUNNING
    assert await attempts.release_attempt(present, claimed[0].id, 1, reason="lost")


async def test_a_new_term_waits_for_a_change_of_the_old_one(open_session: Open, db: Database) -> None:
    a, b = await open_session("a"), await open_session("b")
    former = FencedDatabase(db, await a.campaign(LEASE, {}) or 0, LEASE)
    await a.resign(former.term)
    async with former.write():
        electing = asyncio.create_task(b.campaign(LEASE, {}))
        await asyncio.wait({electing}, timeout=0.3)
        assert not electing.done()
    assert await electing == 2


async def test_a_server_that_stands_still_within_a_change_is_not_waited_for(open_session: Open, db: Database) -> None:
    a, b = await open_session("a"), await open_session("b")
    former = FencedDatabase(db, await a.campaign(LEASE, {}) or 0, lease_seconds=0.2)
    await a.resign(former.term)

    async def stand_still() -> None:
        async with former.write() as transaction:
            assert await b.campaign(LEASE, {}) == 2  # only once the database has ended the transaction
            await transaction.connection.exec_driver_sql("SELECT 1")

    with pytest.raises(Busy):
        await stand_still()
