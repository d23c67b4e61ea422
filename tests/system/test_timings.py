"""Where the time of a training goes, as a real server tells it."""

from time import perf_counter

PHASES = ["queue", "start", "data", "compile", "train", "validate", "checkpoint", "pack"]
TOLERANCE = 0.5
"""Seconds that an event takes to arrive: answers of a server whose processors are busy."""


def test_the_phases_account_for_the_time_from_the_request_to_the_end(open_server):
    """The first training waits for its worker, the second for the first one's slot.

    A task begins within its request, so its time lies between the time from the answer and that from the request.
    """
    server = open_server()
    server.client.post("/validate", json={"dataset": "breast_cancer", "target_column": "target"})  # starts its reader
    tasks, requests, ends = [], [], []
    for _ in range(2):
        asked = perf_counter()
        tasks.append(server.start(framework="pytorch", epochs=60))
        requests.append((asked, perf_counter()))
    for task_id in tasks:
        assert server.follow(task_id)["type"] == "complete"
        ends.append(perf_counter())
    timings = [server.task(task_id)["timings"] for task_id in tasks]
    for found, (asked, answered), ended in zip(timings, requests, ends, strict=True):
        assert list(found) == PHASES
        assert ended - answered - TOLERANCE < sum(found.values()) < ended - asked
        assert min(found[phase] for phase in ("data", "train", "validate", "checkpoint", "pack")) > 0.001
    assert timings[0]["start"] > 0.3, "the worker imports its framework"
    asked, answered = requests[1]
    assert ends[0] - answered - TOLERANCE < timings[1]["queue"] < ends[0] - asked + TOLERANCE
    complete = server.follow(tasks[0])
    assert complete["summary"]["timings"].keys() == set(PHASES), "the last event has them too"


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
