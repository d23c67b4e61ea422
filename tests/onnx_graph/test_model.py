"""The whole model: labels in their own type, the threshold, names, metadata, and what cannot be written."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import polars as pl
import pytest

from epochd.data.tables.catalog import open_dataset
from epochd.onnx_graph import columns, model
from epochd.onnx_graph.feeds import Feeds
from epochd.onnx_graph.inputs import MISSING_TIME
from tests.onnx_graph.models import Model, check, digits, flights, windows_of, with_gaps, with_target
from tests.support.onnx_files import run


def of_numbers(classes, task="multiclass"):
    wine = open_dataset("wine", []).read()
    targets = pl.Series("y", [classes[i % len(classes)] for i in range(wine.height)], strict=False)
    return Model.of(wine.drop("target").with_columns(targets), task, classes=tuple(classes)), wine


@pytest.mark.parametrize(
    ("classes", "datatype", "shown"),
    [
        (["b", "", "名"], "tensor(string)", None),
        ([-5, 2**60, 7], "tensor(int64)", None),
        ([0.5, 1.5, -1.0], "tensor(double)", None),
        ([1, 2**64 - 1, 7], "tensor(string)", ["1", "18446744073709551615", "7"]),
    ],
)
def test_labels_have_the_type_of_the_dataset(classes, datatype, shown):
    built, wine = of_numbers(classes)
    found, expected = built.predicted(wine), built.expected(wine).labels
    proto = model.build(built.setup, built.encoder, built.weights)
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    assert session.get_outputs()[0].type == datatype
    names = dict(zip(classes, shown or classes, strict=True))
    assert found["label"][:, 0].tolist() == [names[label] for label in expected]
    assert len(set(expected)) > 1


def test_labels_of_a_boolean_target_are_booleans():
    built, wine = of_numbers([False, True], "binary")
    found = built.predicted(wine)
    assert found["label"].dtype == np.bool_
    assert found["label"][:, 0].tolist() == built.expected(wine).labels


def test_a_regression_of_a_logarithm_gives_values_in_the_unit_of_the_target():
    wine = open_dataset("wine", []).read().drop("target").rename({"proline": "y"})
    built = Model.of(wine, "regression", target_transform="log1p")
    found, expected = built.predicted(wine)["value"][:, 0], built.expected(wine).labels
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.min() > 100


@pytest.mark.parametrize("bias", [-1e30, 1e30, 0.0])
def test_the_values_of_a_logarithm_are_finite_and_as_exact_as_those_of_the_encoder(bias):
    wine = open_dataset("wine", []).read().drop("target").with_columns(y=1e-9 * pl.col("proline"))
    built = Model.of(wine, "regression", target_transform="log1p")
    built.weights["output.bias"][:] = bias
    found, expected = built.predicted(wine)["value"][:, 0], built.expected(wine).labels
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.65, 1.0])
def test_the_second_class_is_given_above_the_threshold(threshold):
    built, wine = of_numbers(["no", "yes"], "binary")
    found = built.predicted(wine, threshold=threshold)
    probable = found["probabilities"][:, 1]
    assert (found["label"][:, 0] == np.where(probable > threshold, "yes", "no")).all()


def test_probabilities_of_sure_predictions_are_not_rounded_to_0():
    built, wine = of_numbers(["no", "yes"], "binary")
    built.weights["output.bias"] -= 200.0
    found = built.predicted(wine)["probabilities"]
    np.testing.assert_allclose(found[:, 1], built.expected(wine).probabilities[:, 1], rtol=1e-3)
    assert 0 < found[:, 1].max() < 1e-60


def test_columns_may_have_any_names():
    names = ["label", "label_", "value", "probabilities", "lengths", "", "a\0b", "Constant_9", "*", "größe 名"]
    wine = open_dataset("wine", []).read().drop("target")
    wine = wine.select(wine.columns[: len(names)]).rename(dict(zip(wine.columns, names, strict=False)))
    built = Model.of(with_target(wine, "multiclass"), "multiclass")
    check(built.predicted(wine), built.expected(wine))
    found = {x["column"]: x["name"] for x in model.describe(built.setup, built.encoder, "columns")["inputs"]}
    assert list(found) == names
    assert (found["label"], found["label_"], found[""], found["*"]) == ("label__", "label_", "_", "*")


def test_a_column_may_be_called_like_the_lengths_of_lists():
    frame = digits().rename({"ink": "lengths"})
    built = Model.of(with_target(frame, "binary"), "binary", model_type="gru")
    check(built.predicted(with_gaps(frame)), built.expected(with_gaps(frame)))
    assert list(Feeds(built.encoder)(frame)) == ["kind", "lengths", "other", "pixels", "lengths_"]


def test_the_file_says_how_it_is_called():
    built = Model.of(with_target(flights(), "binary"), "binary", embedding_threshold=10)
    proto = model.build(built.setup, built.encoder, built.weights, threshold=0.25)
    about = {prop.key: prop.value for prop in proto.metadata_props}
    assert (proto.producer_name, proto.ir_version) == ("epochd", 9)
    assert {part.domain: part.version for part in proto.opset_import} == {"": 20, "ai.onnx.ml": 3}
    assert (about["task"], about["decision_threshold"], json.loads(about["classes"])) == (
        "binary",
        "0.25",
        ["no", "yes"],
    )
    described = model.describe(built.setup, built.encoder, "columns")
    assert json.loads(about["inputs"]) == described["inputs"]
    assert {part.name: part.doc_string for part in proto.graph.input} == {
        part["name"]: part["description"] for part in described["inputs"]
    }
    inputs = {part["column"]: part for part in described["inputs"]}
    assert {name: (part["kind"], part["datatype"], part["missing"]) for name, part in inputs.items()} == {
        "carrier": ("text", "BYTES", ""),
        "distance": ("number", "FP64", "NaN"),
        "dep_delay": ("number", "FP64", "NaN"),
        "tailnum": ("text", "BYTES", ""),
        "dest": ("text", "BYTES", ""),
        "arr_time": ("number", "FP64", "NaN"),
        "constant": ("number", "FP64", "NaN"),
        "late": ("boolean", "FP64", "NaN"),
        "short": ("boolean", "FP64", "NaN"),
        "day": ("date", "INT64", MISSING_TIME),
        "hour": ("date", "INT64", MISSING_TIME),
        "planned": ("time", "INT64", MISSING_TIME),
        "flown": ("number", "FP64", "NaN"),
        "label": ("text", "BYTES", ""),
    }
    assert inputs["hour"]["description"].endswith("of America/New_York")
    assert inputs["label"]["name"] == "label_"
    assert described["outputs"][1]["shape"] == [-1, 2]


def test_the_number_of_nodes_does_not_grow_with_that_of_columns():
    wide = pl.DataFrame(np.random.default_rng(0).normal(size=(20, 300))).with_columns(y=pl.lit(1.0))
    narrow = wide.select("column_0", "column_1", "y")
    nodes = [
        len(model.build(built.setup, built.encoder, built.weights).graph.node)
        for built in (Model.of(frame, "regression") for frame in (wide, narrow))
    ]
    assert nodes[0] == nodes[1] < 20


def test_no_rows_are_a_prediction_of_no_rows():
    built = Model.of(with_target(flights(), "multiclass"), "multiclass")
    found = built.predicted(flights().clear())
    assert (found["label"].shape, found["probabilities"].shape) == ((0, 1), (0, 3))


WINDOWS = {"sequence_length": 6, "time_column": "arr_time"}


@pytest.mark.parametrize(
    ("load", "options"),
    [
        (flights, {"embedding_threshold": 10}),
        (flights, WINDOWS | {"model_type": "lstm"}),
        (digits, {"model_type": "gru"}),
    ],
)
def test_a_graph_may_start_at_encoded_rows(load, options):
    frame = with_target(load(), "multiclass")
    built = Model.of(frame, "multiclass", **options)
    rows = with_gaps(frame).head(20)
    windows = windows_of(20) if "sequence_length" in options else None
    check(built.predicted(rows, windows, start="features"), built.expected(rows, windows))


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch):
    frame = with_target(flights().select("carrier", "distance", "dep_delay"), "binary")
    built, rows = Model.of(frame, "binary"), with_gaps(frame)
    monkeypatch.chdir(tmp_path)
    Path("model.onnx").write_bytes(model.export(built.setup, built.encoder, built.weights).file)
    rows.write_csv("rows.csv")
    page = Path(__file__).parents[2] / "docs" / "models.md"
    found = {}
    exec(page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0], found)  # noqa: S102
    check({"label": found["labels"], "probabilities": found["probabilities"]}, built.expected(rows))


class TestExport:
    @pytest.fixture
    def built(self):
        return Model.of(with_target(flights(), "binary"), "binary")

    def test_it_starts_at_the_columns(self, built):
        found = model.export(built.setup, built.encoder, built.weights)
        assert (found.warning, found.about["reason"], found.about["starts_at"]) == (None, None, "columns")
        onnx.checker.check_model(found.file, full_check=True)

    def test_where_a_column_has_no_form_in_onnx_it_starts_at_encoded_rows(self, built, monkeypatch):
        monkeypatch.setattr(columns, "KNOWN", columns.KNOWN[1:])
        found = model.export(built.setup, built.encoder, built.weights)
        reason = "the encoding 'number' of column 'distance' has no form in ONNX"
        assert found.about["reason"] == reason
        assert found.warning == f"model.onnx takes encoded rows instead of columns: {reason}"
        assert [part["name"] for part in found.about["inputs"]] == ["features"]
        feeds = Feeds(built.encoder, start=found.about["starts_at"])(flights())
        check(run(found.file, feeds), built.expected(flights()))

    def test_an_error_becomes_the_reason_why_there_is_no_file(self, built):
        del built.weights["hidden.1.bias"]
        found = model.export(built.setup, built.encoder, built.weights)
        assert found.file is None
        assert (
            found.about["reason"]
            == "the graph that starts at the features cannot be written: KeyError('hidden.1.bias')"
        )
        assert (found.about["file"], found.about["starts_at"], found.about["inputs"]) == (None, None, [])
        assert found.warning.startswith("the model is saved without model.onnx: ")

    def test_weights_that_do_not_fit_into_one_file_are_told(self, built, monkeypatch):
        monkeypatch.setattr(model, "MAX_BYTES", 1000)
        assert "less than 2 GiB" in model.export(built.setup, built.encoder, built.weights).warning
