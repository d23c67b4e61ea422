"""The interface between the loop and the engines."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task, TrainingSpec
from epochd.data.feed.dataset import InMemoryDataset
from epochd.loop.state import Totals

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A learned vector of ``size`` numbers for each of ``codes`` categories, whose codes (0 … codes - 1, as floats) are
    in ``channel`` of the features."""

    channel: int
    codes: int
    size: int


@dataclass(frozen=True, slots=True)
class Setup:
    """What an engine needs besides the data to build a model.

    ``inputs`` is the shape of one row of features, channels last. ``outputs`` is 1 for binary (logit of class 1) and
    for regression (one for each of several horizons, whose squared errors a row's loss averages), one logit per class
    for multiclass. ``embeddings`` are looked up first: the channels with codes are removed and the vectors are appended
    to the others, in order. With ``masked`` the last channel of ``inputs`` (steps,
    channels) is 1 for real steps and 0 for padding, which ends each sequence; it is no feature, and padding has no
    effect. ``threads`` is the maximum number of CPU threads, of which an engine uses as many as are faster, or
    ``chosen_threads`` where that is known. Each batch is split by the CPU ``devices``, or the ``gpus``, of each of
    ``nodes`` machines. ``class_weights`` weight the row losses in class order (None: all 1), besides the weights of the
    rows themselves; a batch's loss is their sum divided by the number of rows. ``rows`` is the number of rows in an
    epoch where the engine is built with the first block only.
    With ``target_log`` the target of a regression is a standardised logarithm: its scale, and the largest one of the
    training rows (see ``loop.state.Totals``).
    """

    spec: TrainingSpec
    task: Task
    inputs: tuple[int, ...]
    outputs: int
    threads: int = 1
    gpus: tuple[int, ...] = ()
    devices: int = 1
    class_weights: tuple[float, ...] | None = None
    embeddings: tuple[Embedding, ...] = ()
    masked: bool = False
    rows: int | None = None
    target_log: tuple[float, float] | None = None
    chosen_threads: int | None = None
    nodes: int = 1


class Engine(Protocol):
    """One model, its optimizer and its training rows, resident on one device.

    Weights are *canonical*: PyTorch's names and layouts (see ``engines.network``), float32.
    """

    @property
    def description(self) -> dict[str, Any]:
        """Framework and its version, device, threads; for display."""

    def load_rows(self, rows: InMemoryDataset) -> None:
        """Replace the training rows given to the constructor."""

    def train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        """Take one optimizer step per ``batch_size`` rows; ``step`` is the number of the first step in the training."""

    def outputs(self, x: FloatArray) -> FloatArray:
        """Raw network outputs in evaluation mode: (rows, *inputs) → (rows, outputs)."""

    def weights(self) -> Arrays:
        """A copy of the canonical weights."""

    def load_weights(self, weights: Arrays) -> None: ...

    def optimizer_state(self) -> Arrays:
        """A copy of the optimizer state; the names are specific to the engine."""

    def load_optimizer_state(self, state: Arrays) -> None: ...

    def close(self) -> None:
        """Stop the processes that the engine started (other ranks); the engine cannot be used afterwards."""
