"""What the server says while its database or its data folder is down, and that it recovers by itself."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url, text
from tests.support.attempts import SPEC
from tests.support.house import CONFIG, House, OpenHouse, eventually

from epochd.api.system import routes
from epochd.core.errors import Busy
from epochd.core.events import ReportKind
from epochd.core.jobs import State
from epochd.core.settings import Settings
from epochd.dispatch import dispatcher, readmission
from epochd.store import connections, db, jobs
from epochd.store.db import Database

START = "/start"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatcher, and what it does now and then, try again at once."""
    monkeypatch.setattr(dispatcher, "LAST_OUTAGE_BACKOFF_SECONDS", 0.05)
    monkeypatch.setattr(readmission, "CHECK_SECONDS", 0.05)


class Proxy:
    """A PostgreSQL server that can be shut down, or made to stop answering."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self.port = 0

    async def start(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        answers, requests = await asyncio.open_unix_connection(self._socket)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, requests))
                group.create_task(self._copy(answers, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, requests):
                end.close()
                with contextlib.suppress(OSError, asyncio.CancelledError):
                    await end.wait_closed()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self._flows.wait()
            writer.write(data)
        writer.close()

    def freeze(self) -> None:
        self._flows.clear()

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    made = Proxy(f"{make_url(postgres_url).query['host']}/.s.PGSQL.5432")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def behind_proxy(
    proxy: Proxy, open_house: OpenHouse, new_postgres: Callable[..., str], migrated_postgres: str
) -> House:
    name = make_url(new_postgres(migrated_postgres)).database
    return await open_house(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable")


async def unhealthy(house: House, reason: str) -> None:
    answer = await house.http.get("/health")
    assert answer.status_code == 503
    assert (answer.json()["success"], answer.json()["status"]) == (False, "degraded")
    assert reason in answer.json()["message"]


async def healthy(house: House) -> None:
    async def is_healthy() -> bool:
        return (await house.http.get("/health")).status_code == 200

    await eventually(is_healthy, within=20)


async def busy(house: House, method: str, path: str, reason: str, **options: object) -> None:
    answer = await house.http.request(method, f"/api/v1/epoch-training{path}", **options)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy"), answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert reason in answer.json()["message"]


async def test_a_postgresql_server_that_is_down_is_told_and_does_no_harm(behind_proxy, proxy, caplog):
    house = behind_proxy
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await proxy.stop()
    await unhealthy(house, "the database is not available")
    for path in ("/tasks", f"/tasks/{task_id}", f"/progress/{task_id}", f"/history/{task_id}", f"/logs/{task_id}"):
        await busy(house, "GET", path, "the database is not available")
    await busy(house, "POST", START, "the database is not available", json=CONFIG)
    assert (await house.http.get("/api/v1/datasets")).status_code == 503
    assert (await worker.post([])).status_code == 503, "workers repeat their reports"
    assert not [record for record in caplog.records if record.exc_info and record.name.startswith("epochd")]
    await proxy.start()
    await healthy(house)
    await worker.epochs(1, 2)
    await house.start()


async def test_a_postgresql_server_that_does_not_answer_is_told(behind_proxy, proxy, monkeypatch):
    monkeypatch.setattr(routes, "ANSWER_SECONDS", 0.2)
    await behind_proxy.start()
    proxy.freeze()
    for _ in range(3):
        await unhealthy(behind_proxy, "did not answer")
    await proxy.stop()


async def test_a_change_does_not_wait_for_ever_for_the_one_before_it(house, monkeypatch):
    async with house.service.db.write():
        with monkeypatch.context() as patch:
            patch.setattr(db, "WAIT_SECONDS", 0.1)
            await busy(house, "POST", START, "no connection was free", json=CONFIG)
        assert (await house.get("/tasks")).status_code == 200
    await house.start()


async def test_a_table_that_is_locked_in_postgresql_is_told(new_postgres, monkeypatch):
    monkeypatch.setattr(connections, "LOCK_MILLISECONDS", 100)
    database, other = Database(url := new_postgres()), Database(url)
    await database.open()
    await other.open()
    async with other.write() as transaction:
        await transaction.connection.execute(text("LOCK TABLE jobs"))
        with pytest.raises(Busy, match="lock timeout"):
            await jobs.submit(database, SPEC)
    await jobs.submit(database, SPEC)
    await database.close()
    await other.close()


async def test_a_sqlite_file_that_is_locked_for_long_is_told(open_house, monkeypatch):
    monkeypatch.setattr(connections, "LOCK_MILLISECONDS", 100)
    house = await open_house()
    path = house.service.settings.database
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        await busy(house, "POST", START, "database is locked", json=CONFIG)
        await unhealthy(house, "database is locked")
        assert (await house.get("/tasks")).status_code == 200, "reading needs no lock"
        other.execute("ROLLBACK")
    await house.start()
    await healthy(house)


async def test_a_full_disk_under_the_database_is_told_by_the_task(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    async with house.service.db.write() as transaction:
        await transaction.connection.execute(text("PRAGMA max_page_count = 1"))
    metrics = {"metrics": {"epoch": 1, "filler": "x" * 100_000}, "best": {}, "early_stopping": {}}
    refused = await worker.post([{"number": 2, "kind": ReportKind.EPOCH, "payload": metrics}])
    assert (refused.status_code, refused.json()["code"]) == (507, "disk_full")
    for path in (f"/progress/{task_id}", f"/tasks/{task_id}"):
        error = (await house.get(path)).json()["error"]
        assert (error["code"], error["message"][:16]) == ("disk_full", "the disk is full")
    await unhealthy(house, "the disk is full")
    async with house.service.db.write() as transaction:
        await transaction.connection.execute(text("PRAGMA max_page_count = 100000"))
    await worker.epochs(1, 1)
    assert (await house.get(f"/progress/{task_id}")).json()["error"] is None
    await healthy(house)


@pytest.mark.parametrize("lost", ["epochd.db", "epochd.db-wal", "."])
async def test_a_deleted_database_is_told_at_once_and_takes_no_start(house, lost, tmp_path):
    task_id = await house.start()
    path = house.service.settings.data_dir / lost
    os.rename(path, tmp_path / "away")
    await unhealthy(house, "was deleted or replaced")
    await busy(house, "POST", START, "was deleted or replaced", json=CONFIG)
    await busy(house, "POST", f"/stop/{task_id}", "was deleted or replaced")
    assert (await house.get(f"/progress/{task_id}")).json()["error"]["code"] == "busy"
    if lost == "epochd.db":  # a file in its place is none of ours
        shutil.copy(tmp_path / "away", path)
        await unhealthy(house, "was deleted or replaced")
    os.rename(tmp_path / "away", path)
    await healthy(house)
    assert (await house.get("/tasks")).json()["total"] == 1
    await house.start()


async def test_a_file_that_is_deleted_during_a_change_acknowledges_nothing(house, tmp_path):
    database = house.service.db
    with pytest.raises(Busy, match="deleted or replaced"):
        async with database.write():
            os.rename(house.service.settings.database, tmp_path / "away")


async def test_a_reconnected_writer_knows_its_new_log(db):
    await jobs.submit(db, SPEC)
    await db._writer.dispose()
    await db._reader.dispose()
    job = await jobs.submit(db, SPEC)
    db.check_files()
    assert (await jobs.get(db, job.id)).state is State.PENDING


async def test_the_server_stops_in_order_while_its_database_is_down(proxy, open_house, new_postgres, caplog):
    name = make_url(new_postgres()).database
    house = await open_house(database_url=f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}?sslmode=disable")
    task_id = await house.start()
    await (await house.worker()).begin()
    await proxy.stop()
    await house.service.release(0.1)
    assert f"the end of task {task_id}, attempt 1, could not be recorded" in caplog.text


@pytest.mark.parametrize("folder", ["q?mode=ro", "per%20cent", "a#b", "file:x", "%2e", "q?a=1&b=%"])
async def test_a_data_folder_may_have_any_name(tmp_path, folder):
    settings = Settings(data_dir=tmp_path / folder)
    settings.data_dir.mkdir()
    database = Database(settings.database)
    await database.open()
    await jobs.submit(database, SPEC)
    await database.close()
    assert {path.name for path in settings.data_dir.iterdir()} == {"epochd.db"}
    assert {path.name for path in tmp_path.iterdir()} == {folder}


NOBODY = 65534
OPEN_AS_NOBODY = """
import asyncio, os, sys
from pathlib import Path
from epochd.api.service import Service
from epochd.core.errors import SettingsError
from epochd.core.settings import Settings
from epochd.engines.speeds import Speeds
from tests.support.executors import FakeExecutor

async def opened(folder):
    async with Service(Settings(data_dir=Path(folder)), lambda: FakeExecutor(1), "", Speeds()).opened():
        pass

asyncio.run(opened(sys.argv[1]))  # imports what another user could not
os.setuid(65534)
try:
    asyncio.run(opened(sys.argv[2]))
except SettingsError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("denied", ["", ".lock", "epochd.db", "datasets"])
def test_an_existing_data_folder_that_cannot_be_written_gets_a_sentence(tmp_path, denied):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are locked to others
        data = Path(folder) / "data"
        for name in ("artifacts", "checkpoints", "logs", "datasets"):
            (data / name).mkdir(parents=True)
        (data / ".lock").touch()
        with contextlib.closing(sqlite3.connect(data / "epochd.db")) as database:
            database.execute("PRAGMA journal_mode=WAL")
        Path(folder).chmod(0o755)
        for path in (data, *data.iterdir()):
            os.chown(path, NOBODY, NOBODY)
        os.chown(data / denied, 0, 0)
        (data / denied).chmod(0o755 if (data / denied).is_dir() else 0o444)
        command = [sys.executable, "-c", OPEN_AS_NOBODY, str(tmp_path / "own"), str(data)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    assert done.stdout.startswith("refused: "), done.stderr
    assert str(data / denied) in done.stdout
    assert done.stderr == ""
