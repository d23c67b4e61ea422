"""Each installed engine through the public API."""

import signal

import pytest

from epochd.engines import registry
from tests.support.reporters import without_times
from tests.support.running import Running

PAIRS = [
    pair for pair in (("pytorch", "cnn"), ("tensorflow", "lstm"), ("jax", "gru")) if pair[0] in registry.installed()
]
"""Each engine and each kind of network once: that all engines compute the same is shown by their contract."""
HEAVY = {"dataset": "digits", "hidden_units": [512, 512], "batch_size": 8, "epochs": 6, "learning_rate": 0.001}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all these trainings: none of them harms it."""
    server = Running(tmp_path_factory.mktemp("data"))
    yield server
    assert server.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("framework", [name for name in registry.installed() if name != "pytorch"])
def test_a_training_paused_on_any_engine_equals_one_that_was_not(server, framework):
    """PyTorch has a longer test of its own, in ``test_pausing.py``."""
    options = HEAVY | {"framework": framework, "learning_rate_scheduler": "step", "step_size": 3}
    straight, paused = server.start(**options), server.start(**options)
    assert server.follow(straight)["type"] == "complete"
    server.follow(paused, until_epoch=2)
    assert server.post("pause", paused)["state"] == "paused"
    server.post("resume", paused)
    assert server.follow(paused)["type"] == "complete"

    task = server.task(paused)
    assert (task["attempt"], task["summary"]["framework"]) == (2, framework)
    assert without_times(server.history(paused)) == without_times(server.history(straight))
    files = [server.data_dir / server.task(one)["artifact"] / "model.safetensors" for one in (straight, paused)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("framework", "model"), PAIRS)
def test_every_kind_of_network_learns_digits(server, framework, model):
    options = {"dataset": "digits", "input_shape": [8, 8], "hidden_units": [32], "learning_rate": 0.005, "epochs": 20}
    task_id = server.start(model_type=model, framework=framework, **options)
    assert server.follow(task_id)["type"] == "complete"
    assert server.task(task_id)["best_metrics"]["accuracy"] > 0.93


def test_auto_says_which_engine_it_took(server):
    config = server.task(server.start(epochs=2))["config"]
    assert config["framework"] in registry.installed()


def test_two_devices_train_through_the_server_too(server):
    for framework in registry.installed():
        task_id = server.start(framework=framework, num_devices=2, epochs=4)
        assert server.follow(task_id)["type"] == "complete", server.task(task_id)["error"]
