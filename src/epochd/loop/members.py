"""What a training trains: one network, or several that differ in their rows (``folds``) or in their random numbers
(``ensemble``), and whose average is the model.

Each has an engine and a state of its own, so that a network is trained as if it were alone. They are trained in step
with each other, epoch by epoch: what is reported of an epoch is the mean over the networks that have trained in it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from epochd.core import metric_table
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task, TrainingSpec
from epochd.core.target_scale import UNSCALED, TargetScale
from epochd.data.feed.batches import Batches, Chunk
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.loop import averaging, history
from epochd.loop.engine import Engine
from epochd.loop.state import LoopState

BLOCK_ROWS = 16_384
"""Rows of which the outputs of all networks are held at a time."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """The data and the rules of a network's training; constant for the whole run. ``target_log`` is as in ``Setup``."""

    spec: TrainingSpec
    task: Task
    train: InMemoryDataset | MemmapDataset
    validation: InMemoryDataset | MemmapDataset | None
    batches: Batches
    units: TargetScale = UNSCALED
    target_log: tuple[float, float] | None = None

    @property
    def higher_is_better(self) -> bool:
        return metric_table.METRICS[metric_table.unprefixed(self.spec.watched)].higher_is_better

    def global_step(self, state: LoopState, chunk: Chunk) -> int:
        """The number of the chunk's first step, counted from the start of the training."""
        return state.epoch * self.batches.steps + chunk.first_step


@dataclass(slots=True, eq=False)
class Member:
    """One network in training. ``number`` counts from 0; ``name`` is for messages, empty for a single one. ``held_out``
    are the positions of its validation rows among the training rows of all folds (None: there are no folds)."""

    engine: Engine
    config: FitConfig
    state: LoopState
    number: int = 0
    name: str = ""
    held_out: IntArray | None = None

    @property
    def is_done(self) -> bool:
        return self.state.stopped_early or self.state.epoch >= self.config.spec.epochs


@dataclass(slots=True)
class Members:
    """All networks of a training."""

    each: Sequence[Member]
    _whole: LoopState = field(default_factory=lambda: LoopState(0.0))

    def __iter__(self) -> Iterator[Member]:
        return iter(self.each)

    @property
    def config(self) -> FitConfig:
        return self.each[0].config

    @property
    def epoch(self) -> int:
        """How many epochs are complete: trained by each network that has not stopped before."""
        running = [member.state.epoch for member in self.each if not member.is_done]
        return min(running) if running else max(member.state.epoch for member in self.each)

    def due(self) -> list[Member]:
        """The networks that have to train in the epoch after the complete ones."""
        return [member for member in self.each if not member.is_done and member.state.epoch == self.epoch]

    def position(self) -> tuple[int, int, int]:
        """The number of the unfinished epoch, from 1, and of all networks together how many of its steps are taken and
        how many it has."""
        epoch, taken, steps = self.epoch, 0, 0
        for member in self.each:
            of_epoch, is_past = member.config.batches.steps, member.state.epoch > epoch
            if is_past or not member.is_done:
                taken += of_epoch if is_past else member.state.step
                steps += of_epoch
        return epoch + 1, taken, steps

    @property
    def state(self) -> LoopState:
        """The state of the training: that of a single network; of several the complete epochs, each of them the mean
        over the networks, and the best one. ``best_weights`` are those of each network in its own best epoch."""
        if len(self.each) == 1:
            return self.each[0].state
        for _ in self.advance():
            pass
        states, whole = [member.state for member in self.each], self._whole
        whole.learning_rate = max(state.learning_rate for state in states)
        whole.step = self.position()[1]
        whole.rollbacks = sum(state.rollbacks for state in states)
        whole.stopped_early = all(state.stopped_early for state in states)
        whole.best_weights = averaging.joined([state.best_weights for state in states])
        return whole

    def advance(self) -> Iterator[LoopState]:
        """The state after each epoch that has become complete since the last call; of a single network its own."""
        if len(self.each) == 1:
            yield self.each[0].state
            return
        whole, watched = self._whole, self.config.spec.watched
        while whole.epoch < self.epoch:
            histories = [member.state.history for member in self.each]
            row = history.mean_row([rows[whole.epoch] for rows in histories if len(rows) > whole.epoch], watched)
            whole.history.append(row)
            whole.epoch += 1
            if history.is_best(row.get(watched), whole.best_value, self.config.higher_is_better):
                whole.best_epoch, whole.best_value = whole.epoch, row.get(watched)
            whole.stopping_wait = min(member.state.stopping_wait for member in self.each)
            yield whole

    def replace(self, states: Sequence[LoopState]) -> None:
        """Continue from other states, in the order of the networks."""
        for member, state in zip(self.each, states, strict=True):
            member.state = state
        self._whole = LoopState(0.0)

    def load_best(self) -> None:
        """Give each network the weights of its best epoch."""
        for member in self.each:
            member.engine.load_weights(member.state.best_weights)

    def outputs(self, x: FloatArray) -> FloatArray:
        """Raw outputs of the model, which is the average of the networks: (rows, *inputs) → (rows, outputs)."""
        if len(self.each) == 1:
            return self.each[0].engine.outputs(x)
        blocks = [x[first : first + BLOCK_ROWS] for first in range(0, max(1, len(x)), BLOCK_ROWS)]
        return np.concatenate([self._average(block) for block in blocks])

    def _average(self, x: FloatArray) -> FloatArray:
        found = [member.engine.outputs(x) for member in self.each]
        return averaging.averaged(found, self.config.task, self.config.units)

    def out_of_fold(self, x: FloatArray) -> FloatArray:
        """Raw outputs for all training rows, in their order: each by the network that has not trained on it."""
        found: FloatArray | None = None
        for member in self.each:
            assert member.held_out is not None
            outputs = member.engine.outputs(x[member.held_out])
            found = np.empty((len(x), outputs.shape[1]), np.float32) if found is None else found
            found[member.held_out] = outputs
        assert found is not None
        return found
