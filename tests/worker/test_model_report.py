"""The report that a worker saves with a model."""

import json

import pytest
from tests.support import tickets
from tests.support.reporters import RecordingReporter
from tests.support.reports import Page

from epochd.artifact import files
from epochd.core.events import ReportKind
from epochd.report import page
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
    assert "report.html" in manifest["files"]
    found = Page((given.artifact_dir / "report.html").read_text(encoding="utf-8"))
    about = json.loads((given.artifact_dir / "model.json").read_text())
    assert found.rows("metrics")["accuracy"][0] == f"{about['metrics']['validation']['accuracy']:.4g}"
    assert found.says("最佳 <b>")
    assert found.says("a column looks like an id")
    assert line.of(ReportKind.LOG) == []


def test_without_the_setting_there_is_none(tmp_path):
    _, given = run(tmp_path, report=False, epochs=1)
    assert not (given.artifact_dir / "report.html").exists()
    assert (given.artifact_dir / "model.json").exists()


def test_a_report_that_fails_is_a_warning_and_the_model_is_saved(tmp_path, monkeypatch):
    def fail(data):
        raise MemoryError("no room\nfor a second line")

    monkeypatch.setattr(page, "write", fail)
    line, given = run(tmp_path, epochs=1)
    assert line.kinds[-1] is ReportKind.COMPLETED
    (warning,) = line.of(ReportKind.LOG)
    assert warning["level"] == "warning"
    assert warning["message"].endswith("could not be written: MemoryError: no room")
    files.verify(given.artifact_dir)
    assert not (given.artifact_dir / "report.html").exists()


def test_resumes_of_all_attempts_are_marked(tmp_path):
    run(tmp_path, RecordingReporter(epochs=1))
    run(tmp_path, RecordingReporter(epochs=2), attempt=2)
    _, given = run(tmp_path, attempt=3)
    found = Page((given.artifact_dir / "report.html").read_text(encoding="utf-8"))
    assert found.says("resumed after epoch 1, 2")


def test_a_rollback_is_marked_and_warned_of(tmp_path):
    _, given = run(tmp_path, learning_rate=10.0, optimizer="sgd", max_rollbacks=10, epochs=3, dataset="diabetes")
    found = Page((given.artifact_dir / "report.html").read_text(encoding="utf-8"))
    assert found.says("returned to epoch")


@pytest.mark.parametrize(("trained", "seconds"), [(0.1, 1.0), (20.0, 4.0), (1000.0, 10.0)])
def test_the_time_for_measurements_is_a_share_of_the_trainings(trained, seconds):
    assert model_report.seconds_to_measure([{"time_per_epoch": trained / 2}] * 2) == seconds
