"""How long a user waits: from starting the server to /health, and from POST to the first epoch's event.

Run it with ``make bench``. It starts a real server with a data directory of its own on a free port and
trains ``breast_cancer`` in a warm worker, one task after the other. Times are wall-clock milliseconds.
"""

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

from epochd.client import Client

STARTS = 5
RUNS = 20
CONFIG: dict[str, Any] = {
    "name": "latency",
    "dataset": "breast_cancer",
    "target_column": "target",
    "hidden_units": [64, 32],
    "epochs": 2,
    "output_path": "/models/latency",
}


def main() -> None:
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs")
    with tempfile.TemporaryDirectory() as folder:
        starts = [time_start(Path(folder) / str(i)) for i in range(STARTS)]
        show("server start to /health, new data directory", starts)
        with server(Path(folder) / "0") as url, Client(url) as client:
            time_first_epoch(client)  # until here the worker was still warming up
            show("POST /start to first epoch event, warm worker", [time_first_epoch(client) for _ in range(RUNS)])


@contextmanager
def server(data_dir: Path) -> Iterator[str]:
    """A server on a free port; yields its URL."""
    command = [sys.executable, "-m", "epochd.cli", "serve", "--port", "0", "--data-dir", str(data_dir)]
    process = subprocess.Popen([*command, "--log-level", "warning"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=10)


def time_start(data_dir: Path) -> float:
    """Milliseconds from starting the process to its first answer."""
    began = perf_counter()
    with server(data_dir) as url, Client(url) as client:
        client.health()
        return 1000 * (perf_counter() - began)


def time_first_epoch(client: Client) -> float:
    """Milliseconds from the request to the first ``progress`` event; the task is then followed to its end."""
    began, took = perf_counter(), 0.0
    task_id = client.start(CONFIG)["task_id"]
    for event in client.stream(task_id):
        if event["type"] == "progress" and not took:
            took = 1000 * (perf_counter() - began)
    assert took, f"{task_id} ended without an epoch"
    return took


def show(what: str, times: list[float]) -> None:
    ninth = quantiles(times, n=10, method="inclusive")[-1]
    print(f"{what}: median {median(times):.0f} ms, p90 {ninth:.0f} ms, n = {len(times)}")


if __name__ == "__main__":
    main()
