"""Queries on both kinds of database: what they give, and what they may not do."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from sqlalchemy import make_url

from epochd.core.errors import DataError, TooLarge
from epochd.data.tables.catalog import open_dataset
from epochd.readers.pool import ReaderPool
from epochd.registry import operations, sql_snapshot

MANY = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) SELECT i, i * 2 AS j FROM n"
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0"


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database with a small table."""
    script = "CREATE TABLE t (a INTEGER, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, '50% ü'), (NULL, ':y')"
    if request.param == "postgresql":
        found = str(request.getfixturevalue("new_postgres")())
        with psycopg.connect(found, autocommit=True) as connection:
            connection.execute(script)
        return found
    path = tmp_path / "a #1%.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return f"sqlite:///{path}"


@pytest.fixture
def ask(url: str, tmp_path: Path) -> Callable[..., pl.DataFrame]:
    def run(query: str, limit: int = 2**20) -> pl.DataFrame:
        file = tmp_path / "out" / "t.parquet"
        file.parent.mkdir(exist_ok=True)
        sql_snapshot.Snapshot("main", url, query).write(file, limit, 60)
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        return pl.read_parquet(file)

    return run


def refusal(ask: Any, query: str) -> str:
    with pytest.raises(DataError) as caught:
        ask(query)
    problem = caught.value.problems[0]
    assert problem.field == "query"
    return problem.message


def test_rows_come_as_they_are(ask: Any) -> None:
    found = ask("SELECT * FROM t ORDER BY b LIKE '%x%' DESC, a;")
    assert found.sort("b").rows() == [(2, "50% ü"), (None, ":y"), (1, "x")]
    assert dict(found.schema) == {"a": pl.Int64, "b": pl.String}


def test_rows_that_do_not_fit_into_a_batch_keep_their_order(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_snapshot, "MAX_BATCH_VALUES", 1_000)
    found = ask(MANY)
    assert found["i"].to_list() == list(range(1, 5001))
    assert found["j"].to_list() == list(range(2, 10001, 2))


def test_no_rows_are_an_empty_table(ask: Any) -> None:
    assert ask("SELECT * FROM t WHERE a > 9").shape == (0, 2)


def test_a_column_that_begins_with_nulls_has_the_type_of_its_values(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_snapshot, "MAX_BATCH_ROWS", 1)
    found = ask("SELECT NULL AS v UNION ALL SELECT 1.5 UNION ALL SELECT 2")
    assert found["v"].to_list() == [None, 1.5, 2.0]


def test_text_that_is_iso_dates_is_read_as_dates(ask: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_snapshot, "MAX_BATCH_ROWS", 2)
    rows = "('2024-01-31 10:30:00', '2024-01-31', 'x'), (NULL, '2024-02-01', '2024-01-01'), "
    rows += "('2024-01-31 11:30:00', 'never', '')"
    found = ask(f"WITH r(t, d, s) AS (VALUES {rows}) SELECT * FROM r")
    found.write_parquet(tmp_path / "t.parquet")
    found = open_dataset("t.parquet", [tmp_path]).read()
    assert found.schema == {"t": pl.Datetime("us"), "d": pl.String, "s": pl.String}
    assert found["t"].to_list() == [datetime(2024, 1, 31, 10, 30), None, datetime(2024, 1, 31, 11, 30)]
    assert found["d"].to_list() == ["2024-01-31", "2024-02-01", "never"]


def test_the_same_rows_give_the_same_file(ask: Any, url: str, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("1.parquet", "2.parquet")]
    for file in files:
        sql_snapshot.Snapshot("main", url, MANY).write(file, 2**20, 60)
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM t",
        "INSERT INTO t VALUES (9, 'z')",
        "DROP TABLE t",
        "ATTACH DATABASE 'x' AS y",
        "COPY t TO PROGRAM 'id'",
        "PRAGMA query_only=OFF",
        "SELECT 1 AS a; DELETE FROM t",
        "SELECT 1 AS a; COMMIT; DELETE FROM t",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "WITH n AS (SELECT 1) DELETE FROM t",
        "/* SELECT */ DELETE FROM t",
        "",
    ],
)
def test_nothing_can_be_changed(ask: Any, query: str) -> None:
    refusal(ask, query)
    assert ask("SELECT count(*) AS n FROM t")["n"].to_list() == [3]


def test_a_postgresql_transaction_cannot_be_made_to_write(new_postgres: Any, tmp_path: Path) -> None:
    url = new_postgres()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE t (a INTEGER); CREATE SEQUENCE s")
    for query in (
        "SELECT set_config('transaction_read_only', 'off', false)",
        "SELECT nextval('s') AS n",
        "SELECT * FROM query_to_xml('DELETE FROM t', true, true, '')",
    ):
        with pytest.raises(DataError):
            sql_snapshot.Snapshot("main", url, query).write(tmp_path / "x.parquet", 2**20, 60)


@pytest.mark.parametrize(
    "query", ["(SELECT 1 AS a) ", "-- why\nselect 1 AS a", "/* a\nb */ WITH n AS (SELECT 1 AS a) SELECT a FROM n"]
)
def test_reading_can_begin_in_several_ways(query: str) -> None:
    assert sql_snapshot.is_read_query(query)


def test_a_mistake_in_a_query_is_told_in_the_databases_words(ask: Any) -> None:
    assert "nothing" in refusal(ask, "SELECT * FROM nothing")
    assert "twice" in refusal(ask, "SELECT 1 AS twice, 2 AS twice")


def test_rows_above_the_limit_are_refused(ask: Any) -> None:
    with pytest.raises(TooLarge, match="1,000 bytes"):
        ask(MANY, limit=1_000)


@pytest.fixture
async def readers() -> AsyncIterator[ReaderPool]:
    pool = ReaderPool(operations.__name__, size=1, queue=0, seconds=5, memory_mb=1_024)
    yield pool
    await pool.close()


def running_queries(url: str) -> int:
    plain = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain) as connection:
        others = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        found = connection.execute(f"SELECT count(*) {others} AND state = 'active'").fetchone()
    return int(found[0]) if found else 0


async def test_a_query_whose_caller_is_cancelled_ends_in_the_database_too(
    new_postgres: Callable[[], str], tmp_path: Path, readers: ReaderPool
) -> None:
    url = new_postgres()
    task = asyncio.create_task(
        readers.call(operations.run_query, url, "main", ENDLESS, tmp_path / "x.parquet", 2**20, 60.0)
    )
    for wanted in (1, 0):
        async with asyncio.timeout(15):
            while await asyncio.to_thread(running_queries, url) != wanted:  # noqa: ASYNC110 - the database's state
                await asyncio.sleep(0.05)
        task.cancel()


async def test_the_time_of_a_query_is_limited(url: str, tmp_path: Path, readers: ReaderPool) -> None:
    with pytest.raises(DataError, match=r"statement timeout|longer than 5 seconds"):
        await readers.call(operations.run_query, url, "main", ENDLESS, tmp_path / "x.parquet", 2**20, 1.0)


@pytest.mark.parametrize(
    "query", ["/**/" * 40 + "x", "/* " * 100_000, "--\n" * 100_000, "(" * 300_000, "/**/" * 100_000 + "SELECT 1 AS a"]
)
def test_the_beginning_of_a_query_is_found_in_linear_time(query: str) -> None:
    before = time.process_time()
    assert sql_snapshot.is_read_query(query) == query.endswith("SELECT 1 AS a")
    assert time.process_time() - before < 1


def test_an_unknown_connection_names_those_there_are() -> None:
    with pytest.raises(DataError, match="'mian'") as caught:
        sql_snapshot.url_of({"main": "sqlite:///x", "other": "sqlite:///y"}, "mian")
    assert "main, other" in caught.value.problems[0].hint


@pytest.mark.parametrize(
    "url",
    ["mysql://bob:hush@host/db", "sqlite://", "hush", "postgresql://bob:hush@127.0.0.1:9/db", "sqlite:////hush/x.db"],
)
def test_a_connection_that_does_not_work_keeps_its_url_to_itself(url: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        sql_snapshot.Snapshot("main", url, "SELECT 1 AS a").write(tmp_path / "x.parquet", 2**20, 60)
    problem = caught.value.problems[0]
    assert problem.field == "connection"
    assert "EPOCHD_CONNECTIONS" in problem.hint
    for secret in ("hush", "bob", "127.0.0.1", "host/"):
        assert secret not in str(caught.value)


def test_a_message_loses_every_piece_of_the_url() -> None:
    url = make_url("postgresql://bob:p%40ss@db.lan:5433/sales?sslpassword=key")
    text = 'connection to "db.lan", port 5433 failed: user "bob" of sales with p@ss and key: bobsled'
    shown = 'connection to "***", port *** failed: user "***" of *** with *** and ***: bobsled'
    assert sql_snapshot.scrubbed(text, url) == shown


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([1, None, 2.5], pl.Float64, [1.0, None, 2.5]),
        ([Decimal("1.10"), None], pl.Float64, [1.1, None]),
        ([1, "a", None], pl.String, ["1", "a", None]),
        ([2**70, 1], pl.Float64, [float(2**70), 1.0]),
        ([date(2024, 1, 1), None], pl.Date, [date(2024, 1, 1), None]),
        ([datetime(2024, 1, 1, tzinfo=UTC)], pl.Datetime("us"), [datetime(2024, 1, 1)]),
        ([{"k": "ü"}], pl.String, ['{"k": "ü"}']),
        ([memoryview(b"ab")], pl.Binary, [b"ab"]),
        ([b"ab", "c"], pl.String, ["6162", "c"]),
        ([[1, 2], None], pl.List(pl.Int64), [[1, 2], None]),
        ([True, None], pl.Boolean, [True, None]),
        ([None, None], pl.Null, [None, None]),
    ],
)
def test_values_of_any_driver_become_a_column(values: list[Any], dtype: pl.DataType, expected: list[Any]) -> None:
    found = sql_snapshot.series("x", values)
    assert found.dtype == dtype
    assert found.to_list() == expected
