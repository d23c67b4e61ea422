"""Where the time of a training goes, as a real server tells it."""

import os
import signal
import time
from datetime import datetime

from tests.system.test_pausing import workers

PHASES = ["queue", "start", "data", "compile", "train", "validate", "checkpoint", "pack"]
ROUNDING = 0.002
"""Seconds by which the difference of two times of the API, which have milliseconds, may be wrong."""


def test_the_phases_account_for_the_time_from_the_request_to_the_end(open_server):
    """The first training waits for its worker, the second for the first one's slot. All times are those of the server:
    the phases last until the last report is sent, which is after the model is complete and before the task is."""
    server = open_server()
    server.client.post("/validate", json={"dataset": "breast_cancer", "target_column": "target"})  # starts its reader
    until = time.monotonic() + 30
    while not (found := workers(server)):
        assert time.monotonic() < until
        time.sleep(0.001)
    (worker,) = found
    os.kill(worker, signal.SIGSTOP)  # however far it is, it takes no ticket now
    tasks = [server.start(framework="pytorch", epochs=60) for _ in range(2)]
    while server.task(tasks[0])["started_at"] is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.3)
    continued = time.time()
    os.kill(worker, signal.SIGCONT)
    ends = [server.follow(task_id) for task_id in tasks]
    assert [end["type"] for end in ends] == ["complete"] * 2
    first, second = (server.task(task_id) for task_id in tasks)
    for task in (first, second):
        timings = task["timings"]
        created, started, finished = (moment(task, name) for name in ("created_at", "started_at", "finished_at"))
        packed = (server.data_dir / task["artifact"] / "manifest.json").stat().st_mtime
        assert list(timings) == PHASES
        assert abs(timings["queue"] - (started - created)) < ROUNDING
        assert packed - created - ROUNDING < sum(timings.values()) < finished - created + ROUNDING
        assert min(timings[phase] for phase in ("data", "train", "validate", "checkpoint", "pack")) > 0.001
    assert first["timings"]["start"] > continued - moment(first, "started_at") - ROUNDING > 0.25, "it waits for it"
    assert moment(second, "started_at") > moment(first, "finished_at") - ROUNDING, "it waits for the slot"
    assert ends[0]["summary"]["timings"].keys() == set(PHASES), "the last event has them too"


def moment(task, name):
    """A time of a task, in seconds since the Unix epoch."""
    return datetime.fromisoformat(task[name]).timestamp()


def test_a_pause_belongs_to_no_phase_and_later_attempts_add_to_the_earlier_ones(open_server):
    server = open_server()
    task_id = server.start(framework="pytorch", dataset="digits", epochs=400, batch_size=8)
    server.follow(task_id, until_epoch=2)
    server.post("pause", task_id)
    task = server.task(task_id)
    paused = task["timings"]
    assert paused["train"] > 0
    assert paused["checkpoint"] > 0
    again = server.task(task_id)["timings"]
    assert again == paused, "time does not go on while it is paused"
    server.post("resume", task_id)
    server.follow(task_id, until_epoch=task["current_epoch"] + 2)
    server.post("stop", task_id)
    stopped = server.task(task_id)["timings"]
    assert all(stopped[phase] >= paused[phase] for phase in PHASES)
    assert stopped["train"] > paused["train"]
    assert stopped["data"] > paused["data"], "the data are prepared again"
