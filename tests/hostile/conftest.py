"""A real server that is attacked, and a second client that measures it meanwhile."""

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from tests.support.running import Running

EVERY_SECONDS = 0.05
MAX_P99_SECONDS = 0.25
MAX_MEMORY_MB = 600
GRACE_SECONDS = 10.0
"""How long the server may take to end after SIGTERM, whatever runs."""


class Probe:
    """``GET /health`` every 50 ms on a connection of its own, and the server's resident memory, while it runs."""

    def __init__(self, server: Running) -> None:
        self.seconds: list[float] = []
        self.memory_mb = 0.0
        self._url, self._process = f"{server.url}/health", psutil.Process(server.process.pid)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure)

    def _measure(self) -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            while not self.seconds or not self._ended.wait(EVERY_SECONDS):
                before = time.monotonic()
                client.get(self._url).raise_for_status()
                self.seconds.append(time.monotonic() - before)
                with contextlib.suppress(psutil.NoSuchProcess):
                    self.memory_mb = max(self.memory_mb, self._process.memory_info().rss / 2**20)

    def __enter__(self) -> "Probe":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def p99(self) -> float:
        """The 99th percentile of the latencies in seconds; of few, all but the longest one."""
        ordered = sorted(self.seconds)
        return ordered[max(0, min(len(ordered) - 2, int(len(ordered) * 0.99)))]


@contextlib.contextmanager
def attacked(server: Running) -> Iterator[Probe]:
    """Measure the server during an attack; afterwards it must have answered others all the time."""
    with Probe(server) as probe:
        yield probe
    assert probe.seconds, "nobody could reach the server"
    assert probe.p99 < MAX_P99_SECONDS, f"p99 of /health: {probe.p99:.3f} s of {len(probe.seconds)} requests"
    assert probe.memory_mb < MAX_MEMORY_MB, f"{probe.memory_mb:.0f} MiB"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server for all attacks of a module; at the end it must obey SIGTERM."""
    running = Running(tmp_path_factory.mktemp("attacked") / "data", EPOCHD_READER_MB="512")
    yield running
    before = time.monotonic()
    assert running.end(signal.SIGTERM) == 0
    assert time.monotonic() - before < GRACE_SECONDS


@pytest.fixture
def folder(server: Running) -> Path:
    """The server's dataset folder."""
    return server.data_dir / "datasets"


@pytest.fixture
def mutations() -> int:
    """How many mutated files are tried; ``make fuzz`` tries many more."""
    return int(os.environ.get("FUZZ_MUTATIONS", 40))


@pytest.fixture
def seed() -> int:
    """What makes a run repeatable: ``FUZZ_SEED``."""
    return int(os.environ.get("FUZZ_SEED", random.SystemRandom().randrange(10**6)))
