"""Connections to SQLite and PostgreSQL, and the messages for failures to connect.

SQLite has one connection that writes, locked at ``BEGIN IMMEDIATE``; all others only read. So no statement finds the
database busy, and the WAL-reset bug of SQLite before 3.51.3 (two connections that checkpoint at once) cannot occur.
A commit survives a power failure (``synchronous=FULL``), because workers discard their reports once acknowledged.
"""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import Any

import aiosqlite
from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from epochd.core.errors import EpochdError, SettingsError
from epochd.core.installation import install_command

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 10
CONNECT_SECONDS = 10
BUSY_MILLISECONDS = 10_000  # how long SQLite waits for another program that has locked the file, such as a backup
DISK_FULL = "53100"  # of the SQLSTATE codes in PostgreSQL's manual


def parse(text: str) -> URL:
    """A database URL with the driver that epochd uses. Raises SettingsError, which does not contain the URL."""
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


def probe(url: URL) -> None:
    """Open a SQLite file once, since the thread of the asynchronous driver could outlive the event loop if it failed to
    open the file, and log an error. Raises sqlite3.Error."""
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(url.database or "")) as connection:
            connection.execute("PRAGMA schema_version")


def engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """The writer's and the readers' engine. Raises ImportError if the driver is not installed."""
    # hide_parameters: logged statements must not contain data of users.
    engine = partial(create_async_engine, url, max_overflow=0, hide_parameters=True, json_serializer=_encoded)
    if url.get_backend_name() == "sqlite":
        # isolation_level None: on_begin starts transactions, not the driver.
        sqlite = partial(engine, connect_args={"isolation_level": None, "async_creator_fn": _connect})
        writer, reader = sqlite(pool_size=1), sqlite(pool_size=SQLITE_READERS)
        _prepare(writer, "BEGIN IMMEDIATE", ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"))
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
    """Connect to SQLite. If this is cancelled, it first closes the connection: aiosqlite alone would not wait for its
    thread, which could outlive the event loop and log an error."""
    connection = aiosqlite.connect(*place, **options)
    thread: Any = getattr(connection, "_thread", connection)  # before aiosqlite 0.22 it is the thread itself
    thread.daemon = True  # as SQLAlchemy does
    connecting = asyncio.ensure_future(connection)
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        await asyncio.wait([connecting])
        if not connecting.cancelled() and connecting.exception() is None:
            await connection.close()
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
        driver = f"{url.get_backend_name()} needs a driver that is not installed"
        return f"{driver}. On the server run: {install_command('postgres')}"
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
