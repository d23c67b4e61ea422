"""Losses and scores equal scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics as reference

from epochd.loop import metrics
from epochd.loop.state import Totals

draw = np.random.default_rng(7)


def test_binary():
    logits, y = draw.normal(size=(50, 1)).astype("f4"), draw.integers(0, 2, 50).astype("f4")
    found = metrics.score(logits, y, "binary")
    p = 1 / (1 + np.exp(-logits[:, 0].astype(float)))
    assert found.loss == pytest.approx(reference.log_loss(y, p), rel=1e-9)
    assert found.accuracy == reference.accuracy_score(y, p > 0.5)


def test_multiclass():
    logits, y = draw.normal(size=(50, 4)).astype("f4"), draw.integers(0, 4, 50)
    found = metrics.score(logits, y, "multiclass")
    p = np.exp(logits.astype(float)) / np.exp(logits.astype(float)).sum(1, keepdims=True)
    assert found.loss == pytest.approx(reference.log_loss(y, p, labels=range(4)), rel=1e-9)
    assert found.accuracy == reference.accuracy_score(y, p.argmax(1))


def test_regression_in_the_targets_own_unit():
    out, y = draw.normal(size=(50, 1)).astype("f4"), draw.normal(size=50).astype("f4")
    found = metrics.score(out, y, "regression", target_scale=10.0)
    wide, truth = out[:, 0].astype(float), y.astype(float)
    assert found.loss == pytest.approx(reference.mean_squared_error(truth, wide), rel=1e-6)
    assert found.r2 == pytest.approx(reference.r2_score(truth, wide), rel=1e-6)
    assert found.mae == pytest.approx(10 * reference.mean_absolute_error(truth, wide), rel=1e-6)
    assert found.rmse == pytest.approx(10 * reference.root_mean_squared_error(truth, wide), rel=1e-6)


def test_extreme_logits_stay_finite():
    found = metrics.score(np.array([[1e4], [-1e4]], "f4"), np.array([0, 1], "f4"), "binary")
    assert found.loss == pytest.approx(1e4)


def test_totals_add_up():
    assert Totals(2, 1.0, 1.0) + Totals(3, 0.5, 2.0) == Totals(5, 1.5, 3.0)


def test_best_metrics_are_of_the_validation_rows_where_there_are_any():
    scores = metrics.Scores(0.5, 0.8), metrics.Scores(0.4, 0.9)
    with_rows = metrics.history_row(3, *scores, "binary", 0.1, 1.0)
    without = metrics.history_row(3, scores[0], None, "binary", 0.1, 1.0)
    assert metrics.best_metrics(with_rows) == {"epoch": 3, "loss": 0.4, "accuracy": 0.9}
    assert metrics.best_metrics(without) == {"epoch": 3, "loss": 0.5, "accuracy": 0.8}
    assert without["val_loss"] is None


def test_a_regression_row_has_its_own_scores():
    row = metrics.history_row(
        1, metrics.Scores(1.0, r2=0.1), metrics.Scores(1.0, r2=0.2, mae=3, rmse=4), "regression", 0.1, 1
    )
    assert (row["train_accuracy"], row["val_accuracy"]) == (None, None)
    assert (row["train_r2"], row["val_r2"], row["val_mae"], row["val_rmse"]) == (0.1, 0.2, 3, 4)
