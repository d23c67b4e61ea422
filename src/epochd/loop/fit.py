"""The epoch loop.

Between two chunks of steps it reads the command and saves checkpoints, so that a pause takes effect quickly however
long an epoch is. All that a resumed training needs is in the LoopState.

Best epoch and patience are separate: any improvement, however small, makes an epoch the best one, whose weights are
saved; only an improvement of more than ``min_delta`` over the value that reset the patience last resets it again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite, prod
from time import perf_counter
from typing import Any

from epochd.core import metric_table
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import Diverged
from epochd.core.events import ReportKind
from epochd.core.job_values import Phase
from epochd.core.jobs import Command
from epochd.core.spec_fields import TargetTransform
from epochd.core.specs import Task, TrainingSpec
from epochd.data.feed import prefetch
from epochd.data.feed.batches import MAX_CHUNK_VALUES, Batches, Chunk
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.loop import history, metrics, schedules
from epochd.loop.classification import Scores
from epochd.loop.engine import Engine, Sink
from epochd.loop.metrics import AnyTally
from epochd.loop.state import LoopState, Totals

AUC_CLASSES = 50
"""The AUC of more classes than this takes too long for each epoch, unless it is monitored."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """The data and the rules of a training; constant for the whole run. ``target_log`` is as in ``Setup``."""

    spec: TrainingSpec
    task: Task
    train: InMemoryDataset | MemmapDataset
    validation: InMemoryDataset | MemmapDataset | None
    batches: Batches
    target_scale: float = 1.0
    target_mean: float = 0.0
    target_transform: TargetTransform | None = None
    target_log: tuple[float, float] | None = None

    @property
    def target_units(self) -> dict[str, Any]:
        """How the target was standardised, as options of ``metrics.tally``."""
        return {
            "target_scale": self.target_scale,
            "target_mean": self.target_mean,
            "target_transform": self.target_transform,
        }

    @property
    def higher_is_better(self) -> bool:
        return metric_table.METRICS[metric_table.unprefixed(self.spec.watched)].higher_is_better

    def global_step(self, state: LoopState, chunk: Chunk) -> int:
        """The number of the chunk's first step, counted from the start of the training."""
        return state.epoch * self.batches.steps + chunk.first_step


def fit(engine: Engine, config: FitConfig, state: LoopState, sink: Sink) -> Command:
    """Train until the last epoch or early stopping (returns CONTINUE) or until another command (returns it)."""
    while state.epoch < config.spec.epochs and not state.stopped_early:
        with sink.timer.phase(Phase.TRAIN):
            command = train_epoch(engine, config, state, sink)
        if command is not Command.CONTINUE:
            return command
        with sink.timer.call(Phase.VALIDATE):
            end_epoch(engine, config, state)
        sink.emit(ReportKind.EPOCH, epoch_report(config, state))
    return Command.CONTINUE


def train_epoch(engine: Engine, config: FitConfig, state: LoopState, sink: Sink) -> Command:
    """Take the remaining steps of the current epoch. Raises Diverged."""
    began = perf_counter()
    for chunk, rows, block in prefetch.chunks(config.batches, config.train, state.epoch, state.step):
        sink.position(state.epoch + 1, state.step, config.batches.steps)
        command = sink.command()
        if command is not Command.CONTINUE:
            return command
        if sink.checkpoint_due():
            sink.checkpoint(engine, state)
        if block is not None:
            engine.load_rows(block)
        with sink.timer.call(Phase.TRAIN, chunk.steps):
            totals = engine.train(rows, config.global_step(state, chunk), state.learning_rate)
        if not totals.is_finite:
            raise _diverged(state, chunk.first_step, chunk.steps)
        state.totals += totals
        state.step += chunk.steps
        began, since = perf_counter(), began
        state.seconds += began - since
    sink.position(state.epoch + 1, state.step, config.batches.steps)
    return Command.CONTINUE


def end_epoch(engine: Engine, config: FitConfig, state: LoopState) -> None:
    """Evaluate the current weights, append the history row, update best epoch, patience and learning rate.

    Raises Diverged if the loss on the validation rows is not finite.
    """
    began = perf_counter()
    spec = config.spec
    train = history.running_scores(state.totals, config.train, config.task, config.target_log)
    validation = None if config.validation is None else evaluate(engine, config, config.validation)
    if validation is None:
        train = evaluate(engine, config, config.train)
    if not isfinite((validation or train)["loss"] or 0.0):
        raise _diverged(state, 0, config.batches.steps)
    state.epoch += 1
    seconds = state.seconds + perf_counter() - began
    state.history.append(history.history_row(state.epoch, train, validation, config.task, state.learning_rate, seconds))
    state.step, state.totals, state.seconds = 0, Totals(), 0.0

    value = state.history[-1].get(spec.watched)
    update_best(engine, state, value, config.higher_is_better)
    update_patience(state, value, config.higher_is_better, spec.early_stopping_patience, spec.min_delta)
    state.learning_rate = schedules.next_learning_rate(spec, state, value, config.higher_is_better)


def update_best(engine: Engine, state: LoopState, value: float | None, higher_is_better: bool) -> None:
    """Record the epoch just finished, and its weights, if no earlier one was as good."""
    if is_best(value, state.best_value, higher_is_better):
        state.best_epoch, state.best_value = state.epoch, value
        state.best_weights = engine.weights()


def is_best(value: float | None, best: float | None, higher_is_better: bool) -> bool:
    """Whether an epoch with this value of the monitored metric becomes the best one. As long as the metric is not
    defined in any epoch (None), the newest epoch is the best one; later, an epoch without a value never is."""
    return best is None or (value is not None and is_better(value, best, higher_is_better))


def update_patience(
    state: LoopState, value: float | None, higher_is_better: bool, patience: int | None, min_delta: float
) -> None:
    """Set ``state.stopped_early`` after ``patience`` epochs in a row without improvement; None never stops. An epoch
    without a value is one without improvement."""
    best = state.stopping_best
    if value is not None and (best is None or is_better(value, best, higher_is_better, min_delta)):
        state.stopping_best, state.stopping_wait = value, 0
        return
    state.stopping_wait += 1
    state.stopped_early = patience is not None and state.stopping_wait >= patience


def is_better(value: float, best: float, higher_is_better: bool, min_delta: float = 0.0) -> bool:
    return value - best > min_delta if higher_is_better else best - value > min_delta


def evaluate(engine: Engine, config: FitConfig, dataset: InMemoryDataset | MemmapDataset) -> Scores:
    """The metrics of the current weights, without dropout, that are measured in each epoch."""
    is_monitored = metric_table.unprefixed(config.spec.watched) == "auc"
    limit = {} if is_monitored else {"auc_classes": AUC_CLASSES}
    return tallied(engine, config, dataset, **limit).scores()


def tallied(engine: Engine, config: FitConfig, dataset: InMemoryDataset | MemmapDataset, **options: Any) -> AnyTally:
    """The tally of all rows with the current weights, without dropout; ``options`` as in ``metrics.tally``. The blocks
    of rows are the same for a dataset in memory and for a memory-mapped one."""
    units = config.target_units | {"horizons": config.spec.horizons}
    found = metrics.tally(config.task, dataset.y, weights=dataset.weights, **(units | options))
    for outputs, y, weights in _scored_blocks(engine, dataset):
        found.add(outputs, y, weights)
    return found


def _scored_blocks(
    engine: Engine, dataset: InMemoryDataset | MemmapDataset
) -> Iterator[tuple[FloatArray, FloatArray | IntArray, FloatArray | None]]:
    """Outputs, targets and weights of all rows; a memory-mapped dataset is read in slices."""
    shape = dataset.x.shape[1:] if isinstance(dataset, InMemoryDataset) else dataset.shape
    size = max(1, min(metrics.BLOCK_ROWS, MAX_CHUNK_VALUES // prod(shape)))
    if isinstance(dataset, MemmapDataset):
        for rows in dataset.slices(size):
            yield engine.outputs(rows.x), rows.y, rows.weights
        return
    outputs, weights = engine.outputs(dataset.x), dataset.weights
    for first in range(0, len(dataset), size):
        block = slice(first, first + size)
        yield outputs[block], dataset.y[block], None if weights is None else weights[block]


def epoch_report(config: FitConfig, state: LoopState) -> dict[str, object]:
    return {
        "metrics": state.history[-1],
        "best": history.best_metrics(state.best_row),
        "early_stopping": {"wait": state.stopping_wait, "patience": config.spec.early_stopping_patience},
    }


def _diverged(state: LoopState, first_step: int, steps: int) -> Diverged:
    batches = f"batches {first_step + 1} to {first_step + steps}"
    return Diverged(
        f"the loss became infinite or NaN in epoch {state.epoch + 1}, {batches}, at learning rate "
        f"{state.learning_rate:g}. Use a lower learning rate, or check the features for extreme values"
    )
