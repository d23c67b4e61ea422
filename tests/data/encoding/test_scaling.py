"""Three kinds of scaling, fitted in batches."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm
from sklearn.preprocessing import RobustScaler

from epochd.data.encoding.scaling import Knots, Linear, Moments, ScaleFit, scale_from_json

NUMBERS = arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e9, 1e9))


def scaled(scaling, numbers, interval=1, pieces=1):
    fit = ScaleFit(scaling, interval)
    for piece in np.array_split(np.asarray(numbers, np.float64), pieces):
        fit.partial_fit(piece)
    return fit.finalize()


@given(NUMBERS, st.integers(1, 5))
def test_batches_have_the_moments_of_the_whole(numbers, pieces):
    moments = Moments()
    for piece in np.array_split(numbers, pieces):
        moments.partial_fit(piece)
    spread = np.abs(numbers).max() + 1e-300
    assert moments.mean == pytest.approx(numbers.mean(), abs=1e-12 * spread)
    assert np.sqrt(moments.squares / len(numbers)) == pytest.approx(numbers.std(), abs=1e-6 * spread)
    assert (moments.low, moments.high) == (numbers.min(), numbers.max())


def test_one_batch_gives_the_mean_and_deviation_of_numpy_to_the_last_bit():
    numbers = np.random.default_rng(1).normal(3, 7, 1000)
    mean = numbers.mean()
    assert scaled("standard", numbers) == Linear(mean, np.sqrt(np.square(numbers - mean).sum() / 1000))


def test_a_large_mean_does_not_hide_a_small_deviation_in_batches():
    numbers = 1e9 + np.arange(10_000) % 2
    assert scaled("standard", numbers, pieces=7).scale == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_a_constant_column_encodes_every_later_number_as_zero(scaling):
    scale = scaled(scaling, [0.1] * 7, pieces=3)
    assert scale.apply(np.array([0.1, 7.0, -1e9, np.nan])).astype(np.float32).tolist()[:3] == [0, 0, 0]
    assert scale_from_json(json.loads(json.dumps(scale.as_json()))) == scale


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_a_column_without_numbers_encodes_every_later_number_as_zero(scaling):
    assert scaled(scaling, [np.nan, np.nan]).apply(np.array([7.0, -1e9])).astype(np.float32).tolist() == [0, 0]


def test_robust_scaling_equals_scikit_learns():
    numbers = np.random.default_rng(2).lognormal(0, 2, 501)
    theirs = RobustScaler().fit(numbers[:, None])
    found = scaled("robust", numbers, pieces=4)
    assert (found.centre, found.scale) == (pytest.approx(theirs.center_[0]), pytest.approx(theirs.scale_[0]))


def test_robust_scaling_falls_back_on_the_deviation_where_the_quartiles_are_equal():
    numbers = [0.0] * 9 + [10.0]
    assert scaled("robust", numbers) == Linear(0.0, np.std(numbers))


def test_robust_scaling_keeps_outliers_within_float32():
    numbers = np.array([0.0] * 6 + [1e-300] * 5 + [1e90])
    assert np.isfinite(scaled("robust", numbers).apply(numbers).astype(np.float32)).all()


def test_quantile_scaling_gives_any_shape_the_normal_one():
    numbers = np.random.default_rng(3).lognormal(0, 2, 5000)
    found = scaled("quantile", numbers, pieces=3)
    scores = np.sort(found.apply(numbers))
    assert len(found.values) == 256
    assert scores[100:-100] == pytest.approx(norm.ppf((np.arange(5000) + 0.5) / 5000)[100:-100], abs=0.05)


def test_quantile_scaling_keeps_order_and_ends():
    found = scaled("quantile", [5.0, 1.0, 3.0])
    scores = found.apply(np.array([-1e300, 1.0, 2.0, 3.0, 4.0, 5.0, 1e300]))
    assert scores[0] == scores[1] == -scores[-1] == -scores[-2] == pytest.approx(norm.ppf(1 / 6))
    assert scores[3] == 0
    assert (np.diff(scores) >= 0).all()


def test_a_frequent_value_gets_the_mean_of_its_scores():
    found = scaled("quantile", [0.0] * 50 + list(range(1, 51)))
    assert found.values[:2] == (0, 1)
    assert found.scores[0] == pytest.approx(-np.sqrt(2 / np.pi), abs=0.02)  # of the lower half of a normal


def test_an_infinite_value_is_not_encoded_as_the_largest():
    assert np.isposinf(scaled("quantile", [1.0, 2.0]).apply(np.array([np.inf])))


def test_samples_are_every_kth_row_wherever_batches_end():
    numbers = np.arange(1000.0)
    for pieces in (1, 3, 7):
        fit = ScaleFit("robust", interval=10)
        for piece in np.array_split(numbers, pieces):
            fit.partial_fit(piece)
        assert np.concatenate(fit.samples).tolist() == numbers[::10].tolist()


def test_samples_of_lists_take_whole_rows():
    fit = ScaleFit("robust", interval=2)
    fit.partial_fit(np.array([1.0, 2, 3, 4, 5, np.nan]), np.array([2, 1, 3]))
    fit.partial_fit(np.array([6.0, 7, 8]), np.array([1, 2]))
    assert np.concatenate(fit.samples).tolist() == [1, 2, 4, 5, 7, 8]


@given(NUMBERS)
def test_knots_increase(numbers):
    found = Knots.fit(numbers)
    if found is not None:
        assert (np.diff(found.values) > 0).all()
        assert (np.diff(found.scores) > 0).all()
