"""A dataset of 20 million rows, streamed: how long it takes to prepare, how much memory it takes to train on, and how
fast the streamed rows are trained on beside resident ones.

The rows are generated (eight numbers and a class that follows from them) and written as Parquet, a row group at a time.
Each training runs in a process of its own, as a worker would run it: the streamed one on all rows, with the default
limit, the resident one on ``--resident-rows`` rows. Rows per second are those of the steps of the epoch, the waiting
for rows included; preparation and validation are not in them.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

ROWS, RESIDENT_ROWS = 20_000_000, 2_000_000
GROUP = 500_000
COLUMNS = 8
RESIDENT_MB = 256
"""The server's default."""
NEEDED_BYTES = 4 * 2**30
CONFIG = {"target_column": "target", "task": "binary", "model_type": "mlp", "batch_size": 4096, "epochs": 1}


def main() -> None:
    options = parse()
    if options.side:
        print(json.dumps(train(Path(options.folder), options.side, options.resident_mb, options.framework)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        free = shutil.disk_usage(folder).free
        if free < NEEDED_BYTES:
            sys.exit(f"{folder} has {free / 2**30:.1f} GiB free; {NEEDED_BYTES / 2**30:.0f} GiB are needed")
        console = Console()
        for name, rows in (("large", options.rows), ("small", options.resident_rows)):
            console.print(f"writing {rows:,} rows: {write(Path(folder) / f'{name}.parquet', rows) / 2**20:.0f} MiB")
        sides: dict[str, list[dict[str, Any]]] = {"streamed": [], "resident": []}
        for _ in range(options.rounds):
            sides["streamed"].append(in_process(folder, "large", RESIDENT_MB, options.framework))
            sides["resident"].append(in_process(folder, "small", 16 * RESIDENT_MB, options.framework))
            shutil.rmtree(Path(folder) / "out")
        show(sides, console)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--resident-rows", type=int, default=RESIDENT_ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--framework", default="pytorch", choices=("pytorch", "tensorflow", "jax"))
    parser.add_argument("--folder", help="where the files go (default: the system's temporary folder)")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--resident-mb", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def write(path: Path, rows: int) -> int:
    """Write the rows, of which a few hundred thousand are in memory at a time; return the file's size."""
    weights = np.random.default_rng(7).normal(size=COLUMNS)

    def group(first: int) -> pl.DataFrame:
        draw = np.random.default_rng([1, first])
        x = draw.normal(size=(min(GROUP, rows - first), COLUMNS))
        target = np.sin(x[:, 0] * 2) + x @ weights + 0.5 * draw.normal(size=len(x)) > 0
        frame = pl.DataFrame(x, schema=[f"x{i}" for i in range(COLUMNS)])
        return frame.with_columns(target=pl.Series(target).cast(pl.Int8))

    pieces = path.parent / f"{path.stem}-pieces"
    pieces.mkdir()
    for first in range(0, rows, GROUP):
        group(first).write_parquet(pieces / f"{first:012d}.parquet")
    pl.scan_parquet(pieces / "*.parquet").sink_parquet(path, row_group_size=GROUP)
    shutil.rmtree(pieces)
    return path.stat().st_size


def in_process(folder: str, side: str, resident_mb: int, framework: str) -> dict[str, Any]:
    command = [sys.executable, __file__, "--folder", folder, "--side", side, "--resident-mb", str(resident_mb)]
    answer = subprocess.run([*command, "--framework", framework], capture_output=True, text=True)
    if answer.returncode:
        sys.exit(answer.stderr)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


class Steps:
    """What is noted of the epoch's steps: how many rows, and how long they took, in seconds."""

    rows = 0
    seconds = 0.0


def train(folder: Path, side: str, resident_mb: int, framework: str) -> dict[str, Any]:
    """In the child: one epoch as a worker does it; times, memory, scores."""
    from quiet import QuietReporter

    from epochd.core import specs
    from epochd.core.tickets import Ticket
    from epochd.engines import registry
    from epochd.worker.execute import execute

    registry.warm(framework)
    memory, reporter, clock = Memory(), QuietReporter(), time_steps()
    spec = specs.parse(CONFIG | {"dataset": f"{side}.parquet", "framework": framework})
    values = {"task_id": side, "attempt": 1, "token": "", "server_url": "", "spec": spec, "data_dir": folder / "out"}
    began = perf_counter()
    execute(Ticket(**values, dataset_roots=[folder], resident_mb=resident_mb), reporter)
    metrics = reporter.last["epoch"]["metrics"]
    return {
        "rows": reporter.last["started"]["rows"],
        "prepared": reporter.times["started"] - began,
        "before": memory.before / 2**20,
        "sampled": memory.stop() / 2**20,
        "peak": peak_bytes() / 2**20,
        "speed": clock.rows / clock.seconds,
        "accuracy": metrics["val_accuracy"],
    }


def time_steps() -> Steps:
    """Put a clock around what takes the steps of an epoch."""
    from epochd.loop import fit

    clock, finish_epoch = Steps(), fit.train_epoch

    def timed(member: Any, members: Any, sink: Any) -> Any:
        began = perf_counter()
        command = finish_epoch(member, members, sink)
        clock.rows, clock.seconds = len(member.config.train), perf_counter() - began
        return command

    fit.train_epoch = timed
    return clock


class Memory:
    """The process's resident memory, looked at every 20 ms from a thread."""

    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()
        self.before = self._most = self._process.memory_info().rss
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._most = max(self._most, self._process.memory_info().rss)


def peak_bytes() -> int:
    """The system's own count of the most that was resident."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(sides: dict[str, list[dict[str, Any]]], console: Console) -> None:
    """Medians over the rounds; of the peaks the highest."""
    table = Table("", "rows", "prepared, s", "peak, MiB", "at start", "rows/s", "accuracy")
    for side, found in sides.items():
        prepared, before, speed = (median(one[name] for one in found) for name in ("prepared", "before", "speed"))
        peak = max(max(one["peak"], one["sampled"]) for one in found)
        figures = (f"{prepared:.1f}", f"{peak:.0f}", f"{before:.0f}", f"{speed:,.0f}", f"{found[0]['accuracy']:.4f}")
        table.add_row(side, f"{sum(found[0]['rows'].values()):,}", *figures)
    console.print(table)
    ratios = [one["speed"] / other["speed"] for one, other in zip(sides["streamed"], sides["resident"], strict=True)]
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    console.print(f"streamed over resident: {median(ratios):.2f} (median of {shown})")


if __name__ == "__main__":
    main()
