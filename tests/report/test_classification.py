import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics

from epochd.report import classification

LEVELS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.5000001, 0.9, 1.0])
"""Few values, so that many rows are tied."""
ROWS = st.integers(2, 40).flatmap(
    lambda rows: st.tuples(arrays.arrays(np.float64, rows, elements=LEVELS), arrays.arrays(bool, rows))
)


@given(ROWS)
@settings(max_examples=50)
def test_areas_are_those_of_scikit_learn(rows):
    scores, positive = rows
    roc, ranked = classification.roc(scores, positive), classification.precision_recall(scores, positive)
    assert (roc is None) == (positive.all() or not positive.any())
    assert (ranked is None) == (not positive.any())
    if roc is not None:
        assert roc.area == pytest.approx(metrics.roc_auc_score(positive, scores))
    if ranked is not None:
        assert ranked.area == pytest.approx(metrics.average_precision_score(positive, scores))


@given(ROWS, st.floats(0.01, 0.99))
@settings(max_examples=50)
def test_confusion_and_thresholds_are_those_of_scikit_learn(rows, threshold):
    scores, positive = rows
    found = classification.classification(
        np.column_stack([1 - scores, scores]), positive.astype(int), ["no", "yes"], threshold
    )
    predicted = scores > threshold
    assert found.matrix == metrics.confusion_matrix(positive, predicted, labels=[False, True]).tolist()
    (decision,) = [one for one in found.binary.thresholds if one.is_decision]
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        positive, predicted, average="binary", zero_division=0
    )
    assert (decision.precision or 0, decision.recall or 0, decision.f1 or 0) == pytest.approx((precision, recall, f1))
    assert decision.share == predicted.mean()
    levels = found.binary.levels
    assert threshold in levels.thresholds
    assert levels.thresholds == sorted(set(levels.thresholds))
    for level, hits, alarms in zip(levels.thresholds, levels.true_positives, levels.false_positives, strict=True):
        expected = metrics.confusion_matrix(positive, scores > level, labels=[False, True])
        assert (alarms, hits) == tuple(expected[:, 1])


def test_levels_are_dense_where_the_rows_are():
    rng = np.random.default_rng(0)
    positive = rng.random(50_000) < 0.01
    scores = rng.beta(1, 200, 50_000) + 0.004 * positive
    found = classification.levels(scores, positive, 0.123456)
    assert 190 < len(found.thresholds) <= classification.MAX_POINTS
    assert np.median([len(repr(level)) for level in found.thresholds]) <= 7
    recalls = np.array(found.true_positives) / positive.sum()
    assert np.abs(np.diff(recalls)).max() < 0.05  # equal steps of the probability alone would miss all of them


def test_figures_of_classes_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities, y = rng.dirichlet([1, 1, 1], 200), rng.integers(0, 3, 200)
    found = classification.classification(probabilities, y, ["a", "b", "c"])
    expected = metrics.precision_recall_fscore_support(y, probabilities.argmax(axis=1))
    for number, one in enumerate(found.per_class):
        assert (one.precision, one.recall, one.f1) == pytest.approx([column[number] for column in expected[:3]])
        assert one.auc == pytest.approx(metrics.roc_auc_score(y == number, probabilities[:, number]))
    assert sum(pair.rows for pair in found.confused) == (y != probabilities.argmax(axis=1)).sum()


def test_a_long_curve_is_thinned_and_keeps_its_ends_and_area():
    rng = np.random.default_rng(0)
    positive = rng.random(20_000) < 0.1
    scores = rng.normal(positive, 1)
    curve = classification.roc(scores, positive)
    assert len(curve.x) <= classification.MAX_POINTS
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(curve.y, curve.x) == pytest.approx(curve.area, abs=2e-3)


def test_many_classes_have_pairs_instead_of_a_matrix():
    labels = [str(number) for number in range(30)]
    probabilities = np.eye(30)[(np.arange(300) // 10 + (np.arange(300) % 10 == 0)) % 30]
    found = classification.classification(probabilities, np.arange(300) // 10, labels)
    assert found.matrix is None
    assert (found.confused[0].truth, found.confused[0].predicted, found.confused[0].rows) == ("0", "1", 1)
    assert len(found.confused) == classification.MAX_PAIRS


def test_calibration_counts_every_row_once():
    scores = np.array([0.0, 0.05, 0.5, 0.55, 1.0])
    bins = classification.calibration(scores, np.array([False, False, True, False, True]))
    assert [(one.rows, one.observed) for one in bins] == [(2, 0), (2, 0.5), (1, 1)]
    assert bins[1].predicted == pytest.approx(0.525)
