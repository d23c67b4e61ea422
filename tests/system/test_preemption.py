"""A training makes room for one of higher priority, and ends as if nothing had been."""

from tests.support.reporters import without_times

LONG = {
    "framework": "pytorch",
    "dataset": "digits",
    "epochs": 40,
    "hidden_units": [256, 128],
    "batch_size": 8,
    "learning_rate": 0.005,
    "early_stopping_patience": None,
}


def test_a_training_that_made_room_equals_one_that_did_not(open_server):
    """Bit for bit, through the public API: the weights, the history, and the place in the queue."""
    server = open_server(EPOCHD_PREEMPT="true")
    straight = server.start(**LONG)
    assert server.follow(straight)["type"] == "complete"

    yielding = server.start(**LONG, priority=-1)
    server.follow(yielding, until_epoch=3)
    waiting = server.start(epochs=1, priority=-1)
    urgent = server.start(epochs=2, priority=10)
    assert server.follow(urgent)["type"] == "complete"
    assert server.follow(yielding)["type"] == "complete"
    assert server.follow(waiting)["type"] == "complete"

    found = server.task(yielding)
    assert (found["attempt"], found["preemptions"], found["crashes"]) == (2, 1, 0)
    assert server.task(straight)["preemptions"] == 0
    assert server.task(urgent)["finished_at"] < found["finished_at"] < server.task(waiting)["finished_at"]
    told = [event["message"] for event in server.events(yielding) if event["type"] == "log"]
    assert any(message.startswith(f"made room for task {urgent} of higher priority") for message in told)
    assert without_times(server.history(yielding)) == without_times(server.history(straight))
    files = [server.data_dir / server.task(task)["artifact"] / "model.safetensors" for task in (straight, yielding)]
    assert files[0].read_bytes() == files[1].read_bytes()
