"""The rows of the history, with the field names of the public API."""

from typing import Any

from epochd.core.specs import Task
from epochd.core.target_scale import relative
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.loop import metrics
from epochd.loop.classification import Scores
from epochd.loop.state import Totals

ALWAYS = {"regression": ("r2", "mae", "rmse")}
"""Metrics of the validation rows that a row contains even if there are none."""


def running_scores(
    totals: Totals,
    train: InMemoryDataset | MemmapDataset,
    task: Task,
    target_log: tuple[float, float] | None = None,
) -> Scores:
    """The running averages of an epoch: each row is scored with the weights of its own step and with dropout.
    ``target_log`` is as in ``Setup``."""
    loss, share = totals.loss / totals.rows, totals.score / totals.rows
    if task != "regression":
        return {"loss": loss, "accuracy": min(share, 1.0)}  # above 1 by rounding of weights
    truth = relative(train.y, *target_log) if target_log else train.y
    return {"loss": loss, "r2": metrics.r2(share, truth, train.weights)}


def history_row(
    epoch: int, train: Scores, validation: Scores | None, task: Task, learning_rate: float, seconds: float
) -> dict[str, Any]:
    """One row: first the fields of the public guide, then the other metrics of each side that was scored."""
    row: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": train["loss"],
        "train_accuracy": train.get("accuracy"),
        "val_loss": validation and validation["loss"],
        "val_accuracy": validation and validation.get("accuracy"),
        "learning_rate": learning_rate,
        "time_per_epoch": seconds,
    }
    row |= {f"train_{name}": value for name, value in train.items()}
    return row | {f"val_{name}": None for name in ALWAYS.get(task, ())} | _prefixed("val", validation or {})


def _prefixed(side: str, scores: Scores) -> Scores:
    return {f"{side}_{name}": value for name, value in scores.items()}


def best_metrics(best: dict[str, Any] | None) -> dict[str, Any]:
    """``best_metrics`` of the public API: the metrics of the best epoch, on the validation rows if there are any."""
    if best is None:
        return {}
    side = "train_" if best["val_loss"] is None else "val_"
    return {"epoch": best["epoch"]} | {
        name.removeprefix(side): value for name, value in best.items() if name.startswith(side)
    }
