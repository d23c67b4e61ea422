"""Transactions, listeners, and what is said of databases that cannot be opened."""

import asyncio
import itertools
import logging
import shutil
import socket
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from epochd.core.errors import EpochdError, NotFound, OutOfSpace, SettingsError
from epochd.core.events import Event, ReportKind, Type
from epochd.core.jobs import State
from epochd.store import attempts, jobs
from epochd.store.db import Database
from tests.support.attempts import SPEC, claimed, epoch, started


async def test_listeners_hear_the_events_of_a_commit_in_their_order(db: Database) -> None:
    heard: list[list[Event]] = []
    db.listen(heard.append)
    attempt = await started(db)
    await attempt.send(attempt.next(ReportKind.EPOCH, epoch(1)), attempt.next(ReportKind.EPOCH, epoch(2)))
    assert [[event.seq for event in batch] for batch in heard] == [[1], [2], [3, 4]]
    assert [event for batch in heard for event in batch] == await attempt.log()


async def test_what_a_listener_hears_is_committed(db: Database, database_url: str) -> None:
    other = Database(database_url)
    await other.open()
    reads: list[asyncio.Task[object]] = []
    db.listen(lambda batch: reads.append(asyncio.create_task(jobs.get(other, batch[0].task_id))))
    job = await jobs.submit(db, SPEC)
    assert await asyncio.gather(*reads) == [job]
    await other.close()


async def _append(db: Database, *batches: list[Event]) -> None:
    async with db.write() as transaction:
        for batch in batches:
            await transaction.append(batch)


async def test_a_rollback_stores_nothing_and_tells_nobody(db: Database) -> None:
    heard: list[list[Event]] = []
    attempt = await started(db)
    before = await attempt.log()
    db.listen(heard.append)
    lost = Event(attempt.id, 3, 1, Type.STATE, {"state": "?"}, 0.0)
    with pytest.raises(IntegrityError):
        await _append(db, [lost], [lost])
    assert heard == []
    assert await attempt.log() == before


async def test_reading_and_moves_that_change_nothing_are_not_heard(db: Database) -> None:
    job = await jobs.submit(db, SPEC)
    await jobs.pause(db, job.id)
    heard: list[list[Event]] = []
    db.listen(heard.append)
    await jobs.pause(db, job.id)
    await jobs.get(db, job.id)
    assert await attempts.claim(db, lease_seconds=1) is None
    assert heard == []


async def test_a_broken_listener_is_logged_and_harms_nobody(db: Database, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[list[Event]] = []

    def broken(_: list[Event]) -> None:
        raise RuntimeError("I am broken")

    db.listen(broken)
    db.listen(heard.append)
    job = await jobs.submit(db, SPEC)
    assert [event.task_id for event in heard[0]] == [job.id]
    assert "a listener failed" in caplog.text


async def test_unlisten_ends_the_calls(db: Database) -> None:
    heard: list[list[Event]] = []
    db.listen(heard.append)
    db.unlisten(heard.append)
    await jobs.submit(db, SPEC)
    assert heard == []


async def test_a_cancelled_write_lets_the_next_one_in(db: Database) -> None:
    inside = asyncio.Event()

    async def hang() -> None:
        async with db.write() as transaction:
            await transaction.connection.execute(text("UPDATE jobs SET name = 'half'"))
            inside.set()
            await asyncio.Event().wait()

    job = await jobs.submit(db, SPEC)
    task = asyncio.create_task(hang())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await jobs.submit(db, SPEC)
    assert (await jobs.find(db, name="half"))[1] == 0
    assert (await jobs.get(db, job.id)).state is State.PENDING


async def test_a_commit_that_is_cancelled_half_way_is_still_heard(db: Database) -> None:
    heard: list[list[Event]] = []
    db.listen(heard.append)
    for turns in range(0, 60, 3):
        task = asyncio.create_task(jobs.submit(db, SPEC))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    stored, total = await jobs.find(db, limit=100)
    assert sorted(batch[0].task_id for batch in heard) == sorted(job.id for job in stored)
    assert total == len(heard)


async def test_a_closed_database_says_so(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(EpochdError, match=r"call Database\.open"):
        await jobs.counts(database)
    await database.open()
    await database.close()
    await database.close()
    with pytest.raises(EpochdError, match="not open"):
        await jobs.submit(database, SPEC)


async def test_reads_cannot_write(db: Database) -> None:
    await jobs.submit(db, SPEC)
    with pytest.raises(Exception, match=r"readonly|read-only"):
        async with db.read() as connection:
            await connection.execute(text("DELETE FROM jobs"))


async def test_a_read_sees_one_moment(db: Database) -> None:
    await jobs.submit(db, SPEC)
    count = text("SELECT count(*) FROM jobs")
    async with db.read() as connection:
        before = await connection.scalar(count)
        await jobs.submit(db, SPEC)
        assert await connection.scalar(count) == before
    async with db.read() as connection:
        assert await connection.scalar(count) == 2


async def test_a_job_whose_spec_the_rules_would_no_longer_allow_is_still_readable(db: Database) -> None:
    job = await jobs.submit(db, SPEC)
    async with db.write() as transaction:
        await transaction.connection.execute(
            jobs.table.update().values(spec={"target_column": "y", "hidden_units": [10**6], "former_option": 1})
        )
    assert (await jobs.get(db, job.id)).spec.hidden_units == [10**6]
    assert (await claimed(db)).id == job.id


async def test_sqlite_is_set_up_for_durable_single_writing(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'epochd.db'}")
    await database.open()
    async with database.write() as transaction:
        pragmas = [
            await transaction.connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert pragmas == ["wal", 2, 1, 10_000]
    await database.close()


@pytest.mark.parametrize("url", ["mysql://user:hunter2@host/db", "hunter2", "", "postgresql://u:hunter2@host:port/db"])
def test_a_url_of_another_kind_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError, match="EPOCHD_DATABASE_URL") as caught:
        Database(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///file:x?mode=memory&uri=true"])
def test_sqlite_without_a_plain_file_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="must be a file"):
        Database(url)


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere.*unable to open"):
        await Database(f"sqlite:///{tmp_path / 'nowhere' / 'epochd.db'}").open()


async def test_a_file_that_is_no_database_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "epochd.db"
    path.write_text("epoch,train_loss\n" * 100)
    with pytest.raises(SettingsError, match="not a database"):
        await Database(f"sqlite:///{path}").open()
    assert path.read_text().startswith("epoch,train_loss")


async def test_an_unreachable_server_is_named_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.socket() as nobody:  # bound but not listening: every connection is refused
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://user:hunter2@127.0.0.1:{nobody.getsockname()[1]}/epochd?sslpassword=hunter2"
        with pytest.raises(
            SettingsError, match=r"user:\*\*\*@127\.0\.0\.1.*that the database server is running"
        ) as caught:
            await Database(url).open()
    assert "hunter2" not in str(caught.value) + caplog.text
    assert caught.value.__cause__ is None


async def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(SettingsError, match=r"-m pip install 'psycopg\[binary\]>="):
        await Database("postgres://user:hunter2@host/epochd").open()


async def test_an_error_in_sql_shows_no_values(db: Database) -> None:
    with pytest.raises(Exception, match="nowhere") as caught:
        async with db.write() as transaction:
            await transaction.connection.execute(text("INSERT INTO nowhere VALUES (:value)"), {"value": "hunter2"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(NotFound):
        await jobs.get(db, "nobody")


async def test_a_full_disk_is_told_as_such_and_changes_nothing(tmp_path: Path) -> None:
    """SQLite's own limit stands in for the disk's: it fails with the same code."""
    db = Database(f"sqlite:///{tmp_path / 'small.db'}")
    await db.open()
    await _execute(db, "PRAGMA max_page_count = 1")  # as few as there are now
    kept: list[str] = []
    with pytest.raises(OutOfSpace, match="nothing was changed"):
        await _submit_many(db, kept)
    found, total = await jobs.find(db, limit=500)
    assert 0 < total < MANY
    assert {job.id for job in found} == set(kept)
    await _execute(db, "PRAGMA max_page_count = 100000")
    await jobs.submit(db, SPEC)
    await db.close()


async def test_the_full_disk_of_postgresql_is_told_as_such(new_postgres: Callable[[], str]) -> None:
    db = Database(new_postgres())
    await db.open()
    with pytest.raises(OutOfSpace):
        await _execute(db, "DO $$ BEGIN RAISE EXCEPTION 'No space left on device' USING ERRCODE = 'disk_full'; END $$")
    await db.close()


MANY = 300


async def _submit_many(db: Database, kept: list[str]) -> None:
    for _ in range(MANY):
        kept.append((await jobs.submit(db, SPEC)).id)


async def _execute(db: Database, statement: str) -> None:
    async with db.write() as transaction:
        await transaction.connection.exec_driver_sql(statement)


def test_no_thread_outlives_the_event_loop_when_a_connect_is_cancelled(
    tmp_path: Path, migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)
    connect, connecting, may_connect = sqlite3.connect, threading.Event(), threading.Event()

    def slow(*place: Any, **options: Any) -> sqlite3.Connection:
        connecting.set()
        may_connect.wait(10)
        return connect(*place, **options)

    async def cancelled_read() -> None:
        database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'epochd.db')}")
        await database.open()
        monkeypatch.setattr(sqlite3, "connect", slow)
        reading = asyncio.create_task(jobs.counts(database))
        await asyncio.to_thread(connecting.wait, 10)
        reading.cancel()
        asyncio.get_running_loop().call_later(0.05, may_connect.set)
        await asyncio.wait([reading])
        assert reading.cancelled()
        await database.close()

    before = set(threading.enumerate())
    asyncio.run(cancelled_read())
    may_connect.set()
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert not failures


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[aiosqlite.Connection]:
    """All connections to SQLite since the test began."""
    connections: list[aiosqlite.Connection] = []
    connect = aiosqlite.connect

    def recorded(*place: Any, **options: Any) -> aiosqlite.Connection:
        connections.append(connect(*place, **options))
        return connections[-1]

    monkeypatch.setattr(aiosqlite, "connect", recorded)
    return connections


async def test_a_read_that_is_cancelled_at_any_of_its_operations_leaves_no_connection_open(
    tmp_path: Path, migrated_sqlite: Path, opened: list[aiosqlite.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = aiosqlite.Connection._execute
    reading: asyncio.Task[object] | None = None
    left = 0

    async def counted(self: aiosqlite.Connection, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and reading is not None:
            reading.cancel()
            await asyncio.sleep(0.05)  # where another task performs it, it is still under way when the read has ended
        return await execute(self, *arguments, **options)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'epochd.db')}")
    for operation in itertools.count(1):
        await database.open()
        left = operation
        reading = asyncio.create_task(jobs.counts(database))
        await asyncio.wait([reading])
        reading = None
        await database.close()
        if left > 0:
            break
    assert operation > 8, "a new connection and a query"
    assert [connection for connection in opened if connection._connection is not None] == []


async def test_closing_waits_for_connections_in_use_and_leaves_none_open(
    tmp_path: Path, migrated_sqlite: Path, opened: list[aiosqlite.Connection]
) -> None:
    database = Database(f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / 'epochd.db')}")
    await database.open()
    is_read, may_end = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async with database.read() as connection:
            await connection.execute(text("SELECT 1"))
            is_read.set()
            await may_end.wait()

    reading = asyncio.create_task(read())
    await is_read.wait()
    closing = asyncio.create_task(database.close())
    await asyncio.sleep(0.05)
    may_end.set()
    await asyncio.gather(reading, closing)
    assert len(opened) == 2
    assert [connection for connection in opened if connection._connection is not None] == []
