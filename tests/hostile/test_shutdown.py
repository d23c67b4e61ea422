"""SIGTERM is obeyed whatever runs, and the log names what held the event loop."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from tests.hostile.conftest import GRACE_SECONDS

SERVE = """
import asyncio, threading, time
from epochd.api import server
from epochd.core.settings import load

create_app = server.create_app

def with_slow_routes(settings, **options):
    app = create_app(settings, **options)

    @app.get("/never-returns-in-a-thread")
    async def never():
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)

    @app.get("/holds-the-loop")
    async def hold(seconds: float):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass

    return app

server.create_app = with_slow_routes
server.EXIT_SECONDS = 2.0
server.serve(load())
"""


class Server:
    """A server with routes that misbehave."""

    def __init__(self, folder: Path) -> None:
        settings = {"EPOCHD_DATA_DIR": str(folder), "EPOCHD_PORT": "0"}
        command = [sys.executable, "-c", SERVE]
        self.process = subprocess.Popen(
            command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1].decode()

    def get(self, path: str, seconds: float = 30) -> int:
        return httpx.get(self.url + path, trust_env=False, timeout=seconds).status_code

    def terminate(self) -> str:
        """Send SIGTERM; the log of the server, which has ended in time and without an error."""
        before = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        _, log = self.process.communicate(timeout=30)
        assert time.monotonic() - before < GRACE_SECONDS
        assert self.process.returncode == 0
        return log.decode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    yield server
    if server.process.poll() is None:
        server.process.kill()
        server.process.communicate()


@pytest.mark.serial
def test_a_thread_that_never_returns_does_not_keep_the_server(server: Server) -> None:
    assert server.get("/never-returns-in-a-thread") == 200
    assert "the shutdown took longer than 2 s" in server.terminate()


@pytest.mark.serial
def test_a_request_that_holds_the_event_loop_does_not_keep_the_server(server: Server) -> None:
    holding = in_the_background(lambda: server.get("/holds-the-loop?seconds=60"))
    while answers(server):
        time.sleep(0.05)
    assert "the shutdown took longer than 2 s" in server.terminate()
    holding.join()


@pytest.mark.serial
def test_the_log_names_the_request_that_holds_the_event_loop_and_for_how_long(server: Server) -> None:
    assert server.get("/health") == 200
    for _ in range(2):  # should the machine stand still just before the first one gets to its route
        assert server.get("/holds-the-loop?seconds=0.9") == 200
    log = server.terminate()
    assert "GET /holds-the-loop holds the event loop for more than 200 ms" in log
    assert ", in hold\n" in log
    held = re.search(r"GET /holds-the-loop held the event loop for ([\d.]+) s", log)
    assert held is not None
    assert 0.7 < float(held[1]) < 3


def answers(server: Server) -> bool:
    try:
        return server.get("/health", seconds=0.5) > 0
    except httpx.TimeoutException:
        return False


def in_the_background(work: Callable[[], object]) -> threading.Thread:
    """A thread for a request whose connection ends with the server."""

    def run() -> None:
        with suppress(httpx.TransportError):
            work()

    thread = threading.Thread(target=run)
    thread.start()
    return thread
