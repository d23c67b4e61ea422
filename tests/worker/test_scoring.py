"""The final metrics of real trainings: in the reports, in the model's folder, and as its predictions have them."""

import json

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference
from tests.artifact.test_predict import WEATHER, real
from tests.support import tickets
from tests.support.reporters import RecordingReporter

from epochd.api.tasks.shapes import BaselineMetrics, FinalMetrics, SideMetrics
from epochd.artifact.predict import Model
from epochd.core.events import ReportKind
from epochd.data.tables.catalog import open_dataset
from epochd.worker.execute import execute

CANCER = {"dataset": "breast_cancer", "epochs": 4}


def run(folder, **options):
    """The ticket, its reporter and the final metrics of one training."""
    line, given = RecordingReporter(), tickets.ticket(folder, checkpoint_seconds=1000.0, **options)
    assert execute(given, line) is ReportKind.COMPLETED
    return given, line, line.of(ReportKind.COMPLETED)[0]["summary"]["metrics"]


def held_out(given, side="validation"):
    """The raw rows of one side, and the model's predictions for them."""
    rows = pl.read_parquet(given.artifact_dir / "splits.parquet").filter(split=side)["row"]
    frame = open_dataset(given.spec.dataset, given.dataset_roots).read()[rows]
    return frame, Model.load(given.artifact_dir).predict(frame)


def logged(line):
    return [entry["message"] for entry in line.of(ReportKind.LOG) if entry["level"] == "warning"]


def fields(shape, values):
    return set(values) - set(shape.model_fields)


@pytest.mark.parametrize(
    "options",
    [
        CANCER | {"test_split": 0.2},
        {"dataset": "digits", "epochs": 2, "validation_split": 0},
        {"dataset": "diabetes", "epochs": 2},
    ],
    ids=["binary", "multiclass, trained on all rows", "regression"],
)
def test_they_have_the_described_form_and_are_the_models(tmp_path, options):
    given, _, found = run(tmp_path, **options)
    assert json.loads((given.artifact_dir / "model.json").read_text())["metrics"] == json.loads(json.dumps(found))
    FinalMetrics.model_validate(found)
    assert fields(FinalMetrics, found) == set()
    sides = {"train", "validation", "test"} & set(found)
    assert sides == set(found["baselines"])
    for side in sides:
        assert fields(SideMetrics, found[side]) == set()
        for baseline in found["baselines"][side]:
            assert fields(BaselineMetrics, baseline) == set()


def test_they_are_those_of_the_models_predictions(tmp_path):
    given, _, found = run(tmp_path, **CANCER, decision_threshold=0.8, test_split=0.2)
    for side in ("validation", "test"):
        frame, predicted = held_out(given, side)
        y, p = frame["target"].to_numpy(), predicted["probability_1"].to_numpy()
        assert found[side]["confusion_matrix"] == reference.confusion_matrix(y, predicted["prediction"]).tolist()
        assert found[side]["f1"] == pytest.approx(reference.f1_score(y, p > 0.8))
        assert found[side]["auc"] == pytest.approx(reference.roc_auc_score(y, p))
        assert found[side]["brier"] == pytest.approx(reference.brier_score_loss(y, p), rel=1e-4)
    assert found["decision_threshold"] == 0.8


def test_a_regression_is_scored_in_the_unit_of_its_target(tmp_path):
    given, line, found = run(tmp_path, dataset="diabetes", epochs=3)
    frame, predicted = held_out(given)
    y, values = frame["target"].to_numpy(), predicted["prediction"].to_numpy()
    assert found["validation"]["mae"] == pytest.approx(reference.mean_absolute_error(y, values), rel=1e-5)
    assert found["validation"]["mape"] == pytest.approx(reference.mean_absolute_percentage_error(y, values), rel=1e-4)
    (mean,) = found["baselines"]["validation"]
    trained = pl.read_parquet(given.artifact_dir / "splits.parquet").filter(split="train")["row"]
    average = open_dataset("diabetes", []).read()[trained]["target"].mean()
    assert mean["rmse"] == pytest.approx(np.sqrt(((y - average) ** 2).mean()), rel=1e-5)
    assert all(row["train_accuracy"] is None for row in line.rows())


@pytest.mark.parametrize(("aim", "metric"), [("f1", "f1"), ("balanced", "balanced_accuracy")])
def test_a_threshold_chosen_on_validation_rows_is_the_models(tmp_path, aim, metric):
    options = CANCER | {"epochs": 1, "learning_rate": 0.0003}
    given, line, found = run(tmp_path, **options, decision_threshold=aim)
    threshold, model = found["decision_threshold"], Model.load(given.artifact_dir)
    assert model.threshold == threshold != 0.5
    _, predicted = held_out(given)
    assert ((predicted["probability_1"] > threshold).cast(int) == predicted["prediction"]).all()
    assert found["validation"][metric] > line.of(ReportKind.EPOCH)[0]["metrics"][f"val_{metric}"]
    assert not any("threshold" in message for message in logged(line))


def test_without_validation_rows_it_is_chosen_on_the_training_rows_and_the_task_says_so(tmp_path):
    _, line, found = run(tmp_path, **CANCER, decision_threshold="f1", validation_split=0)
    (told,) = [message for message in logged(line) if "threshold" in message]
    assert told.startswith(f"the decision threshold {found['decision_threshold']:g} was chosen on the training rows")
    assert told in line.of(ReportKind.COMPLETED)[0]["warnings"]
    assert told in found["warnings"]


def test_a_class_that_is_never_predicted_is_a_warning(tmp_path):
    _, line, found = run(tmp_path, dataset="iris", epochs=1, learning_rate=1e-5, hidden_units=[4], seed=1)
    missed = [entry for entry in found["validation"]["per_class"] if not entry["predicted"]]
    assert missed
    (told,) = [message for message in logged(line) if message.startswith("never predicted")]
    assert all(f"{entry['label']!r} ({entry['support']} rows)" in told for entry in missed)


@pytest.fixture(scope="module")
def forecasts(tmp_path_factory):
    """A training on windows over the weather of an airport, and its rows."""
    folder = tmp_path_factory.mktemp("weather")
    frame = real("weather", 1500).drop_nulls(["temp", "humid", "wind_speed"])
    frame.write_parquet(folder / "rows.parquet")
    options = WEATHER | {"model_type": "mlp", "hidden_units": [8], "epochs": 1, "test_split": 0.2}
    return run(folder, dataset="rows.parquet", dataset_roots=[folder], **options), frame


def test_the_last_value_is_that_of_the_row_a_horizon_earlier(forecasts):
    (given, _, found), frame = forecasts
    rows = pl.read_parquet(given.artifact_dir / "splits.parquet").filter(split="test")["row"]
    earlier = pl.col("temp").shift(3).over("origin", order_by="time_hour")
    told = frame.with_columns(last=earlier)[rows]
    last = {baseline["name"]: baseline for baseline in found["baselines"]["test"]}["last value"]
    assert last["mae"] == pytest.approx((told["temp"] - told["last"]).abs().mean(), rel=1e-5)


def test_the_seasonal_naive_forecast_has_its_season(forecasts):
    (given, _, found), frame = forecasts
    rows = pl.read_parquet(given.artifact_dir / "splits.parquet").filter(split="test")["row"]
    seasonal = {baseline["name"]: baseline for baseline in found["baselines"]["test"]}["seasonal naive"]
    back = -(-3 // seasonal["season"]) * seasonal["season"]
    told = frame.with_columns(then=pl.col("temp").shift(back).over("origin", order_by="time_hour"))[rows]
    assert seasonal["mae"] == pytest.approx((told["temp"] - told["then"]).abs().mean(), rel=1e-5)


def test_a_model_that_is_worse_than_the_last_value_says_so(forecasts):
    (_, line, found), _ = forecasts
    assert found["main_metric"] == "rmse"
    (told,) = logged(line)
    assert told.startswith("the model is not better than its baseline: rmse on the validation rows is ")
    assert told.endswith(f"'last value' is {found['baselines']['validation'][1]['rmse']:.4g}")
