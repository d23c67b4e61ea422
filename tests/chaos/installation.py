"""One installation under fire: a server process, its clock, its disk and its workers, as an operator sees them.

Workers are found by the log that their standard output goes to, so that the server's own books need not be believed.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from epochd.dispatch.processes import MARK

from . import launcher

T = TypeVar("T")
DISK = "128m"
LOG = re.compile(r"/logs/(?P<task>[^/]+)/(?P<attempt>\d+)\.log$")
SETTINGS = {
    "SLOTS": "2",
    "GPUS": "none",
    "LEASE_SECONDS": "2",
    "CHECKPOINT_SECONDS": "0.3",
    "GRACE_SECONDS": "5",
    "PAUSE_WAIT_SECONDS": "0",
}


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that trains: which task, and which attempt at it."""

    process: psutil.Process
    task_id: str
    attempt: int


class Installation:
    """A server that can be killed and started again on the same port, data and database."""

    def __init__(self, root: Path, database_url: str | None = None, *, small_disk: bool = False) -> None:
        self.data_dir = root / "data"
        self.data_dir.mkdir(parents=True)
        self.has_small_disk = small_disk and _mount(self.data_dir)
        self.clock = launcher.Clock(root / "clock")
        self.url = ""
        self._root = root
        self._port = 0
        self._database = {"EPOCHD_DATABASE_URL": database_url} if database_url else {}
        self._process: subprocess.Popen[str] | None = None
        self._client = httpx.Client(timeout=30, trust_env=False)

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {"EPOCHD_" + name: value for name, value in SETTINGS.items()} | self._database
        settings |= {"EPOCHD_DATA_DIR": str(self.data_dir), "EPOCHD_PORT": str(self._port)}
        with (self._root / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", launcher.__file__, str(self._root / "clock")],
                env=os.environ | settings,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the server did not start; see {self._root / 'server.log'}"
        self.url = line.split()[-1]
        self._port = httpx.URL(self.url).port or 0

    def send(self, number: signal.Signals) -> None:
        """Send the server a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End the server by a signal; its return code. Nothing happens if it is down."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.send_signal(number)
        process.communicate(timeout=30)
        return process.returncode

    def close(self) -> None:
        """Kill whatever is still there and let go of the disk."""
        self.end()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._client.close()
        if self.has_small_disk:
            subprocess.run(["umount", "--lazy", self.data_dir], check=True)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request to the API. Raises httpx.TransportError while the server is down."""
        return self._client.request(method, f"{self.url}/api/v1/epoch-training{path}", **options)

    def detail(self, task_id: str) -> dict[str, Any]:
        return self.ask("GET", f"/tasks/{task_id}").raise_for_status().json()

    def processes(self) -> list[psutil.Process]:
        """All living processes of this installation but the server."""
        return [process for process in psutil.process_iter() if self._is_ours(process)]

    def workers(self) -> list[Worker]:
        """The processes that train at this moment."""
        return [worker for process in self.processes() if (worker := _working(process)) is not None]

    def fill(self) -> Path:
        """Take all room on the disk; the file that does it."""
        filler = self.data_dir / "filler"
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(2**20))
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))
        return filler

    def _is_ours(self, process: psutil.Process) -> bool:
        with suppress(psutil.Error, OSError):
            ours = process.environ().get(MARK) == str(self.data_dir)
            return ours and process.status() != psutil.STATUS_ZOMBIE
        return False


def _working(process: psutil.Process) -> Worker | None:
    """The process as a worker, if it leads its group and its output goes to an attempt's log."""
    with suppress(psutil.Error, OSError):
        found = LOG.search(os.readlink(f"/proc/{process.pid}/fd/1"))
        if found and os.getpgid(process.pid) == process.pid:
            return Worker(process, found["task"], int(found["attempt"]))
    return None


def _mount(folder: Path) -> bool:
    """Put a small file system of its own there, which only root may."""
    with suppress(OSError):
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "chaos", str(folder)]
        return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    return False


def until(condition: Callable[[], T], seconds: float, every: float = 0.05) -> T:
    """Ask until the answer is true, for so many seconds at most; the last answer."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()) and time.monotonic() < deadline:
        time.sleep(every)
    return answer


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended, seen or not yet seen by its parent."""
    with suppress(psutil.NoSuchProcess):
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    return True


def described(processes: list[psutil.Process]) -> Iterator[str]:
    """What to say of processes that should not be there."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            yield f"process {process.pid} ({process.status()}): {' '.join(process.cmdline())}"
