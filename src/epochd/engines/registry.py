"""Which engines exist, which are installed, and which one trains a spec.

Frameworks are imported inside functions of this module and nowhere else: the server finds out what is installed
without an import, and a worker imports only the framework that it trains with.

``auto`` is decided by a measured table, ``speeds.json``, which ``benchmarks/train.py --fit-speeds`` writes: for each
model and engine the seconds until the first step (compilation), the overhead of a step in seconds, and the seconds per
10⁹ operations. The table was measured on one machine; only its ratios matter here.
"""

import json
from collections.abc import Callable, Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from math import ceil

import numpy as np

from epochd.core.errors import FrameworkMissing
from epochd.core.installation import framework_advice
from epochd.core.specs import TrainingSpec
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network
from epochd.engines.requirements import Workload, uses_gpu
from epochd.loop.engine import Engine, Setup

MODULES = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
"""Engine → the top module of its framework, which is also the extra of epochd that contains it."""
FIXED_BY_FIRST_STEP = frozenset({"tensorflow", "jax"})
"""Engines whose framework fixes threads and devices for the whole process at its first computation."""
COMPILING = frozenset({"tensorflow", "jax"})
"""Engines that compile a program at its first call."""
IMPORT_SECONDS = {"tensorflow": 4.0, "jax": 1.0}
"""The import time where no warm worker has the framework; one usually has PyTorch."""
LIKELY_PATIENCES = 3
"""A training with early stopping is assumed to last this many times its patience."""


def installed() -> list[str]:
    """Engines whose framework can be imported here."""
    return [name for name, module in MODULES.items() if find_spec(module) is not None]


def preferred() -> str:
    """The engine to warm up before the first training."""
    return next(iter(installed()), "pytorch")


def none_installed() -> str | None:
    """Why nothing can be trained here, with the command that installs a framework; None if there is one."""
    if installed():
        return None
    return f"nothing can be trained: no deep-learning framework is installed. {framework_advice('torch')}"


def resolve(spec: TrainingSpec, workload: Workload | None = None, gpus: int = 0) -> str:
    """The engine that will train this spec on a server with so many GPUs; raise FrameworkMissing if there is none.

    ``auto`` is the engine that is expected to finish first with the workload, whose ``rows`` are training rows. Where
    the workload is not known, or on a GPU, it is the first one installed.
    """
    if spec.framework != "auto":
        require(spec.framework)
        return spec.framework
    if missing := none_installed():
        raise FrameworkMissing(missing)
    available = installed()
    is_known = workload and workload.has_shape and workload.rows > 0
    if not workload or not is_known or spec.mixed_precision or uses_gpu(spec, gpus):
        return available[0]
    try:
        inputs = network.input_shape(spec, workload.shape)
    except ValueError:  # input_shape does not fit this width; the config is refused elsewhere
        return available[0]
    return fastest(available, workload.setup(spec, inputs), workload.rows)


def fastest(engines: Sequence[str], setup: Setup, rows: int) -> str:
    """The engine that would finish ``rows`` training rows first on a CPU; the first one where nothing was measured."""
    measured = [engine for engine in engines if engine in _speeds().get(setup.spec.model_type, {})]
    return min(measured, key=lambda engine: training_seconds(engine, setup, rows)) if measured else engines[0]


def training_seconds(engine: str, setup: Setup, rows: int) -> float:
    """The expected duration of the training on the machine of the table."""
    spec, speed = setup.spec, _speeds()[setup.spec.model_type][engine]
    flops = network.flops_per_row(setup) * min(spec.batch_size, rows)
    epochs = min(spec.epochs, LIKELY_PATIENCES * (spec.early_stopping_patience or spec.epochs))
    steps = epochs * ceil(rows / spec.batch_size)
    start = speed["start"] + IMPORT_SECONDS.get(engine, 0.0)
    return float(start + steps * (speed["step"] + speed["gflop"] * flops / 1e9))


@cache
def _speeds() -> dict[str, dict[str, dict[str, float]]]:
    """The table: model → engine → start, step, gflop."""
    table: dict[str, dict[str, dict[str, float]]] = json.loads((files("epochd.engines") / "speeds.json").read_bytes())[
        "cpu"
    ]
    return table


def require(framework: str) -> None:
    """Raise FrameworkMissing, with the command that installs it, if an engine cannot train here."""
    if framework not in MODULES:
        raise FrameworkMissing(f"framework {framework!r} is not available; use {', '.join(MODULES)}")
    if framework not in installed():
        advice = framework_advice(MODULES[framework])
        raise FrameworkMissing(f"framework {framework!r} is not installed on the server. {advice}")


def warm(framework: str, *, touch: bool = True) -> None:
    """Import a framework and take one small step with it, so that the first job waits for neither.

    Without ``touch`` it is only imported: the first step would occupy GPUs, and may fix threads and devices.
    """
    _engine(framework)
    if not touch:
        return
    spec = TrainingSpec(target_column="y", hidden_units=[4, 4])
    rows = InMemoryDataset(np.zeros((33, 2), np.float32), np.zeros(33, np.float32))
    engine = build(framework, Setup(spec, "binary", (2,), 1), rows)
    engine.train(np.arange(33), 0, 0.1)
    engine.outputs(rows.x)


def build(framework: str, setup: Setup, train: InMemoryDataset) -> Engine:
    """An engine with initial weights and the training rows on its device."""
    return _engine(framework)(setup, train)


def _engine(framework: str) -> Callable[[Setup, InMemoryDataset], Engine]:
    """Import the framework and return its engine."""
    require(framework)
    match framework:
        case "tensorflow":
            from epochd.engines.tensorflow_engine.engine import TensorFlowEngine

            return TensorFlowEngine
        case "jax":
            from epochd.engines.jax_engine.engine import JaxEngine

            return JaxEngine
        case _:
            from epochd.engines.torch_engine.engine import TorchEngine

            return TorchEngine
