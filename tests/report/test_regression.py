import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from epochd.report.regression import CELLS, MAX_POINTS, regression

VALUES = arrays.arrays(np.float64, st.integers(1, 60), elements=st.floats(-1e6, 1e6))


@given(VALUES)
@settings(max_examples=50)
def test_every_row_is_in_one_bar_and_in_one_group(truth):
    found = regression(truth, truth[::-1] * 0.5)
    assert sum(found.residuals) == sum(group.rows for group in found.groups) == len(truth)
    assert len(found.edges) == len(found.residuals) + 1
    weighted = sum(group.rows * group.error for group in found.groups) / len(truth)
    assert weighted == pytest.approx(np.abs(truth[::-1] * 0.5 - truth).mean())


def test_a_constant_target_is_one_group():
    found = regression(np.full(50, 3.0), np.full(50, 3.0))
    assert [(group.low, group.high, group.rows, group.error) for group in found.groups] == [(3, 3, 50, 0)]


@pytest.mark.parametrize("step", [5e-324, 1e-310, 0.0])
@pytest.mark.parametrize("value", [0.0, 1.0, -3e9, 1e30])
@pytest.mark.parametrize("rows", [2, MAX_POINTS + 2])
def test_values_between_which_there_is_no_other_float_have_a_histogram(value, step, rows):
    truth = np.full(rows, value)
    predicted = truth.copy()
    predicted[0] = np.nextafter(value, np.inf) if step else value
    predicted[1] -= step
    found = regression(truth, predicted)
    assert sum(found.residuals) == rows
    assert found.density is None or np.sum(found.density) == rows
    assert found.bounds[0] < value < found.bounds[1]


def test_groups_are_about_equally_large_and_in_order():
    truth = np.arange(1000.0)
    found = regression(truth, truth + 2)
    assert [group.rows for group in found.groups] == [100] * 10
    assert all(group.bias == pytest.approx(2) for group in found.groups)
    assert [group.low for group in found.groups] == sorted(group.low for group in found.groups)


def test_many_rows_have_a_density_and_few_points():
    truth = np.linspace(0, 1, 10_000)
    found = regression(truth, truth**2)
    assert len(found.truth) == len(found.predicted) == MAX_POINTS
    assert np.array(found.density).shape == (CELLS, CELLS)
    assert np.sum(found.density) == 10_000
    assert found.density[0][-1] == 0  # a low prediction for a high truth


def test_the_tails_do_not_widen_the_histogram():
    residuals = np.concatenate([np.linspace(-1, 1, 1000), [1e6]])
    found = regression(np.zeros(1001), residuals)
    assert found.edges[-1] < 2
    assert sum(found.residuals) == 1001
