"""Predictors: loaded once, with the same numbers on every way that rows can take."""

import json
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import polars as pl
import pytest
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from tests.support import trained_models
from tests.support.reporters import RecordingReporter
from tests.support.tickets import ticket
from tests.support.untrained import save_untrained

from epochd.artifact import files
from epochd.artifact.predict import Model
from epochd.core.errors import CorruptFile, DataError
from epochd.data.tables.catalog import open_dataset
from epochd.serving import predictor, rows
from epochd.serving.predictor import Predictor
from epochd.worker.execute import execute


def train(folder: Path, frame: pl.DataFrame, **options: Any) -> Path:
    """The folder of a model."""
    frame.write_parquet(folder / "rows.parquet")
    config = {"dataset": "rows.parquet", "framework": "pytorch", "epochs": 2, "hidden_units": [8]} | options
    given = ticket(folder, task_id="t", dataset_roots=[folder], **config)
    execute(given, RecordingReporter())
    return given.artifact_dir


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = trained_models.mixed().drop("day")
    return train(tmp_path_factory.mktemp("mixed"), frame, target_column="y", embedding_threshold=8)


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("numbers")
    return train(folder, open_dataset("breast_cancer", []).read(), target_column="target", scaling="quantile")


VALUES = {
    "code": st.sampled_from(["01", "02", "03", "", None]),
    "large": st.sampled_from([True, False, None]),
    "texture": st.one_of(st.none(), st.integers(-(10**6), 10**6), st.floats(-1e6, 1e6)),
}


@hypothesis.settings(max_examples=50, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=5))
def test_plain_values_are_predicted_as_a_table_is(mixed: Path, given: list[dict[str, Any]]) -> None:
    loaded = loaded_once(mixed)
    columns = rows.rows_of(given, 10).columns
    plain = loaded.predict_plain(columns)
    assert plain is not None
    assert_frame_equal(plain.frame(), loaded.predict(rows.frame_of(columns, loaded.expected)).frame())


LOADED: dict[Path, Predictor] = {}


def loaded_once(folder: Path) -> Predictor:
    return LOADED.setdefault(folder, Predictor.load(folder)) if folder not in LOADED else LOADED[folder]


@pytest.mark.parametrize("value", ["1", True, 10**400, 1e300, [1], {"a": 1}])
def test_a_value_that_is_not_plain_is_left_to_the_table(mixed: Path, value: Any) -> None:
    row = {"code": "01", "large": True, "texture": value}
    assert loaded_once(mixed).predict_plain(rows.rows_of([row], 1).columns) is None


def test_a_number_that_stands_for_a_missing_value_is_one_on_every_way(tmp_path: Path) -> None:
    values = [-999 if row % 5 == 0 else row * row % 37 for row in range(60)]
    frame = pl.DataFrame({"a": values, "b": [row % 7 for row in range(60)], "y": [float(value) for value in values]})
    folder = train(tmp_path, frame, target_column="y", columns={"a": {"missing": ["-999"]}})
    loaded = Predictor.load(folder)
    marked, empty = ([{"a": value, "b": 3}] for value in (-999, None))
    assert loaded.predict_plain(rows.rows_of(marked, 1).columns) is None
    found = [
        loaded.predict(rows.frame_of(rows.rows_of(given, 1).columns, loaded.expected)) for given in (marked, empty)
    ]
    assert_frame_equal(found[0].frame(), found[1].frame())


def test_quantile_scales_are_predicted_the_same_on_both_ways(numbers: Path) -> None:
    frame = open_dataset("breast_cancer", []).read().drop("target").head(20)
    loaded = loaded_once(numbers)
    plain = loaded.predict_plain(frame.to_dict(as_series=False))
    assert plain is not None
    assert_frame_equal(plain.frame(), Model.load(numbers).predict(frame))


def test_inputs_have_examples_even_in_a_model_that_stores_none(numbers: Path) -> None:
    loaded = loaded_once(numbers)
    from_data = {one.name: one.example for one in loaded.inputs}
    assert from_data["mean radius"] == open_dataset("breast_cancer", []).read()["mean radius"][0]
    known = predictor.inputs_of(loaded.setup.spec, loaded.encoder, {})
    assert all(isinstance(one.example, float) for one in known)


def edited(folder: Path, target: Path, **values: Any) -> Path:
    """A copy of a model with other values in its description."""
    about = json.loads((folder / "model.json").read_text()) | values
    with files.durable_folder(target) as path:
        for name in files.own_names(folder) - {files.MANIFEST, "model.json"}:
            (path / name).write_bytes((folder / name).read_bytes())
        files.write_json(path / "model.json", about)
    return target


@pytest.mark.parametrize("threshold", [0.1, 0.9, 0.5, None])
def test_the_threshold_of_the_model_decides(numbers: Path, tmp_path: Path, threshold: float | None) -> None:
    frame = open_dataset("breast_cancer", []).read()
    found = Predictor.load(edited(numbers, tmp_path / "m", decision_threshold=threshold)).predict(frame).frame()
    limit = 0.5 if threshold is None else threshold
    assert (found["prediction"] == (found["probability_1"] > limit)).all()


def test_a_damaged_model_is_not_loaded(numbers: Path, tmp_path: Path) -> None:
    copy = edited(numbers, tmp_path / "m")
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptFile, match="is damaged"):
        Predictor.load(copy)


def test_too_many_unusable_rows_are_refused(numbers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "MAX_UNUSABLE", 3)
    frame = open_dataset("breast_cancer", []).read().head(9).with_columns(pl.lit("x").alias("mean area"))
    with pytest.raises(DataError, match="more than 3 rows cannot be scored; the first: row 1 of column 'mean area'"):
        loaded_once(numbers).predict(frame, on_error="skip")


def test_the_graph_of_a_model_scores_as_the_reference_does(numbers: Path, tmp_path: Path) -> None:
    frame = open_dataset("breast_cancer", []).read().drop("target").head(7)
    frame = frame.with_columns(pl.when(pl.int_range(pl.len()) > 2).then("mean area"))
    by_graph = loaded_once(numbers)
    by_reference = Predictor.load(edited(numbers, tmp_path / "m", onnx=None))
    assert (by_graph.scorer.engine, by_reference.scorer.engine) == ("onnxruntime", "numpy")
    expected = by_reference.predict(frame).probabilities
    for found in (by_graph.predict(frame), by_graph.predict_plain(frame.to_dict(as_series=False))):
        assert found is not None
        assert found.probabilities is not None
        np.testing.assert_allclose(found.probabilities, expected, rtol=1e-6)


@pytest.mark.parametrize("model_type", ["mlp", "cnn", "lstm", "gru"])
def test_no_rows_have_no_predictions(tmp_path: Path, model_type: str) -> None:
    saved = save_untrained(tmp_path, "iris", graph=True, model_type=model_type, hidden_units=[3])
    frame = open_dataset("iris", []).read().clear()
    loaded = Predictor.load(saved.folder)
    assert loaded.scorer.engine == "onnxruntime"
    found = loaded.predict(frame)
    assert (list(found.labels), found.frame().columns[1]) == ([], "probability_0")
