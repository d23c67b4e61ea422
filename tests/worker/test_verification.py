"""A model is scored from its saved files before it is a model, and a difference fails the training."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.support.predictions import prediction
from tests.support.reporters import RecordingReporter
from tests.support.reports import report_of
from tests.support.tickets import ticket
from tests.support.trained_models import series

from epochd.artifact import files, pack
from epochd.artifact.predict import Model
from epochd.core.errors import ModelDiffers
from epochd.core.events import ReportKind
from epochd.data.tables.catalog import open_dataset
from epochd.onnx_graph import model as onnx_model
from epochd.worker import verification
from epochd.worker.execute import execute
from epochd.worker.predict import execute as execute_prediction

WINDOWS: dict[str, Any] = {
    "target_column": "value",
    "feature_columns": ["value"],
    "time_column": "day",
    "group_column": "shop",
    "sequence_length": 4,
    "horizon": 2,
    "model_type": "gru",
}


def run(folder: Path, frame: pl.DataFrame | str, **options: Any) -> tuple[RecordingReporter, dict[str, Any], Path]:
    """Train on a table or on a built-in dataset: reports, final metrics, folder of the model."""
    config = {"framework": "pytorch", "epochs": 2, "hidden_units": [8], "test_split": 0.2}
    if isinstance(frame, pl.DataFrame):
        frame.write_parquet(folder / "rows.parquet")
        options |= {"dataset": "rows.parquet", "dataset_roots": [folder]}
    else:
        options |= {"dataset": frame}
    given, reporter = ticket(folder, **config | options), RecordingReporter()
    execute(given, reporter)
    [completed] = reporter.of(ReportKind.COMPLETED)
    return reporter, completed["summary"]["metrics"], given.artifact_dir


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ("breast_cancer", {"target_column": "target", "decision_threshold": "f1"}),
        ("iris", {"target_column": "target"}),
        ("diabetes", {"target_column": "target", "validation_split": 0, "test_split": 0}),
        ("digits", {"target_column": "target", "resident_mb": 0}),
    ],
)
def test_what_is_reported_is_what_the_saved_files_score(tmp_path: Path, data: str, options: dict[str, Any]) -> None:
    _, metrics, _ = run(tmp_path, data, **options)
    assert metrics["verified"] is True


def test_rows_of_a_validation_dataset_are_read_from_it(tmp_path: Path) -> None:
    rows = open_dataset("breast_cancer", []).read()
    rows.tail(150).write_parquet(tmp_path / "later.parquet")
    _, metrics, _ = run(tmp_path, rows.head(400), target_column="target", validation_dataset="later.parquet")
    assert (metrics["verified"], metrics["validation"]["rows"]) == (True, 150)


def test_windows_are_scored_again_in_memory_and_not_if_they_are_streamed(tmp_path: Path) -> None:
    _, metrics, _ = run(tmp_path, series(), **WINDOWS)
    assert metrics["verified"] is True
    _, metrics, _ = run(tmp_path, series(), **WINDOWS, resident_mb=0)
    assert metrics["verified"] is False
    assert metrics["validation"]["loss"] > 0


def test_a_file_that_scores_otherwise_fails_the_training_and_leaves_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exported(setup: Any, encoder: Any, weights: dict[str, Any], threshold: float) -> Any:
        wrong = {name: np.zeros_like(value) if name == "output.bias" else value for name, value in weights.items()}
        return real(setup, encoder, wrong, threshold)

    real = onnx_model.export
    monkeypatch.setattr("epochd.worker.model_folder.onnx_model.export", exported)
    with pytest.raises(ModelDiffers, match=r"loss on the validation rows was 0\.\d+ in the training and is 0\.\d+"):
        run(tmp_path, "breast_cancer", target_column="target")
    assert list((tmp_path / "artifacts").rglob("model.*")) == []


def test_data_that_changed_meanwhile_are_not_scored_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, *arguments: Any) -> None:
        real(path, *arguments)
        open_dataset("breast_cancer", []).read().head(99).write_parquet(tmp_path / "rows.parquet")

    real = pack.write
    monkeypatch.setattr(pack, "write", write)
    frame = open_dataset("breast_cancer", []).read()
    reporter, metrics, folder = run(tmp_path, frame, target_column="target")
    assert metrics["verified"] is False
    assert "its dataset has changed since the training began" in reporter.of(ReportKind.LOG)[-1]["message"]
    files.verify(folder)


MEASURED = {"rows": 100, "loss": 0.5, "accuracy": 0.9, "brier": 0.1}


@pytest.mark.parametrize(
    ("served", "differs"),
    [
        ({"loss": 0.5004}, False),
        ({"loss": 0.501}, True),
        ({"accuracy": 0.92}, False),
        ({"accuracy": 0.87}, True),
        ({"brier": None}, False),
        ({"rows": 99}, True),
    ],
)
def test_only_differences_that_rounding_explains_are_allowed(served: dict[str, Any], differs: bool) -> None:
    with pytest.raises(ModelDiffers) if differs else nullcontext():
        verification.check("test", MEASURED, MEASURED | served)


def test_probabilities_become_the_outputs_that_they_came_from(tmp_path: Path) -> None:
    _, _, folder = run(tmp_path, "iris", target_column="target")
    encoder = verification.Predictor.load(folder).encoder
    outputs = np.random.default_rng(0).normal(size=(50, 3))
    probabilities = encoder.decode(outputs.astype(np.float32)).probabilities
    assert probabilities is not None
    found = verification.raw_outputs(probabilities, encoder)
    np.testing.assert_allclose(found - found[:, :1], outputs - outputs[:, :1], rtol=1e-5, atol=1e-6)


def test_windows_between_holes_are_scored_again(tmp_path: Path) -> None:
    frame = series().filter(~pl.col("day").dt.day().is_in([9, 10]) | (pl.col("shop") == "north"))
    _, metrics, _ = run(tmp_path, frame, **WINDOWS, frequency="1d", test_split=0)
    assert metrics["verified"] is True


@pytest.mark.parametrize("model_type", ["gru", "cnn"])
def test_a_validation_dataset_with_longer_lists_is_scored(tmp_path: Path, model_type: str) -> None:
    pixels = open_dataset("digits", []).read().head(120)
    lists = pixels.select("target", v=pl.concat_list(pl.exclude("target").cast(float)).list.gather_every(9))
    shorter = lists.with_columns(pl.col("v").list.head(1 + pl.int_range(pl.len()) % 5)).head(80)
    lists.tail(40).write_parquet(tmp_path / "longer.parquet")
    options = {"target_column": "target", "task": "regression", "validation_dataset": "longer.parquet", "test_split": 0}
    _, metrics, _ = run(tmp_path, shorter, model_type=model_type, **options)
    assert (metrics["verified"], metrics["validation"]["rows"]) == (True, 40)


def test_windows_of_columns_known_in_advance_are_scored_again_and_predicted_in_parts(tmp_path: Path) -> None:
    frame = series(60).with_columns(price=pl.col("value").shift(-1).over("shop") * 0.1 + pl.int_range(pl.len()) % 7)
    options = WINDOWS | {"known_in_advance": ["price", "day"], "horizon": [1, 2], "frequency": "1d", "report": True}
    reporter, metrics, model = run(tmp_path, frame, **options)
    assert metrics["verified"] is True
    assert not [entry for entry in reporter.of(ReportKind.LOG) if "report" in entry["message"]]
    assert "price+2" in report_of(model)
    given = prediction(tmp_path, model)
    execute_prediction(given, RecordingReporter())
    lines = pl.read_parquet(given.output_dir / "predictions.parquet")
    expected = Model.load(model).predict(frame)
    both = pl.concat([frame.select("day", "shop"), expected], how="horizontal").drop_nulls()
    assert_frame_equal(lines, both, check_exact=False, rel_tol=1e-4)
    assert lines.height == 2 * (60 - 3 - 2)
