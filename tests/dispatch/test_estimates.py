"""What jobs are expected to take, and when those that wait are expected to start."""

from epochd.core.jobs import Command, JobKind
from epochd.dispatch.estimates import Durations, expected_starts
from epochd.dispatch.placement import Place, Running, Waiting
from epochd.store.queue import Completed, QueuedJob

TRAINING = QueuedJob("t", JobKind.TRAINING, 0, None, 0, "iris", "pytorch", 10, 1, Command.CONTINUE, 0, None, 100.0)
PREDICTION = TRAINING._replace(id="p", kind=JobKind.PREDICTION, framework=None, epochs=None)


def took(seconds: float, epochs: int = 10, dataset: str = "iris") -> Completed:
    return Completed(JobKind.TRAINING, "pytorch", dataset, epochs, seconds)


def test_similar_jobs_count_by_epoch_and_others_only_if_there_are_some():
    known = Durations()
    assert known.expected(TRAINING) is None
    for seconds in (10.0, 20.0, 90.0):
        known.add(took(seconds))
    assert known.expected(TRAINING) == 20.0
    assert known.expected(TRAINING._replace(epochs=5)) == 10.0
    assert known.expected(TRAINING._replace(dataset="wine", epochs=5)) == 20.0
    assert known.expected(PREDICTION) is None
    few = Durations()
    few.add(took(10.0, dataset="wine"))
    assert few.expected(TRAINING) is None


def test_an_interrupted_training_needs_what_is_left():
    known = Durations()
    known.add(took(10.0))
    assert known.remaining(TRAINING._replace(current_epoch=4)) == 6.0


def test_the_end_of_what_runs_is_that_of_its_remaining_epochs_or_rows():
    known = Durations()
    measured = TRAINING._replace(current_epoch=4, latest_metrics={"time_per_epoch": 2.0})
    assert known.ends_at(measured, 1000.0) == 1012.0
    rows = {"rows_done": 100, "rows_total": 300, "rows_per_second": 50.0}
    assert known.ends_at(PREDICTION._replace(latest_metrics=rows), 1000.0) == 1004.0
    assert known.ends_at(TRAINING, 101.0) is None
    known.add(took(10.0))
    assert known.ends_at(TRAINING, 101.0) == 110.0
    assert known.ends_at(TRAINING, 111.0) is None
    assert known.ends_at(TRAINING._replace(attempt=2), 101.0) is None


def test_each_waiting_job_takes_the_slot_and_the_gpus_that_are_free_first():
    place = Place(None, 0, 2, 0, 2)
    running = {None: [Running("a", gpus=2, ends_at=50.0), Running("b", ends_at=30.0)]}
    waiting = [Waiting("large", gpus=2, seconds=10), Waiting("cpu", seconds=5), Waiting("one", gpus=1, seconds=None)]
    waiting.append(Waiting("after", gpus=2))
    found = expected_starts(waiting, [place], running, now=0.0)
    assert found == {"large": 50.0, "cpu": 30.0, "one": 60.0, "after": None}


def test_a_user_at_the_limit_starts_when_a_task_of_this_user_ends():
    running = {None: [Running("a", owner="ann", ends_at=50.0)]}
    found = expected_starts(
        [Waiting("b", owner="ann"), Waiting("c")], [Place(None, 3, 4)], running, user_slots=1, now=1.0
    )
    assert found == {"b": 50.0, "c": 1.0}


def test_what_waits_for_a_job_without_a_known_end_is_not_known_either():
    assert expected_starts([Waiting("a")], [Place(None, 0, 1)], {None: [Running("x")]}, now=1.0) == {"a": None}
    assert expected_starts([Waiting("a")], [], {}, now=1.0) == {"a": None}
