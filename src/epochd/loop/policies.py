"""Which epoch is the best so far, and when to stop.

The two questions are kept apart. *Best* is any improvement, however small: these weights are saved.
*Patience* is reset only by an improvement of more than ``min_delta`` over the value that reset it last.
"""

from epochd.loop.engine import Engine
from epochd.loop.state import LoopState


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
