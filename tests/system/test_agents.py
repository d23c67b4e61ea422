"""Trainings on other machines: agents, each with a folder of its own, that share nothing with the server."""

import csv
import io
import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.reporters import without_times
from tests.support.running import Running

TRAINING = {
    "framework": "pytorch",
    "dataset": "digits",
    "epochs": 40,
    "hidden_units": [128, 64],
    "batch_size": 8,
    "learning_rate_scheduler": "plateau",
    "patience": 2,
}


def outcome(server, task_id):
    """The history and the weights of a training that is complete."""
    task = server.task(task_id)
    assert task["state"] == "completed", task["error"]
    weights = (server.data_dir / task["artifact"] / "model.safetensors").read_bytes()
    return without_times(server.history(task_id)), weights


def predicted(server, body):
    """A batch prediction that has ended."""
    started = server.client.post(f"{server.url}/api/v1/predictions", json=body)
    assert started.is_success, started.text
    url = f"{server.url}/api/v1/predictions/{started.json()['task_id']}"
    until = time.monotonic() + 30
    while (found := server.client.get(url).json())["state"] not in ("completed", "failed", "paused"):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found


def left(agent) -> list[Path]:
    """The files that an agent keeps of attempts, once its workers had time to delete them after their last report."""
    kinds, until = ("checkpoints", "artifacts", "predictions"), time.monotonic() + 10
    while found := [path for kind in kinds for path in (agent.data_dir / kind).rglob("*") if path.is_file()]:
        if time.monotonic() > until:
            break
        time.sleep(0.05)
    return found


def undisturbed(folder, training):
    """The outcome of a training on a server alone."""
    server = Running(folder)
    try:
        task_id = server.start(**training)
        assert server.follow(task_id)["type"] == "complete"
        return outcome(server, task_id)
    finally:
        server.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The outcome of TRAINING on a server without agents."""
    return undisturbed(tmp_path_factory.mktemp("expected"), TRAINING)


def test_a_training_that_moves_from_agent_to_agent_equals_one_that_stays(open_server, open_agent, expected):
    """It is drained from one, paused and resumed, killed with the other one, and ends on the third."""
    server = open_server(slots=0, EPOCHD_LEASE_SECONDS="3", EPOCHD_CHECKPOINT_SECONDS="0.2")
    task_id = server.start(**TRAINING)
    assert server.task(task_id)["state"] == "pending", "nobody can train it yet"
    agents = [open_agent(server, name) for name in ("one", "two")]
    server.joined("one", "two")
    server.follow(task_id, until_epoch=3)
    name = server.task(task_id)["agent"]
    first, second = sorted(agents, key=lambda agent: agent.name != name)
    drained = server.client.post(f"{server.url}/api/v1/system/agents/{first.name}/drain").json()
    assert drained["tasks"] == [task_id]
    assert first.process.wait(30) == 0
    server.until(task_id, lambda event: "started" in event, times=2)
    assert left(first) == []
    until = time.monotonic() + 10
    while first.name in server.agents():
        assert time.monotonic() < until, "an agent that has given everything back is forgotten"
        time.sleep(0.05)
    assert server.task(task_id)["agent"] == second.name
    server.follow(task_id, until_epoch=server.task(task_id)["current_epoch"] + 2)
    assert server.post("pause", task_id)["state"] == "paused"
    assert server.post("resume", task_id)["receipt"]["weights"] is True

    server.follow(task_id, until_epoch=server.task(task_id)["current_epoch"] + 2)
    second.kill()
    third = open_agent(server, "third")
    assert server.follow(task_id)["type"] == "complete"
    task = server.task(task_id)
    assert (task["attempt"], task["agent"], task["crashes"]) == (4, "third", 0)
    assert outcome(server, task_id) == expected
    assert server.agents()[second.name]["state"] == "lost"
    assert left(third) == []
    logs = server.client.get(f"/logs/{task_id}", params={"attempt": 4}).json()
    assert logs["attempt"] == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_agent_trains_on_while_its_server_restarts(open_server, open_agent, number):
    server = open_server(slots=0)
    agent = open_agent(server, "a")
    task_id = server.start(**TRAINING | {"epochs": 100_000})
    server.follow(task_id, until_epoch=2)
    (worker,) = agent.workers()
    server.end(number)
    again = open_server(slots=0, port=server.port)
    again.joined("a")
    assert again.agents()["a"]["tasks"] == [task_id], "the new server knows that it has the task"
    again.follow(task_id, until_epoch=again.task(task_id)["current_epoch"] + 3)
    assert again.task(task_id)["attempt"] == 1
    assert worker in agent.workers()
    rows = again.epochs(task_id)
    assert rows == list(range(1, len(rows) + 1)), "no epoch is missing"
    assert again.post("stop", task_id)["state"] == "cancelled"
    assert again.findings_after_exits() == []


def test_an_agent_that_is_told_to_end_gives_its_trainings_back(open_server, open_agent, expected):
    server = open_server(slots=0)
    first = open_agent(server, "first")
    task_id = server.start(**TRAINING)
    server.follow(task_id, until_epoch=2)
    assert first.end(signal.SIGTERM) == 0
    assert server.task(task_id)["state"] == "pending"
    open_agent(server, "first")  # its name is free again
    assert server.follow(task_id)["type"] == "complete"
    task = server.task(task_id)
    assert (task["attempt"], task["crashes"], task["preemptions"]) == (2, 0, 1)
    assert outcome(server, task_id) == expected


def test_uploaded_data_are_trained_on_and_predicted_by_an_agent(open_server, open_agent):
    server, generator = open_server(slots=0), random.Random(1)
    agent = open_agent(server, "a")
    table = io.StringIO()
    rows = [(generator.random(), generator.choice("xyz")) for _ in range(300)]
    csv.writer(table).writerows([("amount", "kind", "target"), *((a, k, int(a > 0.5) + 1) for a, k in rows)])
    upload = {"params": {"name": "sales", "filename": "sales.csv"}, "content": table.getvalue().encode()}
    headers = {"Content-Type": "application/octet-stream"}
    server.client.post(f"{server.url}/api/v1/datasets", headers=headers, **upload).raise_for_status()
    task_id = server.start(dataset="sales", epochs=5, framework="pytorch")
    assert server.follow(task_id)["type"] == "complete"
    body = {"model": task_id, "dataset": "sales", "echo": True}
    found = predicted(server, body)
    url = f"{server.url}/api/v1/predictions/{found['task_id']}"
    assert (found["state"], found["progress"]["rows_done"]) == ("completed", 300)
    assert len(server.client.get(f"{url}/output").raise_for_status().content) > 1000
    assert left(agent) == []
    entries = [path for path in (agent.data_dir / "cache" / "inputs").iterdir() if path.is_dir()]
    assert len(entries) == 2, "the table, fetched once, and the model"


def test_pictures_of_a_folder_are_trained_on_by_an_agent(open_server, open_agent):
    server, noise = open_server(slots=0), np.random.default_rng(0)
    folder = server.data_dir / "datasets" / "shapes"
    for kind, base in (("dark", 0), ("light", 160)):
        (folder / kind).mkdir(parents=True)
        for number in range(20):
            pixels = (base + noise.integers(0, 90, (8, 8))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / kind / f"{number}.png")
    rows = [f"shapes/{path.parent.name}/{path.name}" for path in sorted(folder.rglob("*.png"))]
    (folder.parent / "list.csv").write_text("image,number\n" + "".join(f"{row},{n}\n" for n, row in enumerate(rows)))
    open_agent(server, "a")
    options = {"dataset": "shapes", "target_column": "label", "image_size": [8, 8], "image_mode": "grey"}
    task_id = server.start(**options, epochs=3, framework="pytorch")
    assert server.follow(task_id)["type"] == "complete", server.task(task_id)["error"]
    found = predicted(server, {"model": task_id, "dataset": "list.csv"})
    assert (found["state"], found["progress"]["rows_done"]) == ("completed", 40), found["error"]


def test_an_agent_without_the_right_token_is_told_so_and_ends(open_server, open_agent):
    server = open_server(slots=0, EPOCHD_TOKENS="secret", EPOCHD_AGENT_TOKENS="other")
    agent = open_agent(server, "a", EPOCHD_TOKEN="wrong")
    assert agent.process.wait(20) == 1
    assert "refuses the agent: the token is not one of this server's tokens" in agent.log.read_text()
    assert "wrong" not in agent.log.read_text()
    right = open_agent(server, "b", EPOCHD_TOKEN="other")
    server.client.headers["Authorization"] = "Bearer secret"
    server.joined("b")
    assert (
        server.client.get(f"{server.url}/api/v1/system/agents", headers={"Authorization": "Bearer other"}).status_code
        == 401
    )
    assert right.end() == 0


TOGETHER = TRAINING | {"batch_size": 32, "epochs": 30}


def test_two_agents_train_one_network_as_two_devices_of_one_machine_do(open_server, open_agent, tmp_path_factory):
    """They are paused and resumed, and the worker of one is killed."""
    server = open_server(slots=0, EPOCHD_LEASE_SECONDS="5", EPOCHD_CHECKPOINT_SECONDS="0.2")
    agents = [open_agent(server, name) for name in ("one", "two")]
    server.joined("one", "two")
    task_id = server.start(**TOGETHER, num_nodes=2)
    server.follow(task_id, until_epoch=2)
    assert [server.agents()[name]["tasks"] for name in ("one", "two")] == [[task_id]] * 2
    assert server.post("pause", task_id)["state"] == "paused"
    server.post("resume", task_id)
    server.follow(task_id, until_epoch=server.task(task_id)["current_epoch"] + 2)
    (other,) = [agent for agent in agents if agent.name != server.task(task_id)["agent"]]
    for pid in other.workers():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert server.follow(task_id)["type"] == "complete"
    task = server.task(task_id)
    assert (task["attempt"], task["crashes"]) == (3, 1)
    found = outcome(server, task_id)
    assert server.findings_after_exits() == []
    until = time.monotonic() + 10
    while any(map(left, agents)):
        assert time.monotonic() < until, "both machines delete what they have fetched"
        time.sleep(0.1)

    alone = Running(tmp_path_factory.mktemp("alone"))
    try:
        task_id = alone.start(**TOGETHER, num_devices=2)
        assert alone.follow(task_id)["type"] == "complete"
        assert outcome(alone, task_id) == found
    finally:
        alone.end(signal.SIGTERM)
