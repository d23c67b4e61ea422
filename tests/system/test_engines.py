"""Each installed engine through the public API."""

import contextlib
import os
import signal

import psutil
import pytest

from epochd.data.tables.catalog import open_dataset
from epochd.engines import registry
from tests.support.onnx_files import check_file
from tests.support.reporters import without_times
from tests.support.running import Running

MODELS = {"pytorch": "lstm", "tensorflow": "cnn", "jax": "gru"}
"""Each engine and each kind of network once: that all engines compute the same is shown by their contract."""
DIGITS = {"dataset": "digits", "input_shape": [8, 8], "hidden_units": [32], "learning_rate": 0.005, "epochs": 20}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for all these trainings: none of them harms it."""
    server = Running(tmp_path_factory.mktemp("data"))
    yield server
    assert server.end(signal.SIGTERM) == 0


def worker_of(server, task_id):
    """The process that trains a task: the one that has its log open."""
    log = str(server.data_dir / "logs" / task_id)
    for process in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.Error):
            if any(one.path.startswith(log) for one in process.open_files()):
                return process.pid
    raise AssertionError(f"no process trains {task_id}")


def learn_digits(server, framework, **more):
    options = DIGITS | {"framework": framework, "model_type": MODELS[framework]} | more
    task_id = server.start(**options)
    assert server.follow(task_id)["type"] == "complete", server.task(task_id)["error"]
    task = server.task(task_id)
    assert task["best_metrics"]["accuracy"] > 0.93
    check_file(server.data_dir / task["artifact"], open_dataset("digits", []).read())
    return options, task_id


def test_pytorch_learns_digits(server):
    """That a pause changes nothing is shown in ``test_pausing.py``; two ranks are among ``test_lost_processes.py``."""
    learn_digits(server, "pytorch")


@pytest.mark.parametrize("framework", [name for name in registry.installed() if name != "pytorch"])
def test_a_training_on_two_devices_that_was_paused_equals_one_that_was_not(server, framework):
    epochs = {"tensorflow": 20}.get(framework, 100)  # enough for the pause to come in time
    more = {"learning_rate_scheduler": "step", "step_size": 9, "epochs": epochs}
    options, straight = learn_digits(server, framework, num_devices=2, **more)
    paused = server.start(**options)
    server.follow(paused, until_epoch=2)
    assert server.post("pause", paused)["state"] == "paused"
    server.post("resume", paused)
    assert server.follow(paused)["type"] == "complete"

    task = server.task(paused)
    assert (task["attempt"], task["summary"]["framework"]) == (2, framework)
    assert without_times(server.history(paused)) == without_times(server.history(straight))
    files = [server.data_dir / server.task(one)["artifact"] / "model.safetensors" for one in (straight, paused)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("framework", registry.installed())
def test_a_training_in_a_process_that_has_trained_others_equals_one_in_a_new_process(server, framework):
    epochs = {"pytorch": 60}.get(framework, 800)  # enough for pause and kill to come in time
    options = {"dataset": "digits", "framework": framework, "dropout_rate": 0.3, "epochs": epochs}
    first = server.start(**options)
    assert server.follow(first)["type"] == "complete"
    server.follow(server.start(**options | {"seed": 5, "learning_rate": 0.02, "dropout_rate": 0.5, "epochs": 3}))
    again = server.start(**options)
    server.follow(again, until_epoch=3)
    server.post("pause", again)
    epochs_done = len(server.history(again))
    server.post("resume", again)
    server.until(again, lambda event: "started" in event, times=2)
    worker = worker_of(server, again)
    server.follow(again, until_epoch=epochs_done + 5)
    os.kill(worker, signal.SIGKILL)
    assert server.follow(again)["type"] == "complete"

    assert server.task(again)["attempt"] == 3
    assert without_times(server.history(again)) == without_times(server.history(first))
    files = [server.data_dir / server.task(one)["artifact"] / "model.safetensors" for one in (first, again)]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("framework", registry.installed())
def test_the_second_training_of_a_shape_gets_the_process_of_the_first(server, framework):
    options = {"framework": framework, "epochs": 100_000}
    processes = []
    for seed in range(2):
        task_id = server.start(**options, seed=seed)
        server.follow(task_id, until_epoch=1)
        processes.append(worker_of(server, task_id))
        server.post("stop", task_id)
    assert processes[0] == processes[1]


def test_auto_takes_an_engine_whose_process_and_program_are_ready(server):
    """PyTorch is ready too, but takes longer for so many steps; alone, they would not be worth the start of JAX."""
    if "jax" not in registry.installed():
        pytest.skip("jax is not installed")
    config = {"dataset": "iris", "hidden_units": [48, 24], "epochs": 150, "framework": "jax"}
    assert server.follow(server.start(**config))["type"] == "complete"
    assert server.task(server.start(**config | {"framework": "auto", "seed": 1}))["config"]["framework"] == "jax"


def test_auto_says_which_engine_it_took(server):
    config = server.task(server.start(epochs=2))["config"]
    assert config["framework"] in registry.installed()
