"""The epoch loop, on a real engine and real data; above all: interrupted and uninterrupted runs are equal."""

import math

import numpy as np
import pytest
from sklearn import datasets

from epochd.artifact import checkpoint
from epochd.core import specs
from epochd.core.errors import Diverged
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.data.feed.batches import Batches
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.engines import registry
from epochd.loop import metrics, ranking
from epochd.loop.engine import Setup
from epochd.loop.fit import evaluate, fit
from epochd.loop.members import FitConfig, Member, Members
from epochd.loop.phases import PhaseTimer
from epochd.loop.state import LoopState

X, Y = datasets.load_breast_cancer(return_X_y=True)
X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
Y = Y.astype(np.float32)
TRAIN, VALIDATION = InMemoryDataset(X[:400], Y[:400]), InMemoryDataset(X[400:], Y[400:])


class Listener:
    """A sink that gives ``command`` once ``chunks`` chunks have begun."""

    def __init__(self, chunks=math.inf, command=Command.PAUSE):
        self.chunks, self.given, self.events, self.positions = chunks, command, [], []
        self.timer = PhaseTimer()

    def emit(self, kind, payload):
        self.events.append((kind, payload))

    def position(self, epoch, step, steps):
        self.positions.append((epoch, step, steps))

    def command(self):
        self.chunks -= 1
        return self.given if self.chunks < 0 else Command.CONTINUE

    def checkpoint_due(self):
        return False

    def checkpoint(self, members):
        raise AssertionError("not due")


def training(*, train=TRAIN, validation=VALIDATION, chunk_steps=3, **options):
    spec = specs.parse({"target_column": "t", "hidden_units": [16, 8], "epochs": 6, **options})
    setup = Setup(spec, "binary", (30,), 1)
    config = FitConfig(spec, "binary", train, validation, Batches(len(train), spec.batch_size, spec.seed, chunk_steps))
    return registry.build("pytorch", setup, train), config, LoopState(spec.learning_rate)


def without_times(history):
    return [{name: value for name, value in row.items() if name != "time_per_epoch"} for row in history]


def same(left, right):
    for name in left:
        np.testing.assert_array_equal(left[name], right[name], err_msg=name)


def test_the_position_is_noted_before_each_chunk_and_at_the_end_of_each_epoch():
    engine, config, state = training(epochs=2, batch_size=50, chunk_steps=3)
    sink = Listener()
    fit(Members([Member(engine, config, state)]), sink)
    assert sink.positions == [(epoch, step, 8) for epoch in (1, 2) for step in (0, 3, 6, 8)]


def test_every_epoch_is_reported_once_in_order():
    engine, config, state = training()
    sink = Listener()
    assert fit(Members([Member(engine, config, state)]), sink) is Command.CONTINUE
    assert [(kind, payload["metrics"]["epoch"]) for kind, payload in sink.events] == [
        (ReportKind.EPOCH, epoch) for epoch in range(1, 7)
    ]
    assert sink.events[-1][1]["metrics"]["val_accuracy"] > 0.9


def test_the_best_weights_score_what_the_best_epoch_says():
    engine, config, state = training(learning_rate=0.05, epochs=12)
    fit(Members([Member(engine, config, state)]), Listener())
    engine.load_weights(state.best_weights)
    scores = evaluate(engine, config, VALIDATION)
    assert state.best_epoch < 12
    assert (scores["loss"], scores["accuracy"]) == (state.best_row["val_loss"], state.best_row["val_accuracy"])


def test_without_validation_rows_the_reported_training_metrics_are_of_the_epochs_own_weights():
    engine, config, state = training(validation=None, validation_split=0)
    fit(Members([Member(engine, config, state)]), Listener())
    engine.load_weights(state.best_weights)
    assert evaluate(engine, config, TRAIN)["loss"] == state.best_row["train_loss"]
    assert state.best_row["val_loss"] is None


@pytest.mark.parametrize(
    ("monitor", "better"), [("val_auc", max), ("val_f1", max), ("val_brier", min), ("val_balanced_accuracy", max)]
)
def test_any_metric_can_select_the_best_epoch(monitor, better):
    engine, config, state = training(learning_rate=0.03, epochs=10, monitor=monitor, early_stopping_patience=None)
    fit(Members([Member(engine, config, state)]), Listener())
    values = [row[monitor] for row in state.history]
    assert state.best_epoch == 1 + values.index(better(values))
    assert len(set(values)) > 2


def test_a_metric_that_no_epoch_defines_leaves_the_last_weights():
    validation = InMemoryDataset(VALIDATION.x[VALIDATION.y == 1], VALIDATION.y[VALIDATION.y == 1])
    engine, config, state = training(validation=validation, monitor="val_auc", early_stopping_patience=4)
    fit(Members([Member(engine, config, state)]), Listener())
    assert [row["val_auc"] for row in state.history] == [None] * 4
    assert (state.stopped_early, state.best_epoch, state.best_value) == (True, 4, None)
    same(engine.weights(), state.best_weights)


@pytest.mark.parametrize("kept", [2_000_000, 0], ids=["exact", "estimated"])
def test_streamed_rows_have_the_metrics_of_resident_ones(monkeypatch, kept):
    monkeypatch.setattr(ranking, "KEPT_VALUES", kept)
    monkeypatch.setattr(metrics, "BLOCK_ROWS", 37)
    engine, config, _ = training()
    streamed = MemmapDataset(VALIDATION.x, np.arange(len(VALIDATION)), 1, (30,), VALIDATION.y)
    found = [evaluate(engine, config, dataset) for dataset in (VALIDATION, streamed)]
    assert found[0] == found[1]
    assert ("auc_estimated" in found[0]) == (kept == 0)


def test_early_stopping_ends_the_run():
    engine, config, state = training(epochs=50, learning_rate=0.05, early_stopping_patience=2)
    fit(Members([Member(engine, config, state)]), Listener())
    assert state.stopped_early
    assert state.epoch < 50


@pytest.mark.parametrize("command", [Command.PAUSE, Command.CANCEL, Command.RELEASE])
def test_a_command_ends_the_run_between_two_chunks(command):
    engine, config, state = training()
    assert fit(Members([Member(engine, config, state)]), Listener(2, command)) is command
    assert (state.epoch, state.step, state.totals.rows) == (0, 6, 192)


def test_a_loss_that_is_no_number_ends_the_run_and_names_the_epoch():
    engine, config, state = training(
        train=InMemoryDataset(TRAIN.x * 1e30, TRAIN.y), optimizer="sgd", learning_rate=10.0
    )
    with pytest.raises(Diverged, match="in epoch 1, batches 1 to 3, at learning rate 10"):
        fit(Members([Member(engine, config, state)]), Listener())


@pytest.mark.parametrize(
    "options",
    [
        {
            "learning_rate_scheduler": "plateau",
            "patience": 1,
            "factor": 0.5,
            "learning_rate": 0.02,
            "epochs": 20,
            "early_stopping_patience": 5,
        },
        {"learning_rate_scheduler": "step", "step_size": 2, "gamma": 0.3, "optimizer": "sgd", "learning_rate": 0.2},
        {"learning_rate_scheduler": "cosine", "optimizer": "rmsprop", "learning_rate": 0.01, "dropout_rate": 0.5},
        {"optimizer": "adamw", "seed": 9, "batch_size": 64, "monitor": "val_accuracy"},
        {"learning_rate_scheduler": "plateau", "patience": 0, "learning_rate": 0.02, "monitor": "val_auc"},
    ],
    ids=["plateau", "step", "cosine", "adamw", "plateau on auc"],
)
def test_a_run_paused_at_every_chunk_equals_an_uninterrupted_one(tmp_path, options):
    """Each chunk runs in a fresh engine from a checkpoint on disk; all that is reported and saved is bit-equal."""
    straight_engine, config, straight = training(**options)
    straight_sink = Listener()
    fit(Members([Member(straight_engine, config, straight)]), straight_sink)

    sink, interruptions = Listener(1), 0
    engine, config, state = training(**options)
    while fit(Members([Member(engine, config, state)]), sink) is Command.PAUSE:
        [saved] = checkpoint.load(checkpoint.save(tmp_path, 1, Members([Member(engine, config, state)]), {})).members
        engine = training(**options)[0]
        state, sink.chunks, interruptions = saved.restore(engine), 1, interruptions + 1

    assert interruptions >= 2 * straight.epoch
    assert without_times(state.history) == without_times(straight.history)
    assert [kind for kind, _ in sink.events] == [kind for kind, _ in straight_sink.events]
    same(engine.weights(), straight_engine.weights())
    same(state.best_weights, straight.best_weights)
    assert (state.stopped_early, state.best_epoch, state.learning_rate) == (
        straight.stopped_early,
        straight.best_epoch,
        straight.learning_rate,
    )


def test_the_rules_that_fire_after_a_resume_are_those_that_would_have_fired():
    """The plateau case above really does lower its rate and stop early; otherwise it would prove little."""
    engine, config, state = training(
        learning_rate_scheduler="plateau",
        patience=1,
        factor=0.5,
        learning_rate=0.02,
        epochs=20,
        early_stopping_patience=5,
    )
    fit(Members([Member(engine, config, state)]), Listener())
    assert state.stopped_early
    assert len({row["learning_rate"] for row in state.history}) > 1
