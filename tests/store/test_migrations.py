"""Migrations and tables describe the same schema, and a server start brings any database up to date."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from epochd.core.errors import SettingsError
from epochd.store import jobs, tables
from epochd.store.db import Database
from tests.support.attempts import SPEC


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, tables.metadata))


async def test_the_schema_from_migrations_equals_the_tables(db: Database) -> None:
    async with db.read() as connection:
        assert await connection.run_sync(_differences) == []


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


OF_R0008 = (
    "DROP TABLE leader",
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
    "DROP TABLE leader",
    r"UPDATE jobs SET spec = replace(spec::text, 'NAME', 'a\u0000b\\u0000')::json",
    "DROP INDEX ix_jobs_kind_created_at_id, ix_jobs_kind_state_created_at_id, ix_jobs_parent",
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
