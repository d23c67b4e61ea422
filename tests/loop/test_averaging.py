"""The average of several networks: mean probabilities and mean values, as the output of one network."""

import numpy as np
import pytest
from scipy import special

from epochd.core.target_scale import TargetScale
from epochd.loop import averaging

RANDOM = np.random.default_rng(5)
PLAIN = TargetScale()


def outputs(columns, scale=3.0):
    return [(scale * RANDOM.normal(size=(200, columns))).astype(np.float32) for _ in range(4)]


def test_the_sigmoid_of_the_average_is_the_mean_probability():
    found = outputs(1)
    expected = np.mean([special.expit(one.astype(np.float64)) for one in found], axis=0)
    assert special.expit(averaging.averaged(found, "binary", PLAIN).astype(np.float64)) == pytest.approx(
        expected, abs=1e-7
    )


def test_the_softmax_of_the_average_is_the_mean_of_the_probabilities():
    found = outputs(5)
    expected = np.mean([special.softmax(one.astype(np.float64), axis=1) for one in found], axis=0)
    averaged = averaging.averaged(found, "multiclass", PLAIN).astype(np.float64)
    assert special.softmax(averaged, axis=1) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("transform", [None, "log1p"])
def test_values_are_averaged_in_the_unit_of_the_target(transform):
    units, found = TargetScale(2.0, 0.7, transform), outputs(2, scale=1.0)
    expected = np.mean([units.restored(one) for one in found], axis=0)
    assert units.restored(averaging.averaged(found, "regression", units)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("task", "columns"), [("binary", 1), ("multiclass", 3)])
def test_certain_networks_have_a_finite_average(task, columns):
    certain = [np.full((2, columns), size, np.float32) for size in (3e4, 2e4)]
    certain[0][:, 0], certain[1][:, 0] = -3e4, -2e4
    assert np.isfinite(averaging.averaged(certain, task, PLAIN)).all()


def test_a_network_that_has_no_finite_output_leaves_none():
    assert np.isnan(averaging.averaged([np.full((1, 3), np.nan, np.float32)] * 2, "multiclass", PLAIN)).all()


def test_a_single_network_is_its_own_average():
    [one, *_] = outputs(1)
    assert averaging.averaged([one], "binary", PLAIN) is one


def test_weights_of_several_networks_are_named_by_network():
    parts = [{"hidden.0.weight": 1, "output.bias": 2}, {"hidden.0.weight": 3}]
    joined = averaging.joined(parts)
    assert joined == {"members.0.hidden.0.weight": 1, "members.0.output.bias": 2, "members.1.hidden.0.weight": 3}
    assert averaging.divided(joined, 2) == parts
    assert averaging.joined(parts[:1]) == parts[0] == averaging.divided(parts[0], 1)[0]
