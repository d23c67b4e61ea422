"""Access to the database: connections, transactions, and the notification of listeners after a commit."""

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, func, insert, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from epochd.core.errors import Busy, EpochdError, OutOfSpace, SettingsError
from epochd.core.events import Event
from epochd.store import connections, migrations, notices, tables
from epochd.store.notices import Notice

logger = logging.getLogger(__name__)

Listener = Callable[[list[Event]], None]

WAIT_SECONDS = 10.0
"""How long a transaction waits for its turn and for a connection."""
OUTAGE_SECONDS = 30.0
"""How long a failure is shown, unless a change is written before."""


class Transaction:
    """One write transaction. Listeners receive its events only after it has committed."""

    def __init__(self, connection: AsyncConnection, queue: "deque[Transaction]") -> None:
        self.connection = connection
        self.events: list[Event] = []
        self.notices: list[Notice] = []
        self.ended = self.committed = False
        self._queue = queue

    async def append(self, events: Sequence[Event]) -> None:
        """Append events to the logs of their jobs. The caller has locked the rows of these jobs."""
        if not events:
            return
        others = ("seq", "attempt", "type", "payload", "at")
        values = [{"job_id": event.task_id} | {name: getattr(event, name) for name in others} for event in events]
        await self.connection.execute(insert(tables.events), values)
        if not self.events:
            self._queue.append(self)
        self.events.extend(events)

    def tell(self, topic: str, *entries: Any) -> None:
        """Tell the other servers of this database, once this has committed; nothing happens without others."""
        self.notices.append(Notice(topic, list(entries)))

    async def commit(self) -> None:
        """Commit. If the caller is cancelled, this ends only once the result is known."""
        task = asyncio.ensure_future(self.connection.commit())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise
        finally:
            self.committed = task.done() and task.exception() is None


class Database:
    """One database, given as a SQLAlchemy URL, whose password is in no message and no log line, or as a SQLite file.
    ``server`` is the id of this server if several share the database: changes are then told to the others.

    While the database cannot be used, ``read`` and ``write`` raise Busy, or OutOfSpace if the disk is full."""

    def __init__(self, url: str | Path, server: str | None = None) -> None:
        self.server = server
        self._url = connections.parse(url)
        self._writer: AsyncEngine | None = None
        self._reader: AsyncEngine | None = None
        # SQLite runs one write transaction at a time, in the order of requests; PostgreSQL locks rows.
        self._turn = asyncio.Lock() if self._url.get_backend_name() == "sqlite" else nullcontext()
        self._files = connections.SqliteFiles(self._url)
        self._outage: tuple[float, EpochdError] | None = None
        self._listeners: list[Listener] = []
        self._unpublished: deque[Transaction] = deque()
        self._in_use = 0
        self._unused = asyncio.Event()

    async def open(self) -> None:
        """Connect and migrate the schema. Raises SettingsError if either fails."""
        try:
            connections.prepare(self._url)
            self._writer, self._reader = connections.engines(self._url)
            event.listen(self._writer.sync_engine, "connect", lambda *_: self._files.forget_wal())
            async with self._writer.begin() as connection:
                await connection.run_sync(_upgrade)
                self._files.check(in_transaction=True)
        except (ImportError, OSError, TypeError, sqlite3.Error, SQLAlchemyError, migrations.UnknownRevision) as error:
            await self.close()
            raise SettingsError(connections.why_unusable(self._url, error)) from None

    async def close(self) -> None:
        """Close all connections, those of readers first: the last SQLite connection merges the WAL into the file.

        Those in use are waited for: SQLAlchemy would never close what is returned to a pool that is closed.
        """
        engines, self._reader, self._writer = (self._reader, self._writer), None, None
        if self._in_use:
            self._unused.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._unused.wait(), connections.CLOSE_SECONDS)
        for engine in engines:
            if engine is not None:
                await engine.dispose()

    def check_files(self) -> None:
        """Raise Busy if the SQLite file was deleted or replaced since it was opened."""
        self._files.check()

    @property
    def outage(self) -> EpochdError | None:
        """Why the last change could not be written; None once one was written, and after a while without one."""
        if self._outage is not None and time.monotonic() - self._outage[0] < OUTAGE_SECONDS:
            return self._outage[1]
        return None

    def listen(self, callback: Listener) -> None:
        """Register a callback, which receives the events of each commit, in their order, in the event loop."""
        self._listeners.append(callback)

    def unlisten(self, callback: Listener) -> None:
        self._listeners.remove(callback)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection whose queries all see one snapshot of the database, taken at the first query."""
        async with self._connected(lambda: self._reader, nullcontext()) as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Transaction]:
        """A transaction that commits at the end of the block, or rolls back if the block raises."""
        try:
            async with self._connected(lambda: self._writer, self._turn) as connection:
                transaction = Transaction(connection, self._unpublished)
                try:
                    await connection.begin()
                    self._files.check(in_transaction=True)
                    yield transaction
                    if self.server is not None:
                        told = [*notices.of_events(transaction.events), *transaction.notices]
                        await notices.send(transaction.connection, self.server, told)
                    await transaction.commit()
                finally:
                    transaction.ended = True
                    self._publish()
            self._files.check()  # a change that was lost must not be acknowledged
        except (Busy, OutOfSpace) as error:
            self._outage = time.monotonic(), error
            raise
        if transaction.events or not isinstance(self.outage, OutOfSpace):  # what writes nothing fits on a full disk
            self._outage = None

    @asynccontextmanager
    async def exclusive(self, name: str) -> AsyncIterator[None]:
        """Run the block in one server at a time, of those that share the database."""
        if self.server is None:
            yield
            return
        async with self.write() as transaction:
            await transaction.connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"epochd {name}"))))
            yield

    def direct_arguments(self) -> dict[str, Any]:
        """The arguments of a connection of the driver itself, outside of the pools. Only for PostgreSQL."""
        return connections.direct_arguments(self._url)

    @asynccontextmanager
    async def _connected(
        self, engine: Callable[[], AsyncEngine | None], turn: AbstractAsyncContextManager[Any]
    ) -> AsyncIterator[AsyncConnection]:
        """A connection, which waits for its turn, and the errors of the database as errors of epochd."""
        self._in_use += 1
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(WAIT_SECONDS):
                        await stack.enter_async_context(turn)
                        connection = await stack.enter_async_context(connections.connected(_opened(engine())))
                except TimeoutError:
                    raise connections.unavailable(f"no connection was free for {WAIT_SECONDS:g} s") from None
                yield connection
        except SQLAlchemyError as error:
            found = connections.translated(self._url, error)
            if found is error:
                raise
            raise found from None
        finally:
            self._in_use -= 1
            if not self._in_use:
                self._unused.set()

    def _publish(self) -> None:
        """Notify listeners of the finished transactions, in the order in which these appended events.

        Two PostgreSQL transactions on one job append in the order of its row lock, but their commits may be confirmed
        in the opposite order; the later one then waits here for the earlier one.
        """
        while self._unpublished and self._unpublished[0].ended:
            transaction = self._unpublished.popleft()
            for callback in list(self._listeners if transaction.committed else ()):
                try:
                    callback(list(transaction.events))
                except Exception:
                    first, count = transaction.events[0], len(transaction.events)
                    logger.exception("a listener failed for %d events of task %s", count, first.task_id)


def _opened(engine: AsyncEngine | None) -> AsyncEngine:
    if engine is None:
        raise EpochdError("the database is not open: call Database.open() first")
    return engine


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # two servers may start at once; SQLite is locked by BEGIN
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('epochd migrations'))")
    migrations.upgrade(connection)
