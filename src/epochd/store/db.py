"""The door to the database: connections, transactions, and word of what they committed.

On SQLite one transaction writes at a time, in the order in which they asked; PostgreSQL runs them side by
side, and rows are locked where it matters.
"""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from alembic.util import CommandError
from sqlalchemy import Connection, insert
from sqlalchemy.exc import SQLAlchemyError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from epochd.core.errors import EpochdError, OutOfSpace, SettingsError
from epochd.core.events import Event
from epochd.store import connections, migrations, tables

logger = logging.getLogger(__name__)

Listener = Callable[[list[Event]], None]


class Transaction:
    """One open write. What is appended here reaches the listeners only if the transaction commits."""

    def __init__(self, connection: AsyncConnection, queue: "deque[Transaction]") -> None:
        self.connection = connection
        self.events: list[Event] = []
        self.ended = self.committed = False
        self._queue = queue

    async def append(self, events: Sequence[Event]) -> None:
        """Append events to their jobs' logs. The caller holds the lock on those jobs' rows."""
        if not events:
            return
        await self.connection.execute(insert(tables.events), [_row_of(event) for event in events])
        if not self.events:
            self._queue.append(self)
        self.events.extend(events)


class Database:
    """One database, given as a SQLAlchemy URL: ``sqlite:///<path>`` or ``postgresql://<user>:<password>@<host>/<name>``.

    The URL may hold a password; it stands in no message and no log line.
    """

    def __init__(self, url: str) -> None:
        self._url = connections.parse(url)
        self._is_sqlite = self._url.get_backend_name() == "sqlite"
        self._writer: AsyncEngine | None = None
        self._reader: AsyncEngine | None = None
        self._turn = asyncio.Lock()
        self._listeners: list[Listener] = []
        self._unpublished: deque[Transaction] = deque()

    async def open(self) -> None:
        """Connect, and bring the schema up to date. Raises SettingsError if either cannot be done."""
        try:
            connections.probe(self._url)
            self._writer, self._reader = connections.engines(self._url)
            async with self._writer.begin() as connection:
                await connection.run_sync(_upgrade)
        except (ImportError, OSError, sqlite3.Error, SQLAlchemyError, CommandError) as error:
            await self.close()
            raise SettingsError(connections.why_unusable(self._url, error)) from None

    async def close(self) -> None:
        """Close all connections, the readers' first: the last one of SQLite folds the WAL into the file."""
        engines, self._reader, self._writer = (self._reader, self._writer), None, None
        for engine in engines:
            if engine is not None:
                await engine.dispose()

    def listen(self, callback: Listener) -> None:
        """Call back with the events of each commit, in their order, synchronously in the event loop."""
        self._listeners.append(callback)

    def unlisten(self, callback: Listener) -> None:
        self._listeners.remove(callback)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose queries all see the database as it was at the first of them."""
        async with _opened(self._reader).connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction: it commits at the end of the block, or leaves nothing behind if the block raises."""
        async with self._turn if self._is_sqlite else nullcontext(), _opened(self._writer).connect() as connection:
            transaction = Transaction(connection, self._unpublished)
            try:
                await connection.begin()
                yield transaction
                await _to_its_end(self._commit(transaction))
            except StatementError as error:
                raise _told(error) from None
            finally:
                transaction.ended = True
                self._publish()

    async def _commit(self, transaction: Transaction) -> None:
        await transaction.connection.commit()
        transaction.committed = True

    def _publish(self) -> None:
        """Tell the listeners of the ended transactions, in the order in which they appended.

        Two PostgreSQL transactions on one job append in the order of its row lock, but word of their commits
        may arrive the other way round; the later one then waits here for the earlier one.
        """
        while self._unpublished and self._unpublished[0].ended:
            transaction = self._unpublished.popleft()
            if transaction.committed:
                for callback in list(self._listeners):
                    _call(callback, transaction.events)


def _told(error: StatementError) -> Exception:
    """What to raise for an error of the database: our own words where there are some."""
    if isinstance(error.orig, EpochdError):
        return error.orig
    if connections.is_full(error):
        return OutOfSpace("the disk is full, so the database could not be written and nothing was changed: free space")
    return error


def _row_of(event: Event) -> dict[str, Any]:
    return {
        "job_id": event.task_id,
        "seq": event.seq,
        "attempt": event.attempt,
        "type": event.type,
        "payload": event.payload,
        "at": event.at,
    }


def _call(callback: Listener, events: list[Event]) -> None:
    try:
        callback(list(events))
    except Exception:
        logger.exception("a listener failed on %d events of %s", len(events), events[0].task_id)


async def _to_its_end(work: Awaitable[None]) -> None:
    """Await work that must not be left half known: a cancelled caller still waits until it is done."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _opened(engine: AsyncEngine | None) -> AsyncEngine:
    if engine is None:
        raise EpochdError("the database is not open: await Database.open() first")
    return engine


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # two servers may start at once; SQLite's BEGIN has locked already
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('epochd migrations'))")
    migrations.upgrade(connection)
