"""Trainings on pictures, from the folder to a model that scores the pictures again."""

import importlib.util
import json

import numpy as np
import onnxruntime
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from tests.support import pictures, tickets
from tests.support.predictions import prediction
from tests.support.reporters import RecordingReporter
from tests.support.reports import report_of

from epochd.cli import prediction as prediction_command
from epochd.core.errors import DataChanged, DataError, RowsNotScored
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.data.tables.catalog import Catalog
from epochd.export import Form, forms, graph_inputs
from epochd.export.saved_model import SavedModel
from epochd.serving.predictor import Predictor
from epochd.serving.scorers import OnnxScorer, ReferenceScorer
from epochd.worker import execute as worker
from epochd.worker import predict

SHAPES = {
    "dataset": "shapes",
    "target_column": "label",
    "image_size": [10, 12],
    "model_type": "cnn",
    "hidden_units": [6],
    "epochs": 2,
    "batch_size": 16,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    pictures.shapes(root / "shapes", 60)
    pictures.digits(root / "digits")
    return root


def run(folder, root, reporter=None, **options):
    reporter = reporter or RecordingReporter()
    ticket = tickets.ticket(folder, dataset_roots=[root], early_stopping_patience=None, **options)
    worker.execute(ticket, reporter)
    return ticket, reporter


def test_a_cnn_learns_digits_from_files(tmp_path, root):
    options = {"dataset": "digits/digits.csv", "image_column": "file", "target_column": "digit", "model_type": "cnn"}
    more = {"image_size": [8, 8], "image_mode": "grey", "hidden_units": [16, 32], "learning_rate": 0.004, "epochs": 5}
    ticket, reporter = run(tmp_path, root, **options, **more, test_split=0.2)
    metrics = reporter.of(ReportKind.COMPLETED)[0]["summary"]["metrics"]
    assert metrics["test"]["accuracy"] > 0.9
    assert metrics["verified"] is True
    assert json.loads((ticket.artifact_dir / "model.json").read_text())["inputs"] == [8, 8, 1]


@pytest.mark.parametrize("options", [{}, {"model_type": "mlp"}, {"scaling": "quantile", "image_mode": "grey"}])
def test_the_saved_graph_takes_pixels_and_scores_like_the_reference(tmp_path, root, options):
    ticket, reporter = run(tmp_path, root, **SHAPES | options)
    assert reporter.of(ReportKind.COMPLETED)[0]["summary"]["metrics"]["verified"] is True
    predictor = Predictor.load(ticket.artifact_dir)
    assert isinstance(predictor.scorer, OnnxScorer)
    [about] = predictor.about["onnx"]["inputs"]
    channels = 1 if options.get("image_mode") == "grey" else 3
    assert (about["kind"], about["shape"], about["datatype"]) == ("image", [-1, 10, 12, channels], "FP32")
    rows = Catalog([root]).open("shapes").read()
    frame = predictor.encoder.image.pictures(root / "shapes").checked(rows)
    reference = ReferenceScorer.load(ticket.artifact_dir, predictor.setup, predictor.encoder)
    np.testing.assert_allclose(predictor.scorer.score(frame), reference.score(frame), atol=1e-5)


def test_pictures_streamed_from_a_file_train_the_same_model(tmp_path, root):
    models = [run(tmp_path / str(mb), root, **SHAPES, resident_mb=mb)[0] for mb in (0, 256)]
    weights = [(ticket.artifact_dir / "model.safetensors").read_bytes() for ticket in models]
    assert weights[0] == weights[1]


def test_a_broken_picture_fails_the_training_with_its_row(tmp_path):
    folder = pictures.shapes(tmp_path / "root/shapes", 30)
    (folder / "cross/001.png").write_bytes((folder / "cross/001.png").read_bytes()[:100])
    with pytest.raises(DataError, match=r"row 11 of column 'image': the picture 'cross/001\.png' is damaged"):
        run(tmp_path, tmp_path / "root", **SHAPES)


def test_a_changed_picture_is_noticed_when_a_training_is_resumed(tmp_path):
    root = pictures.digits(tmp_path / "root", 40)
    options = {"dataset": "digits.csv", "image_column": "file", "target_column": "digit", "image_size": [8, 8]}
    options |= {"checkpoint_seconds": 1000.0, "hidden_units": [4], "epochs": 3, "validation_split": 0.0}
    _, reporter = run(tmp_path, root, RecordingReporter(epochs=1, command=Command.PAUSE), **options)
    assert reporter.kinds[-1] is ReportKind.PAUSED
    pictures.Image.new("L", (8, 8)).save(root / "png/3.png")
    with pytest.raises(DataChanged):
        run(tmp_path, root, **options, attempt=2)


def test_a_table_of_bytes_trains_as_the_files_do(tmp_path, root):
    rows = Catalog([root]).open("shapes").read()
    content = [(root / "shapes" / path).read_bytes() for path in rows["image"]]
    (tmp_path / "root").mkdir()
    rows.with_columns(pl.Series("image", content)).write_parquet(tmp_path / "root/shapes.parquet")
    from_files, _ = run(tmp_path / "files", root, **SHAPES)
    options = SHAPES | {"dataset": "shapes.parquet", "image_column": "image"}
    from_bytes, reporter = run(tmp_path / "bytes", tmp_path / "root", **options)
    assert reporter.of(ReportKind.COMPLETED)[0]["summary"]["metrics"]["verified"] is True
    files = [ticket.artifact_dir / "model.safetensors" for ticket in (from_files, from_bytes)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.fixture(scope="module")
def model(tmp_path_factory, root):
    """The folder of a model of shapes, with a report."""
    return run(tmp_path_factory.mktemp("model"), root, **SHAPES | {"epochs": 4, "learning_rate": 0.01}, report=True)[
        0
    ].artifact_dir


def predicted(folder, model, root, **options):
    reporter = RecordingReporter()
    ticket = prediction(folder, model, dataset_roots=[root], **options)
    assert predict.execute(ticket, reporter) is ReportKind.COMPLETED
    return pl.read_parquet(ticket.output_dir / "predictions.parquet"), reporter


def test_a_folder_is_predicted_as_the_model_predicts_it(tmp_path, model, root):
    found, _ = predicted(tmp_path, model, root, dataset="shapes", id_columns=["image"])
    predictor = Predictor.load(model)
    table = Catalog([root]).open("shapes").read()
    frame = predictor.encoder.image.pictures(root / "shapes").checked(table)
    assert found["image"].to_list() == table["image"].to_list()
    assert found["prediction"].to_list() == list(predictor.predict(frame).labels)
    table.select("image").write_csv(root / "paths.csv")
    again, _ = predicted(tmp_path / "again", model, root, dataset="paths.csv", image_root="shapes")
    assert again["prediction"].to_list() == found["prediction"].to_list()


def test_pictures_that_cannot_be_predicted_are_named_or_skipped(tmp_path, model):
    folder = pictures.shapes(tmp_path / "root/new", 9)
    (folder / "square/002.png").write_text("text")
    with pytest.raises(RowsNotScored, match=r"row 7 of column 'image': the picture 'square/002\.png' is not a PNG"):
        predicted(tmp_path, model, tmp_path / "root", dataset="new")
    found, reporter = predicted(tmp_path / "skip", model, tmp_path / "root", dataset="new", on_error="skip")
    assert found["prediction"].is_null().arg_true().to_list() == [6]
    [problem] = reporter.of(ReportKind.COMPLETED)[0]["summary"]["problems"]
    assert "square/002.png" in problem["message"]


def test_the_report_shows_pictures_and_compares_no_columns(model):
    text = report_of(model)
    assert text.count("data:image/png;base64,") >= 10
    assert 'id="uses"' not in text


def test_a_folder_or_a_picture_is_predicted_from_a_shell_without_a_server(tmp_path, model, root, capsys):
    prediction_command.predict(str(model), root / "shapes", tmp_path / "out.csv")
    table = pl.read_csv(tmp_path / "out.csv")
    assert table.columns == ["image", "prediction", *(f"probability_{name}" for name in pictures.SHAPES)]
    assert table["image"].to_list() == Catalog([root]).open("shapes").read()["image"].to_list()
    for file in (root / "shapes" / table["image"][4], root / "one.csv"):
        table.select("image")[4:5].select(("shapes/" + pl.col("image")).alias("image")).write_csv(root / "one.csv")
        prediction_command.predict(str(model), file, tmp_path / "one.json")
        [found] = json.loads((tmp_path / "one.json").read_text())
        assert found["prediction"] == table["prediction"][4]


def test_exports_take_pixels_or_encoded_pictures(tmp_path, model, root):
    saved, predictor = SavedModel.load(model), Predictor.load(model)
    image, table = predictor.encoder.image, Catalog([root]).open("shapes").read().head(5)
    frame = image.pictures(root / "shapes").checked(table)
    expected = predictor.scorer.score(frame)

    session = onnxruntime.InferenceSession(forms.write(saved, Form.ONNX, tmp_path / "model.onnx"))
    pixels = image.pixels(frame).astype(np.float32)
    np.testing.assert_allclose(session.run(["probabilities"], {"image": pixels})[0], expected, atol=1e-5)
    [about] = graph_inputs.table_inputs(saved, session)
    assert (about.name, about.kind, about.shape) == ("image", "features", (-1, 10, 12, 3))

    folder = forms.write(saved, Form.TORCH, tmp_path / "torch")
    description = importlib.util.spec_from_file_location("exported_pictures", folder / "model.py")
    module = importlib.util.module_from_spec(description)
    description.loader.exec_module(module)
    network = module.Model()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    found = network.predict(torch.from_numpy(predictor.encoder.features(frame))).detach().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    channels = json.loads((folder / "preprocessing.json").read_text())["channels"]
    assert [one["value"] for one in channels] == [f"scaled {c} of each pixel" for c in ("red", "green", "blue")]
