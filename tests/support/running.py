"""A real server in a process of its own, with real workers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psutil

from epochd.dispatch.host import processes

SERVE = "from epochd.api.server import serve; from epochd.core.settings import load; serve(load())"
CONFIG = {
    "dataset": "breast_cancer",
    "target_column": "target",
    "hidden_units": [8],
    "early_stopping_patience": None,
}


def object_of(answer: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer."""
    found: dict[str, Any] = answer.json()
    return found


class Running:
    """A server in a process of its own, and a client of it. ``prefix`` are words to put before its command."""

    def __init__(self, data_dir: Path, port: int = 0, slots: int = 1, prefix: Sequence[str] = (), **more: str) -> None:
        settings = {"EPOCHD_DATA_DIR": str(data_dir), "EPOCHD_PORT": str(port), "EPOCHD_SLOTS": str(slots)} | more
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-c", SERVE], env=os.environ | settings, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            self.process.communicate()
            raise RuntimeError(f"the server has ended with {self.process.returncode}")
        self.url = url = line.split()[-1]
        self.data_dir = data_dir
        self.port = httpx.URL(url).port
        self.token = more.get("EPOCHD_TOKENS")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.client = httpx.Client(
            base_url=f"{url}/api/v1/epoch-training", headers=headers, timeout=30, trust_env=False
        )

    def start(self, **options: Any) -> str:
        return str(self.client.post("/start", json=CONFIG | options).raise_for_status().json()["task_id"])

    def post(self, order: str, task_id: str, status: int = 200) -> dict[str, Any]:
        answer = self.client.post(f"/{order}/{task_id}")
        assert answer.status_code == status, answer.text
        return object_of(answer)

    def task(self, task_id: str) -> dict[str, Any]:
        return object_of(self.client.get(f"/tasks/{task_id}").raise_for_status())

    def history(self, task_id: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = object_of(self.client.get(f"/history/{task_id}").raise_for_status())["history"]
        return rows

    def epochs(self, task_id: str) -> list[int]:
        return [row["epoch"] for row in self.history(task_id)]

    def events(self, task_id: str) -> Iterator[dict[str, Any]]:
        """The task's events, from the first to the last."""
        with self.client.stream("GET", f"/stream-progress/{task_id}", timeout=60) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def until(self, task_id: str, wanted: Callable[[dict[str, Any]], bool], times: int = 1) -> dict[str, Any]:
        """Follow the stream to the event that is wanted, for the nth time, or to its end; return the event there."""
        for event in self.events(task_id):
            times -= wanted(event)
            if times == 0 or event["type"] in {"complete", "failed", "cancelled"}:
                return event
        raise AssertionError("the stream ended without a last event")

    def follow(self, task_id: str, until_epoch: float = float("inf")) -> dict[str, Any]:
        """Follow the stream to its end, or to an epoch; return the event there."""
        return self.until(task_id, lambda event: event.get("progress", {}).get("current_epoch", 0) >= until_epoch)

    def reconcile(self) -> dict[str, Any]:
        return object_of(self.client.get(f"{self.url}/api/v1/system/reconcile").raise_for_status())

    def findings_after_exits(self, within: float = 10.0) -> list[dict[str, Any]]:
        """What the reconciler still finds once workers that have reported their last word had time to exit."""
        until = time.monotonic() + within
        while (findings := self.reconcile()["findings"]) and time.monotonic() < until:
            time.sleep(0.1)
        return list(findings)

    def agents(self) -> dict[str, dict[str, Any]]:
        """Those that have joined, by name."""
        answer = self.client.get(f"{self.url}/api/v1/system/agents").raise_for_status()
        return {agent["name"]: agent for agent in object_of(answer)["agents"]}

    def joined(self, *names: str, within: float = 30.0) -> None:
        """Wait until these agents are connected, and no others."""
        until = time.monotonic() + within
        while (found := {name for name, one in self.agents().items() if one["state"] == "connected"}) != {*names}:
            assert time.monotonic() < until, f"{found} are connected, not {names}"
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Wait for the process to end; its return code."""
        self.process.communicate(timeout=10)
        self.client.close()
        return self.process.returncode


class RunningAgent:
    """An agent in a process of its own. ``prefix`` are words to put before its command."""

    def __init__(self, data_dir: Path, url: str, name: str, slots: int = 1, prefix: Sequence[str] = (), **more: str):
        options = ("--server", url, "--name", name, "--data-dir", str(data_dir), "--slots", str(slots))
        self.name, self.data_dir = name, data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "epochd.cli", "agent", *options],
                env=os.environ | {"EPOCHD_LANGUAGE": "en"} | more,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def workers(self) -> list[int]:
        """The ids of its worker processes."""
        return [process.pid for process in processes.find_marked(self.data_dir)]

    def kill(self) -> None:
        """SIGKILL for the agent and its workers: the machine is gone."""
        self.process.kill()
        self.process.wait()
        for process in processes.find_marked(self.data_dir):
            with suppress(psutil.Error):
                process.kill()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)
