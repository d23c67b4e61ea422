"""What happens when a worker or the server is lost."""

import signal

import psutil
import pytest


def test_a_killed_worker_fails_its_job_with_the_reason_and_the_next_job_runs(open_server):
    server = open_server()
    victim, heir = server.start(epochs=100_000), server.start(epochs=3)
    server.follow(victim, until_epoch=1)
    for worker in psutil.Process(server.process.pid).children():
        worker.kill()
    failed = server.follow(victim)
    assert failed["error"]["code"] == "worker_died"
    assert "SIGKILL" in failed["error"]["message"]
    assert server.follow(heir)["type"] == "complete"


@pytest.mark.parametrize(
    ("number", "attempt"),
    [pytest.param(signal.SIGKILL, 1, id="killed"), pytest.param(signal.SIGTERM, 2, id="shut down")],
)
def test_a_training_survives_its_server(open_server, number, attempt):
    server = open_server()
    task_id = server.start(epochs=400)
    server.follow(task_id, until_epoch=20)
    server.end(number)
    server = open_server(server.port)
    assert server.follow(task_id)["type"] == "complete"
    assert server.task(task_id)["attempt"] == attempt
    assert server.epochs(task_id) == list(range(1, 401))
