"""Which engines exist, which are installed, and which one a spec gets.

Frameworks are imported inside functions here and only here: the server asks what is installed without
importing anything, and a worker imports the one framework that it trains with.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np

from epochd.core.errors import FrameworkMissing
from epochd.core.specs import TrainingSpec
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, speed_table
from epochd.loop.engine import Embedding, Engine, Setup

MODULES = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
"""Engine → the top module of its framework."""
EXTRAS = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
"""Engine → the extra of the epochd package that installs it."""

FIXED_BY_FIRST_STEP = frozenset({"tensorflow", "jax"})
"""Engines whose framework settles threads and devices for the whole process when it first computes."""


def installed() -> list[str]:
    """Engines whose framework can be imported here."""
    return [name for name, module in MODULES.items() if find_spec(module) is not None]


def preferred() -> str:
    """The engine to warm up before anything is asked for."""
    return next(iter(installed()), "pytorch")


def resolve(
    spec: TrainingSpec,
    *,
    rows: int = 0,
    shape: tuple[int, ...] = (),
    embedded: Sequence[tuple[int, int]] = (),
    masked: bool = False,
    outputs: int = 1,
    gpus: int = 0,
) -> str:
    """The engine that will train this spec; raise FrameworkMissing if there is none.

    ``auto`` is the one that would finish first with so many training ``rows``, encoded to examples of this ``shape``
    (``embedded`` and ``masked`` as in ``encode.Encoder``), and network ``outputs``; where these are unknown, or on one
    of the server's ``gpus``, the first one installed.
    """
    if spec.framework != "auto":
        _require(spec.framework)
        return spec.framework
    available = installed()
    if not available:
        raise FrameworkMissing("no deep-learning framework is installed: pip install 'epochd[torch]'")
    if gpus or spec.mixed_precision or not rows or not shape or 0 in shape:
        return available[0]
    try:
        inputs = network.input_shape(spec, shape)
    except ValueError:  # the width is not what input_shape needs; it is refused elsewhere
        return available[0]
    vectors = tuple(Embedding(channel, codes, network.vector_size(codes)) for channel, codes in embedded)
    setup = Setup(spec, spec.task or "regression", inputs, outputs, embeddings=vectors, masked=masked)
    return speed_table.fastest(available, setup, rows)


def _require(framework: str) -> None:
    if framework not in MODULES:
        raise FrameworkMissing(f"framework {framework!r} is not available; use {', '.join(MODULES)}")
    if framework not in installed():
        raise FrameworkMissing(
            f"framework {framework!r} is not installed on the server: pip install 'epochd[{EXTRAS[framework]}]'"
        )


def warm(framework: str, *, touch: bool = True) -> None:
    """Import a framework and take one small step with it, so that the first job waits for neither.

    With ``touch`` off it is only imported: the first step takes hold of GPUs, and may settle threads and devices.
    """
    _engine(framework)
    if not touch:
        return
    spec = TrainingSpec(target_column="y", hidden_units=[4, 4])
    part = InMemoryDataset(np.zeros((33, 2), np.float32), np.zeros(33, np.float32))
    engine = build(framework, Setup(spec, "binary", (2,), 1), part)
    engine.train(np.arange(33), 0, 0.1)
    engine.outputs(part.x)


def build(framework: str, setup: Setup, train: InMemoryDataset) -> Engine:
    """An engine with fresh weights and the training rows on its device."""
    return _engine(framework)(setup, train)


def _engine(framework: str) -> Callable[[Setup, InMemoryDataset], Engine]:
    """Import the one framework of this process."""
    _require(framework)
    match framework:
        case "tensorflow":
            from epochd.engines.tensorflow_engine.engine import KerasEngine

            return KerasEngine
        case "jax":
            from epochd.engines.jax_engine.engine import JaxEngine

            return JaxEngine
        case _:
            from epochd.engines.torch_engine.engine import TorchEngine

            return TorchEngine
