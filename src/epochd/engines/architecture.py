"""The networks themselves, without any framework: names, shapes and first values of their weights.

Every engine builds from these canonical weights (PyTorch's names and layouts), so that the same spec
starts from the same numbers everywhere, and a model trained on one engine loads into any other.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import numpy as np

from epochd.data.arrays import FloatArray
from epochd.loop.engine import Setup

Shapes = dict[str, tuple[int, ...]]


def shapes(setup: Setup) -> Shapes:
    """Canonical weight names and shapes, input side first. A dense weight is (units out, units in)."""
    return dict(_mlp(setup))


def _mlp(setup: Setup) -> Iterator[tuple[str, tuple[int, ...]]]:
    widths = [int(np.prod(setup.inputs)), *setup.spec.hidden_units]
    for i, (units_in, units_out) in enumerate(pairwise(widths)):
        yield f"hidden.{i}.weight", (units_out, units_in)
        yield f"hidden.{i}.bias", (units_out,)
    yield "output.weight", (setup.outputs, widths[-1])
    yield "output.bias", (setup.outputs,)


def initial_weights(setup: Setup) -> dict[str, FloatArray]:
    """First values: uniform in ±1/√fan_in, PyTorch's default for dense layers; PCG64 keyed by (seed, position)."""
    weights: dict[str, FloatArray] = {}
    named = shapes(setup)
    for position, (name, shape) in enumerate(named.items()):
        fan_in = int(np.prod(named[name.rsplit(".", 1)[0] + ".weight"][1:]))
        draw = np.random.Generator(np.random.PCG64([setup.spec.seed, 1 << 32, position]))
        bound = fan_in**-0.5
        weights[name] = draw.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def parameters(setup: Setup) -> int:
    """How many numbers the network learns."""
    return sum(int(np.prod(shape)) for shape in shapes(setup).values())


def flops_per_row(setup: Setup) -> float:
    """Arithmetic of one training row: two operations per weight forward, four backward."""
    return 6.0 * parameters(setup)


def forward(setup: Setup, weights: Mapping[str, FloatArray], x: FloatArray) -> FloatArray:
    """The network in plain NumPy, evaluation mode: (rows, *inputs) → (rows, outputs).

    What every engine must compute; also how a saved model is scored where no framework is installed.
    """
    hidden = x.reshape(len(x), -1)
    for i in range(len(setup.spec.hidden_units)):
        hidden = np.maximum(hidden @ weights[f"hidden.{i}.weight"].T + weights[f"hidden.{i}.bias"], 0)
    outputs: FloatArray = (hidden @ weights["output.weight"].T + weights["output.bias"]).astype(np.float32)
    return outputs
