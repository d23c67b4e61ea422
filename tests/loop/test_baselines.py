"""Trivial predictions, and what follows from the comparison with them."""

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.dummy import DummyClassifier, DummyRegressor

from epochd.core import specs
from epochd.core.metric_table import best_baseline, main_metric
from epochd.core.target_scale import TargetScale
from epochd.loop.baselines import baselines, warnings

TRAIN, Y = np.array([0, 0, 0, 2, 1, 2]), np.array([2, 0, 0, 1, 2, 0, 0])
ROWS = "the validation rows"


def by_name(found):
    return {baseline["name"]: baseline for baseline in found}


def test_majority_class_and_prior_are_those_of_scikit_learn():
    dummy = DummyClassifier(strategy="prior").fit(np.zeros((6, 1)), TRAIN)
    x = np.zeros((7, 1))
    found = by_name(baselines("multiclass", TRAIN, Y, outputs=3))
    assert found["prior"]["log_loss"] == pytest.approx(reference.log_loss(Y, dummy.predict_proba(x)))
    assert found["prior"]["auc"] == 0.5
    assert found["majority class"]["accuracy"] == pytest.approx(dummy.score(x, Y))
    assert found["majority class"]["f1"] == pytest.approx(
        reference.f1_score(Y, dummy.predict(x), average="macro", zero_division=0)
    )
    assert not set(found["prior"]) & set(found["majority class"]) - {"name"}


def test_of_two_classes_the_average_precision_of_the_prior_is_their_share():
    found = by_name(baselines("binary", np.array([0, 0, 1], "f4"), np.array([0, 1, 1, 0], "f4")))
    assert (found["prior"]["auc"], found["prior"]["average_precision"]) == (0.5, 0.5)
    assert (found["majority class"]["accuracy"], found["majority class"]["recall"]) == (0.5, 0.0)


def test_a_class_that_no_training_row_has_costs_no_infinite_loss():
    prior = by_name(baselines("multiclass", np.array([0, 0, 1]), np.array([2, 0]), outputs=3))["prior"]
    assert prior["loss"] == prior["log_loss"] == pytest.approx((36.04 - np.log(2 / 3)) / 2, abs=0.01)


def test_the_mean_is_that_of_the_training_target_in_its_own_unit():
    train, y = np.array([1.0, 2.0, 6.0], "f4"), np.array([2.0, 5.0], "f4")
    (found,) = baselines("regression", train, y, units=TargetScale(scale=10.0))
    dummy = DummyRegressor().fit(np.zeros((3, 1)), train * 10).predict(np.zeros((2, 1)))
    assert found["name"] == "mean"
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(y * 10, dummy))
    assert found["r2"] == pytest.approx(reference.r2_score(y * 10, dummy))


def test_the_mean_of_a_logarithm_is_that_of_the_target_in_its_own_unit():
    train, y = np.array([1.0, 2.0, 6.0]), np.array([2.0, 5.0])
    standard = [np.log1p(values).astype("f4") for values in (train, y)]
    (found,) = baselines("regression", *standard, units=TargetScale(transform="log1p"))
    assert found["mae"] == pytest.approx(reference.mean_absolute_error(y, [3.0, 3.0]))
    assert found["r2"] == pytest.approx(reference.r2_score(y, [3.0, 3.0]))


def test_forecasts_are_compared_as_values_or_as_labels():
    y, last = np.array([1.0, 2.0, 3.0], "f4"), np.array([1.0, 1.0, 2.0], "f4")
    found = by_name(baselines("regression", y, y, naive={"last value": last}))
    assert found["last value"]["mae"] == pytest.approx(2 / 3)
    labels = by_name(baselines("multiclass", TRAIN, Y, outputs=3, naive={"last value": np.roll(Y, 1)}))["last value"]
    assert labels["accuracy"] == pytest.approx(np.mean(np.roll(Y, 1) == Y))
    assert "log_loss" not in labels


def test_the_best_baseline_depends_on_the_metric():
    found = [{"name": "mean", "rmse": 3.0, "r2": 0.0}, {"name": "last value", "rmse": 2.0, "r2": 0.5}]
    assert best_baseline(found, "rmse") == ("last value", 2.0)
    assert best_baseline(found, "r2") == ("last value", 0.5)
    assert best_baseline(found, "mape") is None


@pytest.mark.parametrize(
    ("task", "options", "metric"),
    [
        ("binary", {}, "loss"),
        ("binary", {"monitor": "val_auc"}, "auc"),
        ("multiclass", {"class_weight": "balanced"}, "balanced_accuracy"),
        ("regression", {"validation_split": 0}, "rmse"),
    ],
)
def test_the_monitored_metric_is_compared(task, options, metric):
    assert main_metric(specs.parse({"target_column": "t", **options}), task) == metric


def test_a_model_no_better_than_its_baseline_says_so():
    known = [{"name": "majority class", "accuracy": 0.98}]
    (told,) = warnings("accuracy", {"accuracy": 0.98}, known, ROWS)
    assert told.startswith("the model is not better than its baseline: accuracy on the validation rows is 0.98, ")
    assert "'majority class'" in told
    assert list(warnings("accuracy", {"accuracy": 0.981}, known, ROWS)) == []
    assert list(warnings("accuracy", {"accuracy": None}, known, ROWS)) == []


def test_classes_that_are_never_predicted_are_named_with_their_rows():
    entries = [{"label": label, "support": 5, "predicted": label % 2} for label in range(40)]
    entries[0]["support"] = 0
    (told,) = warnings("auc", {"per_class": entries}, [], ROWS)
    assert told.startswith("never predicted for the validation rows: classes 2 (5 rows), 4 (5 rows)")
    assert told.endswith("20 (5 rows) and 9 more")
    (told,) = warnings("auc", {"per_class": entries[:3]}, [], ROWS)
    assert told == "never predicted for the validation rows: class 2 (5 rows)"
