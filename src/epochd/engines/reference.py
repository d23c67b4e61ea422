"""The networks in plain NumPy, evaluation mode: what every engine must compute.

The contract tests hold the engines against it, and a saved model is scored with it where no framework is
installed. Written to be read beside ``architecture``; speed is the engines' business.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from epochd.core.specs import Activation
from epochd.data.arrays import FloatArray
from epochd.loop.engine import Setup

Array = npt.NDArray[np.floating]
Weights = Mapping[str, FloatArray]


def forward(setup: Setup, weights: Weights, x: FloatArray) -> FloatArray:
    """Features (rows, *inputs) → raw outputs (rows, outputs)."""
    match setup.spec.model_type:
        case "mlp":
            hidden = mlp(setup, weights, x)
        case "cnn":
            hidden = cnn(setup, weights, x)
        case _:
            hidden = recurrent(setup, weights, x)
    return (hidden @ weights["output.weight"].T + weights["output.bias"]).astype(np.float32)


def mlp(setup: Setup, weights: Weights, x: Array) -> Array:
    hidden = x.reshape(len(x), -1)
    for i in range(len(setup.spec.hidden_units)):
        hidden = activate(hidden @ weights[f"hidden.{i}.weight"].T + weights[f"hidden.{i}.bias"], setup.spec.activation)
    return hidden


def cnn(setup: Setup, weights: Weights, x: Array) -> Array:
    hidden = np.moveaxis(x, -1, 1)
    for i in range(len(setup.spec.hidden_units)):
        kernel = weights[f"hidden.{i}.weight"]
        bias = weights[f"hidden.{i}.bias"].reshape(-1, *[1] * (kernel.ndim - 2))
        hidden = max_pool(activate(convolve(hidden, kernel) + bias, setup.spec.activation))
    return hidden.reshape(len(x), -1)


def convolve(x: Array, kernel: Array) -> Array:
    """Stride 1, zero padding to the same size (the odd zero goes after): (rows, in, *space) → (rows, out, *space)."""
    sizes = kernel.shape[2:]
    padding = [(0, 0), (0, 0), *(((k - 1) // 2, k // 2) for k in sizes)]
    axes = tuple(range(2, x.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, padding), sizes, axis=axes)
    kernel_axes = tuple(range(x.ndim, x.ndim + len(sizes)))
    found = np.tensordot(windows, kernel, axes=((1, *kernel_axes), (1, *axes)))
    return np.moveaxis(found, -1, 1)


def max_pool(x: Array) -> Array:
    """By 2 in each direction that has 2, without overlap; an odd rest is dropped."""
    for axis in range(2, x.ndim):
        half = x.shape[axis] // 2
        if half:
            even = np.take(x, range(0, 2 * half, 2), axis)
            x = np.maximum(even, np.take(x, range(1, 2 * half, 2), axis))
    return x


def recurrent(setup: Setup, weights: Weights, x: Array) -> Array:
    step = lstm_layer if setup.spec.model_type == "lstm" else gru_layer
    hidden = x
    last = len(setup.spec.hidden_units) - 1
    for i in range(last + 1):
        sides = [step(weights, f"hidden.{i}", "", hidden)]
        if setup.spec.bidirectional:
            sides.append(step(weights, f"hidden.{i}", "_reverse", hidden[:, ::-1])[:, ::-1])
        if i == last:
            ends = [sides[0][:, -1], *(side[:, 0] for side in sides[1:])]
            return np.concatenate(ends, axis=-1)
        hidden = np.concatenate(sides, axis=-1)
    raise AssertionError("hidden_units is never empty")


def lstm_layer(weights: Weights, layer: str, side: str, x: Array) -> Array:
    """(rows, steps, in) → (rows, steps, units); gates in the order i, f, g, o."""
    recurrent_weight = weights[f"{layer}.weight_hh{side}"]
    inputs = x @ weights[f"{layer}.weight_ih{side}"].T + weights[f"{layer}.bias_ih{side}"]
    state = memory = np.zeros((len(x), recurrent_weight.shape[1]), np.float32)
    states = []
    for t in range(x.shape[1]):
        i, f, g, o = np.split(inputs[:, t] + state @ recurrent_weight.T, 4, axis=-1)
        memory = sigmoid(f) * memory + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(memory)
        states.append(state)
    return np.stack(states, axis=1)


def gru_layer(weights: Weights, layer: str, side: str, x: Array) -> Array:
    """(rows, steps, in) → (rows, steps, units); gates in the order r, z, n; reset after the recurrent bias."""
    recurrent_weight, recurrent_bias = weights[f"{layer}.weight_hh{side}"], weights[f"{layer}.bias_hh{side}"]
    inputs = x @ weights[f"{layer}.weight_ih{side}"].T + weights[f"{layer}.bias_ih{side}"]
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
    found: Array = np.exp(-np.logaddexp(0, -x))
    return found
