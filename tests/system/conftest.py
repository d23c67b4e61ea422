"""Servers for the tests of this folder; they all end with the test."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .running import Running


@pytest.fixture
def open_server(tmp_path: Path) -> Iterator[Any]:
    servers: list[Running] = []

    def make(port: int = 0, slots: int = 1, **more: Any) -> Running:
        servers.append(Running(tmp_path, port, slots, **more))
        return servers[-1]

    yield make
    for server in servers:
        if server.process.poll() is None:
            server.end(signal.SIGTERM)
