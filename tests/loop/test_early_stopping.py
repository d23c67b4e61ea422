"""Best epoch and patience."""

import numpy as np

from epochd.loop.fit import update_best, update_patience
from epochd.loop.state import LoopState


class Weights:
    """An engine that is only asked for its weights: the number of the epoch."""

    def __init__(self, state):
        self.state = state

    def weights(self):
        return {"epoch": np.array(self.state.epoch)}


def follow(values, *, patience=None, min_delta=0.0, higher_is_better=False):
    state = LoopState(0.1)
    for value in values:
        state.epoch += 1
        update_best(Weights(state), state, value, higher_is_better)
        update_patience(state, value, higher_is_better, patience, min_delta)
        if state.stopped_early:
            break
    return state


def test_the_best_epoch_is_the_lowest_loss_and_its_weights_are_kept():
    state = follow([3.0, 1.0, 2.0])
    assert (state.best_epoch, state.best_value, int(state.best_weights["epoch"])) == (2, 1.0, 2)


def test_the_first_of_equal_epochs_is_the_best():
    assert follow([1.0, 1.0]).best_epoch == 1


def test_a_metric_to_be_maximised():
    assert follow([0.5, 0.9, 0.8], higher_is_better=True).best_epoch == 2


def test_patience_counts_epochs_without_improvement():
    state = follow([1.0, 0.9, 0.95, 0.93, 0.92, 0.1], patience=3)
    assert (state.epoch, state.stopped_early, state.best_epoch) == (5, True, 2)


def test_an_improvement_below_min_delta_is_saved_but_does_not_reset_patience():
    state = follow([1.0, 0.9995, 0.9991, 0.9989], patience=3, min_delta=0.002)
    assert (state.epoch, state.stopped_early, state.best_epoch) == (4, True, 4)


def test_small_improvements_add_up():
    state = follow([1.0, 0.9995, 0.9985, 0.9976], patience=3, min_delta=0.001)
    assert (state.stopped_early, state.stopping_wait) == (False, 1)


def test_an_epoch_without_a_value_is_never_the_best_and_no_improvement():
    state = follow([0.5, None, 0.6, None, None], patience=2, higher_is_better=True)
    assert (state.epoch, state.stopped_early, state.best_epoch, state.best_value) == (5, True, 3, 0.6)


def test_as_long_as_no_epoch_has_a_value_the_newest_weights_are_kept():
    state = follow([None, None, 0.3], patience=5)
    assert (state.best_epoch, state.best_value, state.stopping_wait) == (3, 0.3, 0)
    state = follow([None, None, None], patience=3)
    assert (state.best_epoch, state.best_value, state.stopped_early) == (3, None, True)


def test_without_patience_nothing_stops():
    assert not follow([1.0] * 50).stopped_early
