"""A transformed target and weighted rows, from config to model: what is reported is what the saved files score."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference
from tests.support.reporters import RecordingReporter
from tests.support.reports import report_of
from tests.support.tickets import ticket

from epochd.artifact.predict import Model
from epochd.core.errors import DataError
from epochd.core.events import ReportKind
from epochd.report import values
from epochd.serving.predictor import Predictor
from epochd.worker import model_report
from epochd.worker.execute import execute

ROWS = 400


@pytest.fixture(scope="module")
def prices():
    """A price that spans five orders of magnitude, and weights of which some are 0."""
    draw = np.random.default_rng(0)
    a, b = draw.normal(size=(2, ROWS))
    price = np.exp(6 + 2 * a - b + 0.3 * draw.normal(size=ROWS))
    weight = draw.integers(0, 5, ROWS) * 2.5
    return pl.DataFrame({"a": a, "b": b, "target": price, "weight": weight})


def train(folder, frame, **options):
    """Reports, final metrics and the folder of the model."""
    folder.mkdir(exist_ok=True)
    frame.write_parquet(folder / "rows.parquet")
    config = {"epochs": 3, "hidden_units": [16], "test_split": 0.2, "learning_rate": 0.01, "scaling": "standard"}
    given = ticket(folder, **config | options, dataset="rows.parquet", dataset_roots=[folder])
    reporter = RecordingReporter()
    execute(given, reporter)
    [completed] = reporter.of(ReportKind.COMPLETED)
    history = [payload["metrics"] for payload in reporter.of(ReportKind.EPOCH)]
    return history, completed["summary"]["metrics"], given.artifact_dir


def side_of(folder, frame, side):
    """The rows of one side of the split."""
    splits = pl.read_parquet(folder / "splits.parquet")
    return frame[splits.filter(pl.col("split") == side)["row"]]


@pytest.fixture(scope="module")
def logarithm(prices, tmp_path_factory):
    return train(tmp_path_factory.mktemp("log"), prices.drop("weight"), target_transform="log1p", epochs=20)


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_all_metrics_but_the_loss_are_in_the_unit_of_the_target(logarithm, prices, side):
    _, found, folder = logarithm
    rows = side_of(folder, prices, side)
    truth, predicted = rows["target"], Predictor.load(folder).predict(rows).labels
    scores = found[side]
    assert scores["r2"] == pytest.approx(reference.r2_score(truth, predicted), abs=1e-4)
    assert scores["mae"] == pytest.approx(reference.mean_absolute_error(truth, predicted), rel=1e-4)
    assert scores["rmse"] == pytest.approx(reference.root_mean_squared_error(truth, predicted), rel=1e-4)
    assert scores["mape"] == pytest.approx(reference.mean_absolute_percentage_error(truth, predicted), rel=1e-4)
    encoder = Model.load(folder).encoder
    error = (np.log1p(predicted) - np.log1p(truth)) / encoder.target_scale
    assert scores["loss"] == pytest.approx(float((error**2).mean()), rel=1e-4)
    (mean,) = found["baselines"][side]
    expected = [side_of(folder, prices, "train")["target"].mean()] * len(truth)
    assert mean["mae"] == pytest.approx(reference.mean_absolute_error(truth, expected), rel=1e-4)
    assert found["verified"] is True


def test_every_epoch_reports_the_unit_of_the_target_too(logarithm):
    history, found, _ = logarithm
    best = min(history, key=lambda row: row["val_loss"])
    for name in ("loss", "r2", "mae", "rmse"):
        assert best[f"val_{name}"] == pytest.approx(found["validation"][name], rel=1e-4)
    assert history[-1]["train_r2"] == pytest.approx(found["train"]["r2"], abs=0.25)
    assert history[0]["train_r2"] < 0.2


def test_rows_that_are_streamed_are_trained_on_and_scored_alike(logarithm, prices, tmp_path):
    options: dict[str, Any] = {"target_transform": "log1p", "epochs": 20, "resident_mb": 0}
    history, found, _ = train(tmp_path, prices.drop("weight"), **options)
    assert found == logarithm[1]
    assert [row["train_r2"] for row in history] == [row["train_r2"] for row in logarithm[0]]


def test_forecasts_of_windows_are_compared_in_the_unit_of_the_target(tmp_path):
    day = np.arange(300)
    value = np.exp(5 + np.sin(day * 2 * np.pi / 7) + 0.1 * np.random.default_rng(1).normal(size=300))
    frame = pl.DataFrame({"day": day, "target": value})
    windows = {"time_column": "day", "sequence_length": 8, "feature_columns": ["target"], "test_split": 0.0}
    _, found, folder = train(tmp_path, frame, target_transform="log1p", **windows)
    named = {baseline["name"]: baseline for baseline in found["baselines"]["validation"]}
    rows = pl.read_parquet(folder / "splits.parquet").filter(pl.col("split") == "validation")["row"].to_numpy()
    for name, back in (("last value", 1), ("seasonal naive", 7)):
        expected = reference.mean_absolute_error(value[rows], value[rows - back])
        assert named[name]["mae"] == pytest.approx(expected, rel=1e-4)


def test_the_report_is_in_the_unit_of_the_target_and_says_what_the_loss_is(prices, tmp_path, monkeypatch):
    seen: list[values.ReportData] = []
    make = model_report.report_data
    monkeypatch.setattr(model_report, "report_data", lambda finished: seen.append(make(finished)) or seen[-1])
    _, found, folder = train(tmp_path, prices.drop("weight"), target_transform="log1p", report=True)
    page = report_of(folder)
    assert "The loss is that of the logarithm of 1 + target" in page
    assert "relative to the variance of the target" in page
    [data] = seen
    truth = side_of(folder, prices, "validation")["target"].to_numpy()
    part = next(part for part in data.parts if part.name == "validation")
    assert sorted(part.regression.truth) == pytest.approx(sorted(truth), rel=1e-4)
    residuals = np.array(part.regression.predicted) - np.array(part.regression.truth)
    assert np.abs(residuals).mean() == pytest.approx(found["validation"]["mae"], rel=1e-4)
    assert abs(part.worst[0].error) == pytest.approx(np.abs(residuals).max(), rel=1e-4)
    assert data.profile.target["validation"][-1] == pytest.approx(truth.max(), rel=1e-4)
    [a] = [one for one in data.importances.columns if one.column == "a"]
    assert a.loss == pytest.approx(a.score)
    json.dumps(found, allow_nan=False)


@pytest.fixture(scope="module")
def weighted(prices, tmp_path_factory):
    frame = prices.with_columns(target=pl.col("target") > 400)
    options: dict[str, Any] = {"weight_column": "weight", "class_weight": "balanced", "epochs": 8}
    return frame, options, train(tmp_path_factory.mktemp("weighted"), frame, report=True, **options)


@pytest.mark.parametrize("side", ["train", "validation", "test"])
def test_all_metrics_are_weighted_by_the_column_which_is_no_feature(weighted, side):
    frame, _, (_, found, folder) = weighted
    model = Model.load(folder)
    assert model.encoder.feature_names == ["a", "b"]
    rows = side_of(folder, frame, side)
    predicted = model.predict(rows.drop("weight", "target"))
    truth, p, w = rows["target"].to_numpy(), predicted["probability_True"].to_numpy(), rows["weight"].to_numpy()
    scores, with_weights = found[side], {"sample_weight": w}
    assert scores["rows"] == rows.height
    assert scores["loss"] == pytest.approx(reference.log_loss(truth, p, **with_weights), rel=1e-5)
    assert scores["accuracy"] == pytest.approx(reference.accuracy_score(truth, p > 0.5, **with_weights))
    assert scores["auc"] == pytest.approx(reference.roc_auc_score(truth, p, **with_weights))
    assert scores["f1"] == pytest.approx(reference.f1_score(truth, p > 0.5, **with_weights))
    prior = next(one for one in found["baselines"][side] if one["name"] == "prior")
    train_rows = side_of(folder, frame, "train")
    share = np.average(train_rows["target"], weights=train_rows["weight"])
    expected = reference.log_loss(truth, np.full(len(truth), share), **with_weights)
    assert prior["log_loss"] == pytest.approx(expected, rel=1e-5)
    assert found["verified"] is True


def test_the_report_of_weighted_rows_says_so(weighted):
    page = report_of(weighted[2][2])
    assert "Loss and metrics are weighted by the column weight" in page


def test_weighted_rows_that_are_streamed_are_trained_on_and_scored_alike(weighted, tmp_path):
    frame, options, (history, found, _) = weighted
    streamed, scores, _ = train(tmp_path, frame, resident_mb=0, **options)
    assert scores == found
    assert [row["train_accuracy"] for row in streamed] == [row["train_accuracy"] for row in history]


def test_a_window_has_the_weight_of_the_row_of_its_target(tmp_path):
    frame = pl.DataFrame({"day": range(200), "weight": np.arange(200) % 3, "target": np.sin(np.arange(200.0))})
    windows: dict[str, Any] = {"time_column": "day", "sequence_length": 5, "horizon": 2, "test_split": 0.0}
    _, found, folder = train(tmp_path, frame, weight_column="weight", feature_columns=["target"], **windows)
    rows = side_of(folder, frame, "validation")
    predictor = Predictor.load(folder)
    every = predictor.predict(frame, every_row=True).labels
    predicted = [every[row - 2] for row in rows["day"]]
    expected = reference.mean_absolute_error(rows["target"], predicted, sample_weight=rows["weight"])
    assert found["validation"]["mae"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("weights", "rows"), [([0] * 100 + [1] * 20, "training"), ([1] * 96 + [0] * 24, "validation")])
def test_a_side_on_which_all_weights_are_0_is_refused_with_its_name(tmp_path, weights, rows):
    frame = pl.DataFrame({"day": range(120), "weight": weights, "target": np.sin(np.arange(120.0))})
    options: dict[str, Any] = {"time_column": "day", "split": "time", "test_split": 0.0, "validation_split": 0.2}
    with pytest.raises(DataError, match=f"all weights in 'weight' are 0 for the {rows} rows"):
        train(tmp_path, frame.with_columns(x=pl.col("target") ** 2), weight_column="weight", **options)


def test_a_validation_dataset_has_weights_of_its_own(tmp_path, prices):
    other = prices.with_columns(weight=pl.col("weight") * 100, a=pl.col("a") + 0.01)
    other.write_parquet(tmp_path / "other.parquet")
    options = {"weight_column": "weight", "target_transform": "log1p", "validation_dataset": "other.parquet"}
    _, found, folder = train(tmp_path, prices, **options)
    predicted = Predictor.load(folder).predict(other).labels
    expected = reference.mean_absolute_error(other["target"], predicted, sample_weight=other["weight"])
    assert found["validation"]["mae"] == pytest.approx(expected, rel=1e-4)
