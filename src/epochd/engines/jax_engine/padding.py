"""Sequences of different lengths in JAX, padded behind.

A recurrence needs no mask inside: what it has read at a step that exists knows nothing of the padding behind. Only the
ends are each sequence's own, and reading backwards begins there. Both are one gather over (steps x rows).
"""

import jax
import jax.numpy as jnp


def lengths(mask: jax.Array) -> jax.Array:
    """How many steps exist, (rows, steps) of 1 and 0 → (rows,) int32.

    Rows of padding alone, with which batches are filled up, are taken for sequences of one step.
    """
    return jnp.maximum(mask.sum(axis=1).astype(jnp.int32), 1)


def exists(length: jax.Array, steps: int) -> jax.Array:
    """True for steps that exist: (rows, steps)."""
    return jnp.arange(steps) < length[:, None]


def ends(states: jax.Array, length: jax.Array) -> jax.Array:
    """The state after each sequence's own last step: (steps, rows, units) → (rows, units)."""
    return _rows(states)[(length - 1) * len(length) + jnp.arange(len(length))]


def reverse(x: jax.Array, length: jax.Array) -> jax.Array:
    """Each sequence of (steps, rows, units) from its own last step to its first; padding stays where it is."""
    place = jnp.arange(len(x))[:, None]
    mirrored = jnp.where(place < length, length - 1 - place, place)
    return _swap(x, (mirrored * len(length) + jnp.arange(len(length))).reshape(-1))


@jax.custom_vjp
def _swap(x: jax.Array, order: jax.Array) -> jax.Array:
    """Steps put in another order that is its own inverse, so the gradient needs no scattered additions."""
    return _rows(x)[order].reshape(x.shape)


def _swap_forward(x: jax.Array, order: jax.Array) -> tuple[jax.Array, jax.Array]:
    return _swap(x, order), order


def _swap_backward(order: jax.Array, slopes: jax.Array) -> tuple[jax.Array, None]:
    return _swap(slopes, order), None


_swap.defvjp(_swap_forward, _swap_backward)


def _rows(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])
