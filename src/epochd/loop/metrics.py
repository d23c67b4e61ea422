"""Losses, scores and class weights, the same for all engines and for the saved model.

Scores are computed in float64 with NumPy, so that two engines with equal outputs report equal scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.loop.state import Totals


@dataclass(frozen=True, slots=True)
class Scores:
    """``loss`` is the mean cross-entropy (nats) or the mean squared error of the standardised target; ``mae`` and
    ``rmse`` are in the unit of the target."""

    loss: float
    accuracy: float | None = None
    r2: float | None = None
    mae: float | None = None
    rmse: float | None = None


@dataclass(frozen=True, slots=True)
class ScoreSums:
    """Sums over scored rows; ``absolute`` are the absolute errors in units of the standardised target."""

    rows: int = 0
    loss: float = 0.0
    hits: float = 0.0
    absolute: float = 0.0

    def __add__(self, other: "ScoreSums") -> "ScoreSums":
        hits, absolute = self.hits + other.hits, self.absolute + other.absolute
        return ScoreSums(self.rows + other.rows, self.loss + other.loss, hits, absolute)


def score(outputs: FloatArray, y: FloatArray | IntArray, task: Task, target_scale: float = 1.0) -> Scores:
    """Compare raw outputs (rows, outputs) with the encoded target (rows,).

    ``target_scale`` is the standard deviation by which a regression target was divided.
    """
    return scores(score_sums(outputs, y, task), y, task, target_scale)


def score_sums(outputs: FloatArray, y: FloatArray | IntArray, task: Task) -> ScoreSums:
    """The sums behind the scores of some rows."""
    wide = outputs.astype(np.float64)
    match task:
        case "binary":
            logit = wide[:, 0]
            loss = np.logaddexp(0, logit) - y * logit
            return ScoreSums(len(y), float(loss.sum()), float(((logit > 0) == (y > 0.5)).sum()))
        case "multiclass":
            loss = np.logaddexp.reduce(wide, axis=1) - wide[np.arange(len(y)), y.astype(np.int64)]
            return ScoreSums(len(y), float(loss.sum()), float((wide.argmax(axis=1) == y).sum()))
        case "regression":
            error = wide[:, 0] - y
            return ScoreSums(len(y), float((error**2).sum()), absolute=float(np.abs(error).sum()))


def scores(sums: ScoreSums, y: FloatArray | IntArray, task: Task, target_scale: float = 1.0) -> Scores:
    """The scores that follow from the sums over all rows, whose target is ``y``."""
    loss = sums.loss / sums.rows
    if task != "regression":
        return Scores(loss, sums.hits / sums.rows)
    mae = sums.absolute / sums.rows * target_scale
    return Scores(loss, r2=_r2(loss, y), mae=mae, rmse=loss**0.5 * target_scale)


def _r2(mse: float, y: FloatArray | IntArray) -> float:
    """The coefficient of determination; 0 for a constant target, where it is not defined."""
    variance = float(y.astype(np.float64).var())
    return 1.0 - mse / variance if variance > 0 else 0.0


def train_scores(totals: Totals, train: InMemoryDataset | MemmapDataset, task: Task) -> Scores:
    """The running averages of an epoch: each row is scored with the weights of its own step and with dropout."""
    loss, share = totals.loss / totals.rows, totals.score / totals.rows
    return Scores(loss, r2=_r2(share, train.y)) if task == "regression" else Scores(loss, share)


def history_row(
    epoch: int, train: Scores, validation: Scores | None, task: Task, learning_rate: float, seconds: float
) -> dict[str, Any]:
    """One row of the history, with the field names of the public API."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "train_loss": train.loss,
        "train_accuracy": train.accuracy,
        "val_loss": validation.loss if validation else None,
        "val_accuracy": validation.accuracy if validation else None,
        "learning_rate": learning_rate,
        "time_per_epoch": seconds,
    }
    if task == "regression":
        values["train_r2"] = train.r2
        for name in ("r2", "mae", "rmse"):
            values[f"val_{name}"] = getattr(validation, name) if validation else None
    return values


def best_metrics(best: dict[str, Any] | None) -> dict[str, Any]:
    """``best_metrics`` of the public API: the scores of the best epoch, on the validation rows if there are any."""
    if best is None:
        return {}
    side = "train" if best["val_loss"] is None else "val"
    found = {"epoch": best["epoch"], "loss": best[f"{side}_loss"], "accuracy": best[f"{side}_accuracy"]}
    return found | ({"r2": best[f"{side}_r2"]} if f"{side}_r2" in best else {})


def class_weights(
    class_weight: Literal["balanced"] | Mapping[str, float] | None,
    classes: Sequence[object] | None,
    y: FloatArray | IntArray,
) -> tuple[float, ...] | None:
    """The spec's ``class_weight`` in class order; None where all classes count the same. ``y`` are class numbers.

    ``balanced`` is rows / (classes x rows of the class), as in scikit-learn.
    """
    if class_weight is None or classes is None:
        return None
    if class_weight == "balanced":
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        return tuple((len(y) / (len(classes) * np.maximum(counts, 1))).tolist())
    return tuple(float(class_weight.get(str(label), 1.0)) for label in classes)
