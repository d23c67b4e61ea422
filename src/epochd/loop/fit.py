"""The epoch loop.

Between two chunks of steps it reads the command and saves checkpoints, so that a pause takes effect quickly however
long an epoch is. All that a resumed training needs is in the LoopState of each network.

Best epoch and patience are separate: any improvement, however small, makes an epoch the best one, whose weights are
saved; only an improvement of more than ``min_delta`` over the value that reset the patience last resets it again.
"""

from collections.abc import Callable, Iterator
from math import isfinite, prod
from time import perf_counter
from typing import Any, Protocol

from epochd.core import metric_table
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import Diverged
from epochd.core.events import ReportKind
from epochd.core.job_values import Phase
from epochd.core.jobs import Command
from epochd.data.feed import prefetch
from epochd.data.feed.batches import MAX_CHUNK_VALUES
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.loop import history, metrics, schedules
from epochd.loop.classification import Scores
from epochd.loop.engine import Engine
from epochd.loop.members import FitConfig, Member, Members
from epochd.loop.metrics import AnyTally
from epochd.loop.phases import PhaseTimer
from epochd.loop.state import LoopState, Totals

Outputs = Callable[[FloatArray], FloatArray]
"""Features (rows, *inputs) → raw outputs (rows, outputs)."""
AUC_CLASSES = 50
"""The AUC of more classes than this takes too long for each epoch, unless it is monitored."""


class Sink(Protocol):
    """Receives reports and checkpoints of a running training, and provides its commands. ``timer`` counts where its
    time goes."""

    @property
    def timer(self) -> PhaseTimer: ...

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None: ...

    def position(self, epoch: int, step: int, steps: int) -> None:
        """Note that ``step`` of the ``steps`` steps of an epoch are complete; epochs count from 1."""

    def command(self) -> Command: ...

    def checkpoint_due(self) -> bool: ...

    def checkpoint(self, members: Members) -> None: ...


def fit(members: Members, sink: Sink) -> Command:
    """Train until each network has had its last epoch or was stopped early (returns CONTINUE), or until another command
    (returns it). All networks train an epoch before the next one begins. Raises Diverged."""
    while due := members.due():
        for member in due:
            try:
                with sink.timer.phase(Phase.TRAIN):
                    command = train_epoch(member, members, sink)
                if command is not Command.CONTINUE:
                    return command
                with sink.timer.call(Phase.VALIDATE):
                    end_epoch(member)
            except Diverged as error:
                error.member = member.number
                raise
        for state in members.advance():
            sink.emit(ReportKind.EPOCH, epoch_report(members.config, state))
    return Command.CONTINUE


def train_epoch(member: Member, members: Members, sink: Sink) -> Command:
    """Take the remaining steps of a network's current epoch. Raises Diverged."""
    engine, config, state = member.engine, member.config, member.state
    began = perf_counter()
    for chunk, rows, block in prefetch.chunks(config.batches, config.train, state.epoch, state.step):
        sink.position(*members.position())
        command = sink.command()
        if command is not Command.CONTINUE:
            return command
        if sink.checkpoint_due():
            sink.checkpoint(members)
        if block is not None:
            engine.load_rows(block)
        with sink.timer.call(Phase.TRAIN, chunk.steps):
            totals = engine.train(rows, config.global_step(state, chunk), state.learning_rate)
        if not totals.is_finite:
            raise _diverged(member, chunk.first_step, chunk.steps)
        state.totals += totals
        state.step += chunk.steps
        began, since = perf_counter(), began
        state.seconds += began - since
    sink.position(*members.position())
    return Command.CONTINUE


def end_epoch(member: Member) -> None:
    """Evaluate the current weights, append the history row, update best epoch, patience and learning rate.

    Raises Diverged if the loss on the validation rows is not finite.
    """
    began = perf_counter()
    engine, config, state = member.engine, member.config, member.state
    spec, chosen = config.spec, config.batches.chosen
    train = history.running_scores(state.totals, config.train, config.task, config.target_log, chosen)
    validation = None if config.validation is None else evaluate(engine, config, config.validation)
    if validation is None:
        train = evaluate(engine, config, config.train)
    if not isfinite((validation or train)["loss"] or 0.0):
        raise _diverged(member, 0, config.batches.steps)
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
    if history.is_best(value, state.best_value, higher_is_better):
        state.best_epoch, state.best_value = state.epoch, value
        state.best_weights = engine.weights()


def update_patience(
    state: LoopState, value: float | None, higher_is_better: bool, patience: int | None, min_delta: float
) -> None:
    """Set ``state.stopped_early`` after ``patience`` epochs in a row without improvement; None never stops. An epoch
    without a value is one without improvement."""
    best = state.stopping_best
    if value is not None and (best is None or history.is_better(value, best, higher_is_better, min_delta)):
        state.stopping_best, state.stopping_wait = value, 0
        return
    state.stopping_wait += 1
    state.stopped_early = patience is not None and state.stopping_wait >= patience


def evaluate(engine: Engine, config: FitConfig, dataset: InMemoryDataset | MemmapDataset) -> Scores:
    """The metrics of the current weights, without dropout, that are measured in each epoch."""
    is_monitored = metric_table.unprefixed(config.spec.watched) == "auc"
    limit = {} if is_monitored else {"auc_classes": AUC_CLASSES}
    return tallied(engine.outputs, config, dataset, **limit).scores()


def tallied(
    outputs_of: Outputs, config: FitConfig, dataset: InMemoryDataset | MemmapDataset, **options: Any
) -> AnyTally:
    """The tally of all rows, whose raw outputs are computed by ``outputs_of``; ``options`` as in ``metrics.tally``. The
    blocks of rows are the same for a dataset in memory and for a memory-mapped one."""
    found = metrics.tally(
        config.task,
        dataset.y,
        weights=dataset.weights,
        units=config.units,
        horizons=config.spec.horizons,
        **options,
    )
    for outputs, y, weights in _scored_blocks(outputs_of, dataset):
        found.add(outputs, y, weights)
    return found


def _scored_blocks(
    outputs_of: Outputs, dataset: InMemoryDataset | MemmapDataset
) -> Iterator[tuple[FloatArray, FloatArray | IntArray, FloatArray | None]]:
    """Outputs, targets and weights of all rows; a memory-mapped dataset is read in slices."""
    shape = dataset.x.shape[1:] if isinstance(dataset, InMemoryDataset) else dataset.shape
    size = max(1, min(metrics.BLOCK_ROWS, MAX_CHUNK_VALUES // prod(shape)))
    if isinstance(dataset, MemmapDataset):
        for rows in dataset.slices(size):
            yield outputs_of(rows.x), rows.y, rows.weights
        return
    outputs, weights = outputs_of(dataset.x), dataset.weights
    for first in range(0, len(dataset), size):
        block = slice(first, first + size)
        yield outputs[block], dataset.y[block], None if weights is None else weights[block]


def epoch_report(config: FitConfig, state: LoopState) -> dict[str, object]:
    return {
        "metrics": state.history[-1],
        "best": history.best_metrics(state.best_row),
        "early_stopping": {"wait": state.stopping_wait, "patience": config.spec.early_stopping_patience},
    }


def _diverged(member: Member, first_step: int, steps: int) -> Diverged:
    state = member.state
    batches = f"batches {first_step + 1} to {first_step + steps}"
    if member.name:
        batches = f"batches {first_step + 1} to {first_step + steps} of {member.name}"
    return Diverged(
        f"the loss became infinite or NaN in epoch {state.epoch + 1}, {batches}, at learning rate "
        f"{state.learning_rate:g}. Use a lower learning rate, or check the features for extreme values"
    )
