"""Class weights."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from epochd.loop.metrics import class_weights

Y = np.array([0, 0, 0, 1, 1, 2])


def test_balanced_is_scikit_learns():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=Y)
    assert class_weights("balanced", ("a", "b", "c"), Y) == pytest.approx(expected)


def test_a_map_by_label_leaves_the_others_at_one():
    assert class_weights({"7": 3.0}, (5, 6, 7), Y) == (1.0, 1.0, 3.0)


def test_booleans_and_whole_floats_are_found_as_json_names_them():
    assert class_weights({"true": 3.0}, (False, True), Y) == (1.0, 3.0)
    assert class_weights({"0": 2.0}, (False, True), Y) == (2.0, 1.0)
    assert class_weights({"1": 2.0, "3.0": 4.0}, (1.0, 2.0, 3.0), Y) == (2.0, 1.0, 4.0)
    assert class_weights({"1": 2.0}, ("1.0", "1"), Y) == (1.0, 2.0)


def test_nothing_asked_or_no_classes_weighs_nothing():
    assert class_weights(None, ("a", "b"), Y) is None
    assert class_weights("balanced", None, Y) is None
