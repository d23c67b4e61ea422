"""A snapshot of a query's rows as a Parquet file, so that a training can be repeated after the database has changed.

Users refer to a connection by its name. Its URL may contain a password and never appears in an answer, an error, a log
or a ticket. A result may be larger than memory: each batch of rows becomes a temporary file, because the types of the
columns are known only after the last row (SQLite has types per value, a column may begin with NULLs); one pass over
these files then writes the snapshot.
"""

import json
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import polars as pl
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from epochd.core.errors import DataError, Problem, TooLarge
from epochd.core.installation import install_command
from epochd.data.schema import col

MAX_BATCH_VALUES, MAX_BATCH_ROWS = 2_000_000, 65_536
"""The maximum number of values and of rows in a batch."""
ROW_GROUP_ROWS = 262_144
"""Rows of a Parquet row group; a fixed number, so that the same rows give the same file."""

OPERATOR_HINT = "the operator sets the URL in EPOCHD_CONNECTIONS"
BLANK, READ_QUERY = re.compile(r"[\s(]*"), re.compile(r"(?:SELECT|WITH|VALUES)\b", re.IGNORECASE)
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


class Snapshot:
    """One query, which can run once. ``connection`` is the name of the connection with this ``url``."""

    def __init__(self, connection: str, url: str, query: str) -> None:
        self.connection, self.query = connection, query
        try:
            self._url = make_url(url)
        except (ArgumentError, ValueError):
            self._url = URL.create("unknown")
        kind = self._url.get_backend_name()
        if kind not in ("sqlite", "postgresql") or (kind == "sqlite" and not self._url.database):
            is_not = "is not that of a SQLite file or a PostgreSQL database"
            raise _error("connection", f"the URL of the connection {self.connection!r} {is_not}", OPERATOR_HINT)

    def write(self, file: Path, limit: int, seconds: float) -> None:
        """Run the query for at most this time, and write at most ``limit`` bytes of rows.

        The folder of ``file`` holds the batches meanwhile. Raises DataError or TooLarge. Blocking; SQLite does not stop
        in time by itself, so the process that calls this has to be killed.
        """
        if not is_read_query(self.query):
            raise _error("query", "only read queries are allowed", "begin the query with SELECT or WITH")
        batches: list[Path] = []
        size, is_sqlite = 0, self._url.get_backend_name() == "sqlite"
        with self._sqlite() if is_sqlite else self._postgres(seconds) as cursor:
            for frame in self._frames(cursor):
                batches.append(file.with_name(f"{len(batches)}.part"))
                frame.write_parquet(batches[-1])
                size += batches[-1].stat().st_size
                if size > limit:
                    raise TooLarge(
                        f"the query's rows take more than {limit:,} bytes (EPOCHD_UPLOAD_MB): "
                        "select fewer columns or fewer rows"
                    )
        _merge(batches, file)

    @contextmanager
    def _sqlite(self) -> Iterator[sqlite3.Cursor]:
        path = quote(str(Path(self._url.database or "").absolute()))
        with self._errors_translated(sqlite3.Error, "connection"):
            # sqlite3 runs a single statement only, and mode=ro prevents it from writing.
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        with closing(connection):
            with self._errors_translated(sqlite3.Error, "connection"):
                connection.execute("PRAGMA query_only=ON")
            with self._errors_translated(sqlite3.Error, "query"):
                yield connection.execute(self.query)

    @contextmanager
    def _postgres(self, seconds: float) -> Iterator[Any]:
        try:
            import psycopg  # noqa: PLC0415 - an optional extra
        except ImportError:
            advice = f"On the server run: {install_command('postgres')}"
            raise self._unavailable(f"the PostgreSQL driver is not installed. {advice}") from None
        text = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        with self._errors_translated(psycopg.Error, "connection"):
            connection = psycopg.connect(text, connect_timeout=10)
        with connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with self._errors_translated(psycopg.Error, "query"):
                connection.execute(f"SET statement_timeout = {int(seconds * 1000)}")
                # A named cursor keeps the rows on the server, and runs a single statement only.
                with connection.cursor("snapshot") as cursor:
                    cursor.execute(cast("Any", self.query))
                    yield cursor

    @contextmanager
    def _errors_translated(self, kind: type[Exception], field: str) -> Iterator[None]:
        """Raise errors of the driver as DataError, without any part of the URL."""
        try:
            yield
        except kind as error:
            reason = scrubbed(" ".join(str(error).split())[:500], self._url)
            if field == "connection":
                raise self._unavailable(reason) from None
            message = f"the database rejects the query: {reason}"
            raise _error("query", message, f"correct the query for the connection {self.connection!r}") from None

    def _unavailable(self, reason: str) -> DataError:
        return _error("connection", f"the connection {self.connection!r} cannot be opened: {reason}", OPERATOR_HINT)

    def _frames(self, cursor: Any) -> Iterator[pl.DataFrame]:
        """The rows in batches; without rows, one empty batch. Raise DataError if a column has no name or another's."""
        names = [str(column[0]) for column in cursor.description or ()]
        if not names:
            raise _error("query", "the query returns no columns", "select at least one column")
        for number, name in enumerate(names):
            if not name.strip():
                raise _error("query", f"column {number + 1} of the query has no name", "name it: expression AS name")
            if name in names[:number]:
                advice = "name each differently: expression AS name"
                raise _error("query", f"the query returns two columns named {name!r}", advice)
        size = max(1, min(MAX_BATCH_ROWS, MAX_BATCH_VALUES // len(names)))
        rows = cursor.fetchmany(size)
        yield frame(names, rows)
        while len(rows) == size:
            if rows := cursor.fetchmany(size):
                yield frame(names, rows)


def url_of(connections: dict[str, str], connection: str) -> str:
    """The URL of one of the ``connections`` (URLs by name). Raises DataError for an unknown name."""
    if connection not in connections:
        known = f"connections: {', '.join(sorted(connections))}" if connections else "the server has no connections"
        message = f"unknown connection {connection!r}"
        raise _error("connection", message, f"{known}; the operator can add one in EPOCHD_CONNECTIONS")
    return connections[connection]


def is_read_query(text: str) -> bool:
    """Whether a text begins with SELECT, WITH or VALUES, after spaces, parentheses and comments."""
    place = 0
    while True:
        place = BLANK.match(text, place).end()  # type: ignore[union-attr]
        if not text.startswith(("--", "/*"), place):
            return READ_QUERY.match(text, place) is not None
        end = "\n" if text[place] == "-" else "*/"
        found = text.find(end, place + 2)
        if found < 0:
            return False
        place = found + len(end)


def scrubbed(text: str, url: URL) -> str:
    """A text with every part of the URL masked: password, user, host, port, database and the values of options."""
    options = [value for values in url.query.values() for value in ([values] if isinstance(values, str) else values)]
    parts = [url.password, url.username, url.host, url.database, str(url.port or ""), *options]
    parts += [Path(url.database).name] if url.database else []
    for part in sorted({str(part) for part in parts if part}, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "***", text)
    return text.replace(str(url.password), "***") if url.password else text


def frame(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    """Rows of Python values as a table; a column of mixed types becomes text, of mixed number types float."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame([series(name, values) for name, values in zip(names, columns, strict=True)])


def series(name: str, values: Iterable[Any]) -> pl.Series:
    """One column of Python values, as database drivers return them."""
    values = [bytes(value) if isinstance(value, memoryview) else value for value in values]
    kinds = {type(value) for value in values if value is not None}
    if kinds == {list}:
        with suppress(TypeError, pl.exceptions.PolarsError):
            return pl.Series(name, values, strict=True)
    dtype = _common([TYPES.get(kind, pl.String()) for kind in kinds])
    if dtype == pl.Int64 and any(value is not None and abs(value) >= 2**63 for value in values):
        dtype = pl.Float64()
    if dtype == pl.Datetime:
        values = [value.astimezone(UTC).replace(tzinfo=None) if value and value.tzinfo else value for value in values]
    if dtype == pl.Float64:
        values = [None if value is None else float(value) for value in values]
    if dtype == pl.String and kinds != {str}:
        values = [None if value is None else _text(value) for value in values]
    return pl.Series(name, values, dtype=dtype)


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return value.hex() if isinstance(value, bytes) else str(value)


def _common(types: Sequence[pl.DataType]) -> pl.DataType:
    """The type that all values of these types can be converted to."""
    known = {dtype for dtype in types if dtype != pl.Null}
    if len(known) < 2:
        return known.pop() if known else pl.Null()
    return pl.Float64() if known <= {pl.Int64(), pl.Float64()} else pl.String()


def _merge(batches: Sequence[Path], file: Path) -> None:
    """Stream all batches, in order, to one Parquet file. ISO dates in text, as SQLite stores them, become dates."""
    schemas = [pl.read_parquet_schema(batch) for batch in batches]
    common = {name: _common([schema[name] for schema in schemas]) for name in schemas[0]}
    tables = []
    for batch, schema in zip(batches, schemas, strict=True):
        casts = [
            col(name).bin.encode("hex") if schema[name] == pl.Binary and dtype == pl.String else col(name).cast(dtype)
            for name, dtype in common.items()
            if schema[name] != dtype
        ]
        tables.append(pl.scan_parquet(batch, glob=False).with_columns(casts))
    pl.concat(tables).sink_parquet(file, row_group_size=ROW_GROUP_ROWS, maintain_order=True)
    for batch in batches:
        batch.unlink()


def _error(field: str, message: str, hint: str = "") -> DataError:
    return DataError([Problem(field, message, hint)])
