"""Which engines exist, which are installed, and which one a spec gets.

Frameworks are imported inside functions here and only here: the server asks what is installed without
importing anything, and a worker imports the one framework that it trains with.
"""

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np

from epochd.core.errors import FrameworkMissing
from epochd.core.specs import TrainingSpec
from epochd.data.arrays import Part
from epochd.loop.engine import Engine, Setup

MODULES = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
"""Engine → the top module of its framework."""
EXTRAS = {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax"}
"""Engine → the extra of the epochd package that installs it."""


def installed() -> list[str]:
    """Engines whose framework can be imported here."""
    return [name for name, module in MODULES.items() if find_spec(module) is not None]


def resolve(spec: TrainingSpec) -> str:
    """The engine that will train this spec; raise FrameworkMissing if there is none."""
    if spec.framework != "auto":
        _require(spec.framework)
        return spec.framework
    available = installed()
    if not available:
        raise FrameworkMissing("no deep-learning framework is installed: pip install 'epochd[torch]'")
    return available[0]


def _require(framework: str) -> None:
    if framework not in installed():
        raise FrameworkMissing(
            f"framework {framework!r} is not installed on the server: pip install 'epochd[{EXTRAS[framework]}]'"
        )


def warm(framework: str) -> None:
    """Import a framework and take one small step with it, so that the first job waits for neither."""
    spec = TrainingSpec(target_column="y", hidden_units=[4, 4])
    part = Part(np.zeros((33, 2), np.float32), np.zeros(33, np.float32))
    engine = build(framework, Setup(spec, "binary", (2,), 1), part)
    engine.train(np.arange(33), 0, 0.1)
    engine.outputs(part.x)


def build(framework: str, setup: Setup, train: Part) -> Engine:
    """An engine with fresh weights and the training rows on its device."""
    return _engine(framework)(setup, train)


def _engine(framework: str) -> Callable[[Setup, Part], Engine]:
    """Import the one framework of this process."""
    _require(framework)
    match framework:
        case "tensorflow":
            from epochd.engines.keras_engine import KerasEngine

            return KerasEngine
        case "jax":
            from epochd.engines.jax_engine import JaxEngine

            return JaxEngine
        case _:
            from epochd.engines.torch_engine import TorchEngine

            return TorchEngine
