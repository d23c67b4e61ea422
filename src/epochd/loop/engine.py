"""What the loop asks of an engine and of the place that it reports to."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.specs import Task, TrainingSpec
from epochd.data.feed.dataset import InMemoryDataset
from epochd.loop.state import LoopState, Totals

Arrays = dict[str, npt.NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Embedding:
    """A learned vector of ``size`` numbers for each of ``codes`` categories, whose codes (0 … codes - 1, as floats)
    stand in ``channel`` of the features."""

    channel: int
    codes: int
    size: int


@dataclass(frozen=True, slots=True)
class Setup:
    """Everything an engine needs besides the data to build a model.

    ``inputs`` is the shape of one row of features, channels last, ``outputs`` the number of values the network gives:
    1 for binary (the logit of class 1) and regression, one logit per class for multiclass.
    ``embeddings`` are looked up before anything else: the channels that hold codes are taken out and the vectors put
    behind the rest, in their order. With ``masked`` the last channel of ``inputs`` (steps, channels) says 1 for steps
    that exist and 0 for padding, which comes last in each sequence; it is no feature and padding must not count.
    ``threads`` is the most CPU threads the engine may use. ``class_weights`` are the weights of the classes'
    rows in the training loss, in class order (None: all 1); a batch's loss is the sum of weighted row losses
    over the number of rows. ``devices`` is how many CPU devices split each batch. ``rows`` is how many rows an epoch
    has where the engine is built with fewer, the first window (None: as many as it is built with).
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


class Engine(Protocol):
    """One model, its optimizer and its training rows, resident on one device.

    Weights are *canonical*: PyTorch's names and layouts (see ``engines.architecture``), float32.
    """

    @property
    def description(self) -> dict[str, Any]:
        """For people: framework and its version, device, threads."""

    def load_rows(self, rows: InMemoryDataset) -> None:
        """Train on these rows from now on instead of those of the constructor."""

    def train(self, rows: IntArray, step: int, learning_rate: float) -> Totals:
        """Take one optimizer step per ``batch_size`` rows; ``step`` is the first step's number in the whole run."""

    def outputs(self, x: FloatArray) -> FloatArray:
        """Raw network outputs in evaluation mode: (rows, *inputs) → (rows, outputs)."""

    def weights(self) -> Arrays:
        """A copy of the canonical weights."""

    def load_weights(self, weights: Arrays) -> None: ...

    def optimizer_state(self) -> Arrays:
        """A copy of the optimizer's memory; the names are the engine's own."""

    def load_optimizer_state(self, state: Arrays) -> None: ...

    def close(self) -> None:
        """End what the engine started (other ranks' processes); it is not used again."""


class Sink(Protocol):
    """Where a running training reports to, and where its commands come from."""

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None: ...

    def command(self) -> Command: ...

    def checkpoint_due(self) -> bool: ...

    def checkpoint(self, engine: Engine, state: LoopState) -> None: ...
