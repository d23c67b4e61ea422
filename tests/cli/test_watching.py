"""What a person sees of a training."""

import io

import pytest
from rich.console import Console

from epochd.cli import console, watching

METRICS = {
    "epoch": 3,
    "train_loss": 0.25,
    "train_accuracy": 0.9,
    "val_loss": 0.3,
    "val_accuracy": 0.875,
    "learning_rate": 0.001,
    "time_per_epoch": 2.0,
}


COMPARISON = {
    "identical": False,
    "history": {"epochs": [3, 2], "first_difference": {"epoch": 1, "metric": "val_loss", "values": [0.25, 0.5]}},
    "weights": {"differing": ["output.bias"], "largest_difference": 0.125},
    "scores": {"validation.loss": [0.25, 0.5]},
    "environment": {"cpu": ["A", "B"]},
}


def test_a_comparison_names_all_that_differs(capsys: pytest.CaptureFixture[str]) -> None:
    assert watching.show_comparison("epoch_training_1", COMPARISON) == console.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:4] == [
        "epochs: 3 at first, 2 repeated",
        "first difference: val_loss of epoch 1: 0.25 and 0.5",
        "weights: 1 tensors differ, by up to 0.125",
    ]
    assert lines[4:] == ["validation.loss: 0.25 at first, 0.5 repeated", "cpu: A at first, B repeated"]


def test_the_bar_shows_epoch_figures_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False)
    monkeypatch.setattr(watching, "out", terminal)
    with watching.display(33) as show:
        show({"type": "state", "state": "running"})
        show({"type": "log", "message": "an [odd] note"})
        show({"type": "progress", "progress": {"current_epoch": 3, "total_epochs": 33, "latest_metrics": METRICS}})
    text = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "running" in text
    assert "an [odd] note" in text
    assert "epoch 3/33  loss 0.25  val_loss 0.3  val_accuracy 0.875  lr 0.001  ≤ 1:00 left" in text


def test_a_step_back_is_told_and_takes_the_bar_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    back = {"type": "rollback", "epoch": 2, "learning_rate": 1e-4, "message": "the loss became NaN in epoch 4"}
    watching.print_event(back)
    assert capsys.readouterr().out == "the loss became NaN in epoch 4\n"
    terminal = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False)
    monkeypatch.setattr(watching, "out", terminal)
    with watching.Progress(console=terminal) as progress:
        watching.ProgressBar(progress, 10).show(back)
        assert progress.tasks[0].completed == 2
    assert back["message"] in terminal.file.getvalue()  # type: ignore[attr-defined]


def test_a_warning_of_the_log_is_shown_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    watching.print_event({"type": "log", "level": "warning", "message": "never predicted: 'a'"})
    watching.print_event({"type": "log", "level": "info", "message": "resumed"})
    assert capsys.readouterr().out.splitlines() == ["warning: never predicted: 'a'", "resumed"]


def test_regression_shows_r2_and_training_without_validation_its_own_figures() -> None:
    regression = METRICS | {"train_accuracy": None, "val_accuracy": None, "train_r2": 0.5, "val_r2": 0.4}
    alone = METRICS | {"val_loss": None, "val_accuracy": None}
    assert watching.figures(regression) == "loss 0.25  val_loss 0.3  val_R² 0.4  lr 0.001"
    assert watching.figures(alone) == "loss 0.25  train_accuracy 0.9  lr 0.001"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3661, "1:01:01")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert watching.duration(seconds) == text


METRICS_AT_THE_END = {
    "validation": {"rows": 9, "loss": 0.25, "accuracy": 0.875, "auc": None},
    "test": {"rows": 9, "loss": 0.5, "accuracy": 0.75, "auc": 0.9},
    "train": {"rows": 9, "loss": 0.1, "accuracy": 1.0},
    "baselines": {
        "validation": [{"name": "majority class", "accuracy": 0.5}, {"name": "prior", "loss": 0.7}],
        "test": [{"name": "majority class", "accuracy": 0.625}],
    },
    "decision_threshold": 0.3,
}


def test_the_end_of_a_training_has_its_metrics_beside_the_baselines(capsys: pytest.CaptureFixture[str]) -> None:
    task = {"state": "completed", "current_epoch": 7, "best_metrics": {"epoch": 5, "loss": 0.25}, "artifact": "a/m"}
    assert watching.conclude(task | {"summary": {"metrics": METRICS_AT_THE_END}}) == 0
    assert capsys.readouterr().out.splitlines() == [
        "completed: 7 epochs; best epoch 5: loss 0.25",
        "          validation  baseline              test  baseline",
        "loss      0.25        0.7 (prior)           0.5",
        "accuracy  0.875       0.5 (majority class)  0.75  0.625 (majority class)",
        "auc                                         0.9",
        "decision threshold 0.3",
        "model: a/m in the server's data directory",
    ]
    assert watching.conclude(task | {"summary": {"scores": {}}}) == 0, "a task of an older version"
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_task_that_has_ended_shows_where_its_time_went(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {
        "state": "failed",
        "error": {"message": "no rows"},
        "timings": {"queue": 0.001, "start": 2.0, "data": 0.5},
    }
    assert watching.conclude(failed) == 1
    assert capsys.readouterr().out.splitlines() == ["failed: no rows", "time: 2.50 s = start 2.00 s + data 0.50 s"]


def test_without_held_out_rows_the_metrics_of_the_training_rows_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    watching.show_metrics({"train": {"rmse": 2.0}, "baselines": {"train": [{"name": "mean", "rmse": 4.0}]}})
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["train", "baseline"],
        ["rmse", "2", "4", "(mean)"],
    ]


def test_a_failure_is_shown_with_the_worker_s_last_lines(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "worker_died", "message": "killed by signal 9", "log_tail": ["step 1", "[boom]"]}
    assert watching.conclude({"state": "failed", "error": error}) == console.FAILED
    assert capsys.readouterr().out.splitlines() == ["failed: killed by signal 9", "step 1", "[boom]"]


def test_the_metrics_of_several_networks_stand_beside_those_of_their_average(
    capsys: pytest.CaptureFixture[str],
) -> None:
    members = {"mean": {"rmse": 2.5, "mape": None}, "std": {"rmse": 0.25, "mape": None}}
    watching.show_metrics({"validation": {"rmse": 2.0, "mape": 0.1}, "members": members})
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][-1] == "each network (mean ± std)"
    assert any(line[0].strip() == "rmse" and line[-1].strip() == "2.5 ± 0.25" for line in lines)
