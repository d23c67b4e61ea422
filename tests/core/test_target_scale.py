"""The scale of a regression target: exact in both directions, and finite for every number a network may give."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core.target_scale import MAX_GAP, TargetScale, relative, transformed

LOG = TargetScale(2.0, 0.5, "log1p")


@given(st.lists(st.floats(-0.99, 1e90), min_size=1, max_size=9))
def test_a_logarithm_is_restored(values):
    given_values = np.array(values)
    restored = LOG.restored(LOG.standardised(given_values))
    np.testing.assert_allclose(restored, given_values, rtol=1e-12, atol=1e-15)


def test_without_a_transform_the_target_is_only_standardised():
    units = TargetScale(3.0, 2.0)
    assert units.standardised(np.array([5.0, 3.0])).tolist() == [1.0, 0.0]
    assert units.restored(np.array([[1.0], [0.0]], np.float32)).tolist() == [[5.0], [3.0]]
    assert not units.is_bounded(np.array([1e300]))


def test_any_output_of_a_network_gives_a_finite_value_above_minus_one():
    wild = np.array([-np.finfo("f4").max, -1e6, 1e6, np.finfo("f4").max], "f4")
    found = LOG.restored(wild)
    assert np.isfinite(found).all()
    assert (found > -1).all()
    assert [LOG.is_bounded(found[i : i + 1]) for i in range(4)] == [True] * 4
    assert not LOG.is_bounded(LOG.restored(np.array([-3.0, 0.0, 9.0])))


def test_values_without_a_logarithm_become_nan_without_a_warning():
    assert np.isnan(transformed(np.array([-1.0, -7.0]), "log1p")).all()


def test_relative_values_differ_from_the_targets_plus_one_by_a_factor():
    raw = np.array([0.5, 3.0, 1e6])
    standard = LOG.standardised(raw)
    found = relative(standard, LOG.scale, standard.max())
    assert found == pytest.approx((raw + 1) / (1e6 + 1))
    assert relative(np.array([np.finfo("f4").max]), 0.5, 1.0).tolist() == [np.exp(MAX_GAP)]
