"""The guide's snippets as written, with the packages it names, against a real server with a real worker; and against
three servers behind nginx that leave all trainings to agents."""

import json
import stat
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
import sseclient

from epochd.api.tasks.openapi_examples import QUICK_START
from tests.api.test_server import API, Process
from tests.support.proxy import NGINX
from tests.support.running import RunningAgent
from tests.support.servers import Servers


@dataclass
class Cluster:
    url: str


CLUSTER = pytest.param("cluster", marks=[pytest.mark.long, pytest.mark.skipif(NGINX is None, reason="no nginx")])


@pytest.fixture(scope="module", params=["alone", CLUSTER])
def server(request, tmp_path_factory):
    folder = Path(tmp_path_factory.mktemp("guide"))
    if request.param == "alone":
        process = Process(folder / "data")
        yield process
        process.end()
        return
    new_postgres, template = map(request.getfixturevalue, ("new_postgres", "migrated_postgres"))
    servers = Servers(folder, new_postgres(template), slots=0)
    agents = [RunningAgent(folder / f"agent-{name}", servers.proxy.url, name) for name in ("a", "b")]
    yield Cluster(servers.proxy.url)
    for agent in agents:
        agent.kill()
    servers.close()


@pytest.fixture(scope="module")
def task_id(server):
    response = requests.post(
        f"{server.url}{API}/start", json=QUICK_START, headers={"Authorization": "Bearer your_token"}
    )
    return response.json()["task_id"]


def test_streaming_prints_every_epoch_and_ends_with_complete(server, task_id):
    response = requests.get(f"{server.url}{API}/stream-progress/{task_id}", stream=True)
    client = sseclient.SSEClient(response)
    printed = []
    for event in client.events():
        data = json.loads(event.data)
        if data["type"] == "progress":
            epoch = data["progress"]["current_epoch"]
            metrics = data["progress"]["latest_metrics"]
            printed.append(f"Epoch {epoch}: Loss={metrics['train_loss']:.4f}, Acc={metrics['train_accuracy']:.4f}")
        elif data["type"] == "complete":
            printed.append("训练完成!")
            break
    response.close()
    assert printed[0].startswith("Epoch 1: Loss=")
    assert printed[-1] == "训练完成!"
    assert len(printed) > 10


def test_progress_and_history_read_as_in_the_guide(server, task_id):
    requests.get(f"{server.url}{API}/stream-progress/{task_id}").raise_for_status()  # to its end
    progress = requests.get(f"{server.url}{API}/progress/{task_id}").json()["progress"]
    history = requests.get(f"{server.url}{API}/history/{task_id}").json()["history"]
    assert progress["training_state"] == "completed"
    assert progress["total_epochs"] == 100
    assert set(progress["latest_metrics"]) >= {
        "epoch",
        "train_loss",
        "train_accuracy",
        "val_loss",
        "val_accuracy",
        "learning_rate",
        "time_per_epoch",
    }
    assert {"loss", "accuracy"} <= set(progress["best_metrics"])
    assert [row["epoch"] for row in history] == list(range(1, progress["current_epoch"] + 1))
    assert history[-1] == progress["latest_metrics"]


def test_pause_and_resume_answer_as_in_the_guide(server):
    long = QUICK_START | {"epochs": 100_000, "early_stopping_patience": None}
    task_id = requests.post(f"{server.url}{API}/start", json=long).json()["task_id"]
    events = sseclient.SSEClient(requests.get(f"{server.url}{API}/stream-progress/{task_id}", stream=True)).events()
    next(event for event in events if json.loads(event.data)["type"] == "progress")
    paused = requests.post(f"{server.url}{API}/pause/{task_id}")
    assert (paused.status_code, paused.json()["state"]) == (200, "paused")
    resumed = requests.post(f"{server.url}{API}/resume/{task_id}").json()
    assert resumed["receipt"]["weights"] is True
    assert resumed["receipt"]["epoch"] >= 1
    assert requests.post(f"{server.url}{API}/stop/{task_id}").json()["state"] == "cancelled"


@pytest.mark.parametrize("server", ["alone"], indirect=True)
def test_nobody_else_has_access_to_what_the_training_left(server, task_id):
    requests.get(f"{server.url}{API}/stream-progress/{task_id}").raise_for_status()  # to its end
    home = server.folder
    modes = {
        path.relative_to(home).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in home.rglob("*")
        if not path.is_symlink()
    }
    found = {mode: {name for name in modes if modes[name] == mode} for mode in modes.values()}
    assert set(found) == {0o700, 0o600}, {oct(mode): names for mode, names in found.items()}
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert {Path(name).name for name in found[0o600]} >= {
        "epochd.db",
        "model.safetensors",
        "model.json",
        "best.safetensors",
    }
