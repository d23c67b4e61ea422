"""One attempt from ticket to artifact, in this process: real data, real training, files on disk."""

import csv
import json
from dataclasses import replace
from time import perf_counter, sleep, time

import numpy as np
import polars as pl
import pytest
from tests.support import tickets
from tests.support.reporters import RecordingReporter

from epochd.artifact import checkpoint, predict
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import CorruptFile, DataChanged, DataError
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.data import prepare
from epochd.data.feed import batches
from epochd.data.tables import fingerprint as fingerprints
from epochd.data.tables.catalog import Catalog, open_dataset
from epochd.engines import reference
from epochd.engines.speeds import Sample
from epochd.loop import metrics
from epochd.loop.members import Member, Members
from epochd.loop.state import LoopState
from epochd.onnx_graph import model as onnx_model
from epochd.worker import recovery, sink
from epochd.worker.execute import execute
from epochd.worker.failures import final_report

CANCER = {"dataset": "breast_cancer", "target_column": "target", "framework": "pytorch", "output_path": "/m/cancer"}


def ticket(folder, **values):
    return tickets.ticket(folder, **{"checkpoint_seconds": 1000.0} | CANCER | values)


def run(folder, **values):
    line, given = RecordingReporter(), ticket(folder, **values)
    assert execute(given, line) is ReportKind.COMPLETED
    return line, given


def test_the_phases_of_an_attempt_add_up_to_its_time(tmp_path):
    began = perf_counter()
    line, _ = run(tmp_path, epochs=5, claimed_at=time() - 2)
    found = line.of(ReportKind.COMPLETED)[0]["timings"]
    assert sum(found.values()) == pytest.approx(2 + perf_counter() - began, abs=0.1)
    assert 2 <= found["start"] < 2.1
    assert min(found.values()) > 0


def test_loading_a_checkpoint_belongs_to_checkpoints(tmp_path, monkeypatch):
    line = RecordingReporter(epochs=1)
    assert execute(ticket(tmp_path, epochs=3), line) is ReportKind.PAUSED
    saved = line.of(ReportKind.PAUSED)[0]["timings"]["checkpoint"]
    assert saved > 0
    restore = recovery.restore
    monkeypatch.setattr(recovery, "restore", lambda *args, **options: (sleep(0.2), restore(*args, **options))[1])
    again, _ = run(tmp_path, epochs=3, attempt=2)
    assert again.of(ReportKind.COMPLETED)[0]["timings"]["checkpoint"] > 0.2


def test_it_measures_the_speed_of_its_engine(tmp_path):
    line, _ = run(tmp_path, epochs=5)
    found = Sample.from_json(line.of(ReportKind.COMPLETED)[0]["summary"]["speed"])
    epochs = [payload["metrics"]["time_per_epoch"] for payload in line.of(ReportKind.EPOCH)]
    assert (found.engine, found.network) == ("pytorch", "mlp")
    assert found.flops == 6.0 * (31 * 64 + 65 * 32 + 33) * 32, "two for each use of a weight, four for its gradient"
    assert 0 < found.step_seconds <= max(epochs) / 12, "an epoch has 12 steps of up to 32 rows"


@pytest.mark.parametrize("options", [{"epochs": 2}, {"epochs": 5, "num_devices": 2}])
def test_few_steps_and_several_devices_measure_nothing_for_auto(tmp_path, options):
    line, _ = run(tmp_path, **options)
    assert line.of(ReportKind.COMPLETED)[0]["summary"]["speed"] is None


@pytest.mark.parametrize(
    ("dataset", "metric", "least", "options"),
    [
        ("breast_cancer", "val_accuracy", 0.95, {"epochs": 40}),
        ("digits", "val_accuracy", 0.95, {"epochs": 40, "hidden_units": [128, 64], "learning_rate": 0.002}),
        ("iris", "val_accuracy", 0.9, {"epochs": 80, "batch_size": 16, "learning_rate": 0.005}),
        ("wine", "val_accuracy", 0.92, {"epochs": 60, "batch_size": 16}),
        ("diabetes", "val_r2", 0.35, {"epochs": 60, "hidden_units": [32, 16]}),
    ],
)
def test_it_learns_real_data(tmp_path, dataset, metric, least, options):
    line, given = run(tmp_path, dataset=dataset, early_stopping_patience=None, **options)
    rows = {row["metrics"]["epoch"]: row["metrics"] for row in line.of(ReportKind.EPOCH)}
    best = rows[line.of(ReportKind.COMPLETED)[0]["best"]["epoch"]]
    assert best[metric] > least
    assert (given.artifact_dir / "model.json").is_file()


def test_the_reports_of_an_attempt_come_in_order(tmp_path):
    line, given = run(tmp_path, epochs=3)
    assert line.kinds == [
        ReportKind.STARTED,
        *[ReportKind.EPOCH] * 3,
        ReportKind.CHECKPOINT,
        ReportKind.COMPLETED,
    ]
    started = line.of(ReportKind.STARTED)[0]
    assert (started["framework"], started["device"], started["task"], started["resumed"]) == (
        "pytorch",
        "cpu",
        "binary",
        None,
    )
    assert started["rows"] == {"train": 455, "validation": 114, "test": 0}
    assert started["parameters"] == 30 * 64 + 64 + 64 * 32 + 32 + 32 + 1
    assert started["steps_per_epoch"] == 15  # of 32 rows, the last one of 7
    assert line.of(ReportKind.COMPLETED)[0]["artifact"] == f"artifacts/m/cancer/{given.task_id}"


def test_the_saved_file_scores_what_the_report_says(tmp_path):
    line, given = run(tmp_path, epochs=12, learning_rate=0.02)
    model = predict.Model.load(given.artifact_dir.parent / "latest")
    prepared = prepare.prepare(given.spec, Catalog())
    outputs, _ = model.outputs(open_dataset("breast_cancer", []).read())
    assert outputs.shape == (569, 1)
    outputs, y = reference.forward(model.setup, model.weights, prepared.validation.x), prepared.validation.y
    scores = metrics.evaluation(outputs, y, "binary", classes=model.encoder.classes)
    best, packed = line.of(ReportKind.COMPLETED)[0]["best"], model.about["metrics"]["validation"]
    assert model.about["metrics"]["verified"] is True
    assert scores["confusion_matrix"] == packed["confusion_matrix"]
    for found in (scores, best):
        values = {name: found[name] for name in best if name != "epoch"}
        assert values == pytest.approx({name: packed[name] for name in values})


def test_the_artifact_is_complete_and_readable(tmp_path):
    line, given = run(tmp_path, epochs=4)
    about = json.loads((given.artifact_dir / "model.json").read_text())
    assert about["spec"]["dataset"] == "breast_cancer"
    assert about["classes"] == [0, 1]
    assert about["facts"]["fingerprint"] == open_dataset("breast_cancer", []).fingerprint()
    assert about["versions"].keys() >= {"epochd", "python", "numpy"}
    with (given.artifact_dir / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [row["metrics"]["val_loss"] for row in line.of(ReportKind.EPOCH)]


def test_a_graph_that_cannot_be_written_is_a_warning_and_the_model_is_saved(tmp_path, monkeypatch):
    def fail(*given, **options):
        raise RuntimeError("no such operator")

    monkeypatch.setattr(onnx_model, "build", fail)
    line, given = run(tmp_path, epochs=1)
    about = predict.Model.load(given.artifact_dir).about["onnx"]
    assert (about["file"], about["starts_at"]) == (None, None)
    warned = [entry["message"] for entry in line.of(ReportKind.LOG) if entry["level"] == "warning"]
    assert warned == [f"the model is saved without model.onnx: {about['reason']}"]
    assert "no such operator" in about["reason"]


def test_a_file_is_scored_from_the_artifact_alone(tmp_path):
    _, given = run(tmp_path, epochs=15)
    frame = open_dataset("breast_cancer", []).read()
    frame.select(reversed(frame.columns)).write_csv(tmp_path / "rows.csv")
    found = predict.predict_file(given.artifact_dir, tmp_path / "rows.csv")
    assert found.columns == ["prediction", "probability_0", "probability_1"]
    assert (found["prediction"] == frame["target"]).mean() > 0.93
    assert found.select(pl.sum_horizontal("probability_0", "probability_1")).to_series().to_numpy() == pytest.approx(1)


def test_a_regression_is_predicted_in_its_own_unit(tmp_path):
    _, given = run(tmp_path, dataset="diabetes", epochs=30)
    frame = open_dataset("diabetes", []).read()
    found = predict.Model.load(given.artifact_dir).predict(frame)["prediction"].to_numpy()
    assert np.corrcoef(found, frame["target"])[0, 1] > 0.6
    assert abs(found.mean() - frame["target"].mean()) < 20


def test_rows_without_a_needed_column_are_refused_by_name(tmp_path):
    _, given = run(tmp_path, epochs=1)
    frame = open_dataset("breast_cancer", []).read().drop("mean area", "mean radius")
    with pytest.raises(DataError, match="'mean radius', 'mean area'"):
        predict.Model.load(given.artifact_dir).predict(frame)


def test_a_damaged_model_is_refused(tmp_path):
    _, given = run(tmp_path, epochs=1)
    path = given.artifact_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CorruptFile, match=r"model\.safetensors is damaged"):
        predict.Model.load(given.artifact_dir)


def test_a_paused_training_resumes_to_the_same_model(tmp_path):
    options = {
        "epochs": 12,
        "learning_rate": 0.02,
        "learning_rate_scheduler": "step",
        "step_size": 2,
        "early_stopping_patience": 4,
    }
    straight, given = run(tmp_path / "straight", **options)

    first = RecordingReporter(epochs=3)
    assert execute(ticket(tmp_path / "paused", **options), first) is ReportKind.PAUSED
    paused = first.of(ReportKind.PAUSED)[0]
    assert paused["restores"]["position"] == {"epochs_done": 3, "steps_done_in_epoch": 0}
    assert paused["restores"]["schedule"]["settings"]["learning_rate_scheduler"] == "step"
    second = RecordingReporter()
    resumed = ticket(tmp_path / "paused", attempt=2, checkpoint=paused["path"], reported_epochs=3, **options)
    assert execute(resumed, second) is ReportKind.COMPLETED

    assert second.of(ReportKind.STARTED)[0]["resumed"] == {"epoch": 3, "step": 0}
    rows = first.rows() + second.rows()
    assert rows == straight.rows()
    assert len({row["learning_rate"] for row in rows}) > 1
    weights = [one.artifact_dir / "model.safetensors" for one in (given, resumed)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


@pytest.mark.parametrize(("limit", "threads"), [({"mlp": 1e5}, 2), ({"mlp": 1e12}, 1), ({"cnn": 1.0}, 1), ({}, 1)])
def test_threads_are_those_that_were_measured_to_be_faster(tmp_path, limit, threads):
    line, _ = run(tmp_path, epochs=1, threads=2, many_threads=limit)
    assert line.of(ReportKind.STARTED)[0]["threads"] == threads


def test_a_resumed_training_keeps_its_threads(tmp_path):
    options = {"epochs": 4, "many_threads": {"mlp": 1.0}}
    _, first = run(tmp_path / "straight", threads=2, **options)
    execute(ticket(tmp_path / "paused", threads=2, **options), RecordingReporter(epochs=2))
    line, given = run(tmp_path / "paused", threads=4, attempt=2, epochs=4, many_threads={})
    assert line.of(ReportKind.STARTED)[0]["threads"] == 2
    models = [one.artifact_dir / "model.safetensors" for one in (first, given)]
    assert models[0].read_bytes() == models[1].read_bytes()


def test_checkpoints_are_taken_while_training(tmp_path):
    line, given = run(tmp_path, epochs=3, checkpoint_seconds=0.0)
    assert len(line.of(ReportKind.CHECKPOINT)) >= 3
    last = line.of(ReportKind.CHECKPOINT)[-1]
    assert (tmp_path / last["path"] / "manifest.json").is_file()
    assert len(list(given.checkpoints_dir.iterdir())) == 2


@pytest.mark.parametrize(
    ("interval", "cost", "waits"),
    [(30.0, 0.5, 30.0), (30.0, 2.0, 100.0), (0.0, 2.0, 0.0)],
    ids=["cheap", "more than 2 % of the time", "before every chunk"],
)
def test_checkpoints_that_take_long_are_taken_less_often(tmp_path, monkeypatch, interval, cost, waits):
    clock = [1000.0]

    def save(*_):
        clock[0] += cost
        return tmp_path

    monkeypatch.setattr(sink, "monotonic", lambda: clock[0])
    monkeypatch.setattr(sink.checkpoint, "save", save)
    facts = {"fingerprint": ""}
    ours = sink.JobSink(ticket(tmp_path, checkpoint_seconds=interval), RecordingReporter(), facts, None, clock[0])
    ours.checkpoint(Members([Member(None, None, LoopState(0.1))]))
    clock[0] += max(0.0, waits - 0.01)
    assert ours.checkpoint_due() is (waits == 0.0)
    clock[0] += 0.02
    assert ours.checkpoint_due()


def test_a_cancelled_training_leaves_no_model(tmp_path):
    line, given = RecordingReporter(epochs=1, command=Command.CANCEL), ticket(tmp_path)
    assert execute(given, line) is ReportKind.CANCELLED
    assert not given.artifact_dir.exists()


def test_test_rows_are_scored_once_at_the_end(tmp_path):
    line, given = run(tmp_path, epochs=3, test_split=0.25)
    scores = json.loads((given.artifact_dir / "model.json").read_text())["metrics"]
    assert line.of(ReportKind.STARTED)[0]["rows"] == {"train": 313, "validation": 114, "test": 142}
    assert 0.5 < scores["test"]["accuracy"] <= 1
    assert line.of(ReportKind.COMPLETED)[0]["summary"]["metrics"] == scores


def test_the_model_tells_which_rows_it_was_trained_and_scored_on(tmp_path):
    _, given = run(tmp_path, epochs=1, test_split=0.25)
    splits = pl.read_parquet(given.artifact_dir / "splits.parquet")
    assert splits["row"].to_list() == list(range(569))
    wanted = prepare.prepare(given.spec, Catalog()).rows
    for name in ("train", "validation", "test"):
        assert splits.filter(split=name)["row"].to_list() == wanted[name].tolist()
    assert "splits.parquet" in json.loads((given.artifact_dir / "manifest.json").read_text())["files"]


def test_rows_of_a_validation_dataset_are_not_among_those_of_the_dataset(tmp_path):
    frame = open_dataset("breast_cancer", []).read()
    frame.head(400).write_parquet(tmp_path / "past.parquet")
    frame.tail(169).write_parquet(tmp_path / "present.parquet")
    options = {"dataset": "past.parquet", "validation_dataset": "present.parquet", "dataset_roots": [tmp_path]}
    line, given = run(tmp_path, epochs=1, **options)
    assert line.of(ReportKind.STARTED)[0]["rows"] == {"train": 400, "validation": 169, "test": 0}
    splits = pl.read_parquet(given.artifact_dir / "splits.parquet")
    assert splits["split"].to_list() == ["train"] * 400


def test_a_registered_dataset_is_found_by_its_name(tmp_path):
    frame = open_dataset("iris", []).read()
    frame.write_parquet(tmp_path / "x1.parquet")
    line, _ = run(tmp_path, epochs=1, dataset="flowers", registered={"flowers": tmp_path / "x1.parquet"})
    assert line.of(ReportKind.STARTED)[0]["rows"]["train"] == 120


def test_streamed_rows_train_the_same_model_as_resident_ones(tmp_path):
    frame = pl.concat([open_dataset("breast_cancer", []).read()] * 20)
    frame.write_parquet(tmp_path / "rows.parquet")
    options = {
        "dataset": "rows.parquet",
        "dataset_roots": [tmp_path],
        "epochs": 2,
        "batch_size": 128,
        "test_split": 0.1,
    }
    models = [run(tmp_path / str(mb), resident_mb=mb, **options)[1].artifact_dir for mb in (64, 1)]
    resident, streamed = (json.loads((folder / "model.json").read_text()) for folder in models)
    assert len(list((tmp_path / "1" / "cache" / "rows").glob("*/rows.float32"))) == 1
    assert not (tmp_path / "64" / "cache").exists()
    assert streamed["metrics"] == resident["metrics"]
    for name in ("model.safetensors", "splits.parquet"):
        assert (models[0] / name).read_bytes() == (models[1] / name).read_bytes()


class TestChangedData:
    """A training on a copy of iris is paused in the middle of its second epoch; then the file is written anew."""

    @pytest.fixture
    def options(self, tmp_path, monkeypatch):
        monkeypatch.setattr(batches, "MAX_CHUNK_STEPS", 5)
        self.iris.write_csv(tmp_path / "flowers.csv")
        return {"dataset": "flowers.csv", "dataset_roots": [tmp_path], "batch_size": 8, "epochs": 3, "test_split": 0.1}

    @property
    def iris(self):
        return open_dataset("iris", []).read()

    def pause(self, folder, options):
        line = RecordingReporter(chunks=5)
        assert execute(ticket(folder, **options), line) is ReportKind.PAUSED
        found = line.of(ReportKind.PAUSED)[0]
        assert (found["epoch"], found["step"]) == (1, 10)
        return found["path"]

    def resume(self, folder, options, path, **more):
        line, given = RecordingReporter(), ticket(folder, attempt=2, checkpoint=path, **options, **more)
        assert execute(given, line) is ReportKind.COMPLETED
        return line, given

    def test_it_is_refused(self, tmp_path, options):
        path = self.pause(tmp_path, options)
        self.iris.reverse().write_csv(tmp_path / "flowers.csv")
        with pytest.raises(DataChanged, match="the dataset has changed"):
            execute(ticket(tmp_path, checkpoint=path, **options), RecordingReporter())

    def test_a_changed_validation_dataset_is_refused(self, tmp_path, options):
        self.iris.gather_every(3).write_csv(tmp_path / "fresh.csv")
        options |= {"validation_dataset": "fresh.csv"}
        line = RecordingReporter(epochs=1)
        assert execute(ticket(tmp_path, **options), line) is ReportKind.PAUSED
        self.iris.gather_every(5).write_csv(tmp_path / "fresh.csv")
        with pytest.raises(DataChanged):
            execute(ticket(tmp_path, checkpoint=line.of(ReportKind.PAUSED)[0]["path"], **options), RecordingReporter())

    def test_where_it_is_allowed_the_unfinished_epoch_starts_over_on_more_rows(self, tmp_path, options):
        path = self.pause(tmp_path, options)
        before = json.loads((tmp_path / path / "encoder.json").read_text())
        pl.concat([self.iris, self.iris]).write_csv(tmp_path / "flowers.csv")
        line, given = self.resume(tmp_path, options, path, allow_changed_data=True)
        assert line.of(ReportKind.STARTED)[0]["resumed"] == {"epoch": 1, "step": 0, "data_changed": True}
        assert "the dataset has changed" in line.of(ReportKind.LOG)[0]["message"]
        about = json.loads((given.artifact_dir / "model.json").read_text())
        assert about["encoder"] == before
        assert about["facts"]["fingerprint"] == open_dataset("flowers.csv", [tmp_path]).fingerprint()

    def test_where_it_is_allowed_an_epoch_over_as_many_rows_goes_on(self, tmp_path, options):
        path = self.pause(tmp_path, options)
        self.iris.reverse().write_csv(tmp_path / "flowers.csv")
        line, _ = self.resume(tmp_path, options, path, allow_changed_data=True)
        assert line.of(ReportKind.STARTED)[0]["resumed"] == {"epoch": 1, "step": 10, "data_changed": True}

    def test_unchanged_data_resume_without_a_word(self, tmp_path, options):
        path = self.pause(tmp_path, options)
        line, _ = self.resume(tmp_path, options, path, allow_changed_data=True)
        assert line.of(ReportKind.STARTED)[0]["resumed"] == {"epoch": 1, "step": 10}
        assert line.of(ReportKind.LOG) == []


CHECKED = CheckedDataset("table.parquet", 200, ["a", "b"], "binary", [0, 1])


def checked_ticket(folder, fingerprint):
    """A training on a small table, which the server has checked as ``fingerprint``."""
    rows = np.arange(200)
    frame = pl.DataFrame({"a": rows % 7, "b": np.sin(rows), "y": (rows % 7 > 3).astype(np.int64)})
    frame.write_parquet(folder / "table.parquet")
    options = {"dataset": "table.parquet", "target_column": "y", "task": "binary", "epochs": 2}
    found = ticket(folder, dataset_roots=[folder], **options)
    source = Catalog([folder]).open("table.parquet")
    return found.model_copy(update={"checked": replace(CHECKED, fingerprint=fingerprint or source.quick_fingerprint())})


def test_data_that_the_server_has_checked_are_not_checked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare.report, "check_table", None)
    line = RecordingReporter()
    assert execute(checked_ticket(tmp_path, None), line) is ReportKind.COMPLETED
    assert line.of(ReportKind.STARTED)[0]["classes"] == (0, 1)
    assert line.of(ReportKind.LOG) == []


@pytest.mark.parametrize("fingerprint", ["0" * 64, "sampled:" + "0" * 64])
def test_data_that_changed_since_are_refused_and_the_training_waits(tmp_path, fingerprint):
    given = checked_ticket(tmp_path, fingerprint)
    with pytest.raises(DataChanged, match="has changed since this training was submitted") as refused:
        execute(given, RecordingReporter())
    kind, failure = final_report(refused.value, given)
    assert (kind, failure["code"]) == (ReportKind.HELD, "data_changed")
    assert "allow the change" in failure["message"]


def allowing(ticket):
    return ticket.model_copy(update={"spec": ticket.spec.model_copy(update={"allow_changed_data": True})})


def test_data_that_may_change_are_checked_again_and_have_one_fingerprint_everywhere(tmp_path):
    line, given = RecordingReporter(), allowing(checked_ticket(tmp_path, "0" * 64))
    assert execute(given, line) is ReportKind.COMPLETED
    (entry,) = line.of(ReportKind.LOG)
    assert "is not the one that was checked when the task was submitted; it was checked again" in entry["message"]
    (started,) = line.of(ReportKind.STARTED)
    about = json.loads((given.artifact_dir / "model.json").read_text())
    facts, _ = checkpoint.read_facts(checkpoint.newest(given.checkpoints_dir)[0])
    fingerprint = open_dataset("table.parquet", [tmp_path]).fingerprint()
    found = {started["fingerprint"], started["dataset"]["fingerprint"], facts["fingerprint"]}
    assert found == {about["facts"]["fingerprint"]} == {fingerprint}
    assert (started["dataset"]["rows"], started["dataset"]["classes"]) == (200, [0, 1])


def test_a_large_file_gets_the_hash_of_its_whole_content_when_the_training_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(fingerprints, "HASHED_BYTES", 0)
    given, line = checked_ticket(tmp_path, None), RecordingReporter(epochs=1)
    assert given.checked.fingerprint.startswith(fingerprints.SAMPLED)
    assert execute(given, line) is ReportKind.PAUSED
    told = line.of(ReportKind.STARTED)[0]["dataset"]
    source = open_dataset("table.parquet", [tmp_path])
    assert told == given.checked.as_json() | {"fingerprint": source.fingerprint()}
    again = RecordingReporter()
    checked = CheckedDataset.from_json(told)
    assert execute(given.model_copy(update={"attempt": 2, "checked": checked}), again) is ReportKind.COMPLETED
    assert (again.of(ReportKind.LOG), "dataset" in again.of(ReportKind.STARTED)[0]) == ([], False)


def test_changed_data_that_cannot_be_trained_on_are_a_problem(tmp_path):
    (tmp_path / "other").mkdir()
    broken = allowing(checked_ticket(tmp_path / "other", "0" * 64))
    constant = pl.DataFrame({"a": [1.0] * 20, "b": [1.0] * 20, "y": [1] * 20})
    constant.write_parquet(tmp_path / "other" / "table.parquet")
    with pytest.raises(DataError, match="every row of 'y' has the same value"):
        execute(broken, RecordingReporter())
