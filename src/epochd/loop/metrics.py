"""Losses and scores from raw outputs, in one place for all engines and for the saved model.

Computed in float64 with NumPy, so that two engines that give the same outputs report the same numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.loop.engine import Engine
from epochd.loop.state import LoopState, Totals

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scores:
    """How outputs compare with the truth. ``loss`` is the mean cross-entropy (nats) or the mean squared
    error of the standardised target; ``mae`` and ``rmse`` are in the target's own unit."""

    loss: float
    accuracy: float | None = None
    r2: float | None = None
    mae: float | None = None
    rmse: float | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over scored rows: ``loss`` as in ``Scores``; ``hits`` are rows predicted right, ``absolute`` the absolute
    errors in units of the standardised target."""

    rows: int = 0
    loss: float = 0.0
    hits: float = 0.0
    absolute: float = 0.0

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.rows + other.rows, self.loss + other.loss, self.hits + other.hits, self.absolute + other.absolute
        )


def score(outputs: FloatArray, y: FloatArray | IntArray, task: Task, target_scale: float = 1.0) -> Scores:
    """Compare raw outputs (rows, outputs) with the encoded target (rows,).

    ``target_scale`` is the standard deviation by which a regression target was divided.
    """
    return scores(tally(outputs, y, task), y, task, target_scale)


def tally(outputs: FloatArray, y: FloatArray | IntArray, task: Task) -> Tally:
    """The sums behind the scores of some rows."""
    wide = outputs.astype(np.float64)
    match task:
        case "binary":
            logit = wide[:, 0]
            loss = np.logaddexp(0, logit) - y * logit
            return Tally(len(y), float(loss.sum()), float(((logit > 0) == (y > 0.5)).sum()))
        case "multiclass":
            loss = np.logaddexp.reduce(wide, axis=1) - wide[np.arange(len(y)), y.astype(np.int64)]
            return Tally(len(y), float(loss.sum()), float((wide.argmax(axis=1) == y).sum()))
        case "regression":
            error = wide[:, 0] - y
            return Tally(len(y), float((error**2).sum()), absolute=float(np.abs(error).sum()))


def scores(tally: Tally, y: FloatArray | IntArray, task: Task, target_scale: float = 1.0) -> Scores:
    """The scores of all rows, whose target is ``y``."""
    loss = tally.loss / tally.rows
    if task != "regression":
        return Scores(loss, tally.hits / tally.rows)
    mae = tally.absolute / tally.rows
    return Scores(loss, r2=_r2(loss, y.astype(np.float64)), mae=mae * target_scale, rmse=loss**0.5 * target_scale)


def _r2(mse: float, y: Float64) -> float:
    """The coefficient of determination; 0 for a constant target, where it is not defined."""
    variance = float(y.var())
    return 1.0 - mse / variance if variance > 0 else 0.0


def train_scores(totals: Totals, train: InMemoryDataset | MemmapDataset, task: Task) -> Scores:
    """The running averages of an epoch: each row scored by the weights of its own step, dropout on."""
    loss, share = totals.loss / totals.rows, totals.score / totals.rows
    if task == "regression":
        return Scores(loss, r2=_r2(share, train.y.astype(np.float64)))
    return Scores(loss, share)


def row(
    epoch: int, train: Scores, validation: Scores | None, task: Task, learning_rate: float, seconds: float
) -> dict[str, Any]:
    """One row of the history, with the public field names."""
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
    """``best_metrics`` of the public API from the best epoch's row: of the validation rows if there are any."""
    if best is None:
        return {}
    side = "train" if best["val_loss"] is None else "val"
    found = {"epoch": best["epoch"], "loss": best[f"{side}_loss"], "accuracy": best[f"{side}_accuracy"]}
    return found | ({"r2": best[f"{side}_r2"]} if f"{side}_r2" in best else {})


ClassWeight = Literal["balanced"] | Mapping[str, float] | None


def class_weights(
    asked: ClassWeight, classes: Sequence[object] | None, y: FloatArray | IntArray
) -> tuple[float, ...] | None:
    """The spec's ``class_weight`` in class order; None where all rows count the same.

    ``balanced`` is rows / (classes x rows of the class), as in scikit-learn; ``y`` are the training rows'
    class numbers.
    """
    if asked is None or classes is None:
        return None
    if asked == "balanced":
        counts = np.bincount(y.astype(np.int64), minlength=len(classes))
        return tuple((len(y) / (len(classes) * np.maximum(counts, 1))).tolist())
    return tuple(float(asked.get(str(label), 1.0)) for label in classes)


def keep_best(engine: Engine, state: LoopState, value: float, higher_is_better: bool) -> None:
    """Remember the epoch just finished, and its weights, if no earlier one was better."""
    if state.best_value is None or is_better(value, state.best_value, higher_is_better):
        state.best_epoch, state.best_value = state.epoch, value
        state.best_weights = engine.weights()


def count_patience(
    state: LoopState, value: float, higher_is_better: bool, patience: int | None, min_delta: float
) -> None:
    """Set ``state.stopped_early`` once ``patience`` epochs in a row brought nothing; None never stops."""
    if state.stopping_best is None or is_better(value, state.stopping_best, higher_is_better, min_delta):
        state.stopping_best, state.stopping_wait = value, 0
        return
    state.stopping_wait += 1
    state.stopped_early = patience is not None and state.stopping_wait >= patience


def is_better(value: float, best: float, higher_is_better: bool, min_delta: float = 0.0) -> bool:
    return value - best > min_delta if higher_is_better else best - value > min_delta
