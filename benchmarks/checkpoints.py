"""What checkpoints cost: the same training with one every 30 seconds (the default) and without any, in turns.

Both sides run in this process through the worker's own code, with reports to nobody. A checkpoint's own cost is
measured too: with it follows what any interval costs.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from quiet import QuietReporter
from rich.console import Console
from rich.table import Table

from epochd.core import specs
from epochd.core.tickets import Ticket
from epochd.worker import execute, sink

DEFAULT_SECONDS = 30.0
NEVER = 1e9
MODELS = {
    "mlp 64-32, 100,000 × 20": {"hidden_units": [64, 32], "batch_size": 256, "epochs": 70},
    "mlp 2048-2048-2048, 100,000 × 20": {"hidden_units": [2048, 2048, 2048], "batch_size": 1024, "epochs": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    table = Table(
        "model", "training, s", "with checkpoints, s", "ratio", "checkpoints", "one costs, ms", "share of 30 s"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder))
        for name, model in MODELS.items():
            table.add_row(name, *measure(Path(folder), model, options.rounds))
    Console().print(table)


def write_rows(folder: Path) -> None:
    """Numbers and a class that follows from them: only the time counts here."""
    x = np.random.default_rng(0).normal(size=(100_000, 20)).astype(np.float32)
    frame = pl.DataFrame(x, schema=[f"c{i}" for i in range(20)])
    frame.with_columns(target=pl.Series((x.sum(1) > 0).astype(int))).write_parquet(folder / "rows.parquet")


def measure(folder: Path, model: dict[str, Any], rounds: int) -> list[str]:
    plain, kept, costs = [], [], []
    for _ in range(rounds):
        plain.append(train(folder, model, NEVER, []))
        kept.append(train(folder, model, DEFAULT_SECONDS, costs))
    cost = median(costs)
    return [
        f"{median(plain):.1f}",
        f"{median(kept):.1f}",
        f"{median(kept) / median(plain):.3f}",
        f"{len(costs) / rounds:.0f}",
        f"{1000 * cost:.0f}",
        f"{100 * cost / DEFAULT_SECONDS:.2f} %",
    ]


def train(folder: Path, model: dict[str, Any], interval: float, costs: list[float]) -> float:
    """Seconds from the first step to the last word; what each checkpoint took joins ``costs``."""
    values = {"dataset": "rows.parquet", "target_column": "target", "task": "binary", "framework": "pytorch"}
    spec = specs.parse(values | model | {"early_stopping_patience": None})
    about = {"task_id": "t", "attempt": 1, "token": "", "server_url": "", "dataset_roots": [folder]}
    with tempfile.TemporaryDirectory(dir=folder) as place, timed_checkpoints(costs):
        ticket = Ticket(**about, spec=spec, data_dir=Path(place), checkpoint_seconds=interval)
        began = perf_counter()
        execute.execute(ticket, QuietReporter())
        return perf_counter() - began


@contextmanager
def timed_checkpoints(costs: list[float]) -> Iterator[None]:
    """Take the time of each checkpoint."""
    save = sink.JobSink.save

    def timed(*arguments: Any) -> dict[str, Any]:
        began = perf_counter()
        try:
            return save(*arguments)
        finally:
            costs.append(perf_counter() - began)

    sink.JobSink.save = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        sink.JobSink.save = save  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
