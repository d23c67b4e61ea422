"""Dropout masks from a small integer hash.

A mask is a pure function of (seed, step, layer, position of the row in the global batch, unit): a resumed run needs no
generator state, and a batch that is split over devices gets the same masks as on one. JAX's threefry generator also has
these properties, but takes longer than the matrix products of a small network; this hash takes a few integer operations
per unit and fuses into the layer's activation.

The mixing is ``lowbias32`` of Chris Wellons, https://nullprogram.com/blog/2018/07/31/ (public domain), with a
second key added between its two multiplications, so that no mask is a shifted copy of another.
"""

from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Key = tuple[jax.Array, jax.Array]

GOLDEN = np.uint32(0x9E3779B9)
"""2**32 divided by the golden ratio: its multiples are well distributed."""


def mask_key(seed: jax.Array, step: jax.Array, layer: int) -> Key:
    """The key of one layer's mask in one step (both uint32, steps counted from the start of the training): two uint32
    numbers."""
    first = _mix(_mix(seed + GOLDEN * step.astype(jnp.uint32)) + np.uint32(layer))
    second = _mix(_mix(step.astype(jnp.uint32) ^ ~seed) + GOLDEN * (first ^ np.uint32(layer)))
    return first, second


def keep_mask(
    key: Key, shape: tuple[int, ...], limit: jax.Array, first_row: jax.Array | int = 0, axis: int = 0
) -> jax.Array:
    """True where a unit is kept, with probability 1 - limit / 2**32 (``limit``: uint32); bool, of ``shape``.

    ``axis`` is that of the rows and ``first_row`` the position of the first one in the global batch; the other axes are
    the units of a row. Masks repeat inside a layer beyond 2**32 units in one batch.
    """
    rows = lax.broadcasted_iota(jnp.uint32, shape, axis) + jnp.asarray(first_row, jnp.uint32)
    counter, stride = rows * np.uint32(prod(shape) // shape[axis] & 0xFFFFFFFF), 1
    for other in reversed([i for i in range(len(shape)) if i != axis]):
        counter += lax.broadcasted_iota(jnp.uint32, shape, other) * np.uint32(stride)
        stride *= shape[other]
    bits = _mix(counter * GOLDEN + key[0], key[1])
    return bits >= limit


def drop(
    x: jax.Array, key: Key, limit: jax.Array, scale: jax.Array, first_row: jax.Array | int = 0, axis: int = 0
) -> jax.Array:
    """Dropout: zero the units that are not kept, multiply the others by ``scale``, 1 / (1 - rate)."""
    return jnp.where(keep_mask(key, x.shape, limit, first_row, axis), x * scale.astype(x.dtype), 0)


def _mix(x: jax.Array, key: jax.Array | int = 0) -> jax.Array:
    x ^= x >> 16
    x *= np.uint32(0x7FEB352D)
    x ^= (x >> 15) ^ key
    x *= np.uint32(0x846CA68B)
    return x ^ (x >> 16)
