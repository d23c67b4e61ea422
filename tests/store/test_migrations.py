"""Migrations and tables describe the same schema, and a server start brings any database up to date."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, select, text

from epochd.core import prediction_specs
from epochd.core.errors import SettingsError
from epochd.core.jobs import ALL_GPUS, ONE_IF_ANY
from epochd.store import jobs, tables
from epochd.store.db import Database
from tests.support.attempts import SPEC


def _differences(connection: Connection) -> list[object]:
    # Alembic cannot compare a descending column of an index in SQLite: the next test does.
    left_out = {"ix_jobs_queue"} if connection.dialect.name == "sqlite" else set()
    options = {"compare_type": True, "include_object": lambda _, name, *__: name not in left_out}
    context = MigrationContext.configure(connection, opts=options)
    return list(compare_metadata(context, tables.metadata))


async def test_the_schema_from_migrations_equals_the_tables(db: Database) -> None:
    async with db.read() as connection:
        assert await connection.run_sync(_differences) == []


async def test_the_index_of_the_queue_is_in_its_order(db: Database) -> None:
    async with db.read() as connection:
        if connection.dialect.name == "sqlite":
            found = await connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'ix_jobs_queue'"))
        else:
            found = await connection.scalar(text("SELECT pg_get_indexdef('ix_jobs_queue'::regclass)"))
    assert "(state, priority DESC, queued_at, id, owner, gpu_request)" in str(found)


def _constraints(connection: Connection) -> dict[str, object]:
    found = inspect(connection)
    return {
        "primary": [found.get_pk_constraint(name)["name"] for name in tables.metadata.tables],
        "foreign": [(key["name"], key["options"]) for key in found.get_foreign_keys("events")],
    }


async def test_the_migrated_constraints_bear_the_names_of_the_tables(db: Database) -> None:
    async with db.read() as connection:
        found = await connection.run_sync(_constraints)
    assert found["primary"] == [table.primary_key.name for table in tables.metadata.tables.values()]
    assert found["foreign"] == [("fk_events_job_id", {"ondelete": "CASCADE"})]


async def test_opening_again_keeps_what_is_there(db: Database, database_url: str) -> None:
    job = await jobs.submit(db, SPEC)
    again = Database(database_url)
    await again.open()
    assert await jobs.get(again, job.id) == job
    await again.close()


async def test_servers_that_start_at_once_migrate_once(empty_database_url: str) -> None:
    databases = [Database(empty_database_url) for _ in range(4)]
    await asyncio.gather(*[database.open() for database in databases])
    job = await jobs.submit(databases[0], SPEC)
    assert [await jobs.get(database, job.id) for database in databases] == [job] * 4
    for database in databases:
        await database.close()


async def test_a_database_of_a_newer_version_is_refused_untouched(db: Database, database_url: str) -> None:
    async with db.write() as transaction:
        await transaction.connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SettingsError, match="newer version of epochd"):
        await Database(database_url).open()


async def test_a_migration_that_fails_leaves_nothing(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(empty_database_url)
    from_alembic = "alembic.command.upgrade"

    def broken(config: object, revision: str) -> None:
        connection: Connection = config.attributes["connection"]  # type: ignore[attr-defined]
        connection.execute(text("CREATE TABLE half (id INTEGER)"))
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(from_alembic, broken)
        with pytest.raises(SettingsError, match="disk full"):
            await database.open()
    await database.open()
    async with database.read() as connection:
        names = await connection.run_sync(lambda sync: set(inspect(sync).get_table_names()))
    assert names == {"alembic_version", *tables.metadata.tables}
    await database.close()


async def test_a_database_of_this_version_is_opened_without_alembic(
    db: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object) -> None:
        raise AssertionError("there is nothing to migrate")

    monkeypatch.setattr("alembic.command.upgrade", unexpected)
    again = Database(database_url)
    await again.open()
    await again.close()


async def test_a_path_with_odd_characters_is_migrated(tmp_path: Path) -> None:
    folder = tmp_path / "100% müller & co"
    folder.mkdir()
    database = Database(f"sqlite:///{folder / 'epochd.db'}")
    await database.open()
    assert (await jobs.submit(database, SPEC)).last_seq == 1
    await database.close()
    assert [path.name for path in folder.iterdir()] == ["epochd.db"]


OF_R0009 = (
    "DROP TABLE leader",
    "ALTER TABLE jobs DROP COLUMN agent",
    "DROP INDEX ix_jobs_queue",
    "DROP INDEX ix_jobs_kind_owner_created_at_id",
    "ALTER TABLE jobs DROP COLUMN gpu_request",
    "ALTER TABLE jobs DROP COLUMN owner",
    "ALTER TABLE jobs DROP COLUMN priority",
    "UPDATE alembic_version SET version_num = '0009'",
)
REQUESTS: list[tuple[dict[str, object], int]] = [
    ({}, ONE_IF_ANY),
    ({"device": "cpu"}, 0),
    ({"num_devices": 2}, 0),
    ({"num_gpus": 3}, 3),
    ({"num_gpus": "auto"}, ALL_GPUS),
]


async def test_jobs_of_an_older_version_have_priority_0_and_their_request_for_gpus(
    db: Database, database_url: str
) -> None:
    made = [await jobs.submit(db, SPEC.model_copy(update=options)) for options, _ in REQUESTS]
    predicting = prediction_specs.parse({"model": "/models/churn", "dataset": "customers"})
    made.append(await jobs.submit(db, predicting))
    async with db.write() as transaction:
        for statement in OF_R0009:
            await transaction.connection.exec_driver_sql(statement)
    again = Database(database_url)
    await again.open()
    async with again.read() as connection:
        columns = tables.jobs.c.id, tables.jobs.c.priority, tables.jobs.c.owner, tables.jobs.c.gpu_request
        found = {row.id: row[1:] for row in await connection.execute(select(*columns))}
    expected = [request for _, request in REQUESTS] + [0]
    assert [found[job.id] for job in made] == [(0, None, request) for request in expected]
    await again.close()


OF_R0008 = (
    *OF_R0009[:-1],
    "DROP INDEX ix_jobs_kind_dataset_created_at_id",
    "ALTER TABLE jobs DROP COLUMN dataset",
    "UPDATE alembic_version SET version_num = '0008'",
)


async def test_jobs_of_an_older_version_are_found_by_their_dataset(db: Database, database_url: str) -> None:
    job = await jobs.submit(db, SPEC.model_copy(update={"dataset": "鸢尾花"}))
    without = await jobs.submit(db, SPEC.model_copy(update={"dataset": None}))
    async with db.write() as transaction:
        for statement in OF_R0008:
            await transaction.connection.exec_driver_sql(statement)
    again = Database(database_url)
    await again.open()
    assert await jobs.find(again, dataset="鸢尾花") == ([job], 1)
    assert await jobs.get(again, without.id) == without
    await again.close()


OF_R0003 = (
    r"UPDATE jobs SET spec = replace(spec::text, 'NAME', 'a\u0000b\\u0000')::json",
    "DROP INDEX ix_jobs_kind_created_at_id, ix_jobs_kind_state_created_at_id, ix_jobs_parent",
    *OF_R0009[:-1],
    "DROP INDEX ix_jobs_kind_dataset_created_at_id",
    "ALTER TABLE jobs DROP COLUMN kind",
    "ALTER TABLE jobs DROP COLUMN dataset",
    "CREATE INDEX ix_jobs_created_at ON jobs (created_at)",
    "DROP TABLE model_aliases",
    "ALTER TABLE datasets DROP COLUMN options",
    "UPDATE alembic_version SET version_num = '0003'",
)


async def test_a_nul_of_an_older_version_is_replaced_in_postgresql(new_postgres: Callable[..., str]) -> None:
    db = Database(url := new_postgres())
    await db.open()
    job = await jobs.submit(db, SPEC.model_copy(update={"name": "NAME"}))
    async with db.write() as transaction:
        for statement in OF_R0003:
            await transaction.connection.exec_driver_sql(statement)
    await db.close()
    again = Database(url)
    await again.open()
    assert (await jobs.get(again, job.id)).spec.name == "a\ufffdb\\u0000"
    await again.close()
