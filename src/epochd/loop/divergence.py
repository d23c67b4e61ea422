"""Which batch made the loss infinite or NaN: found by training the same steps once more, one at a time.

Chunks report sums, so a divergence is first known by its chunk. A training repeats itself exactly, so the batch can
be found afterwards, and a healthy training pays nothing for it.
"""

from math import isfinite

import numpy as np

from epochd.core.arrays import IntArray
from epochd.core.errors import Diverged
from epochd.data.feed.batches import Chunk
from epochd.data.feed.prefetch import windows
from epochd.loop import run
from epochd.loop.engine import Engine
from epochd.loop.state import LoopState, Totals


def located(engine: Engine, course: "run.FitConfig", state: LoopState, error: Diverged) -> Diverged:
    """The error with the number of the batch, found by going on from ``state``, where the engine stands."""
    try:
        while state.epoch < course.spec.epochs:
            found = _broken_batch(engine, course, state)
            if found is not None:
                return Diverged(f"{error.message}. The first batch to break was number {found} of its epoch")
            run.conclude_epoch(engine, course, state)
    except Diverged:  # the validation rows, after the epoch's last batch
        pass
    return error


def _broken_batch(engine: Engine, course: "run.FitConfig", state: LoopState) -> int | None:
    """Train the rest of an epoch; the number, from 1, of its first batch whose loss is not finite."""
    for chunk, rows, window in windows(course.batches, course.train, state.epoch, state.step):
        if window is not None:
            engine.load_rows(window)
        weights, memory = engine.weights(), engine.optimizer_state()
        totals = engine.train(rows, _number(course, state, chunk), state.learning_rate)
        if not _is_finite(totals):
            engine.load_weights(weights)
            engine.load_optimizer_state(memory)
            return _first_broken(engine, course, state, chunk, rows)
        state.totals += totals
        state.step += chunk.steps
    return None


def _first_broken(engine: Engine, course: "run.FitConfig", state: LoopState, chunk: Chunk, rows: IntArray) -> int:
    size, first = course.batches.batch_size, _number(course, state, chunk)
    for step in range(chunk.steps):
        batch = np.asarray(rows[step * size : (step + 1) * size])
        if not _is_finite(engine.train(batch, first + step, state.learning_rate)):
            return chunk.first_step + step + 1
    return chunk.first_step + chunk.steps


def _number(course: "run.FitConfig", state: LoopState, chunk: Chunk) -> int:
    """The number of a chunk's first step in the whole run."""
    return state.epoch * course.batches.steps + chunk.first_step


def _is_finite(totals: Totals) -> bool:
    return isfinite(totals.loss) and isfinite(totals.score)
