"""The hash that draws JAX's dropout masks, tested as a random number generator. All of it is deterministic."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")

from epochd.engines.jax_engine import dropout  # noqa: E402

SHAPE = (256, 128)
LIMIT = np.uint32(round(0.2 * 2**32))
SIGMAS = 4.5
"""How far a count of independent units may lie from its mean."""


def mask(seed=0, step=0, layer=0, rate=0.5, shape=SHAPE, **place):
    key = dropout.mask_key(jax.numpy.uint32(seed), jax.numpy.uint32(step), layer)
    return np.asarray(dropout.keep_mask(key, shape, jax.numpy.uint32(round(rate * 2**32)), **place))


def sigmas(hits, trials, chance):
    return abs(hits - trials * chance) / (trials * chance * (1 - chance)) ** 0.5


def agreement(left, right):
    """How unlike a fair coin it is that two masks of rate 0.5 agree in a unit, in standard deviations."""
    return sigmas((left == right).sum(), left.size, 0.5)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.2, 0.5, 0.9])
def test_the_rate_is_met(rate):
    dropped = sum((~mask(step=step, rate=rate)).sum() for step in range(20))
    assert sigmas(dropped, 20 * np.prod(SHAPE), rate) < 4


def test_a_rate_of_nothing_keeps_everything():
    assert mask(rate=0.0).all()


@pytest.mark.parametrize(
    "other", [{"step": 1}, {"step": 1 << 20}, {"layer": 1}, {"seed": 1}, {"seed": 1 << 31}, {"seed": 1, "step": 1}]
)
def test_masks_of_other_steps_layers_and_seeds_are_independent(other):
    assert agreement(mask(), mask(**other)) < SIGMAS


def test_no_two_masks_of_a_run_are_alike():
    masks = np.stack([mask(step=step, layer=layer).ravel() for step in range(40) for layer in range(3)])
    signs = np.where(masks, 1.0, -1.0)
    correlations = (signs @ signs.T / masks.shape[1])[np.triu_indices(len(masks), 1)]
    assert np.abs(correlations).max() * masks.shape[1] ** 0.5 < 5.5
    assert (correlations**2).mean() * masks.shape[1] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("lag", [1, 2, 3, 32, 64, 127, 128, 129, 256, 4096])
def test_no_lattice_shows_along_units_and_rows(lag):
    units = np.concatenate([mask(step=step).ravel() for step in range(8)])
    assert agreement(units[lag:], units[:-lag]) < SIGMAS


@pytest.mark.parametrize("axis", [0, 1])
def test_rows_and_units_are_dropped_equally_often(axis):
    """Chi-square of the counts per row and per unit over many steps: mean n, standard deviation √(2n)."""
    steps, rate = 100, 0.2
    dropped = sum((~mask(step=step, rate=rate)).sum(axis=axis) for step in range(steps))
    trials = steps * SHAPE[axis]
    chi_square = ((dropped - trials * rate) ** 2 / (trials * rate * (1 - rate))).sum()
    assert abs(chi_square - dropped.size) < SIGMAS * (2 * dropped.size) ** 0.5


def test_neighbours_fall_in_all_patterns_equally_often():
    """Chi-square of the 256 patterns of eight neighbouring units, 255 degrees of freedom."""
    units = np.concatenate([mask(step=step).reshape(-1, 8) for step in range(30)])
    counts = np.bincount(np.packbits(units, axis=1).ravel(), minlength=256)
    expected = len(units) / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - 255) < SIGMAS * (2 * 255) ** 0.5


def test_a_share_of_the_batch_gets_its_part_of_the_whole_mask():
    np.testing.assert_array_equal(mask(shape=(100, 7), first_row=28)[:72], mask(shape=(100, 7))[28:])


def test_the_axis_of_the_rows_does_not_matter():
    rows_first = mask(shape=(6, 5, 4))
    np.testing.assert_array_equal(mask(shape=(5, 6, 4), axis=1), np.moveaxis(rows_first, 0, 1))


def test_what_is_kept_is_scaled_up_and_the_rest_is_zero():
    key = dropout.mask_key(jax.numpy.uint32(3), jax.numpy.uint32(7), 1)
    dropped = np.asarray(dropout.drop(jax.numpy.ones((50, 20)), key, LIMIT, jax.numpy.float32(1.25)))
    np.testing.assert_allclose(np.unique(dropped), [0, 1.25])
