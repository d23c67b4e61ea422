"""Which engine would be done first: an estimate from a measured table.

``speeds.json`` is written by ``benchmarks/train.py --fit-speeds``: for each model and engine the seconds until
the first step (compiling), the seconds of a step beside its arithmetic, and the seconds per 10⁹ operations.
The table was taken on one machine; only its ratios matter here.
"""

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from math import ceil
from typing import Any

from epochd.engines import network
from epochd.loop.engine import Setup

IMPORT_SECONDS = {"tensorflow": 4.0, "jax": 1.0}
"""What a training waits for where no process with this framework is warm; PyTorch's usually is."""
LIKELY_PATIENCES = 3
"""A training that may stop early is expected to last this many times its patience."""


def fastest(engines: Sequence[str], setup: Setup, rows: int) -> str:
    """The engine that would finish ``rows`` training rows first on a CPU; the first one where nothing is known."""
    known = [engine for engine in engines if engine in _table().get(setup.spec.model_type, {})]
    return min(known, key=lambda engine: seconds(engine, setup, rows)) if known else engines[0]


def seconds(engine: str, setup: Setup, rows: int) -> float:
    """How long the training would take on the machine that was measured."""
    spec, speed = setup.spec, _table()[setup.spec.model_type][engine]
    flops = network.flops_per_row(setup) * min(spec.batch_size, rows)
    epochs = min(spec.epochs, LIKELY_PATIENCES * (spec.early_stopping_patience or spec.epochs))
    steps = epochs * ceil(rows / spec.batch_size)
    start = speed["start"] + IMPORT_SECONDS.get(engine, 0.0)
    return float(start + steps * (speed["step"] + speed["gflop"] * flops / 1e9))


@cache
def _table() -> dict[str, dict[str, dict[str, float]]]:
    content: dict[str, Any] = json.loads((files("epochd.engines") / "speeds.json").read_text(encoding="utf-8"))
    table: dict[str, dict[str, dict[str, float]]] = content["cpu"]
    return table
