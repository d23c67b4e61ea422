"""Cross-validation and ensembles, as real trainings: what each network is trained on, what the model averages, and the
metrics that follow from it."""

import json
from dataclasses import replace

import numpy as np
import onnxruntime
import polars as pl
import pytest
from safetensors.numpy import load_file
from sklearn import metrics as reference
from tests.support import tickets
from tests.support.predictions import prediction
from tests.support.reporters import RecordingReporter

from epochd.api.protocols import open_inference, tensors
from epochd.api.tasks.shapes import EpochMetrics, FinalMetrics
from epochd.artifact import predict
from epochd.artifact.predict import Model, setup_of
from epochd.core.errors import InvalidSpec
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.data.encoding.encoder import Encoder
from epochd.data.feed.dataset import InMemoryDataset
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog, open_dataset
from epochd.engines import network, registry
from epochd.engines import reference as networks
from epochd.loop import averaging
from epochd.loop.fit import fit
from epochd.loop.members import Member, Members
from epochd.loop.state import LoopState
from epochd.onnx_graph.feeds import Feeds
from epochd.serving.predictor import Predictor
from epochd.serving.scorers import ReferenceScorer, decoded
from epochd.worker import members
from epochd.worker import predict as predict_worker
from epochd.worker.execute import Training, execute
from epochd.worker.sink import JobSink

CANCER = {"dataset": "breast_cancer", "epochs": 4, "hidden_units": [16]}
FOLDS = {"folds": 4, "test_split": 0.2}
DATASETS = [
    {"dataset": "breast_cancer", "decision_threshold": 0.4},
    {"dataset": "wine", "learning_rate": 0.01},
    {"dataset": "diabetes"},
    {"dataset": "diabetes", "target_transform": "log1p", "learning_rate": 0.01},
]
IDS = ["binary", "multiclass", "regression", "logarithm"]


def run(folder, **options):
    """A training that was completed: its ticket, reporter and final metrics."""
    line = RecordingReporter()
    given = tickets.ticket(folder, **{"checkpoint_seconds": 1000.0, "epochs": 4, "hidden_units": [16]} | options)
    assert execute(given, line) is ReportKind.COMPLETED
    return given, line, line.of(ReportKind.COMPLETED)[0]["summary"]["metrics"]


def out_of_fold(given):
    return pl.read_parquet(given.artifact_dir / "out_of_fold.parquet")


def raw(given):
    return open_dataset(given.spec.dataset, []).read()


def scores(task, frame, labels=None):
    """scikit-learn's metrics of out-of-fold predictions."""
    truth, predicted = frame["target"].to_numpy(), frame["prediction"].to_numpy()
    if task == "regression":
        return {
            "r2": reference.r2_score(truth, predicted),
            "mae": reference.mean_absolute_error(truth, predicted),
            "rmse": reference.root_mean_squared_error(truth, predicted),
        }
    p = frame.select(pl.col("^probability_.*$")).to_numpy()
    average = {"average": "macro"} if task == "multiclass" else {}
    auc = {"multi_class": "ovr", "average": "macro"} if task == "multiclass" else {}
    return {
        "accuracy": reference.accuracy_score(truth, predicted),
        "f1": reference.f1_score(truth, predicted, **average),
        "log_loss": reference.log_loss(truth, p),
        "auc": reference.roc_auc_score(truth, p if task == "multiclass" else p[:, 1], **auc),
    }


@pytest.mark.parametrize("options", DATASETS, ids=IDS)
def test_the_metrics_of_folds_are_those_of_scikit_learn(tmp_path, options):
    given, _, found = run(tmp_path, **FOLDS, **options)
    table, task = out_of_fold(given), Model.load(given.artifact_dir).setup.task
    pooled = scores(task, table)
    assert {name: found["validation"][name] for name in pooled} == pytest.approx(pooled, rel=1e-5)
    assert found["validation"]["rows"] == table.height
    of_folds = [scores(task, table.filter(fold=fold)) for fold in range(1, 5)]
    for each, expected in zip(found["members"]["each"], of_folds, strict=True):
        assert {name: each[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    for name in pooled:
        values = [one[name] for one in of_folds]
        assert found["members"]["mean"][name] == pytest.approx(np.mean(values), rel=1e-5)
        assert found["members"]["std"][name] == pytest.approx(np.std(values, ddof=1), rel=1e-3)


@pytest.mark.parametrize("options", DATASETS, ids=IDS)
def test_every_row_but_the_test_rows_is_out_of_fold_once(tmp_path, options):
    given, _, _ = run(tmp_path, **FOLDS, **options)
    table, splits = out_of_fold(given), pl.read_parquet(given.artifact_dir / "splits.parquet")
    assert table["row"].to_list() == splits.filter(split="train")["row"].to_list()
    assert table.height + splits.filter(split="test").height == raw(given).height
    assert (table["target"] == raw(given)[table["row"].to_list()]["target"].cast(table["target"].dtype)).all()
    sizes = table["fold"].value_counts()["count"]
    assert sizes.max() - sizes.min() <= 1


def test_a_row_is_predicted_by_the_network_that_was_not_trained_on_its_fold(tmp_path):
    given, _, _ = run(tmp_path, **FOLDS, **CANCER)
    model, table = Model.load(given.artifact_dir), out_of_fold(given)
    x = model.encoder.features(raw(given))[table["row"].to_numpy()]
    for fold, weights in enumerate(averaging.divided(model.weights, 4), 1):
        rows = (table["fold"] == fold).to_numpy()
        expected = decoded(model.encoder, networks.forward(model.setup, weights, x[rows]))[:, 1]
        assert table["probability_1"].to_numpy()[rows] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dataset", ["wine", "diabetes"])
def test_a_fold_is_trained_as_if_its_rows_were_all_there_are(tmp_path, dataset):
    """The rows of the other folds, copied out of the encoded ones: the same weights and the same history."""
    options = {"dataset": dataset, "folds": 3, "batch_size": 16, "dropout_rate": 0.3}
    given, _, found = run(tmp_path, **options)
    training = Training(given, prepare(given.spec, Catalog()))
    rows, plan = training.prepared.train, training.plans[1]
    chosen, held_out = (np.flatnonzero((training.prepared.folds.number == 1) == side) for side in (False, True))
    train, validation = (InMemoryDataset(rows.x[part], rows.y[part]) for part in (chosen, held_out))
    setup = replace(training.setup, rows=None)
    batches = network.batches(setup, len(chosen))
    config = replace(training.config, train=train, validation=validation, batches=batches)
    alone = Member(registry.build("pytorch", setup, train), config, LoopState(given.spec.learning_rate))
    assert fit(Members([alone]), JobSink(given, RecordingReporter(), {}, None)) is Command.CONTINUE
    weights = averaging.divided(load_file(given.artifact_dir / "model.safetensors"), 3)[1]
    assert all(np.array_equal(weights[name], value) for name, value in alone.state.best_weights.items())
    assert alone.state.best_row["val_loss"] == found["members"]["each"][1]["loss"]
    assert plan.config.batches.steps == batches.steps


def test_whole_groups_are_held_out(tmp_path):
    frame = open_dataset("wine", []).read()
    frame = frame.with_columns((pl.int_range(pl.len()) // 6).alias("bottle"))
    frame.write_parquet(tmp_path / "wine.parquet")
    options = {"dataset": str(tmp_path / "wine.parquet"), "dataset_roots": [tmp_path], "group_column": "bottle"}
    given, _, _ = run(tmp_path / "data", folds=5, test_split=0.2, **options)
    table = out_of_fold(given)
    bottles = frame["bottle"][table["row"].to_list()]
    assert pl.DataFrame({"bottle": bottles, "fold": table["fold"]}).unique().height == bottles.n_unique()
    tested = pl.read_parquet(given.artifact_dir / "splits.parquet").filter(split="test")["row"]
    assert not set(frame["bottle"][tested.to_list()]) & set(bottles)


@pytest.mark.parametrize("framework", registry.installed())
def test_the_first_network_of_an_ensemble_is_the_plain_training(tmp_path, framework):
    options = {"dataset": "iris", "framework": framework, "learning_rate": 0.01, "dropout_rate": 0.3}
    plain, _, _ = run(tmp_path / "plain", **options)
    given, _, _ = run(tmp_path / "ensemble", **options, ensemble=2)
    alone, both = (load_file(one.artifact_dir / "model.safetensors") for one in (plain, given))
    first, second = averaging.divided(both, 2)
    assert all(np.array_equal(first[name], alone[name]) for name in alone)
    assert not any(np.array_equal(second[name], alone[name]) for name in alone)
    splits = [(one.artifact_dir / "splits.parquet").read_bytes() for one in (plain, given)]
    assert splits[0] == splits[1]


@pytest.mark.parametrize("options", DATASETS, ids=IDS)
@pytest.mark.parametrize("kind", [{"ensemble": 3}, {"folds": 3}], ids=["ensemble", "folds"])
def test_the_served_model_is_the_mean_of_its_networks(tmp_path, options, kind):
    given, _, found = run(tmp_path, **options, **kind)
    folder, frame = given.artifact_dir, raw(given).drop("target")
    about = json.loads((folder / "model.json").read_text())
    setup, encoder = setup_of(folder, about), Encoder.from_json(about["encoder"])
    x, weights = encoder.features(frame), load_file(folder / "model.safetensors")
    each = [networks.forward(setup, part, x) for part in averaging.divided(weights, 3)]
    expected = np.mean([decoded(encoder, outputs) for outputs in each], axis=0)

    predictor = Predictor.load(folder)
    assert predictor.scorer.engine == "onnxruntime"
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    feeds = Feeds(encoder, None, about["onnx"]["starts_at"])(frame)
    names = [one.name for one in session.get_inputs()]
    outputs = {one.name for one in session.get_outputs()}
    graph = session.run(None, {name: feeds[name] for name in names})
    graph = dict(zip([one.name for one in session.get_outputs()], graph, strict=True))
    scored = {
        "numpy": ReferenceScorer.load(folder, setup, encoder).score(frame),
        "onnx": graph["probabilities" if "probabilities" in outputs else "value"].reshape(expected.shape),
        "predictor": predictor.scorer.score(frame),
    }
    for name, values in scored.items():
        np.testing.assert_allclose(values, expected, atol=1e-6, rtol=2e-6, err_msg=name)
    table = predict.Model.load(folder).predict(frame)
    served = predictor.predict(frame)
    if encoder.classes is not None:
        assert table["prediction"].to_list() == served.labels == graph["label"][:, 0].tolist()
    else:
        assert table["prediction"].to_numpy() == pytest.approx(np.array(served.labels), rel=2e-6)
    assert found["verified"] is True


def test_the_metrics_of_an_ensemble_are_those_of_its_average(tmp_path):
    given, _, found = run(tmp_path, **CANCER, ensemble=3)
    rows = pl.read_parquet(given.artifact_dir / "splits.parquet").filter(split="validation")["row"]
    frame, model = raw(given)[rows.to_list()], Model.load(given.artifact_dir)
    truth, p = frame["target"].to_numpy(), model.predict(frame)["probability_1"].to_numpy()
    assert found["validation"]["log_loss"] == pytest.approx(reference.log_loss(truth, p), rel=1e-5)
    x, each = model.encoder.features(frame), averaging.divided(model.weights, 3)
    alone = [
        reference.log_loss(truth, decoded(model.encoder, networks.forward(model.setup, one, x))[:, 1]) for one in each
    ]
    spread = found["members"]
    assert [one["log_loss"] for one in spread["each"]] == pytest.approx(alone, rel=1e-5)
    assert (spread["part"], spread["mean"]["log_loss"]) == ("validation", pytest.approx(np.mean(alone), rel=1e-5))
    assert spread["std"]["log_loss"] == pytest.approx(np.std(alone, ddof=1), rel=1e-3)
    assert FinalMetrics.model_validate(found).members.std.log_loss == spread["std"]["log_loss"]


def test_a_row_of_the_history_is_the_mean_over_the_networks_that_trained_in_its_epoch(tmp_path):
    options = {"dataset": "wine", "learning_rate": 0.05, "early_stopping_patience": 1, "min_delta": 0.0, "epochs": 40}
    _, line, found = run(tmp_path, folds=5, **options)
    rows = [report["metrics"] for report in line.of(ReportKind.EPOCH)]
    ends = [each["epochs"] for each in found["members"]["each"]]
    assert len(set(ends)) > 1, "the networks stop at different epochs"
    assert [row["epoch"] for row in rows] == list(range(1, max(ends) + 1))
    assert [row["members"] for row in rows] == [sum(end >= epoch for end in ends) for epoch in range(1, max(ends) + 1)]
    assert {name for row in rows for name in row} <= set(EpochMetrics.model_fields)
    assert all((row["monitored_std"] is None) == (row["members"] == 1) for row in rows)
    positions = line.positions
    assert [epoch for epoch, _, _ in positions] == sorted(epoch for epoch, _, _ in positions)
    for epoch in range(1, max(ends) + 1):
        steps = [(step, of) for number, step, of in positions if number == epoch]
        assert steps == sorted(steps)
        assert steps[-1][0] == steps[-1][1] > 0


def test_the_mean_of_each_metric_is_that_of_the_networks(tmp_path):
    _, line, found = run(tmp_path, **CANCER | {"epochs": 1}, ensemble=3)
    [row] = [report["metrics"] for report in line.of(ReportKind.EPOCH)]
    losses = [each["loss"] for each in found["members"]["each"]]
    assert row["val_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    assert row["monitored_std"] == pytest.approx(np.std(losses, ddof=1), rel=1e-6)


def test_weighted_rows_and_balanced_classes_have_their_weights_in_each_fold(tmp_path):
    frame = raw(tickets.ticket(tmp_path, **CANCER)).with_columns((pl.int_range(pl.len()) % 3 + 1).alias("w"))
    frame.write_parquet(tmp_path / "weighted.parquet")
    options = {"dataset": str(tmp_path / "weighted.parquet"), "dataset_roots": [tmp_path], "weight_column": "w"}
    given, _, found = run(tmp_path / "data", folds=3, class_weight="balanced", **options)
    table = out_of_fold(given)
    weights = frame["w"].to_numpy()[table["row"].to_numpy()]
    expected = reference.log_loss(table["target"], table["probability_1"], sample_weight=weights)
    assert found["validation"]["log_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_threshold_is_chosen_on_the_out_of_fold_predictions(tmp_path):
    given, _, found = run(tmp_path, **CANCER, folds=4, decision_threshold="f1")
    table = out_of_fold(given)
    truth, p = table["target"].to_numpy(), table["probability_1"].to_numpy()
    best = max(reference.f1_score(truth, p > threshold) for threshold in np.unique(p))
    assert reference.f1_score(truth, p > found["decision_threshold"]) == pytest.approx(best, abs=1e-6)
    assert table["prediction"].to_list() == (p > found["decision_threshold"]).astype(int).tolist()


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [([5, 2**63 + 5], pl.UInt64), ([5, 12 * 10**28], pl.String), ([-5, 2**63 + 5], pl.String)],
)
def test_labels_beyond_64_bits_are_in_all_files(tmp_path, labels, dtype):
    lines = [f"{i % 2 + i / 100},{labels[i % 2]}" for i in range(60)]
    (tmp_path / "long.csv").write_text("\n".join(["a,target", *lines]))
    options = {"dataset": str(tmp_path / "long.csv"), "dataset_roots": [tmp_path], "task": "binary"}
    given, _, _ = run(tmp_path / "data", folds=2, learning_rate=0.05, **options)
    expected = [labels[i % 2] if dtype is pl.UInt64 else str(labels[i % 2]) for i in range(60)]
    assert out_of_fold(given)["target"].to_list() == expected
    frame = pl.DataFrame({"a": [1.0, 0.0]})
    predicted = [
        out_of_fold(given)["prediction"],
        Model.load(given.artifact_dir).predict(frame)["prediction"],
        Predictor.load(given.artifact_dir).predict(frame).frame()["prediction"],
    ]
    assert [one.dtype for one in predicted] == [dtype] * 3
    assert {*predicted[1], *predicted[2]} <= {*expected}
    batch = prediction(tmp_path, given.artifact_dir, dataset="long.csv", output_format="parquet")
    assert predict_worker.execute(batch, RecordingReporter()) is ReportKind.COMPLETED
    assert pl.read_parquet(batch.output_dir / "predictions.parquet").schema["prediction"] == dtype
    predictor = Predictor.load(given.artifact_dir)
    kind = open_inference.described_outputs(predictor)[0].datatype
    for row in range(2):
        answer = open_inference.output_arrays(predictor.predict(frame[row : row + 1]))["prediction"]
        assert (tensors.datatype(answer), {*answer.tolist()} <= {*expected}) == (kind, True)


def test_seeds_of_an_ensemble_are_all_different():
    spec = tickets.ticket("/nowhere", dataset="wine", ensemble=32, seed=7).spec
    seeds = [members.member_seed(spec, number) for number in range(32)]
    assert (seeds[0], len(set(seeds))) == (7, 32)


@pytest.mark.parametrize("option", [{"folds": 3}, {"ensemble": 3}])
def test_rows_that_are_not_held_in_memory_are_refused(tmp_path, option):
    [name] = option
    with pytest.raises(InvalidSpec, match=f"{name} needs the encoded rows in memory") as error:
        run(tmp_path, **CANCER, **option, resident_mb=0)
    assert error.value.problems[0].field == name


def test_images_are_augmented_for_each_network(tmp_path):
    options = {"dataset": "digits", "model_type": "cnn", "input_shape": [8, 8], "hidden_units": [4], "epochs": 1}
    _, line, found = run(tmp_path, **options, batch_size=256, augmentation={"flip": "horizontal"}, folds=2)
    assert [each["rows"] for each in found["members"]["each"]] == [899, 898]
    assert len(line.of(ReportKind.EPOCH)) == 1


def test_the_speed_of_several_networks_is_no_sample_of_one(tmp_path):
    """Each of them compiles and has first steps of its own."""
    options = CANCER | {"batch_size": 4, "epochs": 6}
    plain, several = (run(tmp_path / str(i), **options, **more)[1] for i, more in enumerate(({}, {"ensemble": 2})))
    speed = [line.of(ReportKind.COMPLETED)[0]["summary"]["speed"] for line in (plain, several)]
    assert (speed[0] is not None, speed[1]) == (True, None)
