"""Pause gives the slot away; resume goes on as if nothing had been."""

import psutil

from tests.support.reporters import without_times

LONG = {
    "framework": "pytorch",
    "dataset": "digits",
    "epochs": 80,
    "hidden_units": [256, 128],
    "batch_size": 8,
    "learning_rate": 0.005,
    "learning_rate_scheduler": "plateau",
    "patience": 2,
    "early_stopping_patience": 12,
    "min_delta": 0.0001,
}


def test_a_training_that_was_paused_twice_equals_one_that_was_not(open_server):
    """Bit for bit, through the public API; the rate falls and the patience ends after the resumes."""
    server = open_server()
    straight = server.start(**LONG)
    assert server.follow(straight)["type"] == "complete"

    paused = server.start(**LONG)
    for epoch in (3, 7):
        server.follow(paused, until_epoch=epoch)
        assert server.post("pause", paused)["state"] == "paused"
        receipt = server.post("resume", paused)["receipt"]
        assert receipt["weights"] is True
        assert receipt["position"]["epochs_done"] >= epoch
    assert server.follow(paused)["type"] == "complete"

    history = without_times(server.history(straight))
    assert without_times(server.history(paused)) == history
    assert server.task(paused)["attempt"] == 3
    resumed_at = receipt["position"]["epochs_done"]
    assert history[resumed_at]["learning_rate"] > history[-1]["learning_rate"]
    assert len(history) < LONG["epochs"]
    files = [server.data_dir / server.task(task)["artifact"] / "model.safetensors" for task in (straight, paused)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_paused_training_gives_its_slot_away_and_its_process_trains_another(open_server):
    server = open_server()
    first, second = server.start(epochs=100_000), server.start(epochs=3)
    server.follow(first, until_epoch=1)
    busy = workers(server)
    assert server.post("pause", first)["state"] == "paused"
    assert server.follow(second)["type"] == "complete"
    assert busy == workers(server)
    assert server.post("pause", first)["state"] == "paused"
    assert server.post("stop", first)["state"] == "cancelled"
    assert server.post("resume", first, status=409)["code"] == "illegal_move"


def workers(server):
    """The ids of its worker processes; it has others that read data."""
    return {child.pid for child in psutil.Process(server.process.pid).children() if "epochd.worker" in child.cmdline()}
