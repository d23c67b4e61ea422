"""Which of several servers dispatches: an advisory lock, and a row that fences.

The lock is held by a connection of its own, so it is free as soon as its server has died. It does not help against a
server that stands still, or that does not know yet that it has lost its connection. Therefore each leader has a term,
and each change of a dispatcher checks in its transaction that no newer term has begun (``FencedDatabase``); and a lock
whose holder has not renewed its row for a lease is taken away.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from epochd.core.errors import EpochdError, NotLeader
from epochd.store import tables
from epochd.store.db import Database, Listener, Transaction
from epochd.store.notices import CHANNEL, LEADER, LEADS, LISTENS, LOCKS

if TYPE_CHECKING:
    from psycopg import AsyncConnection
    from sqlalchemy.ext.asyncio import AsyncConnection as PooledConnection

table = tables.leader

ELECT = """
INSERT INTO leader (id, term, server, url, renewed_at, about)
VALUES (1, 1, %s, %s, extract(epoch FROM clock_timestamp()), %s)
ON CONFLICT (id) DO UPDATE SET term = leader.term + 1, server = excluded.server, url = excluded.url,
    renewed_at = excluded.renewed_at, about = excluded.about
RETURNING term
"""
RENEW = """
UPDATE leader SET renewed_at = extract(epoch FROM clock_timestamp()), about = %s
WHERE id = 1 AND term = %s
"""
RESIGN = "UPDATE leader SET renewed_at = 0 WHERE id = 1 AND term = %s"
READ = "SELECT term, server, url, extract(epoch FROM clock_timestamp()) - renewed_at, about FROM leader WHERE id = 1"
HOLDERS = """
FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objid = %s AND objsubid = 2 AND granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND pid <> pg_backend_pid()
"""
LOCK_MILLISECONDS = 3_000


@dataclass(frozen=True, slots=True)
class Leader:
    """The server that leads, or has led last. ``age`` is the number of seconds since it renewed its row."""

    term: int
    server: str
    url: str
    age: float
    about: Mapping[str, Any] = field(default_factory=dict)


class LeaderSession:
    """A connection for the election, which holds the lock while its server leads. Its methods raise psycopg.Error; the
    session has to be opened again then, and its server leads no longer."""

    def __init__(self, arguments: Mapping[str, Any], server: str, url: str) -> None:
        self._arguments, self._server, self._url = arguments, server, url
        self._connection: AsyncConnection[Any] | None = None

    async def open(self) -> None:
        from psycopg import AsyncConnection  # noqa: PLC0415 - not installed with SQLite

        self._connection = await AsyncConnection.connect(**self._arguments, autocommit=True)
        await self._connection.execute(f"SET lock_timeout = {LOCK_MILLISECONDS}")

    async def close(self) -> None:
        """Close the connection, which frees the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def leader(self) -> Leader | None:
        """The newest leader; None before the first one."""
        row = await (await self._opened.execute(READ)).fetchone()
        return None if row is None else Leader(row[0], row[1], row[2], float(row[3]), row[4])

    async def campaign(self, lease_seconds: float, about: Mapping[str, Any]) -> int | None:
        """Become the leader if there is none; the new term, or None if another server leads. A leader that has not
        renewed its row for ``lease_seconds`` loses its connection, so that the next campaign succeeds."""
        if not await self._value("SELECT pg_try_advisory_lock(%s, %s)", LOCKS, LEADS):
            known = await self.leader()
            if known is None or known.age > lease_seconds:
                await self._opened.execute(f"SELECT pg_terminate_backend(pid) {HOLDERS}", (LOCKS, LEADS))
            return None
        return int(await self._value(ELECT, self._server, self._url, json.dumps(about)))

    async def renew(self, term: int, about: Mapping[str, Any]) -> bool:
        """Confirm that this server still leads; False if a newer term has begun."""
        return (await self._opened.execute(RENEW, (json.dumps(about), term))).rowcount == 1

    async def resign(self, term: int) -> None:
        """Give the leadership up, so that another server can take over at once."""
        await self._opened.execute(RESIGN, (term,))
        await self._opened.execute("SELECT pg_advisory_unlock(%s, %s)", (LOCKS, LEADS))
        told = json.dumps([self._server, LEADER, [term]])
        await self._opened.execute("SELECT pg_notify(%s, %s)", (CHANNEL, told))

    async def others(self) -> int:
        """The number of servers that listen to notices, without this one."""
        return int(await self._value(f"SELECT count(*) {HOLDERS}", LOCKS, LISTENS)) - 1

    async def _value(self, query: str, *values: Any) -> Any:
        row = await (await self._opened.execute(query, values)).fetchone()
        return None if row is None else row[0]

    @property
    def _opened(self) -> "AsyncConnection[Any]":
        if self._connection is None:
            raise EpochdError("the election has no connection: call LeaderSession.open() first")
        return self._connection


class FencedDatabase(Database):
    """The database for the dispatcher of one term: each change raises NotLeader once a newer term has begun."""

    def __init__(self, db: Database, term: int, lease_seconds: float) -> None:
        self.server, self.term = db.server, term
        self._inner = db
        self._idle = f"{lease_seconds * 1000:.0f}"

    @asynccontextmanager
    async def read(self) -> "AsyncIterator[PooledConnection]":
        async with self._inner.read() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        async with self._inner.write() as transaction:
            await self._check(transaction)
            yield transaction

    def listen(self, callback: Listener) -> None:
        self._inner.listen(callback)

    def unlisten(self, callback: Listener) -> None:
        self._inner.unlisten(callback)

    async def _check(self, transaction: Transaction) -> None:
        """Raise NotLeader unless the term is the newest. A newer one cannot begin until the transaction ends, which the
        database ends itself if this process stands still for a lease."""
        limited = func.set_config("idle_in_transaction_session_timeout", self._idle, True)
        query = select(table.c.term, limited).where(table.c.id == 1).with_for_update(read=True)
        newest = await transaction.connection.scalar(query)
        if newest != self.term:
            newer = f"this server led in term {self.term}, and another one leads in term {newest}"
            raise NotLeader(f"{newer}: it has stopped dispatching")
