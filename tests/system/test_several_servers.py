"""Three real servers on one PostgreSQL and one data folder, behind a real nginx: servers die, trainings go on."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from epochd.client import Client
from tests.support.proxy import NGINX, Proxy, free_ports
from tests.support.running import CONFIG, Running

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")

TRAINING = CONFIG | {"framework": "pytorch", "epochs": 1_000, "batch_size": 8, "learning_rate_scheduler": "none"}
TRAINING |= {"output_path": "models/several"}
FINAL = {"complete", "failed", "cancelled"}


class Servers:
    """Three servers and their proxy."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.folder = folder / "data"
        port, *self.ports = free_ports(4)
        self.settings = {
            "EPOCHD_SHARED": "true",
            "EPOCHD_DATABASE_URL": database_url,
            "EPOCHD_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "EPOCHD_LEASE_SECONDS": "6",
            "EPOCHD_CHECKPOINT_SECONDS": "1",
        }
        self.proxy = Proxy(folder / "nginx", port, self.ports)
        self.running: dict[int, Running] = {}
        self.restart(*self.ports)
        self.client = Client(self.proxy.url)
        self.client._connection.request("GET", "/health")

    def health(self, port: int) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
        return found

    def leader(self, within: float = 20.0) -> int:
        """The port of the server that leads."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            for port, server in self.running.items():
                if server.process.poll() is None and self.health(port)["servers"]["role"] == "leader":
                    return port
            time.sleep(0.05)
        raise AssertionError("no server became the leader")

    def standby(self) -> int:
        leader = self.leader()
        return next(port for port, server in self.running.items() if port != leader and server.process.poll() is None)

    def kill(self, port: int) -> None:
        self.running[port].end(signal.SIGKILL)

    def restart(self, *ports: int) -> None:
        """Open servers that have ended, all at once."""

        def opened(port: int) -> Running:
            return Running(self.folder, port, **self.settings)

        with ThreadPoolExecutor() as threads:
            self.running |= dict(zip(ports, threads.map(opened, ports), strict=True))

    def close(self) -> None:
        self.client.close()
        for server in self.running.values():
            if server.process.poll() is None:
                server.end(signal.SIGTERM)
        self.proxy.close()


@pytest.fixture
def servers(tmp_path: Path, new_postgres: Callable[..., str], migrated_postgres: str) -> Iterator[Servers]:
    found = Servers(tmp_path, new_postgres(migrated_postgres))
    yield found
    found.close()


class Follower(threading.Thread):
    """Follows a task with the project's own client, through the proxy, until it has ended."""

    def __init__(self, url: str, task_id: str) -> None:
        super().__init__(daemon=True)
        self.url, self.task_id = url, task_id
        self.events: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            with Client(self.url) as client:
                for event in client.stream(self.task_id):
                    self.events.append(event)
        except Exception as error:
            self.error = error

    def until_epoch(self, epoch: int, within: float = 60.0) -> None:
        until = time.monotonic() + within
        while self.epochs()[-1:] < [epoch]:
            assert time.monotonic() < until, f"epoch {epoch} was not reached: {self.events[-1:]}, {self.error}"
            assert self.error is None
            assert not self.events or self.events[-1]["type"] not in FINAL, "the training was over too early"
            time.sleep(0.01)

    def epochs(self) -> list[int]:
        return [event["progress"]["current_epoch"] for event in self.events if event["type"] == "progress"]

    def finished(self, within: float = 400.0) -> list[dict[str, Any]]:
        self.join(within)
        assert not self.is_alive(), f"the training did not end: {self.events[-1:]}"
        assert self.error is None
        return self.events


def events_in_log(servers: Servers, task_id: str) -> list[str]:
    """The numbers of all events of a task."""
    with httpx.Client(base_url=servers.proxy.url, trust_env=False) as http:
        text = http.get(f"/api/v1/epoch-training/stream-progress/{task_id}", timeout=60).text
    return [line.removeprefix("id: ") for line in text.splitlines() if line.startswith("id: ")]


def weights(servers: Servers, task_id: str) -> bytes:
    folder = servers.folder / "artifacts/models/several" / task_id
    return b"".join(path.read_bytes() for path in sorted(folder.glob("*.safetensors")))


@pytest.mark.timeout(1200)
def test_trainings_go_on_while_servers_are_killed_and_restarted_one_after_another(servers: Servers) -> None:
    reference = servers.client.start(TRAINING)["task_id"]
    plain = Follower(servers.proxy.url, reference).finished()
    assert plain[-1]["type"] == "complete"

    task_id = servers.client.start(TRAINING)["task_id"]
    follower = Follower(servers.proxy.url, task_id)
    follower.until_epoch(50)
    first = servers.leader()
    servers.kill(first)
    second = servers.leader()
    assert second != first
    follower.until_epoch(follower.epochs()[-1] + 20)
    third = servers.standby()
    servers.kill(third)
    follower.until_epoch(follower.epochs()[-1] + 20)
    servers.restart(first, third)
    for port in sorted(servers.ports, key=lambda port: port != second):  # the leader first
        assert servers.running[port].end(signal.SIGTERM) == 0
        assert servers.leader() != port
        assert follower.is_alive() or port != second, "the training was over before its leader was restarted"
        servers.restart(port)
    events = follower.finished()

    assert events[-1]["type"] == "complete"
    assert follower.epochs() == [*range(1, TRAINING["epochs"] + 1)]
    assert events_in_log(servers, task_id) == [str(number) for number in range(1, len(events) + 1)]
    assert weights(servers, task_id) == weights(servers, reference) != b""
    task = servers.client.task(task_id)
    assert (task["attempt"], task["crashes"]) == (1, 0)


@pytest.mark.timeout(1200)
def test_a_leader_that_stands_still_is_replaced_and_then_stands_by(servers: Servers) -> None:
    task_id = servers.client.start(TRAINING | {"epochs": 600})["task_id"]
    follower = Follower(servers.proxy.url, task_id)
    follower.until_epoch(20)
    first = servers.leader()
    servers.running[first].process.send_signal(signal.SIGSTOP)
    others = {port: server for port, server in servers.running.items() if port != first}
    try:
        until = time.monotonic() + 60
        while not any(servers.health(port)["servers"]["role"] == "leader" for port in others):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        servers.running[first].process.send_signal(signal.SIGCONT)
    until = time.monotonic() + 30
    while servers.health(first)["servers"]["role"] != "standby" or servers.health(first)["status"] != "ok":
        assert time.monotonic() < until, servers.health(first)
        time.sleep(0.1)
    events = follower.finished()
    assert events[-1]["type"] == "complete"
    assert follower.epochs() == [*range(1, 601)]
    assert {servers.health(port)["servers"]["term"] for port in servers.ports} == {2}
    with httpx.Client(trust_env=False) as http:
        found = [http.get(f"http://127.0.0.1:{port}/api/v1/system/reconcile").json() for port in servers.ports]
    assert [answer["findings"] for answer in found] == [[]] * 3
