"""Three real servers on one PostgreSQL and one data folder, behind a real nginx: servers die, trainings go on."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.proxy import NGINX
from tests.support.running import RunningAgent
from tests.support.servers import TRAINING, Follower, Servers, events_in_log, weights

EPOCHS = 600
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")


@pytest.fixture
def servers(tmp_path: Path, new_postgres: Callable[..., str], migrated_postgres: str) -> Iterator[Servers]:
    found = Servers(tmp_path, new_postgres(migrated_postgres))
    yield found
    found.close()


@pytest.mark.timeout(1200)
def test_trainings_go_on_while_servers_are_killed_and_restarted_one_after_another(servers: Servers) -> None:
    reference = servers.client.start(TRAINING | {"epochs": EPOCHS})["task_id"]
    plain = Follower(servers.proxy.url, reference).finished()
    assert plain[-1]["type"] == "complete"

    task_id = servers.client.start(TRAINING | {"epochs": EPOCHS})["task_id"]
    follower = Follower(servers.proxy.url, task_id)
    follower.until_epoch(50)
    first = servers.leader()
    servers.kill(first)
    second = servers.leader()
    assert second != first
    follower.until_epoch(follower.epochs()[-1] + 20)
    third = servers.standby()
    servers.kill(third)
    follower.until_epoch(follower.epochs()[-1] + 20)
    servers.restart(first)  # alone, since the training goes on meanwhile
    for port in (second, first, third):  # the leader first
        assert servers.running[port].end(signal.SIGTERM) == 0
        assert servers.leader() != port
        assert follower.is_alive() or port != second, "the training was over before its leader was restarted"
        servers.restart(*(one for one in servers.ports if servers.running[one].process.poll() is not None))
    events = follower.finished()

    assert events[-1]["type"] == "complete"
    assert follower.epochs() == [*range(1, EPOCHS + 1)]
    assert events_in_log(servers, task_id) == [str(number) for number in range(1, len(events) + 1)]
    assert weights(servers, task_id) == weights(servers, reference) != b""
    task = servers.client.task(task_id)
    assert (task["attempt"], task["crashes"]) == (1, 0)


@pytest.mark.timeout(600)
def test_agents_train_on_while_the_leader_is_killed(
    tmp_path: Path, new_postgres: Callable[..., str], migrated_postgres: str
) -> None:
    """Agents reach the leader through any server, and the next one learns from them what they run."""
    servers = Servers(tmp_path, new_postgres(migrated_postgres), slots=0)
    agents = [RunningAgent(tmp_path / f"agent-{name}", servers.proxy.url, name) for name in ("a", "b")]
    try:
        task_ids = [servers.client.start(TRAINING | {"epochs": 300})["task_id"] for _ in agents]
        followers = [Follower(servers.proxy.url, task_id) for task_id in task_ids]
        for follower in followers:
            follower.until_epoch(20)
        first = servers.leader()
        servers.kill(first)
        assert servers.leader() != first
        for follower in followers:
            assert follower.finished()[-1]["type"] == "complete"
            assert follower.epochs() == [*range(1, 301)]
        tasks = [servers.client.task(task_id) for task_id in task_ids]
        assert [(task["attempt"], task["crashes"]) for task in tasks] == [(1, 0)] * 2
        assert {task["agent"] for task in tasks} == {"a", "b"}
        assert weights(servers, task_ids[0]) == weights(servers, task_ids[1]) != b""
        assert [agent["state"] for agent in servers.client.agents()["agents"]] == ["connected"] * 2
    finally:
        for agent in agents:
            agent.kill()
        servers.close()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_leader_that_stands_still_is_replaced_and_then_stands_by(servers: Servers) -> None:
    task_id = servers.client.start(TRAINING | {"epochs": 600})["task_id"]
    follower = Follower(servers.proxy.url, task_id)
    follower.until_epoch(20)
    first = servers.leader()
    term = servers.health(first)["servers"]["term"]
    servers.running[first].process.send_signal(signal.SIGSTOP)
    others = {port: server for port, server in servers.running.items() if port != first}
    try:
        until = time.monotonic() + 60
        while not any(servers.health(port)["servers"]["role"] == "leader" for port in others):
            assert time.monotonic() < until
            time.sleep(0.1)
    finally:
        servers.running[first].process.send_signal(signal.SIGCONT)
    until = time.monotonic() + 30
    while servers.health(first)["servers"]["role"] != "standby" or servers.health(first)["status"] != "ok":
        assert time.monotonic() < until, servers.health(first)
        time.sleep(0.1)
    events = follower.finished()
    assert events[-1]["type"] == "complete"
    assert follower.epochs() == [*range(1, 601)]
    assert {servers.health(port)["servers"]["term"] for port in servers.ports} == {term + 1}
    with httpx.Client(trust_env=False) as http:
        found = [http.get(f"http://127.0.0.1:{port}/api/v1/system/reconcile").json() for port in servers.ports]
    assert [answer["findings"] for answer in found] == [[]] * 3
