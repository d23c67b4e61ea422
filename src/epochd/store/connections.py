"""How the two kinds of database are connected to, and what to say when that fails.

SQLite has one writing connection, which takes its lock at ``BEGIN IMMEDIATE``; the others only read. Nothing
can then fail because the database is busy, and the WAL-reset bug of SQLite before 3.51.3 (two connections
checkpointing at once) has nothing to bite on.

Durability: a commit that has been answered survives a power cut on both (on SQLite by ``synchronous=FULL``,
one fsync per transaction), because a worker forgets its reports once they are answered.
"""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from functools import partial

from alembic.util import CommandError
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, StatementError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from epochd.core.errors import EpochdError, SettingsError

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 10
CONNECT_SECONDS = 10
BUSY_MILLISECONDS = 10_000
"""How long SQLite waits for another program that holds the file, such as a backup."""
POSTGRESQL_FULL = "53100"
"""disk_full, of the SQLSTATE codes in PostgreSQL's manual."""


def parse(text: str) -> URL:
    """A database URL with the driver that epochd uses. Raises SettingsError, which repeats nothing of the URL."""
    try:
        url = make_url(text)
        driver = DRIVERS[url.drivername.split("+")[0]]
    except (ArgumentError, KeyError, ValueError):
        raise SettingsError(
            "the database URL is of no known kind. Set EPOCHD_DATABASE_URL to "
            "postgresql://<user>:<password>@<host>/<name> or sqlite:////<absolute path>, or leave it out for SQLite "
            "in the data directory"
        ) from None
    if driver.startswith("sqlite") and (not url.database or url.database.startswith((":memory:", "file:"))):
        raise SettingsError("SQLite needs a plain file, not memory or a URI: sqlite:////<absolute path>")
    return url.set(drivername=driver)


def probe(url: URL) -> None:
    """Open a SQLite file once, right here. Raises sqlite3.Error if that fails.

    When the asynchronous driver fails to open a file, its thread may outlive the event loop and complain.
    """
    if url.get_backend_name() == "sqlite":
        with closing(sqlite3.connect(url.database or "")) as connection:
            connection.execute("PRAGMA schema_version")


def engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """The writer's and the readers' engine. Raises ImportError if the driver is not installed."""
    return _sqlite_engines(url) if url.get_backend_name() == "sqlite" else _postgres_engines(url)


def _encoded(value: object) -> str:
    """A value as JSON text. Raises EpochdError for what is no plain JSON, NaN and infinity above all."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise EpochdError(f"a value cannot be stored as JSON: {error}. Use None for NaN and infinity") from None


_engine = partial(
    create_async_engine,
    hide_parameters=True,  # statements may show up in logs; what users train on may not
    json_serializer=_encoded,
)


def _sqlite_engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    # isolation_level None: the driver starts no transactions behind our back, _on_begin does.
    sqlite = partial(_engine, url, connect_args={"isolation_level": None}, max_overflow=0)
    writer, reader = sqlite(pool_size=1), sqlite(pool_size=SQLITE_READERS)
    _prepare(writer, "BEGIN IMMEDIATE", ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"))
    _prepare(reader, "BEGIN", ("query_only=ON",))
    return writer, reader


def _prepare(engine: AsyncEngine, begin: str, pragmas: Sequence[str]) -> None:
    """Set up each new SQLite connection of an engine, and how its transactions begin."""

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: DBAPIConnection, _: object) -> None:
        cursor = connection.cursor()
        for pragma in (f"busy_timeout={BUSY_MILLISECONDS}", *pragmas):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)


def _postgres_engines(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_SECONDS}
    writer = _engine(url, connect_args=arguments, pool_size=POSTGRES_CONNECTIONS, max_overflow=0, pool_pre_ping=True)
    return writer, writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


def why_unusable(url: URL, error: Exception) -> str:
    """What is wrong with a database that cannot be opened, without its password."""
    if isinstance(error, ImportError):
        return f"{url.get_backend_name()} needs a driver that is not installed: pip install 'epochd[postgres]'"
    if isinstance(error, CommandError):
        return (
            f"the database {_shown(url)} was made by a newer epochd ({error}). Upgrade epochd, or use another database"
        )
    reason = str(getattr(error, "orig", None) or error)
    for secret in _secrets(url):
        reason = reason.replace(secret, "***")
    advice = (
        "the path and its permissions" if url.get_backend_name() == "sqlite" else "that the server runs and the URL"
    )
    return f"cannot open the database {_shown(url)} ({' '.join(reason.split())}). Check {advice} (EPOCHD_DATABASE_URL)"


def is_full(error: StatementError) -> bool:
    """Whether the database could not be written for lack of room on its disk."""
    return (
        getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        or getattr(error.orig, "sqlstate", None) == POSTGRESQL_FULL
    )


def _shown(url: URL) -> str:
    """A URL without its password and its options, which may hold one too."""
    return url.set(query={}).render_as_string(hide_password=True)


def _secrets(url: URL) -> list[str]:
    values = [url.password, url.query.get("password"), url.query.get("sslpassword")]
    return [value for value in values if isinstance(value, str) and value]
