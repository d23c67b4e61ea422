"""The choice of a decision threshold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score

from epochd.loop import metrics
from epochd.loop.ranking import Ranked, best_threshold

SCORES = {"f1": ("f1", f1_score), "balanced": ("balanced_accuracy", balanced_accuracy_score)}


def chosen(logits, y, aim):
    return best_threshold(Ranked.of(np.array(logits, np.float32), np.array(y, bool)), aim)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-600, 600).map(lambda number: number / 100), st.booleans()), min_size=2, max_size=30
    ),
    st.sampled_from(["f1", "balanced"]),
)
def test_no_threshold_is_better(rows, aim):
    logits, y = np.array([row[0] for row in rows], np.float32), np.array([row[1] for row in rows])
    threshold, (name, function) = chosen(logits, y, aim), SCORES[aim]
    found = metrics.evaluation(logits[:, None], y.astype("f4"), "binary", threshold=threshold)[name]
    if y.all() or not y.any():
        assert threshold == 0.5
        return
    cuts = [-np.inf, *logits[logits < logits.max()]]
    others = [function(y, logits > cut, **({"zero_division": 0} if aim == "f1" else {})) for cut in cuts]
    assert 0 < threshold < 1
    assert found == pytest.approx(max(others))


def test_a_half_is_kept_where_it_is_as_good_as_any():
    assert chosen([-3, -2, 2, 3], [0, 0, 1, 1], "f1") == 0.5
    assert chosen([-3, -2, -1, 3], [0, 0, 1, 1], "f1") != 0.5


def test_of_equally_good_ones_the_nearest_to_a_half_then_the_lowest_is_taken():
    logits = np.log([0.1 / 0.9, 0.3 / 0.7, 0.7 / 0.3, 0.9 / 0.1])
    assert chosen(logits, [0, 1, 0, 1], "balanced") == 0.2
    assert chosen(logits[[0, 1, 3]], [0, 1, 1], "f1") == 0.2


def test_rare_positives_are_found_below_a_half():
    draw = np.random.default_rng(0)
    y = draw.random(4000) < 0.03
    logits = (draw.normal(size=4000) + 3 * y - 4).astype(np.float32)
    at_half = metrics.evaluation(logits[:, None], y.astype("f4"), "binary")
    threshold = chosen(logits, y, "f1")
    assert threshold < 0.5
    found = metrics.evaluation(logits[:, None], y.astype("f4"), "binary", threshold=threshold)
    assert found["f1"] > at_half["f1"] + 0.1
