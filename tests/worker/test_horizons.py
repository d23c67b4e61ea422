"""A training with several horizons, from its rows to its saved model, and again after every possible crash."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.support.predictions import prediction
from tests.support.reporters import Killed, RecordingReporter
from tests.support.reports import report_of
from tests.support.tickets import ticket

from epochd.core.events import ReportKind
from epochd.worker import predict
from epochd.worker.execute import execute

HORIZONS = [1, 2, 6]
OPTIONS: dict[str, Any] = {
    "dataset": "rows.parquet",
    "target_column": "y",
    "feature_columns": ["y"],
    "time_column": "t",
    "sequence_length": 6,
    "horizon": HORIZONS,
    "test_split": 0.2,
    "framework": "pytorch",
    "hidden_units": [8],
    "epochs": 3,
    "task_id": "t",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    steps = np.arange(300)
    frame = pl.DataFrame({"t": steps, "y": 50 + 20 * np.sin(2 * np.pi * steps / 7) + 0.1 * (steps % 5)})
    frame.write_parquet(tmp_path / "rows.parquet")
    return tmp_path


def run(folder: Path, data: Path, reporter: RecordingReporter, **options: Any) -> Path:
    given = ticket(folder, dataset_roots=[data], **OPTIONS | options)
    execute(given, reporter)
    return given.artifact_dir


def test_metrics_baselines_report_and_files_have_each_horizon(folder: Path) -> None:
    model = run(folder, folder, reporter := RecordingReporter(), report=True)
    assert [entry["message"] for entry in reporter.of(ReportKind.LOG) if "report" in entry["message"]] == []
    [completed] = reporter.of(ReportKind.COMPLETED)
    metrics = completed["summary"]["metrics"]
    assert metrics["verified"] is True
    for side in ("validation", "test"):
        each = metrics[side]["per_horizon"]
        assert [entry["horizon"] for entry in each] == HORIZONS
        for name in ("loss", "r2", "mae", "rmse", "smape"):
            assert metrics[side][name] == pytest.approx(np.mean([entry[name] for entry in each]))
        named = {entry["name"]: entry for entry in metrics["baselines"][side]}
        assert set(named) == {"mean", "last value", "seasonal naive"}
        seasonal, last = ([e["mae"] for e in named[name]["per_horizon"]] for name in ("seasonal naive", "last value"))
        assert all(found < other for found, other in zip(seasonal, last, strict=True))
        assert named["seasonal naive"]["season"] == 7
    page = report_of(model)
    assert page.count('class="horizons"') >= 2
    assert json.loads((model / "model.json").read_text())["outputs"] == 3
    given = prediction(folder, model)
    assert predict.execute(given, RecordingReporter()) is ReportKind.COMPLETED
    lines = pl.read_parquet(given.output_dir / "predictions.parquet")
    assert lines.columns == ["t", "prediction_1", "prediction_2", "prediction_6"]
    assert lines.height == 295


@pytest.mark.parametrize("model_type", ["mlp", "gru"])
def test_a_crash_changes_nothing(folder: Path, tmp_path: Path, model_type: str) -> None:
    options = {"model_type": model_type, "checkpoint_seconds": 0.0}
    straight = run(tmp_path / "straight", folder, RecordingReporter(), **options)
    with pytest.raises(Killed):
        run(tmp_path / "crashed", folder, RecordingReporter(dies=1), **options)
    crashed = run(tmp_path / "crashed", folder, RecordingReporter(), **options, attempt=2)
    weights = [(model / "model.safetensors").read_bytes() for model in (straight, crashed)]
    assert weights[0] == weights[1]
