"""LSTM and GRU layers in JAX, for sequences of equal and of different lengths.

Backward passes are written by hand where that is faster than ``jax.grad`` (figures in ``networks``).

Sequences of different lengths are padded at the end. A recurrence needs no mask: states of real steps do not depend on
the padding after them. Only the last step differs between sequences, and the reverse direction starts there; both are
one gather over (steps x rows).
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from jax import lax

from epochd.loop.engine import Setup

Weights = Mapping[str, jax.Array]
Drop = Callable[[jax.Array, int, int], jax.Array]
"""(hidden, layer, axis of the rows) → hidden with dropout, or unchanged in evaluation."""
Length = jax.Array | None
"""The number of real steps of each sequence, (rows,); None: all steps are real."""
Arrays = tuple[jax.Array, ...]
Pair = tuple[jax.Array, jax.Array]


def lengths(mask: jax.Array) -> jax.Array:
    """The number of real steps: mask (rows, steps) → (rows,) int32.

    Rows of padding only, which fill up batches, count as sequences of one step.
    """
    return jnp.maximum(mask.sum(axis=1).astype(jnp.int32), 1)


def real_steps(length: jax.Array, steps: int) -> jax.Array:
    """True for real steps: (rows, steps)."""
    return jnp.arange(steps) < length[:, None]


def recurrent(setup: Setup, weights: Weights, x: jax.Array, length: Length, drop: Drop) -> jax.Array:
    """(rows, steps, channels) → (rows, units of the last layer); inside, the first axis is time."""
    layer = lstm_layer if setup.spec.model_type == "lstm" else gru_layer
    hidden, last = jnp.moveaxis(x, 1, 0), len(setup.spec.hidden_units) - 1
    for i in range(last + 1):
        outputs = [layer(weights, f"hidden.{i}", "", hidden)]
        if setup.spec.bidirectional:
            outputs.append(layer(weights, f"hidden.{i}", "_reverse", reverse(hidden, length)))
        if i == last:
            break
        ordered = [outputs[0], *(reverse(states, length) for states in outputs[1:])]
        hidden = drop(jnp.concatenate(ordered, axis=-1), i, 1)
    return drop(jnp.concatenate([last_state(states, length) for states in outputs], axis=-1), last, 0)


def reverse(x: jax.Array, length: Length) -> jax.Array:
    """Reverse each sequence of (steps, rows, units); padding stays at the end."""
    if length is None:
        return x[::-1]
    position = jnp.arange(len(x))[:, None]
    mirrored = jnp.where(position < length, length - 1 - position, position)
    return _permute(x, (mirrored * len(length) + jnp.arange(len(length))).reshape(-1))


@jax.custom_vjp
def _permute(x: jax.Array, order: jax.Array) -> jax.Array:
    """A permutation of steps that is its own inverse, so that the gradient is a gather too."""
    return _flat_rows(x)[order].reshape(x.shape)


_permute.defvjp(lambda x, order: (_permute(x, order), order), lambda order, slopes: (_permute(slopes, order), None))


def last_state(states: jax.Array, length: Length) -> jax.Array:
    """The state after each sequence's last step: (steps, rows, units) → (rows, units)."""
    if length is None:
        return states[-1]
    return _flat_rows(states)[(length - 1) * len(length) + jnp.arange(len(length))]


def _flat_rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def lstm_layer(weights: Weights, layer: str, direction: str, x: jax.Array) -> jax.Array:
    """(steps, rows, in) → (steps, rows, units); gates in the order i, f, g, o."""
    inputs = x @ weights[f"{layer}.weight_ih{direction}"].T + weights[f"{layer}.bias_ih{direction}"]
    return lstm_scan(inputs, weights[f"{layer}.weight_hh{direction}"])


@jax.custom_vjp
def lstm_scan(inputs: jax.Array, recurrent: jax.Array) -> jax.Array:
    """The loop over time: gate inputs (steps, rows, 4 units), weights (4 units, units) → states (steps, rows, units).

    The backward pass is written by hand: ``jax.grad`` would add up the weights' gradient at every step and recompute
    the gates; here the gates are kept and one matrix product after the loop gives the gradient.
    """
    return _lstm_forward(inputs, recurrent)[0]


def _lstm_forward(inputs: jax.Array, recurrent: jax.Array) -> tuple[jax.Array, Arrays]:
    units = recurrent.shape[1]
    # sigmoid(z) = (tanh(z / 2) + 1) / 2, so that one tanh serves all four gates
    slope = jnp.repeat(jnp.array([0.5, 0.5, 1.0, 0.5], inputs.dtype), units, total_repeat_length=4 * units)

    def step(carry: Pair, z: jax.Array) -> tuple[Pair, Arrays]:
        state, memory = carry
        gates = slope * jnp.tanh(slope * (z + state @ recurrent.T)) + (1 - slope)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        memory = f * memory + i * g
        state = o * jnp.tanh(memory)
        return (state, memory), (state, memory, gates)

    zeros = jnp.zeros((inputs.shape[1], units), inputs.dtype)
    _, (states, memories, gates) = lax.scan(step, (zeros, zeros), inputs)
    return states, (recurrent, states, memories, gates)


def _lstm_backward(kept: Arrays, slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``slopes``: the gradient of the states. What does not depend on later steps is computed for all steps at once."""
    recurrent, states, memories, gates = kept
    i, f, g, o = jnp.split(gates, 4, axis=-1)
    bent = jnp.tanh(memories)
    to_output = bent * o * (1 - o)
    to_memory = o * (1 - bent * bent)
    to_others = jnp.concatenate([g * i * (1 - i), _before(memories) * f * (1 - f), i * (1 - g * g)], axis=-1)

    def step(carry: Pair, now: Arrays) -> tuple[Pair, jax.Array]:
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
    """The values of the step before, along the first axis; zeros for the first step."""
    return jnp.concatenate([jnp.zeros_like(x[:1]), x[:-1]])


lstm_scan.defvjp(_lstm_forward, _lstm_backward)


def gru_layer(weights: Weights, layer: str, direction: str, x: jax.Array) -> jax.Array:
    """(steps, rows, in) → (steps, rows, units); gates in the order r, z, n; reset after the recurrent bias."""
    inputs = x @ weights[f"{layer}.weight_ih{direction}"].T + weights[f"{layer}.bias_ih{direction}"]
    return gru_scan(inputs, weights[f"{layer}.weight_hh{direction}"], weights[f"{layer}.bias_hh{direction}"])


@jax.custom_vjp
def gru_scan(inputs: jax.Array, recurrent: jax.Array, bias: jax.Array) -> jax.Array:
    """The loop over time: gate inputs (steps, rows, 3 units), weights (3 units, units), bias (3 units,) → states.

    The backward pass is written by hand, as in ``lstm_scan``. The forward pass has one product per gate: one joint
    product, split into gates inside the loop, makes the forward pass take three times as long.
    """
    return _gru_forward(inputs, recurrent, bias)[0]


def _gru_forward(inputs: jax.Array, recurrent: jax.Array, bias: jax.Array) -> tuple[jax.Array, Arrays]:
    weight_r, weight_z, weight_n = (part.T for part in jnp.split(recurrent, 3))
    bias_r, bias_z, bias_n = jnp.split(bias, 3)

    def step(state: jax.Array, now: list[jax.Array]) -> tuple[jax.Array, Arrays]:
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


def _gru_backward(kept: Arrays, slopes: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """``slopes``: the gradient of the states. The gradients of all gates are multiples of the state's."""
    recurrent, states, r, z, n, n_state = kept
    before = _before(states)
    to_n = (1 - z) * (1 - n * n)
    to_r = to_n * n_state * r * (1 - r)
    to_z = (before - n) * z * (1 - z)
    to_products = jnp.concatenate([to_r, to_z, to_n * r], axis=-1)

    def step(later: jax.Array, now: Arrays) -> tuple[jax.Array, Arrays]:
        to_products, z, slope = now
        state = later + slope
        products = jnp.concatenate([state] * 3, axis=-1) * to_products
        return products @ recurrent + state * z, (state, products)

    _, (state, products) = lax.scan(step, jnp.zeros_like(slopes[0]), (to_products, z, slopes), reverse=True)
    inputs = jnp.concatenate([state * to_r, state * to_z, state * to_n], axis=-1)
    flat = products.reshape(-1, products.shape[-1])
    return inputs, flat.T @ before.reshape(-1, before.shape[-1]), flat.sum(axis=0)


gru_scan.defvjp(_gru_forward, _gru_backward)
