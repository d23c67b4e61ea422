"""Connections to SQLite and PostgreSQL, and the messages for their failures.

SQLite has one connection that writes, locked at ``BEGIN IMMEDIATE``; all others only read. So no statement finds the
database busy, and the WAL-reset bug of SQLite before 3.51.3 (two connections that checkpoint at once) cannot occur.
A commit survives a power failure (``synchronous=FULL``), because workers discard their reports once acknowledged.
"""

import asyncio
import json
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import aiosqlite
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError, TimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from epochd.core.errors import Busy, EpochdError, OutOfSpace, SettingsError
from epochd.core.installation import install_command
from epochd.store.migrations import UnknownRevision

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 10
CONNECT_SECONDS = 10
LOCK_MILLISECONDS = 10_000  # how long a statement waits for another program that has locked data, such as a backup
RETRY_SECONDS = 5  # when a client may repeat a request that the database has failed
CLOSE_SECONDS = 2.0  # how long a cancellation waits for a connection that is being opened or returned
DISK_FULL, STOOD_STILL = "53100", "25P03"  # of the SQLSTATE codes in PostgreSQL's manual
NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
SQLITE_OUTAGES = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""Errors of SQLite whose cause is outside of epochd."""

T = TypeVar("T")


def parse(text: str | Path) -> URL:
    """A database URL with the driver that epochd uses, also for the path of a SQLite file. Raises SettingsError, which
    does not contain the URL."""
    if isinstance(text, Path):
        return URL.create(DRIVERS["sqlite"], database=str(text))
    try:
        url = make_url(text)
        driver = DRIVERS[url.drivername.split("+")[0]]
    except (ArgumentError, KeyError, ValueError):
        raise SettingsError(
            "invalid settings: EPOCHD_DATABASE_URL: neither a URL for SQLite nor one for PostgreSQL. Use "
            "postgresql://<user>:<password>@<host>/<name> or sqlite:////<absolute path>, or unset it for SQLite in "
            "the data directory"
        ) from None
    if driver.startswith("sqlite") and (not url.database or url.database.startswith((":memory:", "file:"))):
        needed = "the SQLite database must be a file, not memory or a URI"
        raise SettingsError(f"invalid settings: EPOCHD_DATABASE_URL: {needed}. Use sqlite:////<absolute path>")
    return url.set(drivername=driver)


def prepare(url: URL) -> None:
    """Open a SQLite file once and switch it to write-ahead logging. Raises sqlite3.Error.

    The thread of the asynchronous driver could outlive the event loop if it failed to open the file, and log an error.
    SQLite does not wait when two servers switch at once, but fails.
    """
    if url.get_backend_name() != "sqlite":
        return
    end = time.monotonic() + LOCK_MILLISECONDS / 1000
    with closing(sqlite3.connect(url.database or "")) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return


def engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """The writer's and the readers' engine. Raises ImportError if the driver is not installed."""
    # hide_parameters: logged statements must not contain data of users.
    engine = partial(create_async_engine, url, max_overflow=0, hide_parameters=True, json_serializer=_encoded)
    if url.get_backend_name() == "sqlite":
        # isolation_level None: on_begin starts transactions, not the driver.
        sqlite = partial(engine, connect_args={"isolation_level": None, "async_creator_fn": _connect})
        writer, reader = sqlite(pool_size=1), sqlite(pool_size=SQLITE_READERS)
        _prepare(writer, "BEGIN IMMEDIATE", ("synchronous=FULL", "foreign_keys=ON"))
        _prepare(reader, "BEGIN", ("query_only=ON",))
        return writer, reader
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
    writer = engine(connect_args=arguments, pool_size=POSTGRES_CONNECTIONS, pool_pre_ping=True)
    _on_connect(writer, (f"SET lock_timeout = {LOCK_MILLISECONDS}",))
    return writer, writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def direct_arguments(url: URL) -> dict[str, Any]:
    """The arguments with which psycopg connects to a PostgreSQL URL. A server that does not answer any more is noticed
    within half a minute, also by a connection that only listens."""
    _, arguments = url.get_dialect()().create_connect_args(url)
    timing = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }
    return {**timing, **arguments}


def _encoded(value: object) -> str:
    """A value as JSON text, with NUL replaced by U+FFFD, because PostgreSQL cannot read a value beside it. Raises
    EpochdError for a value that is not valid JSON, such as NaN or infinity."""
    try:
        return NUL.sub(r"\1\\ufffd", json.dumps(value, allow_nan=False, separators=(",", ":")))
    except (TypeError, ValueError) as error:
        raise EpochdError(f"a value cannot be stored as JSON: {error}. Use None for NaN and infinity") from None


async def _connect(path: str, **options: Any) -> aiosqlite.Connection:
    """Connect to an existing SQLite file, with a thread that does not keep the process."""
    connection = aiosqlite.connect(f"file:{quote(path)}?mode=rw", uri=True, **options)
    thread: Any = getattr(connection, "_thread", connection)  # before aiosqlite 0.22 it is the thread itself
    thread.daemon = True  # as SQLAlchemy does
    return await connection


@asynccontextmanager
async def connected(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection of the pool. If this is cancelled while one is opened or returned, that is finished first:
    SQLAlchemy would leave the connection open, and its thread could outlive the event loop."""
    opening = asyncio.ensure_future(engine.connect())
    try:
        connection = await _finished(opening)
    except asyncio.CancelledError:
        if not opening.cancel() and opening.exception() is None:
            await opening.result().close()
        raise
    try:
        yield connection
    finally:
        await _finished(asyncio.ensure_future(connection.close()))


async def _finished(work: asyncio.Future[T]) -> T:
    """The result of ``work``, for which a cancellation waits too."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work], timeout=CLOSE_SECONDS)
        raise


def _prepare(engine: AsyncEngine, begin: str, pragmas: Sequence[str]) -> None:
    """Set the pragmas of each new SQLite connection, and the statement that begins its transactions."""

    _on_connect(engine, [f"PRAGMA {pragma}" for pragma in (f"busy_timeout={LOCK_MILLISECONDS}", *pragmas)])

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _on_connect(engine: AsyncEngine, statements: Sequence[str]) -> None:
    """Execute these statements on each new connection."""

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement)
        cursor.close()
        connection.commit()


def why_unusable(url: URL, error: Exception) -> str:
    """Why a database cannot be opened; the message does not contain its password."""
    if isinstance(error, ImportError):
        driver = f"{url.get_backend_name()} needs a driver that is not installed"
        return f"{driver}. On the server run: {install_command('postgres')}"
    if isinstance(error, UnknownRevision):
        newer = f"the database {_shown(url)} was written by a newer version of epochd ({error})"
        return f"{newer}. Upgrade epochd, or use another database"
    is_sqlite = url.get_backend_name() == "sqlite"
    advice = "the path and its permissions" if is_sqlite else "that the database server is running, and the URL"
    return f"cannot open the database {_shown(url)} ({_reason(url, error)}). Check {advice} (EPOCHD_DATABASE_URL)"


def _reason(url: URL, error: Exception) -> str:
    """The text of an error of the driver on one line, without passwords."""
    reason = str(getattr(error, "orig", None) or error)
    for secret in (url.password, url.query.get("password"), url.query.get("sslpassword")):
        if isinstance(secret, str) and secret:
            reason = reason.replace(secret, "***")
    return " ".join(reason.split())


def translated(url: URL, error: SQLAlchemyError) -> Exception:
    """An error of the database as one of epochd: OutOfSpace, Busy during an outage; otherwise the error itself."""
    cause = getattr(error, "orig", None)
    if isinstance(cause, EpochdError):
        return cause
    code, sqlstate = getattr(cause, "sqlite_errorcode", None), getattr(cause, "sqlstate", None)
    if code == sqlite3.SQLITE_FULL or sqlstate == DISK_FULL:
        full = "the disk is full: the database could not be written, and nothing was changed. Free disk space"
        return OutOfSpace(full)
    if isinstance(cause, sqlite3.Error):
        is_outage = code is not None and code & 0xFF in SQLITE_OUTAGES
    else:
        is_outage = isinstance(error, OperationalError | InterfaceError | TimeoutError) or sqlstate == STOOD_STILL
    return unavailable(_reason(url, error)) if is_outage else error


def unavailable(reason: str) -> Busy:
    """The error for a request that the database cannot carry out at present."""
    advice = "Repeat the request once it is available again"
    return Busy(f"the database is not available: {reason.rstrip('.')}. {advice}", RETRY_SECONDS)


class SqliteFiles:
    """The files of an open SQLite database: after a deletion, everything that is written would be lost with the next
    restart, although SQLite reports success."""

    def __init__(self, url: URL) -> None:
        self._path = url.database if url.get_backend_name() == "sqlite" else None
        self._known: dict[str, tuple[int, int]] = {}

    def forget_wal(self) -> None:
        """Expect a new write-ahead log: SQLite deletes it with the last connection."""
        self._known.pop(f"{self._path}-wal", None)

    def check(self, *, in_transaction: bool = False) -> None:
        """Raise Busy if a file is not the one that the first transaction used. Transactions record new files."""
        for path in (self._path, f"{self._path}-wal") if self._path is not None else ():
            if not in_transaction and path not in self._known:
                continue
            try:
                stat = os.stat(path)
            except OSError:
                found = None
            else:
                found = (stat.st_dev, stat.st_ino)
            if found is None or self._known.setdefault(path, found) != found:
                raise Busy(
                    f"the database file {path} was deleted or replaced while the server was using it. Changes are "
                    "refused, because the next start would lose them. The server still reads from the old file: save "
                    "what you need, then put the file back, or restore a backup and restart",
                    RETRY_SECONDS,
                )


def _shown(url: URL) -> str:
    """A URL without its password and its query, which may contain one too."""
    return url.set(query={}).render_as_string(hide_password=True)
