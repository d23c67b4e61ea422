"""A server of some source tree, and notes of what it answers; used by ``behaviour.py``."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

TRAINING = "/api/v1/epoch-training"
DATASETS = "/api/v1/datasets"
ENDED = {"completed", "failed", "cancelled"}
ENGLISH, CHINESE = "en", "zh-CN"

Change = Callable[[Any], Any]

# What differs from run to run is dropped or replaced.

DROPPED = {"time_per_epoch", "versions", "framework_version", "keras_version"}
REPLACED = {"pid", "created", "memory", "lease_left", "idle", "queue_position", "resumed", "last_step_at"}
REPLACED |= {"timings", "speed", "waiting_since"}
PATTERNS = (
    (re.compile(r"epoch_training_\d{8}_\d{6}_[0-9a-f]{6}"), "<id>"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(Z|\+00:00)"), "<time>"),
    (re.compile(r"127\.0\.0\.1:\d+"), "<address>"),
    (re.compile(r"/tmp/[^ '\"]*behaviour-[^/ '\"]+"), "<folder>"),
)


def normal(value: Any) -> Any:
    """The same value without what differs from run to run."""
    if isinstance(value, dict):
        return {name: _member(value, name) for name in value if name not in DROPPED}
    if isinstance(value, list):
        return [normal(one) for one in value]
    if isinstance(value, str):
        for pattern, placeholder in PATTERNS:
            value = pattern.sub(placeholder, value)
    return value


def _member(parent: dict[str, Any], name: str) -> Any:
    """The size of a checkpoint follows from the digits of the times in it; the health's memory is a limit."""
    if name == "memory" and isinstance(parent[name], dict):
        return normal(parent[name])
    if name in REPLACED or (name == "bytes" and "restores" in parent):
        return None if parent[name] is None else f"<{name}>"
    return normal(parent[name])


def shape(value: Any) -> Any:
    """Only names and types: for answers that depend on how far a training has come."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in normal(value).items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "<number>" if isinstance(value, int | float) and not isinstance(value, bool) else normal(value)


def without_lines(answer: dict[str, Any]) -> Any:
    """A log's answer without its text, which frameworks change as they like."""
    return normal(answer | {"lines": f"<{type(answer['lines']).__name__}>"})


class Server:
    """``epochd serve`` of some source tree, on a free port, and a client of it."""

    def __init__(self, source: Path, folder: Path, **settings: str) -> None:
        self.data_dir = folder
        (folder / "datasets").mkdir(parents=True, exist_ok=True)
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHD_")}
        self.env |= {"PYTHONPATH": str(source), "EPOCHD_DATA_DIR": str(folder), "EPOCHD_PORT": "0"}
        self.env |= {"EPOCHD_LOG_LEVEL": "warning", "EPOCHD_CHECKPOINT_SECONDS": "3600"} | settings
        command = [sys.executable, "-m", "epochd.cli", "serve"]
        self.process = subprocess.Popen(command, env=self.env, cwd=folder, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.client = httpx.Client(base_url=self.process.stdout.readline().split()[-1], timeout=180, trust_env=False)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(timeout=60)

    def ask(self, method: str, path: str, language: str = ENGLISH, **content: Any) -> httpx.Response:
        return self.client.request(method, path, headers={"Accept-Language": language}, **content)

    def task(self, task_id: str) -> dict[str, Any]:
        return self.ask("GET", f"{TRAINING}/tasks/{task_id}").json()

    def until(self, task_id: str, epoch: float = float("inf")) -> dict[str, Any]:
        """Wait until a task has come to an epoch or has ended; the task."""
        while (task := self.task(task_id))["state"] not in ENDED and task["current_epoch"] < epoch:
            time.sleep(0.1)
        return task

    def predict(self, model: Path, rows: Path) -> str:
        """What ``epochd predict`` prints."""
        command = [sys.executable, "-m", "epochd.cli", "predict", str(model), str(rows)]
        done = subprocess.run(command, env=self.env, cwd=self.data_dir, capture_output=True, text=True)
        return done.stdout or normal(done.stderr)


class Notes:
    """Answers of a server, under the requests that they belong to."""

    def __init__(self, server: Server, into: dict[str, Any]) -> None:
        self.server, self.into = server, into

    def __call__(
        self,
        method: str,
        path: str,
        *,
        about: str = "",
        change: Change = normal,
        language: str = ENGLISH,
        **content: Any,
    ) -> Any:
        """Ask, and note status, type and content of the answer; the content as it came."""
        answer = self.server.ask(method, path, language, **content)
        body = content_of(answer)
        label = normal(" ".join(filter(None, [method, path, about, language if language != ENGLISH else ""])))
        assert label not in self.into, label
        kind = answer.headers.get("content-type", "")
        self.into[label] = {"status": answer.status_code, "type": kind, "body": change(body)}
        return body

    def both(self, method: str, path: str, **options: Any) -> None:
        """Note the answer in either language."""
        for language in (ENGLISH, CHINESE):
            self(method, path, language=language, **options)


def content_of(answer: httpx.Response) -> Any:
    """JSON, the events of a stream, or text."""
    kind = answer.headers.get("content-type", "")
    if kind.startswith("application/json"):
        return answer.json()
    if kind.startswith("text/event-stream"):
        return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    return answer.text
