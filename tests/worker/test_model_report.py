"""The report that a worker saves with a model."""

import json
from dataclasses import replace
from math import inf, nan

import numpy as np
import polars as pl
import pytest
from pydantic import TypeAdapter
from sklearn import metrics
from sklearn.datasets import load_breast_cancer
from tests.support import tickets
from tests.support.reporters import RecordingReporter
from tests.support.reports import Page, finished, report_of

from epochd.artifact import files
from epochd.core.errors import NotFound
from epochd.core.events import ReportKind
from epochd.report import drawing, page, values
from epochd.report.drawing import page_data
from epochd.report.values import Importance, ReportValues
from epochd.serving.predictor import Predictor
from epochd.worker import model_report
from epochd.worker.execute import execute

OPTIONS = {"dataset": "breast_cancer", "epochs": 4, "learning_rate": 0.02, "report": True, "checkpoint_seconds": 1000.0}


def run(folder, reporter=None, **values):
    line, given = reporter or RecordingReporter(), tickets.ticket(folder, **OPTIONS | values)
    execute(given, line)
    return line, given


def test_a_report_is_saved_with_the_model(tmp_path):
    line, given = run(tmp_path, name="最佳 <b>", warnings=["a column looks like an id"])
    files.verify(given.artifact_dir)
    manifest = json.loads((given.artifact_dir / files.MANIFEST).read_text())
    assert {"report.json", "page.json"} <= manifest["files"].keys()
    assert not (given.artifact_dir / "report.html").exists()
    found = Page(report_of(given.artifact_dir))
    files.verify(given.artifact_dir)
    about = json.loads((given.artifact_dir / "model.json").read_text())
    assert found.rows("metrics")["accuracy"][0] == f"{about['metrics']['validation']['accuracy']:.4g}"
    assert found.says("最佳 <b>")
    assert found.says("a column looks like an id")
    assert line.of(ReportKind.LOG) == []


def test_the_values_of_its_figures_are_those_of_scikit_learn(tmp_path):
    _, given = run(tmp_path)
    assert "report.json" in json.loads((given.artifact_dir / files.MANIFEST).read_text())["files"]
    assert (given.artifact_dir / "report.json").stat().st_size < 100_000
    found = json.loads((given.artifact_dir / "report.json").read_text(encoding="utf-8"))
    (part,) = found["parts"]
    rows = pl.read_parquet(given.artifact_dir / "splits.parquet").filter(pl.col("split") == "validation")["row"]
    predictor = Predictor.load(given.artifact_dir)
    data = load_breast_cancer(as_frame=True).frame.iloc[rows.to_list()]
    columns = {name: data[name].to_list() for name in data.columns if name != "target"}
    scores = np.array(predictor.predict(pl.DataFrame(columns)).probabilities)[:, 1]
    positive = data["target"].to_numpy() == 1
    binary = part["classification"]["binary"]
    assert (part["rows"], binary["positives"]) == (len(rows), positive.sum())
    assert binary["roc"]["area"] == pytest.approx(metrics.roc_auc_score(positive, scores))
    false_rates, true_rates, _ = metrics.roc_curve(positive, scores, drop_intermediate=False)
    assert np.column_stack([binary["roc"]["x"], binary["roc"]["y"]]) == pytest.approx(
        np.column_stack([false_rates, true_rates])
    )
    precision, recall, _ = metrics.precision_recall_curve(positive, scores)
    curve = binary["precision_recall"]
    assert np.column_stack([curve["x"], curve["y"]])[1:] == pytest.approx(np.column_stack([recall, precision])[-2::-1])
    assert 0.5 in binary["levels"]["thresholds"]
    for level, *counts in zip(*binary["levels"].values(), strict=True):
        if np.abs(scores - level).min() > 1e-6:  # the worker and the server round differently
            expected = metrics.confusion_matrix(positive, scores > level)
            assert counts == [expected[1, 1], expected[0, 1]]


@pytest.mark.parametrize(
    "options",
    [{"dataset": "iris"}, {"dataset": "diabetes"}, {"dataset": "diabetes", "folds": 2}],
    ids=["multiclass", "regression", "folds of a regression"],
)
def test_the_values_are_those_of_the_schema_and_strict(tmp_path, options):
    _, given = run(tmp_path, epochs=1, **options)
    text = (given.artifact_dir / "report.json").read_text(encoding="utf-8")
    found = TypeAdapter(ReportValues).validate_json(text, strict=True)
    assert json.loads(text, parse_constant=pytest.fail)["task"] == found.task
    kind = found.parts[0].regression if found.task == "regression" else found.parts[0].classification
    assert kind is not None
    assert found.importances.columns


def test_a_number_that_is_not_finite_is_null(tmp_path):
    data = model_report.report_data(finished(tmp_path, dataset="diabetes"))
    damaged = replace(data, importances=replace(data.importances, columns=[Importance("a", nan, inf, -inf, 1)]))
    (column,) = json.loads(values.as_json(damaged), parse_constant=pytest.fail)["importances"]["columns"]
    assert column == {"column": "a", "loss": None, "deviation": None, "score": None, "repeats": 1}


def test_without_the_setting_there_is_none(tmp_path):
    _, given = run(tmp_path, report=False, epochs=1)
    assert list(given.artifact_dir.glob("report.*")) == []
    drawing.draw(given.artifact_dir)
    assert list(given.artifact_dir.glob("report.*")) == []
    assert (given.artifact_dir / "model.json").exists()


@pytest.mark.parametrize("dataset", ["breast_cancer", "iris", "diabetes"])
def test_a_page_that_is_drawn_later_is_the_one_that_would_have_been_drawn_at_once(tmp_path, dataset, monkeypatch):
    data = []
    monkeypatch.setattr(drawing, "page_data", lambda found: data.append(found) or page_data(found))
    _, given = run(tmp_path, dataset=dataset)
    drawing.draw(given.artifact_dir)
    assert (given.artifact_dir / "report.html").read_text(encoding="utf-8") == page.write(data[0])
    assert list(given.artifact_dir.glob(".tmp*")) == []


def test_a_report_is_drawn_once_and_removed_with_its_model(tmp_path):
    _, given = run(tmp_path, epochs=1)
    drawing.draw(given.artifact_dir)
    (given.artifact_dir / "report.html").write_text("kept")
    drawing.draw(given.artifact_dir)
    assert (given.artifact_dir / "report.html").read_text() == "kept"
    mode = (given.artifact_dir / "model.json").stat().st_mode
    assert (given.artifact_dir / "report.html").stat().st_mode == mode
    assert files.remove_own(given.artifact_dir)


def test_a_report_that_cannot_be_drawn_says_why(tmp_path):
    _, given = run(tmp_path, epochs=1)
    (given.artifact_dir / "page.json").write_text("{}")
    with pytest.raises(NotFound, match=f"the model in {given.task_id} cannot be drawn: ValidationError: "):
        drawing.draw(given.artifact_dir)
    assert not (given.artifact_dir / "report.html").exists()


def test_a_report_that_fails_is_a_warning_and_the_model_is_saved(tmp_path, monkeypatch):
    def fail(data):
        raise MemoryError("no room\nfor a second line")

    monkeypatch.setattr(model_report, "report_data", fail)
    line, given = run(tmp_path, epochs=1)
    assert line.kinds[-1] is ReportKind.COMPLETED
    (warning,) = line.of(ReportKind.LOG)
    assert warning["level"] == "warning"
    assert warning["message"].endswith("could not be written: MemoryError: no room")
    files.verify(given.artifact_dir)
    assert list(given.artifact_dir.glob("report.*")) == []


def test_resumes_of_all_attempts_are_marked(tmp_path):
    run(tmp_path, RecordingReporter(epochs=1))
    run(tmp_path, RecordingReporter(epochs=2), attempt=2)
    _, given = run(tmp_path, attempt=3)
    found = Page(report_of(given.artifact_dir))
    assert found.says("resumed after epoch 1, 2")


def test_a_rollback_is_marked_and_warned_of(tmp_path):
    _, given = run(tmp_path, learning_rate=10.0, optimizer="sgd", max_rollbacks=10, epochs=3, dataset="diabetes")
    found = Page(report_of(given.artifact_dir))
    assert found.says("returned to epoch")


@pytest.mark.parametrize(("trained", "seconds"), [(0.1, 1.0), (20.0, 4.0), (1000.0, 10.0)])
def test_the_time_for_measurements_is_a_share_of_the_trainings(trained, seconds):
    assert model_report.seconds_to_measure([{"time_per_epoch": trained / 2}] * 2) == seconds
