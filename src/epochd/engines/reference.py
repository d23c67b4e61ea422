"""The networks in NumPy, evaluation mode only: the reference for all engines.

The contract tests compare the engines with it, and saved models predict with it, which needs no framework. It follows
the description in ``network``; clarity comes before speed.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.spec_fields import Activation
from epochd.core.target_scale import TargetScale
from epochd.engines import network
from epochd.loop import averaging
from epochd.loop.engine import Setup

Array = npt.NDArray[np.floating]
Weights = Mapping[str, FloatArray]
Lengths = IntArray | None
"""The number of real steps of each sequence, (rows,); None: all steps are real."""


def model_outputs(setup: Setup, weights: Weights, x: FloatArray, units: TargetScale) -> FloatArray:
    """``forward`` of a saved model, whose ``weights`` may be those of several networks: then their average, for which
    the ``units`` of a regression's target are needed."""
    found = [forward(setup, part, x) for part in averaging.divided(weights, setup.spec.members)]
    return averaging.averaged(found, setup.task, units)


def forward(setup: Setup, weights: Weights, x: FloatArray) -> FloatArray:
    """Features (rows, *inputs) → raw outputs (rows, outputs)."""
    features, lengths = embed_inputs(setup, weights, x)
    match setup.spec.model_type:
        case "mlp":
            hidden = mlp(setup, weights, features)
        case "cnn":
            hidden = cnn(setup, weights, features, lengths)
        case _:
            hidden = recurrent(setup, weights, features, lengths)
    return (hidden @ weights["output.weight"].T + weights["output.bias"]).astype(np.float32)


def embed_inputs(setup: Setup, weights: Weights, x: FloatArray) -> tuple[Array, Lengths]:
    """Look up the embeddings and remove the mask: (rows, *hidden_inputs), and each sequence's length if masked.

    A row of padding only counts as a sequence of one step.
    """
    lengths = np.maximum(x[..., -1].sum(axis=1).astype(np.int64), 1) if setup.masked else None
    if not (setup.embeddings or setup.masked):
        return x, lengths
    vectors = [
        weights[f"embedding.{i}.weight"][x[..., embedding.channel].astype(np.int64)]
        for i, embedding in enumerate(setup.embeddings)
    ]
    return np.concatenate([x[..., network.plain_channels(setup)], *vectors], axis=-1), lengths


def mlp(setup: Setup, weights: Weights, x: Array) -> Array:
    hidden = x.reshape(len(x), -1)
    for i in range(len(setup.spec.hidden_units)):
        hidden = activate(hidden @ weights[f"hidden.{i}.weight"].T + weights[f"hidden.{i}.bias"], setup.spec.activation)
    return hidden


def cnn(setup: Setup, weights: Weights, x: Array, lengths: Lengths) -> Array:
    hidden, exists = np.moveaxis(x, -1, 1), None
    if lengths is not None:
        exists = (np.arange(x.shape[1]) < lengths[:, None, None]).astype(np.float32)
        hidden = hidden * exists
    for i in range(len(setup.spec.hidden_units)):
        kernel = weights[f"hidden.{i}.weight"]
        bias = weights[f"hidden.{i}.bias"].reshape(-1, *[1] * (kernel.ndim - 2))
        found = activate(convolve(hidden, kernel) + bias, setup.spec.activation)
        if exists is None:
            hidden = max_pool(found)
        else:
            hidden, exists = max_pool(found * exists), max_pool(exists)
    return hidden.reshape(len(x), -1)


def convolve(x: Array, kernel: Array) -> Array:
    """Stride 1, zero padding to the same size, the odd zero after: (rows, in, *space) → (rows, out, *space)."""
    sizes = kernel.shape[2:]
    padding = [(0, 0), (0, 0), *(((k - 1) // 2, k // 2) for k in sizes)]
    axes = tuple(range(2, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, padding), sizes, axis=axes)
    kernel_axes = tuple(range(x.ndim, x.ndim + len(sizes)))
    found = np.tensordot(windows, kernel, axes=((1, *kernel_axes), (1, *axes)))
    return np.moveaxis(found, -1, 1)


def max_pool(x: Array) -> Array:
    """Max-pooling by 2 in each dimension of size 2 or more; the last value of an odd size is dropped."""
    for axis in range(2, x.ndim):
        if half := x.shape[axis] // 2:
            even = np.take(x, range(0, 2 * half, 2), axis)
            x = np.maximum(even, np.take(x, range(1, 2 * half, 2), axis))
    return x


def recurrent(setup: Setup, weights: Weights, x: Array, lengths: Lengths) -> Array:
    layer = lstm_layer if setup.spec.model_type == "lstm" else gru_layer
    hidden = x
    for i in range(len(setup.spec.hidden_units)):
        outputs = [layer(weights, f"hidden.{i}", "", hidden)]
        if setup.spec.bidirectional:
            outputs.append(reverse(layer(weights, f"hidden.{i}", "_reverse", reverse(hidden, lengths)), lengths))
        hidden = np.concatenate(outputs, axis=-1)
    ends = outputs[0][:, -1] if lengths is None else outputs[0][np.arange(len(x)), lengths - 1]
    return np.concatenate([ends, *(states[:, 0] for states in outputs[1:])], axis=-1)


def reverse(x: Array, lengths: Lengths) -> Array:
    """Reverse each sequence; padding stays at the end."""
    if lengths is None:
        return x[:, ::-1]
    steps = np.arange(x.shape[1])
    index = np.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return np.take_along_axis(x, index[..., None], axis=1)


def lstm_layer(weights: Weights, layer: str, direction: str, x: Array) -> Array:
    """(rows, steps, in) → (rows, steps, units); gates in the order i, f, g, o."""
    recurrent_weight = weights[f"{layer}.weight_hh{direction}"]
    inputs = x @ weights[f"{layer}.weight_ih{direction}"].T + weights[f"{layer}.bias_ih{direction}"]
    state = memory = np.zeros((len(x), recurrent_weight.shape[1]), np.float32)
    states = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(inputs[:, t] + state @ recurrent_weight.T, 4, axis=-1)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(memory)
        states.append(state)
    return np.stack(states, axis=1)


def gru_layer(weights: Weights, layer: str, direction: str, x: Array) -> Array:
    """(rows, steps, in) → (rows, steps, units); gates in the order r, z, n; reset after the recurrent bias."""
    recurrent_weight, recurrent_bias = weights[f"{layer}.weight_hh{direction}"], weights[f"{layer}.bias_hh{direction}"]
    inputs = x @ weights[f"{layer}.weight_ih{direction}"].T + weights[f"{layer}.bias_ih{direction}"]
    state = np.zeros((len(x), recurrent_weight.shape[1]), np.float32)
    states = []
    for t in range(x.shape[1]):
        r_in, z_in, n_in = np.split(inputs[:, t], 3, axis=-1)
        r_state, z_state, n_state = np.split(state @ recurrent_weight.T + recurrent_bias, 3, axis=-1)
        n = np.tanh(n_in + sigmoid(r_in + r_state) * n_state)
        z = sigmoid(z_in + z_state)
        state = (1 - z) * n + z * state
        states.append(state)
    return np.stack(states, axis=1)


def activate(x: Array, name: Activation) -> Array:
    match name:
        case "relu":
            return np.maximum(x, 0)
        case "tanh":
            return np.tanh(x)
        case "silu":
            return x * sigmoid(x)
        case "gelu":
            inner: Array = np.tanh(np.float32((2 / np.pi) ** 0.5) * (x + 0.044715 * x**3))
            return 0.5 * x * (1 + inner)


def sigmoid(x: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))
