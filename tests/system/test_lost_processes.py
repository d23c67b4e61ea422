"""What happens when a worker or the server is lost."""

import os
import signal
import subprocess
from contextlib import suppress

import psutil
import pytest

from epochd.dispatch.host import processes

NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]
"""Runs a command as the first process of a namespace of its own, as a container does."""

LONG = 300
"""Epochs of a training with PyTorch that is still under way when a busy machine has ended its server or its worker."""


def worker_of(server, task_id, attempt=1):
    """The process of the worker, once this attempt has begun."""
    server.until(task_id, lambda event: "started" in event, times=attempt)
    (running,) = server.reconcile()["running"]
    assert running["attempt"] == attempt
    return running["pid"]


def test_a_killed_worker_is_replaced_and_nothing_is_missing_or_told_twice(open_server):
    server = open_server()
    victim, heir = server.start(epochs=LONG, framework="pytorch"), server.start(epochs=3)
    worker = worker_of(server, victim)
    server.follow(victim, until_epoch=20)
    os.kill(worker, signal.SIGKILL)
    assert server.follow(victim)["type"] == "complete"
    told = [event["progress"]["current_epoch"] for event in server.events(victim) if event["type"] == "progress"]
    assert told == server.epochs(victim) == list(range(1, LONG + 1))
    task = server.task(victim)
    assert (task["attempt"], task["crashes"]) == (2, 1)
    assert server.follow(heir)["type"] == "complete"


def test_a_training_whose_workers_all_die_is_given_up_as_poison(open_server):
    server = open_server()
    task_id = server.start(epochs=100_000)
    for attempt in (1, 2, 3):
        os.kill(worker_of(server, task_id, attempt), signal.SIGKILL)
    error = server.follow(task_id)["error"]
    assert error["code"] == "poison"
    assert "SIGKILL" in error["message"]


@pytest.mark.parametrize(
    ("number", "attempt", "more"),
    [
        pytest.param(signal.SIGKILL, 1, {}, id="killed"),
        pytest.param(signal.SIGTERM, 2, {}, id="shut down"),
        pytest.param(signal.SIGKILL, 1, {"EPOCHD_MEMORY_MB": "4096"}, id="killed, with a limit"),
    ],
)
def test_a_training_survives_its_server(open_server, number, attempt, more):
    server = open_server(**more)
    task_id = server.start(epochs=LONG, framework="pytorch")
    server.follow(task_id, until_epoch=20)
    server.end(number)
    server = open_server(server.port, **more)
    assert server.follow(task_id)["type"] == "complete"
    assert server.task(task_id)["attempt"] == attempt
    assert server.epochs(task_id) == list(range(1, LONG + 1))
    assert server.findings_after_exits() == []


def test_a_training_survives_its_server_and_its_worker(open_server):
    server = open_server()
    task_id = server.start(epochs=LONG, framework="pytorch")
    worker = worker_of(server, task_id)
    server.follow(task_id, until_epoch=20)
    server.process.send_signal(signal.SIGKILL)
    os.kill(worker, signal.SIGKILL)
    server.ended()
    server = open_server(server.port)
    assert server.follow(task_id)["type"] == "complete"
    assert server.task(task_id)["attempt"] == 2
    assert server.epochs(task_id) == list(range(1, LONG + 1))


def test_a_worker_that_was_stopped_for_longer_than_its_lease_changes_nothing_any_more(open_server):
    server = open_server(EPOCHD_LEASE_SECONDS="1")
    task_id = server.start(epochs=LONG, framework="pytorch")
    worker = worker_of(server, task_id)
    server.follow(task_id, until_epoch=20)
    os.kill(worker, signal.SIGSTOP)
    server.until(task_id, lambda event: "started" in event, times=2)
    assert server.follow(task_id)["type"] == "complete"
    assert server.epochs(task_id) == list(range(1, LONG + 1))
    with pytest.raises(ProcessLookupError):
        os.kill(worker, signal.SIGCONT)


def has_namespaces():
    with suppress(FileNotFoundError):
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    return False


@pytest.mark.skipif(not has_namespaces(), reason="making a process namespace takes root here")
def test_as_the_first_process_of_a_container_it_leaves_nobody_behind(open_server):
    server = open_server(prefix=NAMESPACE, EPOCHD_CHECKPOINT_SECONDS="0")
    (first,) = psutil.Process(server.process.pid).children()
    task_id = server.start(epochs=60, framework="pytorch", num_devices=2)
    server.follow(task_id, until_epoch=3)
    workers = [one for one in processes.find_marked(server.data_dir) if one.ppid() == first.pid]
    ranks = [rank for worker in workers for rank in worker.children()]
    assert ranks, "a rank is a child of its worker"
    for worker in workers:
        worker.kill()
    assert server.follow(task_id)["type"] == "complete"
    assert server.task(task_id)["crashes"] == 1
    assert not any(rank.is_running() and rank.status() != psutil.STATUS_ZOMBIE for rank in ranks)
    assert server.findings_after_exits() == []
    first.terminate()
    assert server.ended() == 0
    assert processes.find_marked(server.data_dir) == []
