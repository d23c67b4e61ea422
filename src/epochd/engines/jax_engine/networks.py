"""The four networks in JAX, written for XLA's compiler on CPU.

They compute what ``reference`` computes, from the same canonical weights. Three choices are measured (milliseconds
per training step of 2,000 x 50 x 8 sequences, units 64-32, batch 32, one core; PyTorch in the same run):

    convolution   one matrix product over the shifted input 0.36; XLA's own convolution, channels first 2.8,
                  channels last 8.6; PyTorch 1.6
    lstm          backward pass by hand, gates kept 2.8; by ``jax.grad`` 3.3; PyTorch 2.9
    gru           by hand 2.5, and 0.75 forward only; by ``jax.grad`` 2.6 and 2.3; PyTorch 10.4

Unrolling the loop over time doubles the step at 5 steps and quadruples it at 10.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from epochd.core.specs import Activation
from epochd.engines import network
from epochd.engines.jax_engine import padding as jax_sequences
from epochd.loop.engine import Setup

Weights = Mapping[str, jax.Array]
Drop = Callable[[jax.Array, int, int], jax.Array]
"""(hidden, layer, axis of the rows) → hidden with dropout, or as it is when evaluating."""
Length = jax.Array | None
"""How many steps of each sequence exist, (rows,); None: all of them."""

COLUMN_BYTES = 2**25
"""The largest shifted copy of a convolution's input; larger ones go through XLA's own convolution."""

ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
}


def forward(setup: Setup, weights: Weights, x: jax.Array, drop: Drop, dtype: Any = jnp.float32) -> jax.Array:
    """Features (rows, *inputs) and weights in float32 → raw outputs (rows, outputs), computed in ``dtype``."""
    features, length = enter(setup, weights, x, dtype)
    weights = {name: weight.astype(dtype) for name, weight in weights.items()}
    hidden = {"mlp": mlp, "cnn": cnn}.get(setup.spec.model_type, recurrent)(setup, weights, features, length, drop)
    return hidden @ weights["output.weight"].T + weights["output.bias"]


def enter(setup: Setup, weights: Weights, x: jax.Array, dtype: Any) -> tuple[jax.Array, Length]:
    """Look up the embeddings and take off the mask: (rows, *hidden_inputs) in ``dtype``, and the lengths.

    The cast comes last: bfloat16 has only every second number above 256, and would lose what is added up to an
    embedding's gradient. That sum is XLA's scattered addition, in the order of the rows on a CPU. Measured, 4,000 codes
    x 50, batch 256, one core: 0.1 ms per step; one product with one-hot rows 2.
    """
    if not (setup.embeddings or setup.masked):
        return x.astype(dtype), None
    plain = [x[..., channels].astype(dtype) for channels in network.plain_runs(setup)]
    vectors = [
        weights[f"embedding.{i}.weight"][x[..., embedding.channel].astype(jnp.int32)].astype(dtype)
        for i, embedding in enumerate(setup.embeddings)
    ]
    return jnp.concatenate(plain + vectors, axis=-1), jax_sequences.lengths(x[..., -1]) if setup.masked else None


def mlp(setup: Setup, weights: Weights, x: jax.Array, length: Length, drop: Drop) -> jax.Array:
    activate = ACTIVATIONS[setup.spec.activation]
    hidden = x.reshape(len(x), -1)
    for i in range(len(setup.spec.hidden_units)):
        hidden = activate(hidden @ weights[f"hidden.{i}.weight"].T + weights[f"hidden.{i}.bias"])
        hidden = drop(hidden, i, 0)
    return hidden


def cnn(setup: Setup, weights: Weights, x: jax.Array, length: Length, drop: Drop) -> jax.Array:
    activate = ACTIVATIONS[setup.spec.activation]
    exists = None if length is None else jax_sequences.exists(length, x.shape[1])[..., None].astype(x.dtype)
    hidden = x if exists is None else x * exists
    for i in range(len(setup.spec.hidden_units)):
        hidden = convolve(hidden, weights[f"hidden.{i}.weight"], on_cpu=not setup.gpus)
        hidden = activate(hidden + weights[f"hidden.{i}.bias"])
        if exists is not None:
            hidden, exists = hidden * exists, max_pool(exists)
        hidden = drop(max_pool(hidden), i, 0)
    return jnp.moveaxis(hidden, -1, 1).reshape(len(x), -1)


def convolve(x: jax.Array, kernel: jax.Array, *, on_cpu: bool) -> jax.Array:
    """Stride 1, zero padding to the same size: (rows, *space, in), kernel (out, in, *sizes) → (rows, *space, out)."""
    sizes = kernel.shape[2:]
    padding = [((size - 1) // 2, size // 2) for size in sizes]
    if on_cpu and x.size * prod(sizes) * x.dtype.itemsize <= COLUMN_BYTES:
        return _columns(x, sizes, padding) @ jnp.moveaxis(kernel, (0, 1), (-1, -2)).reshape(-1, kernel.shape[0])
    space = "HW"[: len(sizes)]
    names = (f"N{space}C", f"OI{space}", f"N{space}C")
    return lax.conv_general_dilated(x, kernel, (1,) * len(sizes), padding, dimension_numbers=names)


def _columns(x: jax.Array, sizes: tuple[int, ...], padding: list[tuple[int, int]]) -> jax.Array:
    """What each position's filter sees: (rows, *space, in) → (rows, *space, product of sizes x in)."""
    space = x.shape[1:-1]
    padded = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    shifted = []
    for offset in np.ndindex(*sizes):
        window = tuple(slice(first, first + length) for first, length in zip(offset, space, strict=True))
        shifted.append(padded[:, *window])
    return jnp.concatenate(shifted, axis=-1)


def max_pool(x: jax.Array) -> jax.Array:
    """By 2 in each direction that has 2, without overlap; an odd rest is dropped."""
    for axis in range(1, x.ndim - 1):
        half = x.shape[axis] // 2
        if half:
            whole = lax.slice_in_dim(x, 0, 2 * half, axis=axis)
            pairs = whole.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :])
            even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
            x = jnp.maximum(even, odd)
    return x


def recurrent(setup: Setup, weights: Weights, x: jax.Array, length: Length, drop: Drop) -> jax.Array:
    """(rows, steps, channels) → (rows, units of the last layer); time comes first in between."""
    layer = lstm_layer if setup.spec.model_type == "lstm" else gru_layer
    hidden, last = jnp.moveaxis(x, 1, 0), len(setup.spec.hidden_units) - 1
    for i in range(last + 1):
        sides = [layer(weights, f"hidden.{i}", "", hidden)]
        if setup.spec.bidirectional:
            sides.append(layer(weights, f"hidden.{i}", "_reverse", reverse(hidden, length)))
        if i == last:
            break
        ordered = [sides[0], *(reverse(side, length) for side in sides[1:])]
        hidden = drop(jnp.concatenate(ordered, axis=-1), i, 1)
    return drop(jnp.concatenate([at_end(side, length) for side in sides], axis=-1), last, 0)


def reverse(x: jax.Array, length: Length) -> jax.Array:
    """(steps, rows, units), each sequence from its own last step to its first."""
    return x[::-1] if length is None else jax_sequences.reverse(x, length)


def at_end(states: jax.Array, length: Length) -> jax.Array:
    """The state after each sequence's own last step: (steps, rows, units) → (rows, units)."""
    return states[-1] if length is None else jax_sequences.ends(states, length)


def lstm_layer(weights: Weights, layer: str, side: str, x: jax.Array) -> jax.Array:
    """(steps, rows, in) → (steps, rows, units); gates in the order i, f, g, o."""
    inputs = x @ weights[f"{layer}.weight_ih{side}"].T + weights[f"{layer}.bias_ih{side}"]
    return lstm_scan(inputs, weights[f"{layer}.weight_hh{side}"])


@jax.custom_vjp
def lstm_scan(inputs: jax.Array, recurrent: jax.Array) -> jax.Array:
    """The loop over time: gate inputs (steps, rows, 4 units), weights (4 units, units) → states (steps, rows, units).

    Its backward pass is written by hand: ``jax.grad`` would add up the weights' gradient at every step and
    evaluate the gates again, where one matrix product after the loop and the kept gates do.
    """
    return _lstm_forward(inputs, recurrent)[0]


LstmKept = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def _lstm_forward(inputs: jax.Array, recurrent: jax.Array) -> tuple[jax.Array, LstmKept]:
    units = recurrent.shape[1]
    # sigmoid(z) = (tanh(z / 2) + 1) / 2, so that one tanh serves all four gates
    slope = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], inputs.dtype), units, total_repeat_length=4 * units)

    def step(
        carry: tuple[jax.Array, jax.Array], z: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array, jax.Array]]:
        state, memory = carry
        gates = slope * jnp.tanh(slope * (z + state @ recurrent.T)) + (1 - slope)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        memory = f * memory + i * g
        state = o * jnp.tanh(memory)
        return (state, memory), (state, memory, gates)

    zeros = jnp.zeros((inputs.shape[1], units), inputs.dtype)
    _, (states, memories, gates) = lax.scan(step, (zeros, zeros), inputs)
    return states, (recurrent, states, memories, gates)


def _lstm_backward(kept: LstmKept, slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``slopes``: the loss's gradient for the states. What does not depend on later steps is done for all at once."""
    recurrent, states, memories, gates = kept
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    bent = jnp.tanh(memories)
    to_output = bent * o * (1 - o)
    to_memory = o * (1 - bent * bent)
    to_others = jnp.concatenate([g * i * (1 - i), _before(memories) * f * (1 - f), i * (1 - g * g)], axis=-1)

    def step(
        carry: tuple[jax.Array, jax.Array], now: tuple[jax.Array, ...]
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        later_state, later_memory = carry
        to_output, to_memory, to_others, forget, slope = now
        state = later_state + slope
        memory = later_memory + state * to_memory
        z = jnp.concatenate([jnp.concatenate([memory] * 3, axis=-1) * to_others, state * to_output], axis=-1)
        return (z @ recurrent, memory * forget), z

    zeros = jnp.zeros_like(slopes[0])
    _, z = lax.scan(step, (zeros, zeros), (to_output, to_memory, to_others, f, slopes), reverse=True)
    return z, z.reshape(-1, z.shape[-1]).T @ _before(states).reshape(-1, states.shape[-1])


def _before(x: jax.Array) -> jax.Array:
    """Each step's predecessor along the first axis; zeros before the first."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])


lstm_scan.defvjp(_lstm_forward, _lstm_backward)


def gru_layer(weights: Weights, layer: str, side: str, x: jax.Array) -> jax.Array:
    """(steps, rows, in) → (steps, rows, units); gates in the order r, z, n; reset after the recurrent bias."""
    inputs = x @ weights[f"{layer}.weight_ih{side}"].T + weights[f"{layer}.bias_ih{side}"]
    return gru_scan(inputs, weights[f"{layer}.weight_hh{side}"], weights[f"{layer}.bias_hh{side}"])


@jax.custom_vjp
def gru_scan(inputs: jax.Array, recurrent: jax.Array, bias: jax.Array) -> jax.Array:
    """The loop over time: gate inputs (steps, rows, 3 units), weights (3 units, units), bias (3 units,) → states.

    Backward by hand, as in ``lstm_scan``. Forward has one product per gate: with a joint one, cut into gates
    inside the loop, the forward pass alone takes three times as long.
    """
    return _gru_forward(inputs, recurrent, bias)[0]


GruKept = tuple[jax.Array, ...]


def _gru_forward(inputs: jax.Array, recurrent: jax.Array, bias: jax.Array) -> tuple[jax.Array, GruKept]:
    weight_r, weight_z, weight_n = (part.T for part in jnp.split(recurrent, 3))
    bias_r, bias_z, bias_n = jnp.split(bias, 3)

    def step(state: jax.Array, now: list[jax.Array]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        r_in, z_in, n_in = now
        r = jax.nn.sigmoid(r_in + state @ weight_r + bias_r)
        z = jax.nn.sigmoid(z_in + state @ weight_z + bias_z)
        n_state = state @ weight_n + bias_n
        n = jnp.tanh(n_in + r * n_state)
        state = (1 - z) * n + z * state
        return state, (state, r, z, n, n_state)

    zeros = jnp.zeros((inputs.shape[1], recurrent.shape[1]), inputs.dtype)
    _, (states, *gates) = lax.scan(step, zeros, jnp.split(inputs, 3, axis=-1))
    return states, (recurrent, states, *gates)


def _gru_backward(kept: GruKept, slopes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``slopes``: the loss's gradient for the states. All gates' gradients are multiples of the state's."""
    recurrent, states, r, z, n, n_state = kept
    before = _before(states)
    to_n = (1 - z) * (1 - n * n)
    to_r = to_n * n_state * r * (1 - r)
    to_z = (before - n) * z * (1 - z)
    to_products = jnp.concatenate([to_r, to_z, to_n * r], axis=-1)

    def step(later: jax.Array, now: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        to_products, z, slope = now
        state = later + slope
        products = jnp.concatenate([state] * 3, axis=-1) * to_products
        return products @ recurrent + state * z, (state, products)

    _, (state, products) = lax.scan(step, jnp.zeros_like(slopes[0]), (to_products, z, slopes), reverse=True)
    inputs = jnp.concatenate([state * to_r, state * to_z, state * to_n], axis=-1)
    flat = products.reshape(-1, products.shape[-1])
    return inputs, flat.T @ before.reshape(-1, before.shape[-1]), flat.sum(axis=0)


gru_scan.defvjp(_gru_forward, _gru_backward)
