"""Several networks through the public API of a real server: run, paused and resumed, served, continued, repeated."""

import io
import json

import numpy as np
import polars as pl
import pytest
from sklearn import metrics as reference

from epochd.data.tables.catalog import open_dataset
from tests.support.reporters import without_times

SHORT = {"framework": "pytorch", "epochs": 4, "dataset": "wine", "learning_rate": 0.01}
KINDS = {"folds": {"folds": 3, "test_split": 0.2}, "ensemble": {"ensemble": 3}}


@pytest.fixture
def server(open_server):
    return open_server()


def file(server, task_id, name):
    place = f"{server.url}/api/v1/models/models/versions/{task_id}/files/{name}"
    return server.client.get(place).raise_for_status().content


def predictions(server, task_id, rows):
    answer = server.client.post(f"{server.url}/api/v1/models/models/versions/{task_id}/predict", json={"rows": rows})
    return answer.raise_for_status().json()


@pytest.mark.parametrize("kind", KINDS)
def test_several_networks_are_trained_paused_served_and_repeated(server, kind):
    options = SHORT | KINDS[kind]
    straight = server.start(**options)
    assert server.follow(straight)["type"] == "complete", server.task(straight)["error"]
    task = server.task(straight)
    members = task["summary"]["metrics"]["members"]
    losses = [one["loss"] for one in members["each"]]
    assert members["mean"]["loss"] == pytest.approx(np.mean(losses))
    assert members["std"]["loss"] == pytest.approx(np.std(losses, ddof=1))
    assert [row["members"] for row in server.history(straight)] == [3] * 4

    long = options | {"epochs": 300}
    alone, paused = server.start(**long), None
    assert server.follow(alone)["type"] == "complete"
    paused = server.start(**long)
    server.follow(paused, until_epoch=2)
    assert server.post("pause", paused)["state"] == "paused"
    server.post("resume", paused)
    assert server.follow(paused)["type"] == "complete"
    assert without_times(server.history(paused)) == without_times(server.history(alone))
    assert file(server, paused, "model.safetensors") == file(server, alone, "model.safetensors")

    continued = server.client.post(f"/continue/{straight}", json={"epochs": 6}).raise_for_status().json()["task_id"]
    assert server.follow(continued)["type"] == "complete"
    assert server.epochs(continued) == [1, 2, 3, 4, 5, 6]
    replay = server.post("replay", straight)["task_id"]
    assert server.follow(replay)["type"] == "complete"
    assert server.client.get(f"/replay/{replay}").json()["comparison"]["identical"] is True

    frame = open_dataset("wine", []).read().drop("target").head(5)
    served = predictions(server, straight, frame.to_dicts())
    assert len(served["predictions"]) == 5


def test_the_out_of_fold_predictions_can_be_downloaded(server):
    task_id = server.start(**SHORT, **KINDS["folds"])
    assert server.follow(task_id)["type"] == "complete"
    table = pl.read_parquet(io.BytesIO(file(server, task_id, "out_of_fold.parquet")))
    found = server.task(task_id)["summary"]["metrics"]["validation"]
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(table["target"], table["prediction"]))
    about = json.loads(file(server, task_id, "model.json"))
    assert about["metrics"]["members"]["each"][0]["rows"] == table.filter(fold=1).height
