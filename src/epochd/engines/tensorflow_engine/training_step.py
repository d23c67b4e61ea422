"""One optimizer step as a pure function of its state.

The state consists of the flat weights and the optimizer state. A pure step can be looped inside a compiled graph, and a
run is resumed from the state alone: dropout masks come from a hash, not from a generator.
"""

from math import log, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.spec_fields import Optimizer
from epochd.core.target_scale import MAX_GAP
from epochd.engines import network
from epochd.engines.tensorflow_engine import networks
from epochd.engines.tensorflow_engine.recurrent import Drop
from epochd.engines.tensorflow_engine.runtime import Tensor, tf
from epochd.loop.engine import Arrays, Setup

State = dict[str, Tensor]
Hyperparameters = dict[str, Tensor]
"""See ``engines.programs.hyperparameters``."""

SLOTS = {"adam": ("m", "v"), "adamw": ("m", "v"), "rmsprop": ("v",), "sgd": ()}
"""Optimizer → its values per weight."""
FIRST_SCALE, SCALE_PATIENCE = 2.0**15, 2000
"""float16: the first loss scale, and the steps without overflow after which it doubles (as in PyTorch's GradScaler)."""


def initial_optimizer_state(setup: Setup, dtype: str) -> Arrays:
    """The optimizer state before the first step."""
    state: Arrays = {"steps": np.zeros((), np.int32)}
    state |= {name: np.zeros(network.parameter_count(setup), np.float32) for name in SLOTS[setup.spec.optimizer]}
    if dtype == "float16":
        state |= {"loss_scale": np.array(FIRST_SCALE, np.float32), "calm_steps": np.zeros((), np.int32)}
    return state


def gradient(
    setup: Setup,
    state: State,
    x: Tensor,
    y: Tensor,
    first: Any,
    real: Tensor,
    step: Tensor,
    row_weights: Tensor | None,
    hyper: Hyperparameters,
    *,
    compiled: bool,
    dtype: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """The share of these rows in (flat gradient of the batch's mean loss, sum of row losses, sum of row scores).

    ``x`` (rows, *inputs) and ``y`` (rows,) are a batch or one device's share of it, ``first`` the position of the first
    row in the global batch, of which the rows from ``real`` on are padding; ``row_weights`` are (rows,), None: all 1.
    """
    present = tf.cast(first + tf.range(x.shape[0]) < real, tf.float32)
    if row_weights is not None:
        present *= row_weights
    with tf.GradientTape() as tape:
        tape.watch(state["weights"])
        weights = networks.named(setup, state["weights"], dtype)
        drop = dropout(step, first, hyper)
        outputs = networks.forward(setup, weights, x, drop, compiled=compiled, dtype=dtype)
        losses, scores = objective(setup, tf.cast(outputs, tf.float32), y, hyper)
        loss = tf.reduce_sum(losses * present)
        scaled = loss / tf.cast(real, tf.float32) * state.get("loss_scale", 1.0)
    return tape.gradient(scaled, state["weights"]), loss, tf.reduce_sum(scores * present)


def objective(setup: Setup, outputs: Tensor, y: Tensor, hyper: Hyperparameters) -> tuple[Tensor, Tensor]:
    """Loss and score of each row (see ``loop.state.Totals``): (rows, outputs), (rows,) → (rows,), (rows,)."""
    smooth: Any = hyper.get("smoothing", 0.0)
    if setup.task == "regression":
        several = setup.outputs > 1
        given = outputs if several else outputs[:, 0]
        squared = tf.square(given - y)
        scores = squared_errors(hyper["target_log"], given, y) if "target_log" in hyper else squared
        return (tf.reduce_mean(squared, 1), tf.reduce_mean(scores, 1)) if several else (squared, scores)
    if setup.task == "binary":
        logits = outputs[:, 0]
        losses = tf.nn.sigmoid_cross_entropy_with_logits(y * (1 - smooth) + smooth / 2, logits)
        hits = (logits > 0) == (y > 0.5)
    else:
        logs = tf.nn.log_softmax(outputs)
        target = tf.one_hot(y, setup.outputs, 1 - smooth + smooth / setup.outputs, smooth / setup.outputs)
        losses = -tf.reduce_sum(target * logs, 1)
        hits = tf.argmax(outputs, 1, output_type=y.dtype) == y
    if "class_weights" in hyper:
        losses *= tf.gather(hyper["class_weights"], tf.cast(y, tf.int32))
    return losses, tf.cast(hits, tf.float32)


def squared_errors(target_log: Tensor, output: Tensor, y: Tensor) -> Tensor:
    """The score of standardised logarithms (see ``loop.state.Totals``)."""
    scale, top = target_log[0], target_log[1]
    values, truth = (tf.exp(tf.minimum((target - top) * scale, MAX_GAP)) for target in (output, y))
    return tf.square(values - truth)


def dropout(step: Tensor, first_position: Any, hyper: Hyperparameters) -> Drop:
    """Dropout as a function of (seed, step, layer, position of the row in the global batch, unit)."""
    if "dropout" not in hyper:
        return networks.no_dropout
    seed, limit = hyper["dropout"][0], hyper["dropout"][1]

    def drop(hidden: Tensor, layer: int, rows_axis: int) -> Tensor:
        bits = hash_words(positions(hidden.shape.as_list(), rows_axis, first_position) ^ mask_key(seed, step, layer))
        return hidden * tf.cast(bits >= limit, hidden.dtype) * tf.cast(hyper["dropout_scale"], hidden.dtype)

    return drop


def mask_key(seed: Tensor, step: Tensor, layer: int) -> Tensor:
    """One 32-bit word from (seed (uint32), step (int64), layer)."""
    words = tf.cast(tf.bitwise.bitwise_and(step, 2**32 - 1), tf.uint32), tf.cast(step // 2**32, tf.uint32)
    found = seed
    for word in (*words, tf.constant(layer, tf.uint32)):
        found = hash_words(hash_words(found + tf.constant(0x9E3779B9, tf.uint32)) ^ word)
    return found


def positions(shape: list[int], rows_axis: int, first_position: Any) -> Tensor:
    """A uint32 number for each value, with the rows as the first axis, so that neither the split over devices nor the
    layout has an effect. Beyond 2³² values the numbers, and so the masks, repeat."""
    order = [rows_axis, *(axis for axis in range(len(shape)) if axis != rows_axis)]
    total, stride = tf.zeros([1] * len(shape), tf.uint32), 1
    for axis in reversed(order):
        along = tf.range(shape[axis], dtype=tf.int32) + (first_position if axis == rows_axis else 0)
        along = tf.cast(along, tf.uint32) * tf.constant(stride % 2**32, tf.uint32)
        total += tf.reshape(along, [-1 if other == axis else 1 for other in range(len(shape))])
        stride *= shape[axis]
    return total


def hash_words(x: Tensor) -> Tensor:
    """A bijective hash of 32-bit words: each input bit flips about half of the output bits.

    "lowbias32" of Chris Wellons's hash-prospector; several times faster than TensorFlow's stateless Philox on
    a CPU (mlp 128-64-32, batch 32: 46 against 700 us per compiled step, 177 against 288 uncompiled).
    """
    x = (x ^ tf.bitwise.right_shift(x, tf.constant(16, tf.uint32))) * tf.constant(0x7FEB352D, tf.uint32)
    x = (x ^ tf.bitwise.right_shift(x, tf.constant(15, tf.uint32))) * tf.constant(0x846CA68B, tf.uint32)
    return x ^ tf.bitwise.right_shift(x, tf.constant(16, tf.uint32))


def apply_gradient(optimizer: Optimizer, state: State, slopes: Tensor, rate: Tensor, hyper: Hyperparameters) -> State:
    """The state after one step with the gradient ``slopes`` (flat, of the whole global batch).

    The loss scale is halved after an overflow and doubled after ``SCALE_PATIENCE`` steps without one.
    """
    if "loss_scale" not in state:
        return _optimizer_step(optimizer, state, slopes, rate, hyper)
    slopes /= state["loss_scale"]
    finite = tf.reduce_all(tf.math.is_finite(slopes))
    after = _optimizer_step(optimizer, state, slopes, rate, hyper)
    kept = {name: tf.where(finite, after[name], value) for name, value in state.items()}
    calm = tf.where(finite, state["calm_steps"] + 1, 0)
    grows = calm >= SCALE_PATIENCE
    scale = tf.where(finite, state["loss_scale"] * tf.where(grows, 2.0, 1.0), state["loss_scale"] / 2)
    return kept | {"loss_scale": scale, "calm_steps": tf.where(grows, 0, calm)}


def _optimizer_step(optimizer: Optimizer, state: State, slopes: Tensor, rate: Tensor, hyper: Hyperparameters) -> State:
    """Clip, decay and step, with the formulas, order and constants of ``torch.optim``."""
    weights = state["weights"]
    if "clip" in hyper:
        slopes *= tf.minimum(1.0, hyper["clip"] / (tf.norm(slopes) + 1e-6))
    if "decay" in hyper and optimizer == "adamw":
        weights *= 1 - rate * hyper["decay"]
    elif "decay" in hyper:
        slopes += hyper["decay"] * weights
    steps = state["steps"] + 1
    match optimizer:
        case "sgd":
            moved = {"weights": weights - rate * slopes}
        case "rmsprop":
            v = 0.99 * state["v"] + 0.01 * slopes * slopes
            moved = {"weights": weights - rate * slopes / (tf.sqrt(v) + 1e-8), "v": v}
        case _:
            m = state["m"] + 0.1 * (slopes - state["m"])
            v = 0.999 * state["v"] + 0.001 * slopes * slopes
            size, root = rate / _bias_correction(0.9, steps), tf.sqrt(_bias_correction(0.999, steps))
            moved = {"weights": weights - size * m / (tf.sqrt(v) / root + 1e-8), "m": m, "v": v}
    return state | moved | {"steps": steps}


def _bias_correction(beta: float, steps: Tensor) -> Tensor:
    """1 - βˢᵗᵉᵖˢ without loss of precision in float32."""
    return -tf.math.expm1(tf.cast(steps, tf.float32) * tf.constant(log(beta), tf.float32))


def flattened(setup: Setup, weights: Arrays) -> Arrays:
    """Canonical weights as the flat tensor of the state."""
    return {"weights": np.concatenate([np.ravel(weights[name]) for name in network.shapes(setup)])}


def unflattened(setup: Setup, flat: npt.NDArray[np.generic]) -> Arrays:
    """Copies of the canonical weights from the flat tensor of the state."""
    found: Arrays = {}
    first = 0
    for name, shape in network.shapes(setup).items():
        found[name] = flat[first : first + prod(shape)].reshape(shape).copy()
        first += prod(shape)
    return found
