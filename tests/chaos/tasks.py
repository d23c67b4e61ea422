"""The tasks that an installation has accepted, and what a client sees of each, whatever happens to the server."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from httpx_sse import SSEError, connect_sse

from .installation import Installation, until
from .mix import Config

FINAL = frozenset({"completed", "failed", "cancelled"})
LAST_TYPES = frozenset({"complete", "failed", "cancelled"})
RETRY_SECONDS = 0.2
STREAM_SECONDS = 60.0


class Follower(threading.Thread):
    """Reads a task's stream to its last event, and comes back with ``Last-Event-ID`` when the line breaks.

    ``seqs`` are the ids in the order in which they came.
    """

    def __init__(self, installation: Installation, task_id: str) -> None:
        super().__init__(daemon=True, name=f"follower-{task_id}")
        self.seqs: list[int] = []
        self.reconnects = 0
        self._installation = installation
        self._task_id = task_id
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.is_set():
            try:
                self._read()
            except (httpx.HTTPError, SSEError):  # the server is away, or in trouble
                self._done.wait(RETRY_SECONDS)
            self.reconnects += 1

    def close(self) -> None:
        self._done.set()

    def _read(self) -> None:
        url = f"{self._installation.url}/api/v1/epoch-training/stream-progress/{self._task_id}"
        headers = {"Last-Event-ID": str(self.seqs[-1])} if self.seqs else {}
        with (
            httpx.Client(timeout=STREAM_SECONDS, trust_env=False) as client,
            connect_sse(client, "GET", url, headers=headers) as source,
        ):
            if source.response.status_code == 204:
                return self._done.set()
            source.response.raise_for_status()
            for event in source.iter_sse():
                if event.id and int(event.id) not in self.seqs[-1:]:  # one without an id repeats the last one's
                    self.seqs.append(int(event.id))
                if json.loads(event.data)["type"] in LAST_TYPES:
                    return self._done.set()


@dataclass(eq=False)
class Task:
    """One acknowledged task. ``is_paused`` and ``is_stopped``: a person asked for that."""

    id: str
    config: str
    follower: Follower
    is_paused: bool = False
    is_stopped: bool = False


@dataclass
class Book:
    """All tasks of one installation; ``configs`` are what they train, by name."""

    installation: Installation
    configs: Mapping[str, Config]
    tasks: list[Task] = field(default_factory=list)

    def submit(self, config: str) -> Task:
        """Start a training and follow it. Raises httpx.HTTPError if it was not accepted: it is not in the book then."""
        answer = self.installation.ask("POST", "/start", json=self.configs[config] | {"name": config})
        task_id = answer.raise_for_status().json()["task_id"]
        task = Task(task_id, config, Follower(self.installation, task_id))
        task.follower.start()
        self.tasks.append(task)
        return task

    def lines(self) -> dict[str, dict[str, Any]]:
        """What the list of tasks says, by id."""
        answer = self.installation.ask("GET", "/tasks", params={"limit": 500}).raise_for_status().json()
        assert answer["total"] <= 500
        return {line["task_id"]: line for line in answer["tasks"]}

    def states(self) -> dict[Task, str]:
        lines = self.lines()
        return {task: lines[task.id]["state"] for task in self.tasks if task.id in lines}

    def open_tasks(self) -> list[Task]:
        """Those that have not ended."""
        return [task for task, state in self.states().items() if state not in FINAL]

    def resume(self, task: Task) -> None:
        """Let a task that was paused go on."""

        def resumed() -> bool:
            return self.installation.ask("POST", f"/resume/{task.id}").status_code == 200

        assert until(resumed, 20), f"task {task.id} cannot be resumed: {self.installation.detail(task.id)}"
        task.is_paused = False

    def finish(self, seconds: float) -> None:
        """Let all tasks come to their end; what is stuck is left to the checker."""
        for task, state in self.states().items():
            if task.is_paused and state not in FINAL:
                self.resume(task)
        until(lambda: not self.open_tasks(), seconds, every=0.3)
        for task in self.tasks:
            task.follower.join(5)
            task.follower.close()
