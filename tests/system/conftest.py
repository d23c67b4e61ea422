"""Servers for the tests of this folder; they all end with the test."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from epochd.dispatch.host import cgroups
from tests.support.running import Running, RunningAgent


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
    for _ in range(200):  # a worker that has outlived its server may be about to end
        if not cgroups.sweep(tmp_path):
            break
        time.sleep(0.05)


@pytest.fixture
def open_agent(tmp_path: Path) -> Iterator[Any]:
    agents: list[RunningAgent] = []

    def make(server: Running, name: str, slots: int = 1, **more: Any) -> RunningAgent:
        agents.append(RunningAgent(tmp_path / f"agent-{name}", server.url, name, slots, **more))
        return agents[-1]

    yield make
    for agent in agents:
        if agent.process.poll() is None or agent.workers():
            agent.kill()
