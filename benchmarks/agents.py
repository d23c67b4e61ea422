"""What a training costs that runs on another machine: 200 short ones over four agents, compared with the slots of the
server itself.

Run it with ``make bench-agents``. Real servers, agents and workers on this machine; the agents share no folder with
their server, and fetch the dataset. Each side gets the same trainings at once, in turns of several rounds; printed are
medians of the whole time, how the trainings were spread, and how many attempts they took.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import monotonic, perf_counter, sleep
from typing import Any

from epochd.client import Client
from epochd.data.tables.catalog import open_dataset

CONFIG: dict[str, Any] = {
    "dataset": "digits.csv",
    "target_column": "target",
    "hidden_units": [32],
    "epochs": 3,
    "framework": "pytorch",
    "early_stopping_patience": None,
    "output_path": "/models/agents",
}
FINAL = {"completed", "failed", "cancelled"}
WITHIN_SECONDS = 1800.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--agents", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} CPUs, {options.tasks} trainings")
    times: dict[str, list[float]] = {"slots of the server": [], "agents": []}
    for number in range(options.rounds):
        for side, found in times.items():
            with tempfile.TemporaryDirectory() as folder:
                count = options.agents if side == "agents" else 0
                found.append(measure(Path(folder), options.tasks, options.agents, count))
            print(f"round {number + 1}, {side}: {found[-1]:.1f} s", flush=True)
    for side, found in times.items():
        whole = median(found)
        print(f"{side:24} {whole:6.1f} s, {whole / options.tasks:.3f} s a training")
    print(f"agents / slots: {median(times['agents']) / median(times['slots of the server']):.2f}")


def measure(folder: Path, tasks: int, slots: int, agents: int) -> float:
    """Seconds from the first submission to the last end, with warm workers."""
    table = folder / "server" / "datasets" / "digits.csv"
    table.parent.mkdir(parents=True)
    open_dataset("digits", []).read().write_csv(table)
    with ExitStack() as stack:
        url = stack.enter_context(Started(server(folder / "server", 0 if agents else slots), has_url=True)).url
        for number in range(agents):
            stack.enter_context(Started(agent(folder / f"agent-{number}", url, f"agent-{number}")))
        client = stack.enter_context(Client(url))
        until(lambda: client.health()["slots"]["free"] == slots)
        run(client, slots)  # one for each slot: its process has imported the framework then
        began = perf_counter()
        done = run(client, tasks)
        seconds = perf_counter() - began
        spread = Counter(task["agent"] for task in done)
        attempts = Counter(task["attempt"] for task in done)
        states = Counter(task["state"] for task in done)
        print(f"  {dict(states)}; attempts {dict(attempts)}; {dict(spread)}", flush=True)
        assert states == {"completed": tasks}
        return seconds


def run(client: Client, count: int) -> list[dict[str, Any]]:
    """Submit trainings at once, and wait for their ends."""
    ids = [client.start(CONFIG | {"name": f"number {number}", "seed": number})["task_id"] for number in range(count)]
    open_ids = set(ids)

    def are_over() -> bool:
        nonlocal open_ids
        states = {task_id: client.progress(task_id)["progress"]["training_state"] for task_id in open_ids}
        open_ids = {task_id for task_id, state in states.items() if state not in FINAL}
        return not open_ids

    until(are_over)
    return [client.task(task_id) for task_id in ids]


def until(look: Any) -> None:
    end = monotonic() + WITHIN_SECONDS
    while not look():
        assert monotonic() < end, "it took too long"
        sleep(0.2)


def server(data_dir: Path, slots: int) -> list[str]:
    return ["serve", "--data-dir", str(data_dir), "--port", "0", "--slots", str(slots), "--no-access-log"]


def agent(data_dir: Path, url: str, name: str) -> list[str]:
    return ["agent", "--server", url, "--name", name, "--data-dir", str(data_dir), "--slots", "1"]


class Started:
    """A command of epochd in a process of its own, until the end of the block; ``url`` is what a server prints."""

    def __init__(self, command: list[str], *, has_url: bool = False) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "epochd.cli", *command],
            env=os.environ | {"EPOCHD_LANGUAGE": "en", "EPOCHD_LOG_LEVEL": "error"},
            stdout=subprocess.PIPE if has_url else subprocess.DEVNULL,
            text=True,
        )
        self.url = self.process.stdout.readline().split()[-1] if self.process.stdout else ""

    def __enter__(self) -> "Started":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=60)


if __name__ == "__main__":
    main()
