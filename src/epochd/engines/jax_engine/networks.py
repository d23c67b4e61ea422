"""The four networks in JAX, written for XLA's compiler on CPU.

They compute the same as ``reference`` from the same canonical weights. Three choices are based on measurements
(milliseconds per training step of 2,000 x 50 x 8 sequences, units 64-32, batch 32, one core; PyTorch in the same run):

    convolution   one matrix product over the shifted input 0.36; XLA's own convolution, channels first 2.8,
                  channels last 8.6; PyTorch 1.6
    lstm          backward pass by hand with gates kept 2.8; by ``jax.grad`` 3.3; PyTorch 2.9
    gru           by hand 2.5, and 0.75 forward only; by ``jax.grad`` 2.6 and 2.3; PyTorch 10.4

Unrolling the loop over time doubles the step at 5 steps and quadruples it at 10.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from epochd.core.spec_fields import Activation
from epochd.engines import network
from epochd.engines.jax_engine.recurrent import Drop, Length, Weights, lengths, real_steps, recurrent
from epochd.loop.engine import Setup

COLUMN_BYTES = 2**25
"""The largest shifted copy of a convolution's input; above this XLA's own convolution is used."""

ACTIVATIONS: dict[Activation, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "tanh": jnp.tanh,
    "gelu": lambda x: jax.nn.gelu(x, approximate=True),
    "silu": jax.nn.silu,
}


def forward(setup: Setup, weights: Weights, x: jax.Array, drop: Drop, dtype: Any = jnp.float32) -> jax.Array:
    """Features (rows, *inputs) and weights in float32 → raw outputs (rows, outputs), computed in ``dtype``."""
    features, length = embed_inputs(setup, weights, x, dtype)
    weights = {name: weight.astype(dtype) for name, weight in weights.items()}
    hidden = {"mlp": mlp, "cnn": cnn}.get(setup.spec.model_type, recurrent)(setup, weights, features, length, drop)
    return hidden @ weights["output.weight"].T + weights["output.bias"]


def embed_inputs(setup: Setup, weights: Weights, x: jax.Array, dtype: Any) -> tuple[jax.Array, Length]:
    """Look up the embeddings and remove the mask: (rows, *hidden_inputs) in ``dtype``, and the lengths.

    The cast is last: bfloat16 represents only every second integer above 256, and is too coarse to add up the gradient
    of an embedding. XLA computes that sum as a scatter-add, on a CPU in the order of the rows. Measured with 4,000
    codes x 50, batch 256, one core: 0.1 ms per step, against 2 ms for a product with one-hot rows.
    """
    if not (setup.embeddings or setup.masked):
        return x.astype(dtype), None
    plain = [x[..., channels].astype(dtype) for channels in network.plain_runs(setup)]
    vectors = [
        weights[f"embedding.{i}.weight"][x[..., embedding.channel].astype(jnp.int32)].astype(dtype)
        for i, embedding in enumerate(setup.embeddings)
    ]
    return jnp.concatenate(plain + vectors, axis=-1), lengths(x[..., -1]) if setup.masked else None


def mlp(setup: Setup, weights: Weights, x: jax.Array, length: Length, drop: Drop) -> jax.Array:
    activate = ACTIVATIONS[setup.spec.activation]
    hidden = x.reshape(len(x), -1)
    for i in range(len(setup.spec.hidden_units)):
        hidden = activate(hidden @ weights[f"hidden.{i}.weight"].T + weights[f"hidden.{i}.bias"])
        hidden = drop(hidden, i, 0)
    return hidden


def cnn(setup: Setup, weights: Weights, x: jax.Array, length: Length, drop: Drop) -> jax.Array:
    activate = ACTIVATIONS[setup.spec.activation]
    exists = None if length is None else real_steps(length, x.shape[1])[..., None].astype(x.dtype)
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
        space = x.shape[1:-1]
        padded = jnp.pad(x, [(0, 0), *padding, (0, 0)])
        shifted = []  # the inputs of the filter at each position: (rows, *space, product of sizes x in)
        for offset in np.ndindex(*sizes):
            window = tuple(slice(first, first + length) for first, length in zip(offset, space, strict=True))
            shifted.append(padded[:, *window])
        return jnp.concatenate(shifted, axis=-1) @ jnp.moveaxis(kernel, (0, 1), (-1, -2)).reshape(-1, kernel.shape[0])
    axes = "HW"[: len(sizes)]
    names = (f"N{axes}C", f"OI{axes}", f"N{axes}C")
    return lax.conv_general_dilated(x, kernel, (1,) * len(sizes), padding, dimension_numbers=names)


def max_pool(x: jax.Array) -> jax.Array:
    """Max-pooling by 2 in each dimension of size 2 or more; the last value of an odd size is dropped."""
    for axis in range(1, x.ndim - 1):
        if half := x.shape[axis] // 2:
            whole = lax.slice_in_dim(x, 0, 2 * half, axis=axis)
            pairs = whole.reshape(*x.shape[:axis], half, 2, *x.shape[axis + 1 :])
            even, odd = (lax.index_in_dim(pairs, i, axis + 1, keepdims=False) for i in (0, 1))
            x = jnp.maximum(even, odd)
    return x
