"""Faults of a real Ray cluster: two nodes with one processor each, and a head that runs nothing.

A part of ``make chaos``.
"""

import signal
import sys
import time

import pytest

from tests.support.proxy import free_ports
from tests.support.ray_cluster import RayCluster
from tests.system import test_agents
from tests.system.test_agents import TOGETHER, outcome, predicted, undisturbed

pytestmark = [pytest.mark.long, pytest.mark.timeout(480)]
TRAINING = test_agents.TRAINING | {"epochs": 150}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The outcome of TRAINING on a server without a cluster."""
    return undisturbed(tmp_path_factory.mktemp("expected"), TRAINING)


@pytest.fixture
def cluster():
    found = RayCluster()
    found.add_node()
    found.add_node()
    yield found
    found.close()


@pytest.fixture
def open_on(open_server, tmp_path):
    """Opens servers that leave all trainings to a cluster, at the same address."""
    (port,) = free_ports(1)

    def make(cluster, **more):
        return open_server(
            slots=0,
            port=port,
            EPOCHD_RAY_ADDRESS=cluster.url,
            EPOCHD_RAY_TOKEN=cluster.token,
            EPOCHD_PUBLIC_URL=f"http://127.0.0.1:{port}",
            EPOCHD_RAY_PYTHON=sys.executable,
            EPOCHD_RAY_RUNTIME_ENV=f'{{"env_vars": {{"EPOCHD_DATA_DIR": "{tmp_path}/ray"}}}}',
            EPOCHD_LEASE_SECONDS="5",
            EPOCHD_CHECKPOINT_SECONDS="0.2",
            **more,
        )

    return make


def ready(server, nodes=2):
    """Wait until so many nodes can take a training; their names."""
    until = time.monotonic() + 60
    while len(found := {name for name, one in server.agents().items() if one["slots"]}) != nodes:
        assert time.monotonic() < until, server.agents()
        time.sleep(0.1)
    return found


def test_a_training_survives_its_node_its_server_and_the_head(open_on, cluster, expected):
    """It leaves a drained node, goes on while its server is killed, loses its node, is paused and resumed, and loses
    the whole cluster; it ends on a new one, which knows nothing of it, and predicts there."""
    server = open_on(cluster)
    ready(server)
    task_id = server.start(**TRAINING)
    server.follow(task_id, until_epoch=2)
    first = server.task(task_id)["agent"]
    drained = server.client.post(f"{server.url}/api/v1/system/agents/{first}/drain").json()
    assert drained["tasks"] == [task_id]
    server.until(task_id, lambda event: "started" in event, times=2)
    second = server.task(task_id)["agent"]
    assert second != first
    server.follow(task_id, until_epoch=server.task(task_id)["current_epoch"] + 1)

    server.end(signal.SIGKILL)
    server = open_on(cluster)
    assert first in ready(server, nodes=1)
    assert (server.task(task_id)["attempt"], server.agents()[second]["tasks"]) == (2, [task_id])
    server.follow(task_id, until_epoch=server.task(task_id)["current_epoch"] + 1)

    next(node for node in cluster.nodes if node.id.startswith(second.removeprefix("ray:"))).kill()
    server.until(task_id, lambda event: "started" in event, times=3)
    assert server.task(task_id)["agent"] == first, "the new server knows nothing of the drain"

    assert server.post("pause", task_id)["state"] == "paused"
    assert server.post("resume", task_id)["receipt"]["weights"] is True
    server.until(task_id, lambda event: "started" in event, times=4)

    for node in [*cluster.nodes, cluster.head]:
        node.kill()
    cluster.start_head()
    cluster.add_node()
    assert server.follow(task_id)["type"] == "complete"
    task = server.task(task_id)
    assert (task["attempt"], task["crashes"]) == (5, 0)
    assert outcome(server, task_id) == expected
    found = predicted(server, {"model": task_id, "dataset": "digits"})
    assert (found["state"], found["progress"]["rows_done"]) == ("completed", 1797), found
    assert server.findings_after_exits() == []


def test_two_nodes_train_one_network_as_two_devices_of_one_machine_do(open_on, cluster, tmp_path_factory):
    """They are paused and resumed; one of them dies, and another one takes its place."""
    server = open_on(cluster)
    ready(server)
    task_id = server.start(**TOGETHER, num_nodes=2)
    server.follow(task_id, until_epoch=2)
    assert [one["tasks"] for one in server.agents().values()] == [[task_id]] * 2
    assert server.post("pause", task_id)["state"] == "paused"
    server.post("resume", task_id)
    server.follow(task_id, until_epoch=server.task(task_id)["current_epoch"] + 1)
    first = server.task(task_id)["agent"].removeprefix("ray:")
    next(node for node in cluster.nodes if not node.id.startswith(first)).kill()
    cluster.add_node()
    assert server.follow(task_id)["type"] == "complete"
    task = server.task(task_id)
    assert (task["attempt"], task["crashes"]) == (3, 0)
    assert outcome(server, task_id) == undisturbed(tmp_path_factory.mktemp("alone"), TOGETHER | {"num_devices": 2})
    assert server.findings_after_exits() == []
