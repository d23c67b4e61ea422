"""LSTM and GRU layers in TensorFlow, with gradients written by hand.

Differentiating a TensorFlow loop saves every intermediate value of every step and adds up the weight gradients step by
step. Here a step computes only what depends on the step before; local derivatives and weight gradients are computed for
all steps at once. Measured on 50 x 8 sequences, layers 64-32, batch 32, compiled by XLA, ms
per training step: lstm 3.9 (differentiated loop 4.2; neither compiled 5.6 against 15.5), gru 2.7 (4.1; 4.8 and 14.7).

The first axis of sequences is time: (steps, rows, units). Gates are in PyTorch's order.
"""

from collections.abc import Callable
from typing import Any

from epochd.engines.tensorflow_engine.runtime import Tensor, tf
from epochd.loop.engine import Setup

Weights = dict[str, Tensor]
Drop = Callable[[Tensor, int, int], Tensor]
"""(hidden, layer, axis of the rows) → hidden with dropout, or unchanged in evaluation."""
Gradient = Callable[..., tuple[Tensor, ...]]


def recurrent(setup: Setup, weights: Weights, x: Tensor, lengths: Tensor | None, drop: Drop) -> Tensor:
    """(rows, steps, channels) → (rows, units of the last layer). Padding affects no state of a real step."""
    directions = ["", "_reverse"] if setup.spec.bidirectional else [""]
    last = len(setup.spec.hidden_units) - 1
    hidden = tf.transpose(x, [1, 0, 2])
    for i in range(last):
        states = [_states(setup, weights, f"hidden.{i}", direction, hidden, lengths) for direction in directions]
        ordered = [reverse(s, lengths) if direction else s for s, direction in zip(states, directions, strict=True)]
        hidden = drop(tf.concat(ordered, -1), i, 1)
    ends = [
        last_state(_states(setup, weights, f"hidden.{last}", direction, hidden, lengths), lengths)
        for direction in directions
    ]
    return drop(tf.concat(ends, -1), last, 0)


def _states(setup: Setup, weights: Weights, layer: str, direction: str, x: Tensor, lengths: Tensor | None) -> Tensor:
    """One direction's states, in its own order of steps: (steps, rows, in) → (steps, rows, units)."""
    weight = weights[f"{layer}.weight_ih{direction}"]
    rows = tf.reshape(reverse(x, lengths) if direction else x, [-1, x.shape[2]])
    inputs = tf.matmul(rows, weight, transpose_b=True) + weights[f"{layer}.bias_ih{direction}"]
    inputs = tf.reshape(inputs, [x.shape[0], -1 if x.shape[1] is None else x.shape[1], weight.shape[0]])
    if setup.spec.model_type == "lstm":
        return tf.custom_gradient(lstm)(inputs, weights[f"{layer}.weight_hh{direction}"])
    recurrent = weights[f"{layer}.weight_hh{direction}"], weights[f"{layer}.bias_hh{direction}"]
    return tf.custom_gradient(gru)(inputs, *recurrent)


def reverse(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Reverse each sequence of (steps, rows, units); padding stays at the end."""
    return tf.reverse(x, [0]) if lengths is None else tf.reverse_sequence(x, lengths, seq_axis=0, batch_axis=1)


def last_state(states: Tensor, lengths: Tensor | None) -> Tensor:
    """The state after each sequence's last step: (steps, rows, units) → (rows, units)."""
    if lengths is None:
        return states[-1]
    ends = tf.one_hot(lengths - 1, states.shape[0], axis=0, dtype=states.dtype)
    return tf.reduce_sum(states * ends[..., None], 0)


def lstm(inputs: Tensor, weight: Tensor) -> tuple[Tensor, Gradient]:
    """(steps, rows, 4 units) → states (steps, rows, units) from a zero state, and their gradient.

    ``inputs`` are x · weight_ihᵀ + bias; gates i, f, g, o.
    memory = f · memory + i · g    state = o · tanh(memory)
    """
    units, start = weight.shape[1], _zeros(inputs, weight)
    transposed = tf.transpose(weight)

    def step(t: Tensor, state: Tensor, memory: Tensor, *kept: Any) -> tuple[Any, ...]:
        total = inputs[t] + tf.matmul(state, transposed)
        squashed, g = tf.sigmoid(total), tf.tanh(total[:, 2 * units : 3 * units])
        i, f, o = squashed[:, :units], squashed[:, units : 2 * units], squashed[:, 3 * units :]
        following = f * memory + i * g
        values = (tf.concat([i, f, g, o], 1), memory, state)
        return t + 1, o * tf.tanh(following), following, *_write(kept, t, values)

    state, memory, *kept = _loop(inputs, step, [start, start], [4 * units, units, units])
    gates, memories, states = kept
    following = _shifted(memories, memory)

    def gradient(slopes: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = tf.split(gates, 4, 2)
        squashed = tf.tanh(following)
        to_memory = o * (1 - squashed * squashed)
        to_ifg = tf.concat([g * i * (1 - i), memories * f * (1 - f), i * (1 - g * g)], 2)
        to_o = squashed * o * (1 - o)

        def back(k: Tensor, d_state: Tensor, d_memory: Tensor, *kept: Any) -> tuple[Any, ...]:
            t = inputs.shape[0] - 1 - k
            d_state += slopes[t]
            d_memory += d_state * to_memory[t]
            d_gates = tf.concat([tf.tile(d_memory, [1, 3]) * to_ifg[t], d_state * to_o[t]], 1)
            return k + 1, tf.matmul(d_gates, weight), d_memory * f[t], *_write(kept, t, (d_gates,))

        *_, d_gates = _loop(inputs, back, [start, start], [4 * units])
        return d_gates, _outer(d_gates, states)

    return _shifted(states, state), gradient


def gru(inputs: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Gradient]:
    """(steps, rows, 3 units) → states (steps, rows, units) from a zero state, and their gradient.

    ``inputs`` are x · weight_ihᵀ + bias_ih; gates r, z, n; ``bias`` is the recurrent one, inside the reset gate.
    n = tanh(inputs + r · recurrent)    state = n + z · (previous - n)
    """
    units, start = weight.shape[1], _zeros(inputs, weight)
    transposed = tf.transpose(weight)

    def step(t: Tensor, state: Tensor, *kept: Any) -> tuple[Any, ...]:
        known, recurrent = inputs[t], tf.matmul(state, transposed) + bias
        gates = tf.sigmoid(known[:, : 2 * units] + recurrent[:, : 2 * units])
        n_state, z = recurrent[:, 2 * units :], gates[:, units:]
        n = tf.tanh(known[:, 2 * units :] + gates[:, :units] * n_state)
        return t + 1, n + z * (state - n), *_write(kept, t, (tf.concat([gates, n, n_state], 1), state))

    state, gates, states = _loop(inputs, step, [start], [4 * units, units])

    def gradient(slopes: Tensor) -> tuple[Tensor, ...]:
        r, z, n, n_state = tf.split(gates, 4, 2)
        to_n = (1 - z) * (1 - n * n)
        local = tf.concat([to_n * n_state * r * (1 - r), (states - n) * z * (1 - z), to_n * r], 2)

        def back(k: Tensor, d_state: Tensor, *kept: Any) -> tuple[Any, ...]:
            t = inputs.shape[0] - 1 - k
            d_state += slopes[t]
            d_recurrent = tf.tile(d_state, [1, 3]) * local[t]
            onward = tf.matmul(d_recurrent, weight) + d_state * z[t]
            return k + 1, onward, *_write(kept, t, (d_recurrent, d_state))

        _, d_recurrent, d_states = _loop(inputs, back, [start], [3 * units, units])
        d_inputs = tf.concat([d_recurrent[:, :, : 2 * units], to_n * d_states], 2)
        return d_inputs, _outer(d_recurrent, states), tf.reduce_sum(d_recurrent, [0, 1])

    return _shifted(states, state), gradient


def _zeros(inputs: Tensor, weight: Tensor) -> Tensor:
    """The state before the first step: (rows, units)."""
    rows = tf.shape(inputs)[1] if inputs.shape[1] is None else inputs.shape[1]
    return tf.zeros([rows, weight.shape[1]], inputs.dtype)


def _loop(inputs: Tensor, step: Callable[..., Any], carried: list[Tensor], widths: list[int]) -> list[Tensor]:
    """Loop over all time steps; returns the carried values at the end, then the values written at each step."""
    steps = inputs.shape[0]
    kept = [tf.TensorArray(inputs.dtype, steps, element_shape=(inputs.shape[1], width)) for width in widths]
    _, *ended = tf.while_loop(
        lambda t, *_: t < steps, step, (tf.constant(0), *carried, *kept), maximum_iterations=steps
    )
    return [*ended[: len(carried)], *(array.stack() for array in ended[len(carried) :])]


def _write(arrays: tuple[Any, ...], t: Tensor, values: tuple[Tensor, ...]) -> list[Any]:
    return [array.write(t, value) for array, value in zip(arrays, values, strict=True)]


def _shifted(before: Tensor, last: Tensor) -> Tensor:
    """Values before each step → values after each step."""
    return tf.concat([before[1:], last[None]], 0)


def _outer(slopes: Tensor, values: Tensor) -> Tensor:
    """Sum over steps and rows of slope x value: (steps, rows, a), (steps, rows, b) → (a, b)."""
    rows = [tf.reshape(x, [-1, x.shape[2]]) for x in (slopes, values)]
    return tf.matmul(*rows, transpose_a=True)
