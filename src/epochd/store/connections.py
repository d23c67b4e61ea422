"""Connections to SQLite and PostgreSQL, and the messages for failures to connect.

SQLite has one connection that writes, locked at ``BEGIN IMMEDIATE``; all others only read. So no statement finds the
database busy, and the WAL-reset bug of SQLite before 3.51.3 (two connections that checkpoint at once) cannot occur.
A commit survives a power failure (``synchronous=FULL``), because workers discard their reports once acknowledged.
"""

import asyncio
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import Any, TypeVar

import aiosqlite
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, StatementError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from epochd.core.errors import EpochdError, SettingsError

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 10
CONNECT_SECONDS = 10
CLOSE_SECONDS = 2.0  # how long a cancellation waits for a connection that is being opened or returned
BUSY_MILLISECONDS = 10_000  # how long SQLite waits for another program that has locked the file, such as a backup
DISK_FULL = "53100"  # of the SQLSTATE codes in PostgreSQL's manual

T = TypeVar("T")


def parse(text: str) -> URL:
    """A database URL with the driver that epochd uses. Raises SettingsError, which does not contain the URL."""
    try:
        url = make_url(text)
        driver = DRIVERS[url.drivername.split("+")[0]]
    except (ArgumentError, KeyError, ValueError):
        raise SettingsError(
            "the database URL is neither for SQLite nor for PostgreSQL. Set EPOCHD_DATABASE_URL to "
            "postgresql://<user>:<password>@<host>/<name> or sqlite:////<absolute path>, or unset it for SQLite in "
            "the data directory"
        ) from None
    if driver.startswith("sqlite") and (not url.database or url.database.startswith((":memory:", "file:"))):
        needed = "the SQLite database must be a file, not memory or a URI"
        raise SettingsError(f"{needed}: set EPOCHD_DATABASE_URL to sqlite:////<absolute path>")
    return url.set(drivername=driver)


def prepare(url: URL) -> None:
    """Open a SQLite file once and switch it to write-ahead logging. Raises sqlite3.Error.

    The thread of the asynchronous driver could outlive the event loop if it failed to open the file, and log an error.
    SQLite does not wait when two servers switch at once, but fails.
    """
    if url.get_backend_name() != "sqlite":
        return
    end = time.monotonic() + BUSY_MILLISECONDS / 1000
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
    return writer, writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def _encoded(value: object) -> str:
    """A value as JSON text. Raises EpochdError for a value that is not valid JSON, such as NaN or infinity."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise EpochdError(f"a value cannot be stored as JSON: {error}. Use None for NaN and infinity") from None


async def _connect(*place: Any, **options: Any) -> aiosqlite.Connection:
    """Connect to SQLite, with a thread that does not keep the process."""
    connection = aiosqlite.connect(*place, **options)
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

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def why_unusable(url: URL, error: Exception) -> str:
    """Why a database cannot be opened; the message does not contain its password."""
    if isinstance(error, ImportError):
        return f"{url.get_backend_name()} needs a driver that is not installed: pip install 'epochd[postgres]'"
    if isinstance(error, CommandError):
        newer = f"the database {_shown(url)} was written by a newer version of epochd ({error})"
        return f"{newer}. Upgrade epochd, or use another database"
    reason = str(getattr(error, "orig", None) or error)
    for secret in (url.password, url.query.get("password"), url.query.get("sslpassword")):
        if isinstance(secret, str) and secret:
            reason = reason.replace(secret, "***")
    is_sqlite = url.get_backend_name() == "sqlite"
    advice = "the path and its permissions" if is_sqlite else "that the database server is running, and the URL"
    return f"cannot open the database {_shown(url)} ({' '.join(reason.split())}). Check {advice} (EPOCHD_DATABASE_URL)"


def is_full(error: StatementError) -> bool:
    """Whether a write failed because the disk is full."""
    sqlite, sqlstate = (getattr(error.orig, name, None) for name in ("sqlite_errorcode", "sqlstate"))
    return sqlite == sqlite3.SQLITE_FULL or sqlstate == DISK_FULL


def _shown(url: URL) -> str:
    """A URL without its password and its query, which may contain one too."""
    return url.set(query={}).render_as_string(hide_password=True)
