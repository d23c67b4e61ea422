"""Connections that send half a request, and more connections than a server has descriptors for."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from tests.hostile.conftest import attacked
from tests.support import running
from tests.support.running import Running

DESCRIPTORS = 64
FEW = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
HALF_A_REQUEST = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "


@contextmanager
def connections(server: Running, number: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Open connections, each of which has sent so much."""
    with ExitStack() as stack:
        opened = []
        for _ in range(number):
            opened.append(stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 10)))
            opened[-1].sendall(sent)
        yield opened


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Running]:
    """A server with few descriptors."""
    server = Running(tmp_path, prefix=FEW)
    yield server
    server.process.terminate()
    assert server.ended() == 0


@pytest.mark.serial
def test_half_requests_lock_nobody_out(small):
    with connections(small, 120, HALF_A_REQUEST), attacked(small):
        task_id = small.start(epochs=3)
        assert small.follow(task_id)["type"] == "complete"


def test_when_every_connection_is_busy_workers_and_health_checks_are_served(small):
    task_id = small.start(epochs=100_000)
    small.follow(task_id, until_epoch=1)
    path = f"/api/v1/epoch-training/stream-progress/{task_id}"
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with connections(small, 4, request) as streams, ExitStack() as stack:
        assert {status(stream) for stream in streams} == {b"HTTP/1.1 200"}
        more = stack.enter_context(connections(small, 56, request))
        assert b"HTTP/1.1 503" in [status(stream) for stream in more]
        assert httpx.get(f"{small.url}/health", trust_env=False, timeout=10).status_code == 200
        for _ in range(20):  # the worker's connection may make room between two reports
            refused = httpx.get(f"{small.url}/api/v1/epoch-training/tasks", trust_env=False, timeout=10)
            if refused.status_code == 503:
                break
            stack.enter_context(connections(small, 1, request))
        assert (refused.status_code, refused.json()["code"]) == (503, "busy")
        assert int(refused.headers["Retry-After"]) > 0
        before = time.monotonic()
        with streams[0].makefile("rb") as events:  # it goes on, since the worker's reports arrive
            while not next(events).startswith(b"data: ") or time.monotonic() - before < 1:
                pass
    assert small.post("stop", task_id)["state"] == "cancelled"


def status(connection: socket.socket) -> bytes:
    """The first line's beginning, or nothing from a connection that was closed to make room for others."""
    connection.settimeout(10)
    with suppress(ConnectionError):
        return connection.recv(12)
    return b""


def drip(connection: socket.socket) -> None:
    """Send byte after byte for ten seconds."""
    for _ in range(200):
        connection.sendall(b"x")
        time.sleep(0.05)


def test_a_request_whose_head_takes_too_long_is_cut_off(tmp_path, monkeypatch):
    slow = "from epochd.api import connections; connections.HEAD_SECONDS = 0.5; "
    monkeypatch.setattr(running, "SERVE", slow + running.SERVE)
    server = Running(tmp_path)
    with connections(server, 2, HALF_A_REQUEST) as (silent, dripping):
        with pytest.raises(ConnectionError):
            drip(dripping)
        silent.settimeout(10)
        assert silent.recv(1) == b""
    assert httpx.get(f"{server.url}/health", trust_env=False).status_code == 200
    server.process.terminate()
    assert server.ended() == 0
