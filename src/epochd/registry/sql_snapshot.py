"""A query's rows as a Parquet file: what a database says now, kept so that a training can be repeated.

Users name a connection that the operator has given a name; its URL, which may hold a password, stays in the
server: it is in no answer, no error, no log and no ticket. A query reads in a read-only transaction, in batches,
so that a table larger than memory is no trouble. Each batch is written for itself, because only the last row
shows which types the columns have (SQLite has types per value, a column may begin with NULLs); one pass over the
batches then makes the file.
"""

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import quote

import polars as pl
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from epochd.core.errors import DataError, Problem, TooLarge
from epochd.data.formats import type_inference
from epochd.data.schema import col

BATCH_VALUES, MOST_ROWS = 2_000_000, 65_536
"""A batch has at most so many values, and so many rows."""
INTERRUPT_SECONDS = 0.1
"""Time between two attempts to interrupt a query that was cancelled."""
ROW_GROUP = 262_144
"""Rows of a row group, fixed so that the same rows give the same file."""

READING = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(?:SELECT|WITH|VALUES)\b", re.IGNORECASE | re.DOTALL)
TYPES: dict[type, pl.DataType] = {
    bool: pl.Boolean(),
    int: pl.Int64(),
    float: pl.Float64(),
    Decimal: pl.Float64(),
    str: pl.String(),
    bytes: pl.Binary(),
    date: pl.Date(),
    datetime: pl.Datetime("us"),
    time: pl.Time(),
    timedelta: pl.Duration("us"),
}


class Cursor(Protocol):
    """The part of a DBAPI cursor that is needed."""

    @property
    def description(self) -> Sequence[Sequence[Any]] | None: ...

    def fetchmany(self, size: int) -> list[tuple[Any, ...]]: ...


class Snapshot:
    """One query, to be run once. ``connection`` is the name of the connection that ``url`` belongs to."""

    def __init__(self, connection: str, url: str, query: str) -> None:
        self.connection = connection
        self.query = query
        self._url = self._parsed(url)
        self._interrupt: Callable[[], None] | None = None
        self._cancelled, self._ended = threading.Event(), threading.Event()

    def write(self, file: Path, limit: int, received: Callable[[int], None] = lambda size: None) -> None:
        """Run the query and write its rows, ``limit`` bytes at most; ``received`` is told the bytes so far.

        The batches lie beside ``file`` until it is done. Raises DataError, or TooLarge. Blocking.
        """
        if not READING.match(self.query):
            raise _refused("query", "only a query that reads is run", "begin it with SELECT or WITH")
        parts: list[Path] = []
        with self._opened() as cursor:
            size = 0
            for frame in self._frames(cursor):
                parts.append(file.with_name(f"{len(parts)}.part"))
                frame.write_parquet(parts[-1])
                size += parts[-1].stat().st_size
                received(size)
                if size > limit:
                    raise TooLarge(
                        f"the query's rows take more than {limit:,} bytes (EPOCHD_UPLOAD_MB): "
                        "select fewer columns, or fewer rows"
                    )
        _merge(parts, file)

    def cancel(self) -> None:
        """End ``write`` early, from another thread, and wait until it has; it then raises DataError. Blocking."""
        self._cancelled.set()
        # An interruption between two statements is lost, so one is not enough.
        while (interrupt := self._interrupt) is not None:
            with suppress(Exception):  # the connection may be closing just now
                interrupt()
            self._ended.wait(INTERRUPT_SECONDS)

    def _parsed(self, url: str) -> URL:
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            parsed = URL.create("unknown")
        kind = parsed.get_backend_name()
        if kind not in ("sqlite", "postgresql") or (kind == "sqlite" and not parsed.database):
            message = f"the URL of the connection {self.connection!r} is neither a SQLite file's nor a PostgreSQL one"
            raise _refused("connection", message, "the operator sets it in EPOCHD_CONNECTIONS")
        return parsed

    @contextmanager
    def _opened(self) -> Iterator[Cursor]:
        """A cursor that runs the query. What a database says is passed on without anything of the URL."""
        open_cursor = self._sqlite if self._url.get_backend_name() == "sqlite" else self._postgres
        try:
            with open_cursor() as cursor:
                yield cursor
        finally:
            self._interrupt = None
            self._ended.set()

    @contextmanager
    def _sqlite(self) -> Iterator[Cursor]:
        path = quote(str(Path(self._url.database or "").absolute()))
        with self._told(sqlite3.Error, "connection"):
            # sqlite3 runs one statement only; mode=ro keeps even that from writing.
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)
        with closing(connection):
            with self._told(sqlite3.Error, "connection"):
                connection.execute("PRAGMA query_only=ON")
            with self._told(sqlite3.Error, "query"):
                self._interruptible(connection.interrupt)
                yield connection.execute(self.query)

    @contextmanager
    def _postgres(self) -> Iterator[Cursor]:
        try:
            import psycopg  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise self._no_way("PostgreSQL needs a driver: pip install 'epochd[postgres]'") from None
        text = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        with self._told(psycopg.Error, "connection"):
            connection = psycopg.connect(text, connect_timeout=10)
        with connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with self._told(psycopg.Error, "query"):
                self._interruptible(connection.cancel)
                # A named cursor keeps the rows on the other side, and takes one statement only.
                with connection.cursor("snapshot") as cursor:
                    cursor.execute(cast("Any", self.query))
                    yield cursor

    def _interruptible(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        if self._cancelled.is_set():
            raise _refused("query", "the query was cancelled")

    @contextmanager
    def _told(self, kind: type[Exception], field: str) -> Iterator[None]:
        try:
            yield
        except kind as error:
            if self._cancelled.is_set():
                raise _refused("query", "the query was cancelled") from None
            reason = scrubbed(" ".join(str(error).split())[:500], self._url)
            if field == "connection":
                raise self._no_way(reason) from None
            message = f"the database refuses the query: {reason}"
            raise _refused("query", message, f"try it against the connection {self.connection!r} by hand") from None

    def _no_way(self, reason: str) -> DataError:
        message = f"the connection {self.connection!r} cannot be opened: {reason}"
        return _refused("connection", message, "the operator sets it in EPOCHD_CONNECTIONS")

    def _frames(self, cursor: Cursor) -> Iterator[pl.DataFrame]:
        """The rows in batches; the first one is there even if there are no rows."""
        names = _checked([str(column[0]) for column in cursor.description or ()])
        size = max(1, min(MOST_ROWS, BATCH_VALUES // len(names)))
        rows = cursor.fetchmany(size)
        yield frame(names, rows)
        while len(rows) == size:
            if self._cancelled.is_set():
                raise _refused("query", "the query was cancelled")
            if rows := cursor.fetchmany(size):
                yield frame(names, rows)


def snapshot(connections: dict[str, str], connection: str, query: str) -> Snapshot:
    """A query on one of the connections, given as names and URLs. Raises DataError if there is none of this name."""
    if connection not in connections:
        known = f"connections: {', '.join(sorted(connections))}" if connections else "the server has no connection"
        message = f"there is no connection {connection!r}"
        raise _refused("connection", message, f"{known}; the operator names them in EPOCHD_CONNECTIONS")
    return Snapshot(connection, connections[connection], query)


def scrubbed(text: str, url: URL) -> str:
    """A text without any piece of the URL: password, user, host, port, database, and the values of options."""
    options = [value for values in url.query.values() for value in ([values] if isinstance(values, str) else values)]
    pieces = [url.password, url.username, url.host, url.database, str(url.port or ""), *options]
    pieces += [Path(url.database).name] if url.database else []
    for piece in sorted({str(piece) for piece in pieces if piece}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(piece)}(?!\w)", "***", text)
    return text.replace(str(url.password), "***") if url.password else text


def frame(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows of Python values as a table; a column of several types becomes text, numbers of several types floats."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame([series(name, values) for name, values in zip(names, columns, strict=True)])


def series(name: str, values: Iterable[Any]) -> pl.Series:
    """One column of Python values, as a database's driver gives them."""
    values = [bytes(value) if isinstance(value, memoryview) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pl.Series(name, values, dtype=pl.Null)
    if kinds == {list}:
        try:
            return pl.Series(name, values, strict=True)
        except (TypeError, pl.exceptions.PolarsError):
            return pl.Series(name, _texts(values), dtype=pl.String)
    dtype = _common([TYPES.get(kind, pl.String()) for kind in kinds])
    if dtype == pl.Int64 and any(value is not None and abs(value) >= 2**63 for value in values):
        dtype = pl.Float64()
    if dtype == pl.Datetime:
        values = [_without_zone(value) for value in values]
    if dtype == pl.Float64:
        values = [None if value is None else float(value) for value in values]
    if dtype == pl.String and kinds != {str}:
        values = _texts(values)
    return pl.Series(name, values, dtype=dtype)


def _without_zone(value: Any) -> Any:
    return value.astimezone(UTC).replace(tzinfo=None) if isinstance(value, datetime) and value.tzinfo else value


def _texts(values: Iterable[Any]) -> list[str | None]:
    return [None if value is None else _text(value) for value in values]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.hex() if isinstance(value, bytes) else str(value)


def _common(types: Sequence[pl.DataType]) -> pl.DataType:
    """The type that values of all these types can have."""
    found = {dtype for dtype in types if dtype != pl.Null}
    if len(found) < 2:
        return found.pop() if found else pl.Null()
    return pl.Float64() if found <= {pl.Int64(), pl.Float64()} else pl.String()


def _merge(parts: Sequence[Path], file: Path) -> None:
    """One Parquet file of all the parts, in order, streamed; text that is ISO dates (SQLite has no others) is dates."""
    schemas = [pl.read_parquet_schema(part) for part in parts]
    common = {name: _common([schema[name] for schema in schemas]) for name in schemas[0]}
    table = pl.concat([_as(pl.scan_parquet(part, glob=False), common) for part in parts])
    type_inference.dated(table, checked=True).sink_parquet(file, row_group_size=ROW_GROUP, maintain_order=True)
    for part in parts:
        part.unlink()


def _as(table: pl.LazyFrame, schema: dict[str, pl.DataType]) -> pl.LazyFrame:
    found = table.collect_schema()
    casts = []
    for name, dtype in schema.items():
        column = col(name)
        if found[name] == pl.Binary and dtype == pl.String:
            casts.append(column.bin.encode("hex"))
        elif found[name] != dtype:
            casts.append(column.cast(dtype))
    return table.with_columns(casts)


def _checked(names: list[str]) -> list[str]:
    """The column names of a result, each of them there and there once."""
    if not names:
        raise _refused("query", "the query gives no columns", "select some")
    for number, name in enumerate(names, 1):
        if not name.strip():
            raise _refused("query", f"column {number} of the query has no name", "give it one: expression AS name")
        if names.index(name) != number - 1:
            message = f"the query gives two columns {name!r}"
            raise _refused("query", message, "give each its own name: expression AS name")
    return names


def _refused(field: str, message: str, hint: str = "") -> DataError:
    return DataError([Problem(field, message, hint)])
