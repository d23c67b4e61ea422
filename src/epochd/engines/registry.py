"""Which engines exist, which are installed, and which one trains a spec.

Frameworks are imported inside functions of this module and nowhere else: the server finds out what is installed
without an import, and a worker imports only the framework that it trains with.

``auto`` is decided by what each engine is expected to need for the training (``speeds``).
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from epochd.core.errors import FrameworkMissing, WrongProcess
from epochd.core.installation import framework_advice
from epochd.core.specs import TrainingSpec
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, speeds
from epochd.engines.machines import Follower, Leader
from epochd.engines.requirements import Workload, uses_gpu
from epochd.engines.speeds import Speeds
from epochd.loop.engine import Engine, Setup

MODULES = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
"""Engine → the top module of its framework, which is also the extra of epochd that contains it."""
COMPILING = frozenset({"tensorflow", "jax"})
"""Engines that compile a program at its first call."""
CACHED_ON_DISK = frozenset({"jax"})
"""Those whose compiled programs outlive the process."""
_FIXED: dict[str, str] = {}
"""What the first engine of each framework needed in this process."""
IMPORT_SECONDS: dict[str, float] = {}
"""How long the import of an engine took in this process, or in the one that it was forked from."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a training need not wait for: a process that has imported the engine, and compiled programs; and how many
    tasks are ``waiting``, with which it shares what it has to wait for."""

    is_warm: bool = False
    is_compiled: bool = False
    waiting: int = 0


Ready = Callable[[str, Setup], Readiness]
"""(engine, setup with its number of rows) → what is ready for such a training."""


def installed() -> list[str]:
    """Engines whose framework can be imported here."""
    return [name for name, module in MODULES.items() if find_spec(module) is not None]


def environment(data_dir: Path) -> dict[str, str]:
    """Environment variables of a worker, as defaults, which frameworks read when they are imported.

    Idle OpenMP threads sleep: spinning makes steps up to ten times slower when other processes use the cores. JAX
    stores compiled programs of any size, so that a second job with the same shapes need not compile them.
    """
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "JAX_COMPILATION_CACHE_DIR": str((data_dir / "cache" / "jax").absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def preferred() -> str:
    """The engine to warm up before the first training."""
    return next(iter(installed()), "pytorch")


def none_installed() -> str | None:
    """Why nothing can be trained here, with the command that installs a framework; None if there is one."""
    if installed():
        return None
    return f"nothing can be trained: no deep-learning framework is installed. {framework_advice('torch')}"


def resolve(
    spec: TrainingSpec,
    workload: Workload | None = None,
    gpus: int = 0,
    engines: Sequence[str] | None = None,
    *,
    measured: Speeds | None = None,
    ready: Ready | None = None,
) -> str:
    """The engine that will train this spec on a machine with so many GPUs and these ``engines`` (None: those that are
    installed here); raise FrameworkMissing if there is none.

    ``auto`` is the engine that is expected to finish first with the workload, whose ``rows`` are training rows. Where
    the workload is not known, or on a GPU, it is the first one installed. ``measured`` are the speeds of this
    machine, ``ready`` tells what each engine need not wait for; by default a process with ``preferred`` waits.
    """
    if spec.framework != "auto":
        if spec.framework not in (engines or ()):
            require(spec.framework)
        return spec.framework
    if not engines and (missing := none_installed()):
        raise FrameworkMissing(missing)
    available = engines or installed()
    if spec.nodes > 1:
        if "pytorch" not in available:
            require("pytorch")
        return "pytorch"
    is_known = workload and workload.has_shape and workload.rows > 0
    if not workload or not is_known or spec.mixed_precision or uses_gpu(spec, gpus):
        return available[0]
    try:
        inputs = network.input_shape(spec, workload.shape)
    except ValueError:  # input_shape does not fit this width; the config is refused elsewhere
        return available[0]
    return fastest(available, workload.setup(spec, inputs), workload.rows, measured=measured, ready=ready)


def fastest(
    engines: Sequence[str], setup: Setup, rows: int, *, measured: Speeds | None = None, ready: Ready | None = None
) -> str:
    """The engine that would finish ``rows`` training rows first on a CPU; the first one where nothing was measured."""
    table, ready = measured or Speeds(), ready or _first_is_warm
    setup = replace(setup, rows=rows)

    def seconds(engine: str) -> float:
        found = ready(engine, setup)
        return speeds.training_seconds(engine, setup, rows, **asdict(found), measured=table)

    known = [engine for engine in engines if engine in table.engines(speeds.network_of(setup))]
    return min(known, key=seconds) if known else engines[0]


def _first_is_warm(engine: str, setup: Setup) -> Readiness:
    return Readiness(is_warm=engine == preferred())


def require(framework: str) -> None:
    """Raise FrameworkMissing, with the command that installs it, if an engine cannot train here."""
    if framework not in MODULES:
        raise FrameworkMissing(f"framework {framework!r} is not available; use {', '.join(MODULES)}")
    if framework not in installed():
        advice = framework_advice(MODULES[framework])
        raise FrameworkMissing(f"framework {framework!r} is not installed on the server. {advice}")


def warm(framework: str, *, touch: bool = True) -> None:
    """Import a framework and take one small step with it, so that the first job waits for neither.

    Without ``touch`` it is only imported: the first step would occupy GPUs, and fixes threads and devices.
    """
    _engine(framework)
    if not touch:
        return
    spec = TrainingSpec(target_column="y", hidden_units=[4, 4])
    rows = InMemoryDataset(np.zeros((33, 2), np.float32), np.zeros(33, np.float32))
    engine = build(framework, Setup(spec, "binary", (2,), 1), rows)
    engine.train(np.arange(33), 0, 0.1)
    engine.outputs(rows.x)


def fixed(framework: str) -> str:
    """What the framework has fixed for the whole process at its first step: threads and devices, such as ``1x1``. Empty
    before that, and for PyTorch, which can change its threads."""
    return _FIXED.get(framework, "")


def check_process(framework: str, setup: Setup) -> None:
    """Raise WrongProcess if the framework has fixed other threads or devices for this process than the setup needs: it
    would be slower, and a resumed training would differ in its last bits."""
    if (has := fixed(framework)) and has != (needs := _needed(framework, setup)):
        raise WrongProcess(f"this process has threads and devices {has}, but the training needs {needs}", needs)


def build(framework: str, setup: Setup, train: InMemoryDataset, leader: Leader | None = None) -> Engine:
    """An engine with initial weights and the training rows on its device; with a ``leader`` it trains on several
    machines, with PyTorch."""
    engine = _engine(framework)(setup, train, **({} if leader is None else {"leader": leader}))
    if needs := _needed(framework, setup):
        _FIXED.setdefault(framework, needs)
    return engine


def follow(
    setup: Setup,
    train: InMemoryDataset,
    follower: Follower,
    terms: dict[str, Any],
    read: Callable[[int, int, int], InMemoryDataset],
) -> None:
    """Run the ranks of a machine that is not the first; see ``torch_engine.distributed.follow``."""
    from epochd.engines.torch_engine import distributed

    distributed.follow(setup, train, follower, terms, read)


def _engine(framework: str) -> Callable[..., Engine]:
    """Import the framework and return its engine."""
    require(framework)
    began = perf_counter()
    engine = _imported(framework)
    IMPORT_SECONDS.setdefault(framework, perf_counter() - began)
    return engine


def _imported(framework: str) -> Callable[..., Engine]:
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


def _needed(framework: str, setup: Setup) -> str:
    """The threads and devices that a process has to have for the setup; empty if the framework does not fix them."""
    match framework:
        case "tensorflow":
            from epochd.engines.tensorflow_engine import runtime

            return runtime.needed(setup)
        case "jax":
            from epochd.engines.jax_engine import devices

            return devices.needed(setup)
        case _:
            return ""
