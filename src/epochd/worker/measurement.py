"""Measures the speed of engines, as their workers train: for ``epochd bench``, and for the table that is shipped.

Each engine is measured in a process of its own, ``python -m epochd.worker.measurement ENGINE``, which prints a line of
JSON after its import and one for each training. The trainings are short ones of every network in a few sizes. Their
rows are the pictures of ``digits``: as columns, as sequences of lines, as pictures; for the larger sizes they are
repeated or enlarged. Programs are compiled, none is read from a cache.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count
from statistics import median
from tempfile import TemporaryFile
from time import perf_counter, time
from typing import Any

import numpy as np

from epochd.artifact.pack import cpu_name
from epochd.core import specs
from epochd.core.arrays import FloatArray
from epochd.core.errors import EpochdError
from epochd.data.feed.batches import Batches
from epochd.data.feed.dataset import InMemoryDataset
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog
from epochd.engines import network, registry, speeds
from epochd.engines.speeds import Sample, Table
from epochd.loop.engine import Engine, Setup

SIDE = 8
"""The digits are pictures of 8 x 8 pixels."""
LEAST_CHUNKS = 3
CACHES = ("JAX_COMPILATION_CACHE_DIR",)


@dataclass(frozen=True, slots=True)
class Size:
    """A network to measure: the model type, the shape of a row, the hidden units, the batch size."""

    model: str
    inputs: tuple[int, ...]
    hidden_units: tuple[int, ...]
    batch_size: int


SIZES = {
    "small": (
        Size("mlp", (64,), (64, 32), 32),
        Size("cnn", (8, 8), (32, 16), 32),
        Size("cnn", (8, 8, 1), (16, 32), 32),
        Size("lstm", (8, 8), (32,), 32),
        Size("gru", (8, 8), (32,), 32),
    ),
    "medium": (
        Size("mlp", (64,), (256, 128, 64), 64),
        Size("cnn", (48, 8), (64, 32), 32),
        Size("cnn", (24, 24, 1), (16, 32), 32),
        Size("lstm", (48, 8), (64, 32), 32),
        Size("gru", (48, 8), (64, 32), 32),
    ),
    "large": (
        Size("mlp", (64,), (512, 512, 256), 256),
        Size("cnn", (48, 8), (128, 128), 128),
        Size("cnn", (24, 24, 1), (32, 64), 64),
        Size("lstm", (48, 8), (128,), 128),
        Size("gru", (48, 8), (128,), 128),
    ),
}


def digits(inputs: tuple[int, ...], rows: InMemoryDataset) -> InMemoryDataset:
    """The digits (rows, 64) in the shape of a network: as columns, sequences that are repeated, enlarged pictures."""
    x: FloatArray = rows.x.reshape(-1, SIDE, SIDE)
    if len(inputs) == 1:
        x = rows.x
    elif len(inputs) == 2:
        x = np.tile(x, (1, inputs[0] // SIDE, 1))
    else:
        x = np.kron(x, np.ones((1, inputs[0] // SIDE, inputs[1] // SIDE), np.float32))[..., None]
    return InMemoryDataset(np.ascontiguousarray(x, np.float32), rows.y)


def sample(engine: str, size: Size, rows: InMemoryDataset, *, threads: int, seconds: float) -> Sample:
    """Train with so many threads for about so many seconds after the compilation, at least ``LEAST_CHUNKS`` chunks."""
    config: dict[str, Any] = {"target_column": "target", "model_type": size.model, "epochs": 1_000, "framework": engine}
    config |= {"hidden_units": list(size.hidden_units), "batch_size": size.batch_size, "dropout_rate": 0.2}
    setup = Setup(specs.parse(config), "multiclass", size.inputs, 10, threads, chosen_threads=threads)
    train = digits(size.inputs, rows)
    began = perf_counter()
    with closing(registry.build(engine, setup, train)) as built:
        chunks = trained(built, network.batches(setup, len(train)))
        first_steps, _ = next(chunks)
        first = perf_counter() - began
        later = [next(chunks) for _ in range(LEAST_CHUNKS)]
        until = perf_counter() + seconds
        while perf_counter() < until:
            later.append(next(chunks))
    step = median(taken / steps for steps, taken in later)
    flops = speeds.step_flops(setup, len(train))
    return Sample(engine, speeds.network_of(setup), flops, step, max(0.0, first - first_steps * step))


def trained(engine: Engine, batches: Batches) -> Iterator[tuple[int, float]]:
    """Train without end: the steps and the seconds of one chunk after another."""
    for epoch in count():
        for chunk in batches.chunks(epoch):
            began = perf_counter()
            engine.train(chunk.rows, epoch * batches.steps + chunk.first_step, 0.001)
            yield chunk.steps, perf_counter() - began


def main(arguments: list[str] | None = None) -> None:
    """Measure one engine in this process; a line of JSON for the import and for each size."""
    parser = argparse.ArgumentParser(prog="python -m epochd.worker.measurement")
    parser.add_argument("engine", choices=registry.MODULES)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.4)
    options = parser.parse_args(arguments)
    ready_at = time()
    registry.warm(options.engine, touch=False)
    print(json.dumps({"ready_at": ready_at, "import": registry.IMPORT_SECONDS[options.engine]}), flush=True)
    spec = specs.parse({"dataset": "digits", "target_column": "target", "task": "multiclass"})
    rows = prepare(spec, Catalog([], {})).train
    assert isinstance(rows, InMemoryDataset)
    for size in (size for name in options.sizes for size in SIZES[name]):
        found = sample(options.engine, size, rows, threads=options.threads, seconds=options.seconds)
        print(json.dumps(asdict(found)), flush=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """A line of such a process: of its ``start``, with the import, or a ``sample`` with so many ``threads``."""

    engine: str
    start: dict[str, float] | None = None
    sample: Sample | None = None
    threads: int = 1


def measured(engine: str, sizes: Iterable[str], *, threads: int, seconds: float) -> Iterator[Measured]:
    """Measure one engine in a new process. Raises EpochdError if it fails."""
    command = [sys.executable, "-P", "-m", "epochd.worker.measurement", engine, f"--seconds={seconds}"]
    command += [f"--threads={threads}", "--sizes", *sizes]
    environment = {name: value for name, value in os.environ.items() if name not in CACHES}
    environment |= {"OMP_WAIT_POLICY": "PASSIVE", "TF_CPP_MIN_LOG_LEVEL": "3"}
    spawned = time()
    with (
        TemporaryFile("w+") as errors,
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdout is not None
        try:
            if first := process.stdout.readline():
                told = json.loads(first)
                yield Measured(engine, {"start": max(0.0, told["ready_at"] - spawned), "import": told["import"]})
            for line in process.stdout:
                yield Measured(engine, sample=Sample.from_json(json.loads(line)), threads=threads)
        except BaseException:
            process.kill()
            raise
        if process.wait():
            errors.seek(0)
            reason = (errors.read().strip().splitlines() or [f"its return code is {process.returncode}"])[-1]
            raise EpochdError(f"the speed of {engine} cannot be measured: {reason[:500]}")


def runs(sizes: Sequence[str], threads: int) -> Iterator[tuple[int, list[str]]]:
    """How often to measure an engine, with which threads and sizes: every size with one thread, and those that may gain
    from more with ``threads``."""
    yield 1, list(sizes)
    larger = [name for name in sizes if name != "small"]
    if threads > 1 and larger:
        yield threads, larger


def table(found: Iterable[Measured], *, threads: int) -> Table:
    """The table of what processes have measured, with one thread and with ``threads``. Of several measurements of the
    same training the fastest one counts: whatever else runs on the machine can only make it slower."""
    lines = list(found)
    best: dict[tuple[str, str, float], Sample] = {}
    for one in (line.sample for line in lines if line.sample is not None):
        before = best.setdefault((one.engine, one.network, one.flops), one)
        seconds = {name: min(getattr(before, name), getattr(one, name)) for name in ("step_seconds", "compile_seconds")}
        best[one.engine, one.network, one.flops] = replace(one, **seconds)
    samples = list(best.values())
    groups: dict[str, dict[str, list[Sample]]] = {}
    for one in samples:
        groups.setdefault(one.network, {}).setdefault(one.engine, []).append(one)
    fitted = {kind: {engine: speeds.fitted(some) for engine, some in row.items()} for kind, row in groups.items()}
    processes: dict[str, dict[str, float]] = {}
    for line in (line for line in lines if line.start):
        known = processes.setdefault(line.engine, dict(line.start or {}))
        known.update({name: round(min(known[name], value), 3) for name, value in (line.start or {}).items()})
    alone, together = (
        [one.sample for one in lines if one.sample and (one.threads > 1) is many] for many in (False, True)
    )
    about = {"date": datetime.now(UTC).date().isoformat(), "machine": cpu_name() or platform.machine()}
    return Table(
        fitted,
        processes,
        about | {"cores": os.cpu_count(), "threads": threads},
        tuple(samples),
        speeds.thread_limits(alone, together),
    )


if __name__ == "__main__":
    main()
