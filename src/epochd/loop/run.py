"""The epoch loop.

It goes in chunks of steps. Between two chunks it listens for commands and takes checkpoints, so that a
pause is answered quickly however long an epoch is; what it must remember is all in the LoopState.
"""

from dataclasses import dataclass
from math import isfinite, prod
from time import perf_counter

from epochd.core.arrays import IntArray
from epochd.core.errors import Diverged
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.specs import Task, TrainingSpec
from epochd.data.feed.batches import MAX_CHUNK_VALUES, Batches, Chunk
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.feed.prefetch import windows
from epochd.loop import metrics, schedules
from epochd.loop.engine import Engine, Sink
from epochd.loop.metrics import count_patience, keep_best
from epochd.loop.state import LoopState, Totals

MEASURED_ROWS = 65_536
"""Mapped rows that are scored at a time, fewer if they are wide."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """What is trained on and by which rules; it stays the same for the whole run."""

    spec: TrainingSpec
    task: Task
    train: InMemoryDataset | MemmapDataset
    validation: InMemoryDataset | MemmapDataset | None
    batches: Batches
    target_scale: float = 1.0

    @property
    def higher_is_better(self) -> bool:
        return self.spec.watched.endswith("accuracy")


def run(engine: Engine, course: FitConfig, state: LoopState, sink: Sink) -> Command:
    """Train until the last epoch or an early stop (CONTINUE) or until another command comes (that command)."""
    while state.epoch < course.spec.epochs and not state.stopped_early:
        command = finish_epoch(engine, course, state, sink)
        if command is not Command.CONTINUE:
            return command
        conclude_epoch(engine, course, state)
        sink.emit(ReportKind.EPOCH, epoch_report(course, state))
    return Command.CONTINUE


def finish_epoch(engine: Engine, course: FitConfig, state: LoopState, sink: Sink) -> Command:
    """Take the steps that the current epoch still lacks."""
    began = perf_counter()
    for chunk, rows, window in windows(course.batches, course.train, state.epoch, state.step):
        command = sink.command()
        if command is not Command.CONTINUE:
            return command
        if sink.checkpoint_due():
            sink.checkpoint(engine, state)
        if window is not None:
            engine.load_rows(window)
        train_chunk(engine, course, state, chunk, rows)
        began, since = perf_counter(), began
        state.seconds += began - since
    return Command.CONTINUE


def train_chunk(engine: Engine, course: FitConfig, state: LoopState, chunk: Chunk, rows: IntArray) -> None:
    """Train on a chunk; ``rows`` are the engine's numbers of its rows."""
    step = state.epoch * course.batches.steps + chunk.first_step
    totals = engine.train(rows, step, state.learning_rate)
    if not (isfinite(totals.loss) and isfinite(totals.score)):
        raise _diverged(state, chunk.first_step, chunk.steps)
    state.totals += totals
    state.step += chunk.steps


def conclude_epoch(engine: Engine, course: FitConfig, state: LoopState) -> None:
    """Measure the weights as they now are, write the history row, let the policies decide."""
    began = perf_counter()
    spec = course.spec
    train = metrics.train_scores(state.totals, course.train, course.task)
    validation = None
    if course.validation is None:
        train = measure(engine, course, course.train)
    else:
        validation = measure(engine, course, course.validation)
    if not isfinite(validation.loss if validation else train.loss):
        raise _diverged(state, 0, course.batches.steps)
    state.epoch += 1
    seconds = state.seconds + perf_counter() - began
    state.history.append(metrics.row(state.epoch, train, validation, course.task, state.learning_rate, seconds))
    state.step, state.totals, state.seconds = 0, Totals(), 0.0

    value = state.history[-1][spec.watched]
    keep_best(engine, state, value, course.higher_is_better)
    count_patience(state, value, course.higher_is_better, spec.early_stopping_patience, spec.min_delta)
    state.learning_rate = schedules.next_learning_rate(spec, state, value, course.higher_is_better)


def measure(engine: Engine, course: FitConfig, part: InMemoryDataset | MemmapDataset) -> metrics.Scores:
    """Score the present weights on a part, dropout off; mapped rows are brought in a slice at a time."""
    if isinstance(part, InMemoryDataset):
        return metrics.score(engine.outputs(part.x), part.y, course.task, course.target_scale)
    tally = metrics.Tally()
    for piece in part.slices(max(1, min(MEASURED_ROWS, MAX_CHUNK_VALUES // prod(part.shape)))):
        tally += metrics.tally(engine.outputs(piece.x), piece.y, course.task)
    return metrics.scores(tally, part.y, course.task, course.target_scale)


def epoch_report(course: FitConfig, state: LoopState) -> dict[str, object]:
    return {
        "metrics": state.history[-1],
        "best": metrics.best_metrics(state.best_row),
        "early_stopping": {"wait": state.stopping_wait, "patience": course.spec.early_stopping_patience},
    }


def _diverged(state: LoopState, first_step: int, steps: int) -> Diverged:
    where = f"batches {first_step + 1} to {first_step + steps}"
    return Diverged(
        f"the loss became infinite or NaN in epoch {state.epoch + 1}, {where}, at learning rate "
        f"{state.learning_rate:g}. Lower the learning rate, or look for extreme values in the features"
    )
