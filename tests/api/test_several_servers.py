"""Two servers on one PostgreSQL and one data folder, in one process: any of them answers, one dispatches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from epochd.api import leader
from epochd.api.app import create_app
from epochd.api.leader import FORWARDED
from epochd.api.responses import SHUTDOWN
from epochd.artifact import files
from epochd.core.errors import SettingsError
from epochd.core.events import ReportKind
from epochd.core.jobs import State
from epochd.core.settings import Settings
from epochd.store import attempts, jobs
from epochd.store.leadership import Leader, LeaderSession
from tests.support.executors import FakeExecutor
from tests.support.house import House, PlayedWorker

RECONCILE, ALIASES = "/api/v1/system/reconcile", "/api/v1/models/models/churn/aliases/champion"
TOKEN = {"Authorization": "Bearer hush"}
OpenServer = Callable[..., Awaitable[House]]


@pytest.fixture
async def open_server(
    tmp_path: Path, new_postgres: Callable[..., str], migrated_postgres: str
) -> AsyncIterator[OpenServer]:
    """Opens servers ``http://a``, ``http://b`` …, which reach one another without a network."""
    url, houses = new_postgres(migrated_postgres), dict[str, House]()
    closing = AsyncExitStack()

    async def to_other(request: httpx.Request) -> httpx.Response:
        return await httpx.ASGITransport(houses[request.url.host].app).handle_async_request(request)

    async def opened(name: str, **settings: Any) -> House:
        executor = FakeExecutor(1)
        known = {"public_url": "http://proxy", "advertise_url": f"http://{name}", "lease_seconds": 60} | settings
        shared = Settings(data_dir=tmp_path / "data", database_url=url, shared=True, slots=1, **known)
        app = create_app(shared, executor=executor)
        await closing.enter_async_context(app.router.lifespan_context(app))
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000")
        closing.push_async_callback(http.aclose)
        houses[name] = house = House(app, executor, http)
        await house.service._close_http()
        house.service._http = httpx.AsyncClient(transport=httpx.MockTransport(to_other))
        return house

    yield opened
    await closing.aclose()


@pytest.fixture
async def servers(open_server: OpenServer) -> tuple[House, House]:
    """A leader and a standby."""
    return await open_server("a"), await open_server("b")


async def role(house: House) -> dict[str, Any]:
    health = (await house.http.get("/health")).json()
    assert health["success"] is True, health
    found: dict[str, Any] = health["servers"]
    return found


async def until(look: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(10):
        while not await look():  # noqa: ASYNC110 (the other server sets no event)
            await asyncio.sleep(0.01)


async def test_health_names_the_leader_at_both_servers(servers: tuple[House, House]) -> None:
    leader, standby = [await role(house) for house in servers]
    assert (leader["role"], standby["role"]) == ("leader", "standby")
    assert leader["id"] != standby["id"]
    for found in (leader, standby):
        assert (found["term"], found["leader_url"]) == (1, "http://a")
        assert 0 < found["lease_left"] <= 60


async def test_what_is_started_at_the_standby_runs_at_the_leader_and_reports_to_any(
    servers: tuple[House, House],
) -> None:
    a, b = servers
    task_id = await b.start()
    ticket = await asyncio.wait_for(a.executor.tickets.get(), 10)
    assert (ticket.task_id, ticket.server_url) == (task_id, "http://proxy")
    answer = await b.http.post(
        f"/internal/attempts/{task_id}/report",
        json={"attempt": 1, "activity": {"epoch": 1, "step": 2, "steps": 9}, "reports": []},
        headers={"Authorization": f"Bearer {ticket.token}"},
    )
    assert answer.json() == {"command": "continue"}

    async def is_shown() -> bool:
        activity = (await a.get(f"/tasks/{task_id}")).json()["activity"]
        return activity is not None and activity["step"] == 2

    await until(is_shown)
    assert (await b.http.get("/health")).json()["slots"]["total"] == 1


async def test_a_pause_at_one_server_waits_for_what_the_other_hears(servers: tuple[House, House]) -> None:
    a, b = servers
    task_id = await b.start()
    worker = await a.worker()
    pausing = asyncio.create_task(b.post(f"/pause/{task_id}"))
    await until(lambda: _has_command(a, task_id))
    await worker.pause()
    assert (await pausing).json()["state"] == "paused"


async def _has_command(house: House, task_id: str) -> bool:
    return (await jobs.get(house.service.db, task_id)).command == "pause"


async def test_what_only_the_leader_knows_is_asked_of_it(servers: tuple[House, House]) -> None:
    for house in servers:
        for method in ("GET", "POST"):
            answer = await house.http.request(method, RECONCILE)
            assert (answer.status_code, answer.json()["findings"]) == (200, [])
    answers = [(await house.http.get("/api/v1/system/machine")).json() for house in servers]
    assert answers[0]["measured_at"] == answers[1]["measured_at"], "both have the leader's measurement"


async def test_the_leader_checks_the_token_of_a_request_that_is_forwarded(open_server: OpenServer) -> None:
    await open_server("a", tokens=["other"])
    b = await open_server("b", tokens=["hush"])
    assert (await b.http.get(RECONCILE)).status_code == 401
    answer = await b.http.get(RECONCILE, headers=TOKEN)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_request_is_forwarded_only_once(servers: tuple[House, House]) -> None:
    answer = await servers[1].http.get(RECONCILE, headers={FORWARDED: "1"})
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert answer.headers["Retry-After"] == "5"


async def test_an_unreachable_leader_is_told(servers: tuple[House, House]) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    servers[1].service._http = httpx.AsyncClient(transport=httpx.MockTransport(refuse))
    answer = await servers[1].http.get(RECONCILE)
    assert (answer.status_code, answer.json()["code"]) == (503, "busy")
    assert "ConnectError" in answer.json()["message"]


async def test_a_session_is_valid_at_the_other_server(open_server: OpenServer) -> None:
    a, b = await open_server("a", tokens=["hush"]), await open_server("b", tokens=["hush"])
    opened = await a.http.post("/api/v1/session", json={"token": "hush"})
    b.http.cookies.update(opened.cookies)
    assert (await b.get("/tasks")).status_code == 200


async def test_an_alias_that_one_server_sets_or_removes_is_known_to_the_other(
    servers: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = servers
    version = "epoch_training_20260101_000000_abcdef"
    folder = a.service.settings.artifacts_dir / "models/churn" / version
    folder.mkdir(parents=True)
    (folder / files.MANIFEST).write_text("{}")
    assert (await a.http.put(ALIASES, json={"version": version})).status_code == 200

    async def aliases() -> dict[str, str]:
        return b.service.models.aliases("models/churn")

    await until(aliases)
    assert await aliases() == {"champion": version}
    assert (await b.http.delete(ALIASES)).status_code == 200
    await until(lambda: _is_unknown(a))


async def _is_unknown(house: House) -> bool:
    return house.service.models.aliases("models/churn") == {}


async def test_a_leader_that_stops_hands_its_trainings_over(
    servers: tuple[House, House], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = servers
    look = LeaderSession.leader

    async def slow(session: LeaderSession) -> Leader | None:
        await asyncio.sleep(0.2)
        return await look(session)

    monkeypatch.setattr(LeaderSession, "leader", slow)
    task_id = await a.start()
    worker = await a.worker()
    await a.service.release(1.0)
    await until(lambda: _leads(b))
    assert (await role(b))["term"] == 2
    assert (await jobs.get(b.service.db, task_id)).state is State.RUNNING
    assert a.executor.killed == []
    await PlayedWorker(b.http, a.executor, worker.ticket).report(ReportKind.CANCELLED)
    assert (await jobs.get(b.service.db, task_id)).state is State.CANCELLED


async def _leads(house: House) -> bool:
    return house.service.is_leader


async def test_a_task_that_waits_for_its_worker_returns_to_the_queue_when_the_leader_stops(
    servers: tuple[House, House],
) -> None:
    a, b = servers
    a.executor.warm.clear()
    task_id = await a.start()
    await until(lambda: _is(a, task_id, State.RUNNING))
    await a.service.release(1.0)
    ticket = await asyncio.wait_for(b.executor.tickets.get(), 10)
    assert (ticket.task_id, ticket.attempt) == (task_id, 2)


async def _is(house: House, task_id: str, state: State) -> bool:
    return (await jobs.get(house.service.db, task_id)).state is state


@pytest.mark.parametrize("alone", [True, False])
async def test_a_leader_that_nobody_can_replace_releases_its_trainings(open_server: OpenServer, alone: bool) -> None:
    a = await open_server("a", **({} if alone else {"public_url": None}))
    if not alone:
        await open_server("b", public_url=None)
    task_id = await a.start()
    await a.worker()
    await a.service.release(0.0)
    assert (await jobs.get(a.service.db, task_id)).preemptions == 1


async def test_a_server_that_was_deposed_stops_dispatching(servers: tuple[House, House]) -> None:
    a, b = servers
    for house in servers:
        house.service._make_executor = FakeExecutor
    await a.start()
    worker = await a.worker()
    async with a.service.db.write() as transaction:
        await transaction.connection.exec_driver_sql("UPDATE leader SET term = term + 1")
    a.service.dispatcher.wake()
    another = await b.start()
    await until(lambda: _is_deposed(a))
    assert a.executor.is_closed
    assert a.executor.killed == []
    assert await PlayedWorker(b.http, a.executor, worker.ticket).report(ReportKind.CANCELLED) == "continue"
    assert await asyncio.wait_for(_any_ticket(a, b), 20) == another
    await until(lambda: _term_is(a, 3))


async def _is_deposed(house: House) -> bool:
    return house.executor.is_closed


async def _term_is(house: House, term: int) -> bool:
    return (await role(house))["term"] == term


async def _any_ticket(*houses: House) -> str:
    """The task of the next ticket of any of these servers."""
    while True:
        for house in houses:
            executor = house.service.executor
            if isinstance(executor, FakeExecutor) and not executor.tickets.empty():
                return (await executor.tickets.get()).task_id
        await asyncio.sleep(0.01)


async def test_uploads_under_way_and_new_notes_survive_the_start_of_another_server(open_server: OpenServer) -> None:
    a = await open_server("a")
    settings = a.service.settings
    kept = [
        settings.dataset_roots[0] / ".uploads/0123/file.csv",
        settings.cache_dir / "bodies/0123/body.json",
        settings.removals_dir / "epoch_training_20260101_000000_abcdef.note",
    ]
    for path in kept:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    await open_server("b")
    assert [path.exists() for path in kept] == [True] * 3


async def test_servers_that_share_their_data_folder_exclude_one_that_does_not(
    open_server: OpenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_server("a")
    alone = create_app(Settings(data_dir=tmp_path / "data"), executor=FakeExecutor())
    with pytest.raises(SettingsError, match="another epochd server is using"):
        await alone.router.lifespan_context(alone).__aenter__()


async def test_a_server_alone_excludes_those_that_share(
    open_server: OpenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epochd.api.data_folder.LOCK_SECONDS", 0.1)
    alone = create_app(Settings(data_dir=tmp_path / "data"), executor=FakeExecutor())
    async with alone.router.lifespan_context(alone):
        with pytest.raises(SettingsError, match="EPOCHD_SHARED=true for it"):
            await open_server("a")


async def test_two_servers_that_remove_one_task_at_once_leave_nothing_and_tell_one_of_them(
    servers: tuple[House, House],
) -> None:
    a, _ = servers
    task_id = await a.start()
    await a.worker()
    await attempts.release_attempt(a.service.db, task_id, 1, reason="test")
    await jobs.stop(a.service.db, task_id)
    answers = await asyncio.gather(*[house.http.delete(f"/api/v1/epoch-training/tasks/{task_id}") for house in servers])
    assert sorted(answer.status_code for answer in answers) == [200, 404]
    assert list(a.service.settings.removals_dir.glob("*")) == []


async def test_a_stream_of_a_leader_that_is_lost_ends_with_a_whole_event_and_the_notice() -> None:
    class Lost(httpx.AsyncByteStream):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            yield b"data: 1\n"
            yield b"\ndata: 2\n\ndata:"
            raise httpx.ReadError("the connection is lost")

    answer = httpx.Response(200, stream=Lost())
    assert [part async for part in leader._events(answer)] == [b"data: 1\n\ndata: 2\n\n", SHUTDOWN]
    assert answer.is_closed
