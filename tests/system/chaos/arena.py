"""A server that is to be ill-treated: its own small disk, its own clock, and trainings that keep it busy.

The disk is a tmpfs, so that it can be filled without harm to anybody. Mounting one is for root; where it is refused,
``has_disk`` is False and no plan may count on it.
"""

import os
import random
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from epochd.client import Client
from epochd.engines import registry
from tests.support.running import Running

LEASE_SECONDS, GRACE_SECONDS = 4.0, 2.0
DISK = "192m"
BUSY = 3
"""So many trainings are under way at any time."""
DIGITS = {"dataset": "digits", "target_column": "target", "batch_size": 16, "dropout_rate": 0.2, "min_delta": 0.0}
TRAININGS: dict[str, dict[str, Any]] = {
    "plateau": DIGITS
    | {"framework": "pytorch", "hidden_units": [128, 64], "epochs": 80, "learning_rate": 0.02, "optimizer": "sgd"}
    | {"learning_rate_scheduler": "plateau", "patience": 1, "early_stopping_patience": 12},
    "cosine": DIGITS
    | {"framework": "pytorch", "hidden_units": [256, 128], "epochs": 60, "optimizer": "adamw"}
    | {"learning_rate_scheduler": "cosine", "early_stopping_patience": None},
    "ranks": DIGITS
    | {"framework": "pytorch", "hidden_units": [64], "epochs": 30, "num_devices": 2, "early_stopping_patience": None},
    "gru": DIGITS
    | {"framework": "jax", "model_type": "gru", "input_shape": [8, 8], "hidden_units": [24], "epochs": 60}
    | {"num_devices": 2, "early_stopping_patience": None},
    "keras": DIGITS
    | {"framework": "tensorflow", "hidden_units": [512, 512], "batch_size": 8, "epochs": 30}
    | {"learning_rate_scheduler": "step", "step_size": 12, "early_stopping_patience": None},
}
TOGETHER: dict[str, dict[str, Any]] = {
    "together": DIGITS
    | {"framework": "pytorch", "hidden_units": [64], "epochs": 60, "num_nodes": 2, "early_stopping_patience": None},
}
"""Trainings on several machines, where there are."""
SLOW = frozenset({"keras", "ranks"})
"""Their processes take longer to start than the others train: for long runs, and rarely."""

FINAL = frozenset({"completed", "failed", "cancelled"})

T = TypeVar("T")


class NotFired(AssertionError):
    """A fault could not be brought about, so that it proves nothing."""


@dataclass(frozen=True)
class Victim:
    """A training in progress and its worker."""

    task_id: str
    attempt: int
    pid: int


@dataclass
class Reader(threading.Thread):
    """A client that follows one task from its first event to its last, whatever becomes of the server."""

    url: str
    task_id: str
    token: str | None = None
    seen: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        try:
            with Client(self.url, token=self.token) as client:
                for event in client.stream(self.task_id):
                    self.seen.append(event)
        except Exception as error:
            self.error = error


class Arena:
    """One data directory, and the servers that follow each other on it."""

    def __init__(self, folder: Path, database_url: str | None, seed: int, *, is_long: bool) -> None:
        self.random = random.Random(seed)
        self.trainings = [
            name
            for name, options in TRAININGS.items()
            if options["framework"] in registry.installed() and (is_long or name not in SLOW)
        ]
        self.data_dir = folder / "data"
        self.acknowledged: dict[str, str] = {}
        self._over: set[str] = set()
        self.readers: dict[str, Reader] = {}
        self.has_disk = False
        self._database_url = database_url
        self._clock = folder / "clock"
        self._offset = 0.0
        self.set_clock(0.0)
        self.server: Running

    @contextmanager
    def opened(self) -> Iterator["Arena"]:
        """Mount the disk, start the server; leave neither behind."""
        self.data_dir.mkdir()
        self.has_disk = mount(self.data_dir)
        try:
            self.serve()
            yield self
        finally:
            if self.server.process.poll() is None:
                self.server.end(signal.SIGTERM)
            if self.has_disk:
                subprocess.run(["umount", "--lazy", self.data_dir], check=True)

    def serve(self, port: int = 0, slots: int = 2, **more: str) -> None:
        settings = {
            "EPOCHD_LEASE_SECONDS": str(LEASE_SECONDS),
            "EPOCHD_GRACE_SECONDS": str(GRACE_SECONDS),
            "EPOCHD_CHECKPOINT_SECONDS": "0.3",
            "EPOCHD_LOG_LEVEL": "warning",
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "clock"), os.environ.get("PYTHONPATH", "")]),
            "CHAOS_CLOCK": str(self._clock),
        }
        if self._database_url:
            settings["EPOCHD_DATABASE_URL"] = self._database_url
        self.server = Running(self.data_dir, port, slots=slots, **settings | more)

    def end_server(self, number: signal.Signals) -> int:
        """Send the server a signal, see it end; its return code."""
        return self.server.end(number)

    def serve_again(self) -> None:
        """Another server on the same port."""
        self.serve(self.server.port)

    def set_clock(self, offset: float) -> None:
        """Let server and workers take the time to be ``offset`` seconds later than it is."""
        self._offset = offset
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:  # in place: it is mapped
            file.write(struct.pack("d", offset))

    @property
    def now(self) -> float:
        """The time of day as the server should know it."""
        return time.time() + self._offset

    @property
    def offset(self) -> float:
        return self._offset

    def start(self, name: str) -> str:
        """Start a training; it counts as acknowledged from the moment of the answer.

        Returns when its reader is connected: a client that has never been gives up at once, by design.
        """
        task_id = (
            self.server.client.post("/start", json=(TRAININGS | TOGETHER)[name]).raise_for_status().json()["task_id"]
        )
        self.acknowledged[task_id] = name
        reader = self.readers[task_id] = Reader(self.server.url, task_id, self.server.token)
        reader.start()
        until(lambda: reader.seen or reader.error, "the reader has got no event")
        return str(task_id)

    def keep_busy(self, with_one: str | None = None) -> None:
        """Start trainings until enough are under way, one of the kind ``with_one`` among them."""
        under_way = [self.acknowledged[task_id] for task_id in self.unfinished()]
        if with_one is not None and with_one not in under_way:
            self.start(with_one)
        for _ in range(BUSY - len(under_way)):
            [name] = self.random.choices(self.trainings, [1 if name in SLOW else 4 for name in self.trainings])
            self.start(name)

    def unfinished(self) -> list[str]:
        """The trainings that are not over. One that is stays so and is not asked for again: there may be a hundred."""
        living = self.acknowledged.keys() - self._over
        self._over |= {task_id for task_id in living if self.server.task(task_id)["state"] in FINAL}
        return sorted(living - self._over)

    def victim(
        self,
        wanted: Callable[[Victim], T | None] = lambda victim: victim,  # type: ignore[assignment,return-value]
        with_one: str | None = None,
    ) -> T:
        """A training that has got on since its attempt began and can bear another crash, as ``wanted`` sees it."""

        def find() -> T | None:
            self.keep_busy(with_one)
            running = self.server.reconcile()["running"]
            self.random.shuffle(running)
            found = (wanted(Victim(one["task_id"], one["attempt"], one["pid"])) for one in running if self._bears(one))
            return next((one for one in found if one is not None), None)

        return until(find, "no training got under way")

    def _bears(self, running: dict[str, Any]) -> bool:
        task = self.server.task(running["task_id"])
        return bool(running["is_alive"] and task["last_step_at"] and task["strikes"] == 0)

    def model(self, task: dict[str, Any]) -> Path:
        """The folder of the model of a completed task."""
        return self.data_dir / str(task["artifact"])

    def is_over(self, victim: Victim) -> bool:
        """Whether the attempt runs no more."""
        task = self.server.task(victim.task_id)
        return task["attempt"] > victim.attempt or task["state"] != "running"

    def is_well(self) -> bool:
        try:
            return self.server.client.get(f"{self.server.url}/health").status_code == 200
        except httpx.TransportError:
            return False


def until(look: Callable[[], T | None], else_say: str, seconds: float = 60.0) -> T:
    """Look again and again until there is something to see. Raises NotFired."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := look():
            return found
        time.sleep(0.05)
    raise NotFired(f"{else_say} within {seconds:g} s")


def mount(folder: Path) -> bool:
    """Put a small disk of its own at ``folder``; False if that is not allowed here."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "epochd-chaos", folder]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
