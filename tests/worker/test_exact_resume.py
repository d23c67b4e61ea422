"""Wherever a worker dies, and however often, the training ends as if nothing had happened: bit for bit."""

import json
from typing import ClassVar

import pytest
from safetensors.numpy import save
from tests.support import tickets
from tests.support.reporters import Killed, RecordingReporter, without_times

from epochd.artifact import checkpoint
from epochd.core.errors import Diverged, ModelNotSaved
from epochd.core.events import ReportKind
from epochd.data.feed import batches
from epochd.engines import registry
from epochd.worker.execute import execute

MLP = {
    "dataset": "wine",
    "hidden_units": [12, 6],
    "batch_size": 16,
    "dropout_rate": 0.3,
    "epochs": 8,
    "learning_rate": 0.3,
    "learning_rate_scheduler": "plateau",
    "patience": 0,
    "factor": 0.5,
    "early_stopping_patience": 3,
    "min_delta": 0.0,
}
WEIGHTED = {
    "dataset": "wine",
    "target_column": "proline",
    "weight_column": "alcohol",
    "target_transform": "log1p",
    "hidden_units": [6],
    "batch_size": 16,
    "epochs": 3,
}
GRU = {"dataset": "iris", "model_type": "gru", "hidden_units": [6], "batch_size": 32, "epochs": 3}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(batches, "MAX_CHUNK_STEPS", 3)


def ticket(folder, attempt, told, options, checkpoint_seconds=0.0):
    values = options | {"attempt": attempt, "reported_epochs": told, "checkpoint_seconds": checkpoint_seconds}
    return tickets.ticket(folder, task_id="t", **values)


def train(folder, options, deaths=(), **more):
    """Train to the end, dying after so many chunks of each attempt; all epochs told, the weights, the last state.

    An epoch that is told again must come out as it did before: the server then drops it.
    """
    told, lines = {}, [*(RecordingReporter(dies=chunks) for chunks in deaths), RecordingReporter()]
    for attempt, line in enumerate(lines, 1):
        given = ticket(folder, attempt, len(told), options, **more)
        try:
            execute(given, line)
        except Killed:
            assert line is not lines[-1]
        for row in line.rows():
            assert told.setdefault(row["epoch"], row) == row
    newest, _ = checkpoint.newest(given.checkpoints_dir)
    state = json.loads((newest / "state.json").read_text())["loop"]
    for loop in state if isinstance(state, list) else [state]:
        loop["history"] = without_times(loop["history"])
    model = (given.artifact_dir / "model.safetensors").read_bytes()
    last = [(newest / f"{name}.safetensors").read_bytes() for name in ("weights", "optimizer", "best")]
    return list(told.values()), state, model, last


def chunks_of(folder, options):
    line = RecordingReporter()
    execute(ticket(folder, 1, 0, options), line)
    return line.asked


def test_death_at_every_chunk_changes_nothing(tmp_path):
    straight = train(tmp_path / "straight", MLP)
    rates = [row["learning_rate"] for row in straight[0]]
    assert len(set(rates)) > 1, "the schedule fires"
    assert straight[1]["stopped_early"], "so does early stopping"
    for chunk in range(chunks_of(tmp_path / "count", MLP)):
        assert train(tmp_path / str(chunk), MLP, [chunk]) == straight, chunk


def test_many_deaths_in_a_row_change_nothing(tmp_path):
    assert train(tmp_path / "deaths", MLP, [2] * 7) == train(tmp_path / "straight", MLP)


def test_deaths_between_checkpoints_change_nothing(tmp_path):
    straight = train(tmp_path / "straight", MLP)
    assert train(tmp_path / "deaths", MLP, [7, 4, 9], checkpoint_seconds=1000.0) == straight


@pytest.mark.parametrize("resident", [{}, {"resident_mb": 0}], ids=["resident", "streamed"])
def test_weighted_rows_and_a_transformed_target_go_on_exactly_too(tmp_path, resident):
    options = WEIGHTED | resident
    assert train(tmp_path / "deaths", options, [2, 1, 2]) == train(tmp_path / "straight", options)


@pytest.mark.parametrize("model", [MLP | {"epochs": 5, "early_stopping_patience": 2}, GRU], ids=["mlp", "gru"])
@pytest.mark.parametrize("framework", [name for name in registry.installed() if name != "pytorch"])
def test_other_engines_go_on_exactly_too_though_a_worker_dies_after_every_chunk(tmp_path, framework, model):
    options = model | {"framework": framework}
    straight = train(tmp_path / "straight", options)
    chunks = chunks_of(tmp_path / "count", options)
    assert train(tmp_path / "deaths", options, [1] * (chunks - 1)) == straight


SEVERAL = {"folds": {"folds": 3}, "ensemble": {"ensemble": 3}}


@pytest.mark.parametrize("kind", SEVERAL)
def test_death_at_every_chunk_changes_nothing_for_several_networks(tmp_path, kind):
    options = MLP | SEVERAL[kind] | {"epochs": 7, "batch_size": 32, "early_stopping_patience": 1}
    straight = train(tmp_path / "straight", options)
    assert len({state["epoch"] for state in straight[1]}) > 1, "the networks stop at different epochs"
    assert any(state["stopped_early"] for state in straight[1])
    rates = [[row["learning_rate"] for row in state["history"]] for state in straight[1]]
    assert any(one != rates[0] for one in rates), "each has a schedule of its own"
    for chunk in range(chunks_of(tmp_path / "count", options)):
        assert train(tmp_path / str(chunk), options, [chunk]) == straight, chunk


@pytest.mark.parametrize("kind", SEVERAL)
def test_many_deaths_between_checkpoints_change_nothing_for_several_networks(tmp_path, kind):
    options = MLP | SEVERAL[kind] | {"epochs": 4}
    straight = train(tmp_path / "straight", options)
    assert train(tmp_path / "often", options, [1] * 20) == straight
    assert train(tmp_path / "seldom", options, [7, 13, 4], checkpoint_seconds=1000.0) == straight


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("framework", [name for name in registry.installed() if name != "pytorch"])
def test_several_networks_of_other_engines_go_on_exactly_too(tmp_path, framework, kind):
    options = MLP | SEVERAL[kind] | {"framework": framework, "epochs": 3}
    assert train(tmp_path / "deaths", options, [2, 5, 3, 1]) == train(tmp_path / "straight", options)


def assert_that_halves_equal_the_whole(tmp_path, options, epochs):
    """Half of the epochs, and a task that goes on from there, train the model of one task with all of them."""
    long = train(tmp_path / "long", options | {"epochs": epochs})
    train(tmp_path / "short", options | {"epochs": epochs // 2})
    newest, _ = checkpoint.newest(tmp_path / "short" / "checkpoints" / "t")
    given = ticket(tmp_path / "rest", 1, 0, options | {"epochs": epochs}).model_copy(update={"task_id": "child"})
    checkpoint.copy(newest, given.checkpoints_dir)
    line = RecordingReporter()
    assert execute(given, line) is ReportKind.COMPLETED
    assert line.rows() == long[0]
    assert (given.artifact_dir / "model.safetensors").read_bytes() == long[2]


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_networks_that_go_on_from_another_task_equal_one_long_training(tmp_path, kind):
    options = {"dataset": "iris", "hidden_units": [8], "learning_rate_scheduler": "none"} | SEVERAL[kind]
    options |= {"early_stopping_patience": None}
    assert_that_halves_equal_the_whole(tmp_path, options, epochs=4)


def test_a_network_that_had_stopped_early_catches_up_when_the_task_is_continued(tmp_path):
    """Its epochs become part of the means that had been made without it; the other networks do not wait for nothing."""
    options = MLP | {"folds": 3, "epochs": 7, "batch_size": 32, "early_stopping_patience": 1}
    first = train(tmp_path / "first", options)
    ends = [state["epoch"] for state in first[1]]
    newest, _ = checkpoint.newest(tmp_path / "first" / "checkpoints" / "t")
    more = options | {"epochs": 9, "early_stopping_patience": None}
    given = ticket(tmp_path / "rest", 1, 0, more).model_copy(update={"task_id": "child"})
    checkpoint.copy(newest, given.checkpoints_dir)
    line = RecordingReporter()
    assert execute(given, line) is ReportKind.COMPLETED
    rows = line.rows()
    assert [row["epoch"] for row in rows] == list(range(1, 10))
    assert [row["members"] for row in rows] == [3] * 9
    assert min(ends) < max(ends)
    assert rows[: min(ends)] == first[0][: min(ends)]


AUGMENTED = {
    "dataset": "digits",
    "model_type": "cnn",
    "input_shape": [8, 8],
    "hidden_units": [4],
    "batch_size": 256,
    "dropout_rate": 0.0,
    "epochs": 2,
    "augmentation": {"flip": "horizontal", "crop": 1, "noise": 0.1},
}


def test_augmented_images_are_the_same_after_a_death(tmp_path):
    assert train(tmp_path / "death", AUGMENTED, [3]) == train(tmp_path / "straight", AUGMENTED)


def test_every_engine_trains_on_the_same_augmented_images(tmp_path):
    options = AUGMENTED | {"epochs": 1}
    rows = [train(tmp_path / name, options | {"framework": name})[0][0] for name in registry.installed()]
    assert [row["train_loss"] for row in rows] == pytest.approx([rows[0]["train_loss"]] * len(rows), rel=1e-3)


def test_augmentation_changes_the_training_rows_only(tmp_path):
    options = AUGMENTED | {"learning_rate": 1e-10, "epochs": 1}
    augmented, plain = (
        train(tmp_path / str(i), options | {"augmentation": one})[0][0]
        for i, one in enumerate((AUGMENTED["augmentation"], None))
    )
    assert augmented["val_loss"] == pytest.approx(plain["val_loss"], rel=1e-5)
    assert augmented["train_loss"] != pytest.approx(plain["train_loss"], rel=1e-4)


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(tmp_path):
    straight = train(tmp_path / "straight", MLP)
    with pytest.raises(Killed):
        execute(ticket(tmp_path / "x", 1, 0, MLP), RecordingReporter(dies=9))
    newest, _ = checkpoint.newest(tmp_path / "x" / "checkpoints" / "t")
    (newest / "optimizer.safetensors").write_bytes(b"")
    (newest.parent / ".tmp-0001-000099-dead").mkdir()
    line = RecordingReporter()
    assert execute(ticket(tmp_path / "x", 2, 0, MLP), line) is ReportKind.COMPLETED
    warning, *_ = [payload["message"] for payload in line.of(ReportKind.LOG)]
    assert newest.name in warning
    assert "is used instead" in warning
    assert line.rows() == straight[0]
    assert not list(newest.parent.glob(".tmp-*"))


def test_a_training_whose_checkpoints_are_all_damaged_begins_again(tmp_path):
    straight = train(tmp_path / "straight", MLP)
    with pytest.raises(Killed):
        execute(ticket(tmp_path / "x", 1, 0, MLP), RecordingReporter(dies=9))
    for path in checkpoint.numbered(tmp_path / "x" / "checkpoints" / "t"):
        (path / "manifest.json").unlink()
    assert train(tmp_path / "x", MLP)[2] == straight[2]


class TestDivergence:
    """A learning rate that is far too large for a network without bounds."""

    OPTIONS: ClassVar = {
        "dataset": "diabetes",
        "hidden_units": [32, 32],
        "optimizer": "sgd",
        "learning_rate": 3.0,
        "learning_rate_scheduler": "none",
        "early_stopping_patience": None,
        "epochs": 6,
    }

    def run(self, folder, **options):
        line = RecordingReporter()
        return execute(ticket(folder, 1, 0, self.OPTIONS | options, 1000.0), line), line

    def test_it_steps_back_with_a_tenth_of_the_rate_and_goes_on(self, tmp_path):
        end, line = self.run(tmp_path, max_rollbacks=3)
        back = line.of(ReportKind.ROLLBACK)
        assert end is ReportKind.COMPLETED
        assert 1 <= len(back) <= 3
        assert back[0]["learning_rate"] == pytest.approx(0.3)
        rows = line.rows()
        assert rows[-1]["epoch"] == 6
        assert rows[-1]["learning_rate"] == pytest.approx(3.0 * 0.1 ** len(back))

    def test_when_that_is_used_up_it_names_epoch_and_batch(self, tmp_path):
        with pytest.raises(Diverged, match=r"in epoch 1.* The first bad batch was number (\d+) of its epoch"):
            self.run(tmp_path, max_rollbacks=0)

    def test_the_lower_rate_survives_a_death(self, tmp_path):
        options = self.OPTIONS | {"max_rollbacks": 3}
        straight = train(tmp_path / "straight", options, checkpoint_seconds=1000.0)
        assert straight[1]["rate_factor"] < 1
        line = RecordingReporter(dies=20)
        with pytest.raises(Killed):
            execute(ticket(tmp_path / "x", 1, 0, options, 1000.0), line)
        assert ReportKind.ROLLBACK in line.kinds
        assert train(tmp_path / "x", options, checkpoint_seconds=1000.0)[1:] == straight[1:]

    def test_of_several_networks_only_the_one_that_diverges_goes_back(self, tmp_path):
        end, line = self.run(tmp_path / "x", ensemble=4, learning_rate=0.8, epochs=4)
        assert end is ReportKind.COMPLETED
        newest, _ = checkpoint.newest(tmp_path / "x" / "checkpoints" / "t")
        found = checkpoint.load(newest).members
        assert [member.state.rollbacks for member in found] == [0, 1, 0, 0]
        assert [member.state.learning_rate for member in found] == pytest.approx([0.8, 0.08, 0.8, 0.8])
        [back] = line.of(ReportKind.ROLLBACK)
        assert (back["epoch"], back["learning_rate"]) == (0, pytest.approx(0.08))
        assert "of member 2, at learning rate 0.8" in back["message"]
        assert [(row["epoch"], row["members"]) for row in line.rows()] == [(epoch, 4) for epoch in range(1, 5)]
        plain = train(tmp_path / "plain", self.OPTIONS | {"learning_rate": 0.8, "epochs": 4})
        assert save(found[0].state.best_weights) == plain[3][2], "the others are as without it"

    def test_a_network_of_several_that_diverges_again_is_named_with_its_batch(self, tmp_path):
        with pytest.raises(Diverged, match=r"in epoch 1, .* of member 2, .* first bad batch was number (\d+) of its"):
            self.run(tmp_path, ensemble=2, learning_rate=0.8, epochs=4, max_rollbacks=0)

    @pytest.mark.parametrize("scheduler", ["none", "plateau"])
    def test_it_is_a_tenth_of_the_rate_that_was_set_on_the_resume(self, tmp_path, scheduler):
        options = self.OPTIONS | {"learning_rate": 0.001, "learning_rate_scheduler": scheduler}
        given = ticket(tmp_path, 1, 0, options, 1000.0)
        assert execute(given, RecordingReporter(epochs=2)) is ReportKind.PAUSED
        line = RecordingReporter()
        faster = options | {"learning_rate": 10.0, "max_rollbacks": 4}
        assert execute(ticket(tmp_path, 2, 2, faster, 1000.0), line) is ReportKind.COMPLETED
        back = line.of(ReportKind.ROLLBACK)
        assert (back[0]["epoch"], back[0]["learning_rate"]) == (2, pytest.approx(1.0))

    def test_a_continued_task_that_had_stopped_early_trains_on_after_a_step_back(self, tmp_path):
        options = self.OPTIONS | {"learning_rate": 0.001, "early_stopping_patience": 1, "min_delta": 1e6, "epochs": 20}
        first = ticket(tmp_path / "first", 1, 0, options)
        line = RecordingReporter()
        execute(first, line)
        stopped = len(line.rows())
        assert stopped < 20
        more = options | {"learning_rate": 10.0, "epochs": stopped + 8, "max_rollbacks": 4}
        given = ticket(tmp_path / "rest", 1, 0, more, 1000.0).model_copy(update={"task_id": "child"})
        checkpoint.copy(checkpoint.newest(first.checkpoints_dir)[0], given.checkpoints_dir)
        line = RecordingReporter()
        assert execute(given, line) is ReportKind.COMPLETED
        assert ReportKind.ROLLBACK in line.kinds
        assert line.rows()[-1]["epoch"] > stopped


def test_a_task_that_was_stopped_and_is_tried_again_has_no_more_patience_than_it_had(tmp_path):
    straight = train(tmp_path / "straight", MLP)
    first = ticket(tmp_path / "first", 1, 0, MLP)
    assert straight[1]["stopped_early"]
    assert execute(first, RecordingReporter(epochs=straight[1]["epoch"] - 1)) is ReportKind.PAUSED
    given = ticket(tmp_path / "again", 1, 0, MLP).model_copy(update={"task_id": "child"})
    checkpoint.copy(checkpoint.newest(first.checkpoints_dir)[0], given.checkpoints_dir)
    line = RecordingReporter()
    assert execute(given, line) is ReportKind.COMPLETED
    assert line.rows() == straight[0]


def test_a_task_that_goes_on_from_another_equals_one_long_training(tmp_path):
    options = {
        "dataset": "iris",
        "hidden_units": [8],
        "learning_rate_scheduler": "none",
        "early_stopping_patience": None,
    }
    assert_that_halves_equal_the_whole(tmp_path, options, epochs=6)


@pytest.mark.parametrize("patience", [1, None])
def test_a_task_whose_model_could_not_be_saved_is_completed_by_a_retry_without_training(tmp_path, patience):
    options = MLP | {"early_stopping_patience": patience, "min_delta": 1e6}
    straight = train(tmp_path / "straight", options)
    first = ticket(tmp_path / "first", 1, 0, options, 1000.0)
    first.data_dir.mkdir()
    first.artifacts_dir.write_text("not a folder")
    with pytest.raises(ModelNotSaved, match="retry the task"):
        execute(first, RecordingReporter())
    given = ticket(tmp_path / "again", 1, 0, options).model_copy(update={"task_id": "child"})
    checkpoint.copy(checkpoint.newest(first.checkpoints_dir)[0], given.checkpoints_dir, same_training=True)
    line = RecordingReporter()
    assert execute(given, line) is ReportKind.COMPLETED
    assert line.asked == 0
    assert line.rows() == straight[0]
    assert (given.artifact_dir / "model.safetensors").read_bytes() == straight[2]


def test_a_retry_of_a_task_that_goes_on_from_another_still_trains(tmp_path):
    """Its checkpoint is the end of the other training, which early stopping had ended; not of its own."""
    options = MLP | {"early_stopping_patience": 1, "min_delta": 1e6}
    train(tmp_path / "first", options)
    child, again = (ticket(tmp_path / name, 1, 0, options).model_copy(update={"task_id": name}) for name in "ca")
    copied = checkpoint.copy(checkpoint.newest(tmp_path / "first" / "checkpoints" / "t")[0], child.checkpoints_dir)
    checkpoint.copy(copied, again.checkpoints_dir, same_training=True)
    line = RecordingReporter()
    assert execute(again, line) is ReportKind.COMPLETED
    assert line.asked > 0


def test_the_position_of_a_checkpoint_of_several_networks_is_the_reported_one(tmp_path):
    options = MLP | SEVERAL["folds"] | {"epochs": 2}
    line = RecordingReporter(dies=9)
    with pytest.raises(Killed):
        execute(ticket(tmp_path, 1, 0, options), line)
    reported = line.of(ReportKind.CHECKPOINT)[-1]
    newest, _ = checkpoint.newest(tmp_path / "checkpoints" / "t")
    assert checkpoint.position(newest) == (reported["epoch"], reported["step"])
    assert reported["step"] > 3, "the first network has trained all its steps"


def test_another_network_whose_weights_are_not_finite_goes_back_too(tmp_path, monkeypatch):
    """Its loss may have been finite in its last step; the checkpoint after the first rollback finds it."""
    real, faults = checkpoint.save, []

    def save(folder, attempt, members, *more):
        if not faults and any(member.state.rollbacks for member in members):
            faults.append(Diverged("the weights of member 1 became infinite or NaN"))
            raise faults[0]
        return real(folder, attempt, members, *more)

    monkeypatch.setattr(checkpoint, "save", save)
    options = TestDivergence.OPTIONS | {"ensemble": 2, "learning_rate": 0.8, "epochs": 2}
    line = RecordingReporter()
    assert execute(ticket(tmp_path, 1, 0, options, 1000.0), line) is ReportKind.COMPLETED
    newest, _ = checkpoint.newest(tmp_path / "checkpoints" / "t")
    assert [member.state.rollbacks for member in checkpoint.load(newest).members] == [1, 1]
    assert len(line.of(ReportKind.ROLLBACK)) == 2
