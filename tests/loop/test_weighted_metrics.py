"""Metrics of weighted rows equal scikit-learn's with ``sample_weight``."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as reference
from sklearn.dummy import DummyRegressor
from sklearn.utils.class_weight import compute_class_weight

from epochd.core.target_scale import TargetScale
from epochd.data.feed.dataset import InMemoryDataset
from epochd.loop import metrics, ranking
from epochd.loop.baselines import baselines
from epochd.loop.history import running_scores
from epochd.loop.state import Totals

SETTINGS = settings(max_examples=60, deadline=None)
LABELS = {"zero_division": 0}
WEIGHT = st.sampled_from([0.0, 0.25, 1.0, 3.0, 17.5])


@st.composite
def weighted(draw, outputs, classes):
    """Outputs (n, outputs), often with ties, class numbers, and weights of which some are 0, but not all."""
    n = draw(st.integers(2, 25))
    values = st.floats(-20, 20, width=32) | st.sampled_from([-1.0, 0.5])
    cells = draw(st.lists(values, min_size=n * outputs, max_size=n * outputs))
    y = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    weights = np.array(draw(st.lists(WEIGHT, min_size=n, max_size=n)), np.float32)
    assume(weights.any())
    return np.array(cells, np.float32).reshape(n, outputs), np.array(y), weights


def scikit(function, *arguments, **options):
    """The value of a function of scikit-learn; None where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = float(function(*arguments, **options))
        except ValueError:
            return None
    return found if math.isfinite(found) else None


def same(found, expected):
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)), name


@SETTINGS
@given(weighted(1, 2), st.sampled_from([0.5, 0.2]))
def test_binary(rows, threshold):
    outputs, y, weights = rows
    found = metrics.evaluation(outputs, y.astype("f4"), "binary", weights=weights, threshold=threshold, classes="ny")
    logits, counts = outputs[:, 0].astype(float), weights > 0
    assert found["rows"] == len(y)
    matrix = reference.confusion_matrix(
        y[counts], logits[counts] > math.log(threshold / (1 - threshold)), labels=[0, 1]
    )
    assert found["confusion_matrix"] == matrix.tolist()
    logits, y, weights = logits[counts], y[counts], weights[counts]
    p, predicted = ranking.sigmoid(logits), (logits > math.log(threshold / (1 - threshold))).astype(int)
    w = {"sample_weight": weights}
    both = len(set(y)) == 2
    expected = {
        "loss": float(np.average(np.logaddexp(0, logits) - y * logits, weights=weights)),
        "accuracy": scikit(reference.accuracy_score, y, predicted, **w),
        "auc": scikit(reference.roc_auc_score, y, logits, **w) if both else None,
        "average_precision": scikit(reference.average_precision_score, y, logits, **w),
        "f1": scikit(reference.f1_score, y, predicted, **LABELS, **w),
        "precision": scikit(reference.precision_score, y, predicted, **LABELS, **w),
        "recall": scikit(reference.recall_score, y, predicted, **LABELS, **w),
        "balanced_accuracy": scikit(reference.balanced_accuracy_score, y, predicted, **w),
        "brier": scikit(reference.brier_score_loss, y, p, pos_label=1, **w),
    }
    same(found, expected)


@SETTINGS
@given(weighted(7, 7))
def test_multiclass(rows):
    outputs, y, weights = rows
    found = metrics.evaluation(outputs, y, "multiclass", weights=weights, classes="abcdefg")
    counts = weights > 0
    outputs, y, weights = outputs[counts].astype(float), y[counts], weights[counts]
    p, predicted, w = softmax(outputs, axis=1), outputs.argmax(1), {"sample_weight": weights}
    expected = {
        "loss": float(
            np.average(np.logaddexp.reduce(outputs, axis=1) - outputs[np.arange(len(y)), y], weights=weights)
        ),
        "accuracy": scikit(reference.accuracy_score, y, predicted, **w),
        "f1": scikit(reference.f1_score, y, predicted, average="macro", **LABELS, **w),
        "f1_weighted": scikit(reference.f1_score, y, predicted, average="weighted", **LABELS, **w),
        "balanced_accuracy": scikit(reference.balanced_accuracy_score, y, predicted, **w),
        "log_loss": scikit(reference.log_loss, y, p, labels=range(7), **w),
        "top_5_accuracy": scikit(reference.top_k_accuracy_score, y, outputs, k=5, labels=range(7), **w),
    }
    same(found, expected)
    of_class = reference.precision_recall_fscore_support(y, predicted, labels=range(7), **LABELS, **w)
    for place, name in enumerate(("precision", "recall", "f1")):
        assert [entry[name] for entry in found["per_class"]] == pytest.approx(of_class[place].tolist())
    assert [entry["support"] for entry in found["per_class"]] == np.bincount(y, minlength=7).tolist()


@pytest.mark.parametrize("kept", [ranking.KEPT_VALUES, 0])
@pytest.mark.parametrize("classes", [2, 4])
def test_auc_and_average_precision_of_many_rows_are_exact_or_estimated(monkeypatch, kept, classes):
    monkeypatch.setattr(ranking, "KEPT_VALUES", kept)
    draw = np.random.default_rng(0)
    y, weights = draw.integers(0, classes, 3_000), draw.integers(0, 4, 3_000).astype("f4")
    outputs = draw.normal(size=(3_000, 1 if classes == 2 else classes))
    task, tolerance = ("binary", 1e-3) if classes == 2 else ("multiclass", 1e-3)
    if classes == 2:
        outputs[:, 0] += y
        expected = reference.roc_auc_score(y, outputs[:, 0], sample_weight=weights)
    else:
        outputs[np.arange(3_000), y] += 1
        expected = reference.roc_auc_score(y, softmax(outputs, axis=1), multi_class="ovr", sample_weight=weights)
    found = metrics.evaluation(outputs, y, task, weights=weights)
    assert found["auc"] == pytest.approx(expected, abs=1e-12 if kept else tolerance)
    if classes == 2:
        precise = reference.average_precision_score(y, outputs[:, 0], sample_weight=weights)
        assert found["average_precision"] == pytest.approx(precise, abs=1e-12 if kept else tolerance)


@pytest.mark.parametrize("transform", [None, "log1p"])
@SETTINGS
@given(weighted(2, 2))
def test_regression(transform, rows):
    values, _, weights = rows
    standard, outputs = (values / 10).T.astype(np.float32)
    units = TargetScale(2.0, 1.5, transform)
    found = metrics.evaluation(outputs[:, None], standard, "regression", weights=weights, units=units)
    counts, restored = weights > 0, np.expm1 if transform else np.asarray
    truth, predicted = (restored(part[counts].astype(float) * 1.5 + 2) for part in (standard, outputs))
    w = {"sample_weight": weights[counts]}
    loss = reference.mean_squared_error(standard[counts].astype(float), outputs[counts].astype(float), **w)
    expected = {
        "loss": loss,
        "mae": reference.mean_absolute_error(truth, predicted, **w),
        "rmse": reference.root_mean_squared_error(truth, predicted, **w),
    }
    if np.abs(truth).min() > 1e-5:
        expected["mape"] = reference.mean_absolute_percentage_error(truth, predicted, **w)
    if len(truth) > 1 and truth.std() > 1e-6:
        expected["r2"] = reference.r2_score(truth, predicted, **w)
    same(found, expected)


def test_whole_weights_count_like_repeated_rows():
    draw = np.random.default_rng(3)
    outputs, y, weights = draw.normal(size=(90, 1)), draw.integers(0, 2, 90), draw.integers(0, 4, 90)
    once = metrics.evaluation(outputs, y, "binary", weights=weights.astype("f4"))
    repeated = metrics.evaluation(outputs.repeat(weights, axis=0), y.repeat(weights), "binary")
    same(once, {name: value for name, value in repeated.items() if name != "rows"})


def test_baselines_know_the_weights_of_both_sides():
    train, y = np.array([1.0, 2.0, 6.0], "f4"), np.array([2.0, 5.0], "f4")
    given_weights = {"train_weights": np.array([1, 1, 2], "f4"), "weights": np.array([3, 1], "f4")}
    (found,) = baselines("regression", train, y, **given_weights)
    dummy = DummyRegressor().fit(np.zeros((3, 1)), train, [1, 1, 2]).predict(np.zeros((2, 1)))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(y, dummy, sample_weight=[3, 1]))
    classes = baselines("binary", np.array([0, 0, 1], "f4"), np.array([0, 1], "f4"), **given_weights)
    prior = next(one for one in classes if one["name"] == "prior")
    assert prior["brier"] == pytest.approx(0.25)
    majority = next(one for one in classes if one["name"] == "majority class")
    assert majority["accuracy"] == 0.75


def test_balanced_class_weights_make_the_total_weights_equal():
    y, weights = np.array([0, 0, 0, 1]), np.array([1, 1, 4, 2], "f4")
    found = metrics.class_weights("balanced", ("a", "b"), y, weights)
    assert found == pytest.approx((2 / 3, 2.0))
    totals = np.bincount(y, weights * np.array(found)[y])
    assert totals[0] == pytest.approx(totals[1])
    assert metrics.class_weights("balanced", ("a", "b"), y, np.ones(4, "f4")) == pytest.approx(
        compute_class_weight("balanced", classes=np.arange(2), y=y)
    )


def test_the_running_r2_is_that_of_the_weighted_training_rows():
    y, weights = np.array([1.0, 2.0, 4.0], "f4"), np.array([0.5, 1.0, 1.5], "f4")
    outputs = np.array([1.5, 2.0, 3.0])
    totals = Totals(3, 0.0, float((weights * (outputs - y) ** 2).sum()))
    found = running_scores(totals, InMemoryDataset(y[:, None], y, weights), "regression")
    assert found["r2"] == pytest.approx(reference.r2_score(y, outputs, sample_weight=weights))
