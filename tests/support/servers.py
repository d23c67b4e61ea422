"""Three real servers on one PostgreSQL and one data folder, behind a real nginx; and a client that follows a task."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from epochd.client import Client
from tests.support.proxy import Proxy, free_ports
from tests.support.running import CONFIG, Running

TRAINING = CONFIG | {"framework": "pytorch", "batch_size": 8, "learning_rate_scheduler": "none"}
TRAINING |= {"output_path": "models/several"}
FINAL = {"complete", "failed", "cancelled"}


class Servers:
    """Three servers and their proxy. With 0 ``slots`` all trainings are left to agents."""

    def __init__(self, folder: Path, database_url: str, slots: int = 1) -> None:
        self.slots = slots
        self.folder = folder / "data"
        self.settings: dict[str, Any] = {
            "EPOCHD_SHARED": "true",
            "EPOCHD_DATABASE_URL": database_url,
            "EPOCHD_LEASE_SECONDS": "6",
            "EPOCHD_CHECKPOINT_SECONDS": "1",
        }
        self.running: dict[int, Running] = {}
        for is_last in (False, False, True):
            port, *self.ports = free_ports(4)
            self.settings["EPOCHD_PUBLIC_URL"] = f"http://127.0.0.1:{port}"
            self.proxy = Proxy(folder / f"nginx-{port}", port, self.ports)
            try:
                self.restart(*self.ports)
                self._await_proxy(folder / f"nginx-{port}")
                break
            except (RuntimeError, AssertionError):  # somebody else has taken one of the ports in the meantime
                self._end()
                if is_last:
                    raise
        self.client = Client(self.proxy.url)
        self.client._connection.request("GET", "/health")

    def _await_proxy(self, folder: Path, within: float = 30.0) -> None:
        """Wait until the proxy listens: it then writes its process id."""
        until = time.monotonic() + within
        while not (folder / "nginx.pid").exists():
            assert self.proxy.process.poll() is None, "nginx has ended"
            assert time.monotonic() < until, "nginx does not listen"
            time.sleep(0.01)

    def health(self, port: int) -> dict[str, Any]:
        found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{port}/health", timeout=30, trust_env=False).json()
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

        def open_one(port: int) -> None:
            self.running[port] = Running(self.folder, port, self.slots, **self.settings)

        with ThreadPoolExecutor() as threads:
            list(threads.map(open_one, ports))

    def close(self) -> None:
        self.client.close()
        self._end()

    def _end(self) -> None:
        for server in self.running.values():
            if server.process.poll() is None:
                server.end(signal.SIGTERM)
        self.running.clear()
        self.proxy.close()


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

    def until_epoch(self, epoch: int, within: float = 120.0) -> None:
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
