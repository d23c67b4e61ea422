"""Where the time of an attempt goes: no moment is counted twice or left out."""

from time import perf_counter, sleep, time

import pytest

from epochd.core.job_values import Phase
from epochd.loop.phases import MOST_CALLS, Calls, PhaseTimer


def test_phases_add_up_to_the_time_that_has_passed():
    timer, began = PhaseTimer(), perf_counter()
    timer.enter(Phase.TRAIN)
    with timer.phase(Phase.VALIDATE):
        sleep(0.02)
        with timer.phase(Phase.CHECKPOINT):
            sleep(0.03)
    found, passed = timer.seconds(), perf_counter() - began
    assert sum(found.values()) == pytest.approx(passed, abs=0.005)
    assert found["validate"] < 0.03 <= found["checkpoint"], "a phase inside another interrupts it"


def test_a_phase_that_ends_with_an_error_is_over():
    timer = PhaseTimer()
    with pytest.raises(KeyError), timer.phase(Phase.CHECKPOINT):
        raise KeyError
    before = timer.seconds()["checkpoint"]
    sleep(0.01)
    assert timer.seconds()["checkpoint"] == before


def test_the_start_lasts_from_the_claim_and_the_queue_is_the_servers():
    found = PhaseTimer(time() - 3).seconds()
    assert found["start"] == pytest.approx(3, abs=0.1)
    assert "queue" not in found
    assert PhaseTimer(time() + 60).seconds()["start"] == 0, "the clock was set back"


def test_what_the_first_call_takes_longer_than_later_ones_is_compilation():
    timer = PhaseTimer()
    timer.enter(Phase.TRAIN)
    for steps, seconds in ((2, 0.1), (2, 0.02), (1, 0.01)):
        with timer.call(Phase.TRAIN, steps):
            sleep(seconds)
    found = timer.seconds()
    assert found["compile"] == pytest.approx(0.08, abs=0.01)
    assert found["train"] == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize(("compiles", "phase"), [(True, "compile"), (False, "train")])
def test_a_single_call_counts_as_compilation_only_where_the_engine_compiles(compiles, phase):
    timer = PhaseTimer(compiles=compiles)
    timer.enter(Phase.TRAIN)
    with timer.call(Phase.TRAIN, 5):
        sleep(0.02)
    assert timer.seconds()[phase] > 0.015


def test_a_first_call_that_was_faster_than_later_ones_compiled_nothing():
    assert Calls(0.1, 1, [0.2, 0.3]).excess(compiles=True) == 0


def test_a_long_training_keeps_a_bounded_number_of_calls():
    timer = PhaseTimer()
    for _ in range(MOST_CALLS + 10):
        with timer.call(Phase.TRAIN):
            pass
    assert len(timer._calls[Phase.TRAIN].later) == MOST_CALLS
