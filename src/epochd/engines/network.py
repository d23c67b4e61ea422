"""The networks independent of any framework: names, shapes and initial values of their weights.

Every engine builds from these canonical weights (PyTorch's names and layouts), so that a spec has the same initial
weights on every engine, and a model trained on one engine loads into any other.

    mlp   dense → activation → dropout, for each of ``hidden_units``
    cnn   convolution (stride 1, zero-padded to the same size) → activation → max-pooling by 2 (in each
          direction that still has 2) → dropout, for each of ``hidden_units``; then flattened, channels first
    lstm  layers of ``hidden_units``, each followed by dropout; the last one gives its last step only. One
    gru   bias vector per LSTM layer, two per GRU layer (the reset gate acts after the recurrent bias)

and one dense output layer. Features are channels last: (rows, columns), (rows, steps, channels) or
(rows, height, width, channels). The embeddings come first: channels that hold category codes are replaced by learned
vectors (see ``loop.engine.Setup``).

Sequences of different lengths are padded at the end and masked. lstm and gru end at the last step of each sequence and
start the reverse direction there. A cnn's hidden layers are zero in padding; a pool with at least one real step counts
as real. A sequence has at least one step.
"""

from collections.abc import Iterable
from math import pow, prod

import numpy as np

from epochd.core.arrays import FloatArray
from epochd.core.specs import TrainingSpec
from epochd.data.feed.augmentation import Augmentation
from epochd.data.feed.batches import Batches
from epochd.loop.engine import Embedding, Setup

Shapes = dict[str, tuple[int, ...]]
GATES = {"lstm": 4, "gru": 3}
"""Gates per unit. Their order in weights is PyTorch's: lstm i, f, g, o; gru r, z, n."""


def input_shape(spec: TrainingSpec, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one row for the network, given the shape of an encoded example: (features,) or (steps, channels).

    Raises ValueError if ``spec.input_shape`` does not hold exactly as many values.
    """
    if spec.model_type == "mlp" or len(shape) > 1:
        return shape
    (width,) = shape
    if spec.input_shape is None:
        return (width, 1)
    folded = tuple(spec.input_shape)
    if prod(folded) != width:
        raise ValueError(f"input_shape {list(folded)} holds {prod(folded)} values, but there are {width} features")
    return (*folded, 1) if spec.model_type == "cnn" and len(folded) == 2 else folded


def embeddings(embedded: Iterable[tuple[int, int]]) -> tuple[Embedding, ...]:
    """One embedding for each pair (channel, number of codes)."""
    return tuple(Embedding(channel, codes, vector_size(codes)) for channel, codes in embedded)


def vector_size(codes: int) -> int:
    """The size of the embedding of so many categories: 1.6 n^0.56, at most 50 (fastai's rule with a lower cap)."""
    return min(50, max(2, round(1.6 * pow(codes, 0.56))))


def plain_channels(setup: Setup) -> list[int]:
    """The channels that are plain features: neither codes nor the mask."""
    codes = {embedding.channel for embedding in setup.embeddings}
    return [channel for channel in range(setup.inputs[-1] - setup.masked) if channel not in codes]


def plain_runs(setup: Setup) -> list[slice]:
    """``plain_channels`` as slices, which frameworks copy faster than single channels."""
    runs: list[slice] = []
    for channel in plain_channels(setup):
        first = runs.pop().start if runs and runs[-1].stop == channel else channel
        runs.append(slice(first, channel + 1))
    return runs


def hidden_inputs(setup: Setup) -> tuple[int, ...]:
    """The shape of one row at the first hidden layer: codes replaced by their vectors, without the mask."""
    vectors = sum(embedding.size for embedding in setup.embeddings)
    return (*setup.inputs[:-1], len(plain_channels(setup)) + vectors)


def shapes(setup: Setup) -> Shapes:
    """Canonical weight names and shapes, input side first.

    embedding (codes, vector size); dense (units out, units in); convolution (channels out, channels in, *kernel);
    lstm and gru ``weight_ih`` (gates x units, units in) and ``weight_hh`` (gates x units, units), and the same names
    with ``_reverse`` for the reverse direction.
    """
    spec, (*space, width) = setup.spec, hidden_inputs(setup)
    found: Shapes = {f"embedding.{i}.weight": (e.codes, e.size) for i, e in enumerate(setup.embeddings)}
    if gates := GATES.get(spec.model_type):
        for i, units in enumerate(spec.hidden_units):
            for direction in ("", "_reverse") if spec.bidirectional else ("",):
                found[f"hidden.{i}.weight_ih{direction}"] = (gates * units, width)
                found[f"hidden.{i}.weight_hh{direction}"] = (gates * units, units)
                found[f"hidden.{i}.bias_ih{direction}"] = (gates * units,)
                if spec.model_type == "gru":
                    found[f"hidden.{i}.bias_hh{direction}"] = (gates * units,)
            width = units * (1 + spec.bidirectional)
    else:
        if spec.model_type == "mlp":
            space, width = [], prod(space) * width
        kernel = (spec.kernel_size,) * len(space)
        for i, units in enumerate(spec.hidden_units):
            found |= {f"hidden.{i}.weight": (units, width, *kernel), f"hidden.{i}.bias": (units,)}
            width, space = units, pooled(space)
        width *= prod(space)
    return found | {"output.weight": (setup.outputs, width), "output.bias": (setup.outputs,)}


def pooled(space: list[int]) -> list[int]:
    """Sizes after max-pooling by 2: halved, rounded down; a size of 1 stays."""
    return [max(1, size // 2) for size in space]


def initial_weights(setup: Setup) -> dict[str, FloatArray]:
    """Initial values: uniform in ±1/√n, PCG64 keyed by (seed, position of the weight).

    n is the number of inputs of a unit (dense, convolution) or the layer's units (lstm, gru), as in PyTorch, and the
    vector's size for embeddings.
    """
    weights: dict[str, FloatArray] = {}
    named = shapes(setup)
    for position, (name, shape) in enumerate(named.items()):
        draw = np.random.Generator(np.random.PCG64([setup.spec.seed, 1 << 32, position]))
        layer = name.rsplit(".", 1)[0]
        recurrent = named.get(f"{layer}.weight_hh")
        bound = (recurrent[1] if recurrent else prod(named[f"{layer}.weight"][1:])) ** -0.5
        weights[name] = draw.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def parameter_count(setup: Setup) -> int:
    """The number of trainable parameters of one network."""
    return sum(prod(shape) for shape in shapes(setup).values())


def model_parameters(setup: Setup) -> int:
    """The number of trainable parameters of all networks that the model averages."""
    return setup.spec.members * parameter_count(setup)


def batches(setup: Setup, rows: int) -> Batches:
    """How ``rows`` training rows are divided into steps and chunks for this network."""
    spec = setup.spec
    augmentation = Augmentation.of(spec, setup.inputs)
    return Batches.plan(rows, spec.batch_size, spec.seed, flops_per_row(setup), prod(setup.inputs), augmentation)


def flops_per_row(setup: Setup) -> float:
    """Floating-point operations per training row: two per use of a weight forward, four backward.

    An embedding counts once per step: few of its vectors are looked up, but gradient and optimizer process them all.
    """
    named, space = shapes(setup), list(setup.inputs[:-1])
    uses = 0.0
    for name, shape in named.items():
        if name.startswith("embedding"):
            uses += prod(shape) / setup.spec.batch_size
        elif name.startswith("output") or setup.spec.model_type == "mlp":
            uses += prod(shape)
        elif setup.spec.model_type == "cnn":
            uses += prod(shape) * prod(space)
            space = pooled(space) if name.endswith("bias") else space
        else:
            uses += prod(shape) * setup.inputs[0]
    return 6.0 * uses
