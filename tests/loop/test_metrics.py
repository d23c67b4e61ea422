"""Metrics equal scikit-learn's, on random and on degenerate rows."""

import math
import warnings
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn import metrics as reference

from epochd.core import metric_table
from epochd.core.spec_fields import Monitor
from epochd.core.target_scale import TargetScale
from epochd.loop import metrics, ranking
from epochd.loop.ranking import Ranking
from epochd.loop.state import Totals

LOGITS = st.floats(-40, 40, width=32) | st.sampled_from([-100.0, -1.0, 0.0, 0.5, 1.0, 100.0])
"""Values that are the same in several rows, and probabilities that are rounded to 0 and 1, are frequent."""
SETTINGS = settings(max_examples=60, deadline=None)
LABELS = {"zero_division": 0}


@st.composite
def binary_rows(draw):
    """Logits (n, 1) and classes, often all of one class, often with ties."""
    n = draw(st.integers(1, 30))
    y = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n) | st.just([0] * n) | st.just([1] * n))
    logits = draw(st.lists(LOGITS, min_size=n, max_size=n) | st.just([0.25] * n))
    return np.array(logits, np.float32)[:, None], np.array(y, np.float32)


@st.composite
def multiclass_rows(draw):
    n, classes = draw(st.integers(1, 25)), draw(st.integers(3, 8))
    y = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    cells = st.lists(LOGITS, min_size=n * classes, max_size=n * classes)
    return np.array(draw(cells), np.float32).reshape(n, classes), np.array(y)


@st.composite
def regression_rows(draw):
    """Standardised outputs and targets, often a constant target or a perfect prediction, and mean and scale."""
    n = draw(st.integers(1, 30))
    values = st.lists(st.floats(-3, 3, width=32), min_size=n, max_size=n)
    y = np.array(draw(values | st.just([0.0] * n) | st.just([2.0] * n)), np.float32)
    outputs = draw(st.just(y) | values.map(lambda found: np.array(found, np.float32)))
    return outputs[:, None], y, draw(st.sampled_from([0.0, 100.0])), draw(st.sampled_from([1.0, 12.5]))


def scikit(function, *arguments, **options):
    """The value of a function of scikit-learn; None where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = float(function(*arguments, **options))
    return found if math.isfinite(found) else None


def same(found, expected):
    assert set(found) - {"rows", "confusion_matrix", "per_class"} == set(expected)
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value, rel=1e-6, abs=1e-9)), name


def test_every_metric_of_the_table_belongs_to_a_task_and_can_be_monitored():
    expected = {f"{side}_{name}" for side in ("val", "train") for name in metric_table.METRICS}
    assert set(get_args(Monitor)) == expected


@SETTINGS
@given(binary_rows(), st.sampled_from([0.5, 0.2, 0.9]))
def test_binary(rows, threshold):
    outputs, y = rows
    logits = outputs[:, 0].astype(float)
    p = ranking.sigmoid(logits)
    predicted = (logits > math.log(threshold / (1 - threshold))).astype(int)
    found = metrics.evaluation(outputs, y, "binary", threshold=threshold, classes=("no", "yes"))
    expected = {
        "loss": float((np.logaddexp(0, logits) - y * logits).mean()),
        "accuracy": scikit(reference.accuracy_score, y, predicted),
        "auc": scikit(reference.roc_auc_score, y, logits),
        "average_precision": scikit(reference.average_precision_score, y, logits),
        "f1": scikit(reference.f1_score, y, predicted, **LABELS),
        "precision": scikit(reference.precision_score, y, predicted, **LABELS),
        "recall": scikit(reference.recall_score, y, predicted, **LABELS),
        "balanced_accuracy": scikit(reference.balanced_accuracy_score, y, predicted),
        "log_loss": scikit(reference.log_loss, y, np.stack([ranking.sigmoid(-logits), p], axis=1), labels=[0, 1]),
        "brier": scikit(reference.brier_score_loss, y, p, pos_label=1),
    }
    same(found, expected)
    assert list(expected) == [name for name in metric_table.names("binary") if name != "f1_weighted"]
    assert found["confusion_matrix"] == reference.confusion_matrix(y, predicted, labels=[0, 1]).tolist()


@SETTINGS
@given(multiclass_rows())
def test_multiclass(rows):
    outputs, y = rows
    p, classes = softmax(outputs.astype(float), axis=1), list(range(outputs.shape[1]))
    predicted = outputs.argmax(1)
    found = metrics.evaluation(outputs, y, "multiclass", classes=classes)
    known = {"labels": classes}
    each = set(y) == set(classes)
    expected = {
        "loss": float((np.logaddexp.reduce(outputs.astype(float), axis=1) - outputs[np.arange(len(y)), y]).mean()),
        "accuracy": scikit(reference.accuracy_score, y, predicted),
        "auc": scikit(reference.roc_auc_score, y, p, multi_class="ovr", **known) if each else None,
        "f1": scikit(reference.f1_score, y, predicted, average="macro", **LABELS),
        "f1_weighted": scikit(reference.f1_score, y, predicted, average="weighted", **LABELS),
        "balanced_accuracy": scikit(reference.balanced_accuracy_score, y, predicted),
        "log_loss": scikit(reference.log_loss, y, p, **known),
    }
    if len(classes) > 5:
        expected["top_5_accuracy"] = scikit(reference.top_k_accuracy_score, y, outputs, k=5, **known)
    same(found, expected)
    of_class = reference.precision_recall_fscore_support(y, predicted, labels=classes, **LABELS)
    for place, name in enumerate(("precision", "recall", "f1", "support")):
        assert [entry[name] for entry in found["per_class"]] == pytest.approx(of_class[place].tolist())
    assert found["confusion_matrix"] == reference.confusion_matrix(y, predicted, labels=classes).tolist()


@SETTINGS
@given(regression_rows())
def test_regression_in_the_targets_own_unit(rows):
    outputs, y, mean, scale = rows
    found = metrics.evaluation(outputs, y, "regression", units=TargetScale(mean, scale))
    wide, truth = (values.astype(float) * scale + mean for values in (outputs[:, 0], y))
    has_zero = bool((np.abs(truth) <= metrics.ZERO * (mean + scale)).any())
    both = np.abs(truth) + np.abs(wide)
    expected = {
        "loss": scikit(reference.mean_squared_error, y.astype(float), outputs[:, 0].astype(float)),
        "r2": scikit(reference.r2_score, y.astype(float), outputs[:, 0].astype(float)),
        "mae": scikit(reference.mean_absolute_error, truth, wide),
        "rmse": scikit(reference.root_mean_squared_error, truth, wide),
        "mape": None if has_zero else scikit(reference.mean_absolute_percentage_error, truth, wide),
        "smape": float(np.mean(2 * np.abs(wide - truth) / np.where(both > 0, both, 1))),
    }
    same(found, expected)
    assert list(expected) == metric_table.names("regression")


@SETTINGS
@given(regression_rows())
def test_regression_of_a_logarithm_in_the_targets_own_unit(rows):
    outputs, y, mean, scale = rows
    mean, scale = min(abs(mean), 5.0), min(scale, 2.0)
    units = TargetScale(mean, scale, "log1p")
    found = metrics.evaluation(outputs, y, "regression", units=units)
    wide, truth = (np.expm1(np.clip(values.astype(float) * scale + mean, -30, 231)) for values in (outputs[:, 0], y))
    assert found["loss"] == scikit(reference.mean_squared_error, y.astype(float), outputs[:, 0].astype(float))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(truth, wide))
    assert found["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, wide))
    if len(y) > 1 and truth.std() > 1e-9 * np.abs(truth).max():
        assert found["r2"] == pytest.approx(reference.r2_score(truth, wide))
    if (np.abs(truth) > metrics.ZERO * (mean + scale)).all():
        assert found["mape"] == pytest.approx(reference.mean_absolute_percentage_error(truth, wide))


def test_a_wild_output_of_a_logarithm_has_finite_metrics():
    y, outputs = np.array([-1.0, 0.0, 1.0], "f4"), np.array([[1e18], [-1e18], [0.0]], "f4")
    units = TargetScale(3.0, 1.5, "log1p")
    found = metrics.evaluation(outputs, y, "regression", units=units)
    assert all(np.isfinite(value) for value in found.values())
    assert found["rmse"] > 1e90


def test_a_target_of_zero_is_noticed_after_it_was_standardised():
    raw = np.array([0.0, 3.7, 812.3, 55.1])
    y = ((raw - raw.mean()) / raw.std()).astype(np.float32)
    found = metrics.evaluation(y[:, None], y, "regression", units=TargetScale(raw.mean(), raw.std()))
    assert (found["mape"], found["smape"]) == (None, 0.0)


def test_extreme_logits_stay_finite_and_the_log_loss_is_limited():
    found = metrics.evaluation(np.array([[1e4], [-1e4]], "f4"), np.array([0, 1], "f4"), "binary")
    assert found["loss"] == pytest.approx(1e4)
    assert found["log_loss"] == pytest.approx(-math.log(np.finfo(float).eps))
    assert found["brier"] == 1.0


def test_outputs_that_are_no_numbers_have_no_metrics():
    outputs = np.array([[np.nan], [1.0]], np.float32)
    for task in ("binary", "regression"):
        assert metrics.evaluation(outputs, np.array([0, 1], "f4"), task, classes=(0, 1)) == {"rows": 2, "loss": None}


def digits(rows, classes, seed=1):
    """Outputs of a model that is right more often than not, with ties between rows."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, classes, rows)
    outputs = draw.normal(size=(rows, 1 if classes == 2 else classes)).round(2)
    if classes == 2:
        outputs[:, 0] += 1.5 * y - 1
    else:
        outputs[np.arange(rows), y] += 1.5
    return outputs.astype(np.float32), y


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 4)])
def test_rows_in_blocks_have_the_metrics_of_all_rows_at_once(task, classes):
    outputs, y = digits(700, classes)
    whole, parts = metrics.tally(task, y), metrics.tally(task, y)
    whole.add(outputs, y)
    for first in range(0, 700, 64):
        parts.add(outputs[first : first + 64], y[first : first + 64])
    assert parts.scores() == pytest.approx(whole.scores(), rel=1e-12)
    assert parts.scores()["auc"] == whole.scores()["auc"]


@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 4), ("multiclass", 30)])
def test_above_the_limit_auc_is_an_estimate_named_as_such(monkeypatch, task, classes):
    outputs, y = digits(3000, classes)
    exact = metrics.evaluation(outputs, y, task)
    monkeypatch.setattr(ranking, "KEPT_VALUES", 1000)
    estimated = metrics.evaluation(outputs, y, task)
    assert "auc_estimated" not in exact
    assert estimated.pop("auc_estimated") is True
    assert estimated == pytest.approx(exact, abs=2e-3)
    assert {name for name in exact if estimated[name] != exact[name]} <= {"auc", "average_precision"}


def test_the_memory_of_an_estimate_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr(ranking, "KEPT_VALUES", 0)
    found = Ranking(10**9)
    for _ in range(3):
        found.add(np.zeros((50, 100), np.float32), np.zeros(50, np.int64))
    assert not found.parts
    assert found.counts.nbytes <= 2 * 8 * ranking.HISTOGRAM_BINS


def test_the_auc_of_many_classes_is_left_out_of_an_epoch():
    outputs, y = digits(500, 60)
    found = metrics.tally("multiclass", y, auc_classes=50)
    found.add(outputs, y)
    assert "auc" not in found.scores()
    assert metrics.evaluation(outputs, y, "multiclass")["auc"] > 0.7


def test_totals_add_up():
    assert Totals(2, 1.0, 1.0) + Totals(3, 0.5, 2.0) == Totals(5, 1.5, 3.0)
