"""The rows of the history, with the field names of the public API."""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from epochd.core.arrays import IntArray
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
    chosen: IntArray | None = None,
) -> Scores:
    """The running averages of an epoch: each row is scored with the weights of its own step and with dropout.
    ``target_log`` is as in ``Setup``, ``chosen`` as in ``Batches``."""
    loss, share = totals.loss / totals.rows, totals.score / totals.rows
    if task != "regression":
        return {"loss": loss, "accuracy": min(share, 1.0)}  # above 1 by rounding of weights
    y, weights = train.y, train.weights
    if chosen is not None:
        y, weights = y[chosen], None if weights is None else weights[chosen]
    return {"loss": loss, "r2": metrics.r2(share, relative(y, *target_log) if target_log else y, weights)}


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


def mean_row(rows: Sequence[dict[str, Any]], watched: str) -> dict[str, Any]:
    """The row of an epoch that several networks have trained: the mean of each metric, None where one of them has none;
    the sum of their times, how many ``members`` there were, and of the metric ``watched`` the sample standard deviation
    (None for one)."""
    found: dict[str, Any] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values: list[Any] = [row.get(name) for row in rows]
        if None in values or isinstance(values[0], bool):
            found[name] = None if None in values else values[0]
        else:
            found[name] = fmean(values)
    spread = [row[watched] for row in rows if row.get(watched) is not None]
    found |= {"epoch": rows[0]["epoch"], "time_per_epoch": sum(row["time_per_epoch"] for row in rows)}
    return found | {"members": len(rows), "monitored_std": stdev(spread) if len(spread) > 1 else None}


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


def is_best(value: float | None, best: float | None, higher_is_better: bool) -> bool:
    """Whether an epoch with this value of the monitored metric becomes the best one. As long as the metric is not
    defined in any epoch (None), the newest epoch is the best one; later, an epoch without a value never is."""
    return best is None or (value is not None and is_better(value, best, higher_is_better))


def is_better(value: float, best: float, higher_is_better: bool, min_delta: float = 0.0) -> bool:
    return value - best > min_delta if higher_is_better else best - value > min_delta
