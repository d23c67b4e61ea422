"""Servers in the test's own process, with no workers but those that the test plays."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from epochd.api import service
from epochd.api.app import create_app
from epochd.api.server import Server, bind, url_of
from epochd.core.settings import Settings
from tests.support.executors import FakeExecutor
from tests.support.house import House, LiveHouse, OpenHouse
from tests.support.readers import InProcessReaders


@pytest.fixture(autouse=True)
def readers_in_process(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data are read in threads of the test's process, except in tests that are marked ``real_readers``."""
    if request.node.get_closest_marker("real_readers") is None:
        monkeypatch.setattr(service, "ReaderPool", InProcessReaders)


@pytest.fixture
async def open_house(tmp_path: Path, migrated_sqlite: Path) -> AsyncIterator[OpenHouse]:
    """Opens a server with the given settings; closed after the test."""
    closing = []
    (tmp_path / "data").mkdir()
    shutil.copy(migrated_sqlite, tmp_path / "data" / "epochd.db")

    async def opened(slots: int = 1, **settings: Any) -> House:
        executor = FakeExecutor(slots)
        app = create_app(Settings(data_dir=tmp_path / "data", slots=slots, **settings), executor=executor)
        context = app.router.lifespan_context(app)
        await context.__aenter__()
        transport = httpx.ASGITransport(app)
        http = httpx.AsyncClient(transport=transport, base_url="http://localhost:8000")
        closing.append((context, http))
        return House(app, executor, http)

    yield opened
    for context, http in closing:
        await http.aclose()
        await context.__aexit__(None, None, None)


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    return await open_house()


@pytest.fixture
async def live(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[LiveHouse]:
    """A real server on a free port, in this event loop; an indirect parameter holds more of its settings."""
    listener = bind("127.0.0.1", 0)
    url, executor = url_of("127.0.0.1", listener), FakeExecutor()
    app = create_app(
        Settings(data_dir=tmp_path / "data", slots=1, **getattr(request, "param", {})),
        executor=executor,
        server_url=url,
    )
    server = Server(app, url)
    serving = asyncio.create_task(server.serve([listener]))
    async with httpx.AsyncClient(base_url=url, timeout=10) as http:
        await http.get("/health")
        yield LiveHouse(app, executor, http, server)
    server.should_exit = True
    await serving
