"""A training is repeated with the same numbers, and what differs is named."""

import json

import pytest

from epochd.artifact import files

SHORT = {"framework": "pytorch", "epochs": 3, "early_stopping_patience": None}


@pytest.fixture
def server(open_server):
    return open_server()


def comparison(server, replay):
    answer = server.client.get(f"/replay/{replay}")
    assert answer.status_code == 200, answer.text
    return answer.json()["comparison"]


def completed(server, task_id):
    assert server.follow(task_id)["type"] == "complete"
    return task_id


def test_a_replay_and_a_replay_of_a_continued_training_are_identical(server):
    first = completed(server, server.start(**SHORT))
    replay = completed(server, server.post("replay", first)["task_id"])
    assert comparison(server, replay)["identical"] is True
    assert comparison(server, replay)["weights"] == {"differing": [], "largest_difference": 0.0}

    longer = server.client.post(f"/continue/{first}", json={"epochs": 5}).json()["task_id"]
    replay = completed(server, server.post("replay", completed(server, longer))["task_id"])
    assert comparison(server, replay)["identical"] is True
    assert comparison(server, replay)["history"]["epochs"] == [5, 5]

    detail, origin = server.task(replay), server.task(longer)
    assert detail["replay_of"] == longer
    assert (origin["parent"], server.task(first)["children"]) == (first, [longer])
    latest = server.data_dir / "artifacts" / "models" / "latest"
    assert latest.resolve().name == longer
    assert detail["artifact"] == f"artifacts/replays/models/{replay}"


def test_what_differs_from_the_first_training_is_named(server):
    first = completed(server, server.start(**SHORT))
    replay = completed(server, server.post("replay", first)["task_id"])
    other = completed(server, server.start(**SHORT, seed=1, learning_rate=0.01))
    swap(server, first, other)
    found = comparison(server, replay)
    assert found["identical"] is False
    assert (found["history"]["first_difference"]["epoch"], found["weights"]["largest_difference"] > 0) == (1, True)
    assert "validation.loss" in found["scores"]
    assert found["environment"] == {"threads": [99, server.task(replay)["summary"]["threads"]]}


def swap(server, task_id, other):
    """Replace the model of a task by another one, trained with 99 threads."""
    folder, source = (server.data_dir / server.task(task)["artifact"] for task in (task_id, other))
    about = json.loads((source / "model.json").read_text())
    about["facts"]["threads"] = 99
    with files.durable_folder(folder) as path:
        for name in ("model.safetensors", "history.csv"):
            (path / name).write_bytes((source / name).read_bytes())
        files.write_json(path / "model.json", about)
