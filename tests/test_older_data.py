"""What version 0.1.0 has left in its data folder is read by this one: tasks, models, a dataset, a checkpoint.

``scripts/make_older_data.py`` has made the fixture with that version, through its public API.
"""

import io
import json
import signal
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load_file

from epochd.artifact.predict import predict_file
from tests.support.running import Running

FIXTURE = Path(__file__).parent / "fixtures" / "v0_1_0"
EXPECTED: dict[str, Any] = json.loads((FIXTURE / "expected.json").read_text(encoding="utf-8"))

ROUNDING = 1e-5
"""Frameworks choose their kernels by the CPU and by their own version, and kernels round differently in the last bits.
What was written before is read exactly; what is computed anew may differ by so much from the machine of the fixture."""


def unpacked(folder: Path) -> Path:
    with tarfile.open(FIXTURE / "data.tar.gz") as packed:
        packed.extraction_filter = getattr(tarfile, "data_filter", None)  # not before Python 3.11.4
        packed.extractall(folder)
    return folder


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return unpacked(tmp_path)


@contextmanager
def serving(folder: Path) -> Iterator[Running]:
    server = Running(folder)
    yield server
    assert server.end(signal.SIGTERM) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """For tests that change no task that they find."""
    with serving(unpacked(tmp_path_factory.mktemp("data"))) as server:
        yield server


@pytest.fixture
def own_server(data_dir: Path) -> Iterator[Running]:
    with serving(data_dir) as server:
        yield server


def measured(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a history has measured, without times and without what its task does not measure."""
    return [{k: v for k, v in row.items() if k != "time_per_epoch" and v is not None} for row in history]


def test_tasks_and_histories_are_what_they_were(server):
    listed = server.client.get("/tasks").json()["tasks"]
    known = {task["task_id"] for task in EXPECTED["tasks"].values()}
    assert [task["name"] for task in listed if task["task_id"] in known] == ["houses", "people", "iris"]
    for name, expected in EXPECTED["tasks"].items():
        found = server.task(expected["task_id"]) | {"history": server.history(expected["task_id"])}
        found["config"] = {option: found["config"][option] for option in expected["config"]}  # later ones are added
        assert {field: found[field] for field in expected} == expected, name
        assert next(server.events(expected["task_id"]))["state"] == "pending"


def test_the_uploaded_dataset_is_known_with_its_profile(server):
    found = server.client.get(f"{server.url}/api/v1/datasets/houses").json()
    assert (found["kind"], found["state"], found["rows"]) == ("upload", "ready", 1300)
    assert [column["name"] for column in found["profile"]] == ["area", "rooms", "kind", "price"]


@pytest.mark.parametrize("name", EXPECTED["said"])
def test_a_model_predicts_what_it_did(data_dir, name):
    said = EXPECTED["said"][name]
    rows = data_dir / "rows.csv"
    rows.write_text(said["rows"])
    found = predict_file(data_dir / "artifacts" / "models" / name / "latest", rows)
    expected = pl.read_csv(io.StringIO(said["predictions"]))
    assert found["prediction"].cast(pl.String).to_list() == expected["prediction"].cast(pl.String).to_list()
    probabilities = [column for column in expected.columns if column.startswith("probability")]
    np.testing.assert_allclose(found[probabilities].to_numpy(), expected[probabilities].to_numpy(), atol=1e-9)


def test_a_paused_training_ends_as_that_version_would_have_ended_it(own_server):
    server = own_server
    paused, resumed = EXPECTED["tasks"]["houses"], EXPECTED["resumed"]
    done = len(paused["history"])
    receipt = server.post("resume", paused["task_id"])["receipt"]
    assert receipt["position"] == {"epochs_done": done, "steps_done_in_epoch": paused["checkpoint"]["step"]}
    assert server.follow(paused["task_id"])["type"] == "complete"

    history = measured(server.history(paused["task_id"]))
    assert history[:done] == measured(paused["history"])
    for row, expected in zip(history[done:], measured(resumed["history"])[done:], strict=True):
        known = {name: row[name] for name in expected}
        assert known == pytest.approx(expected, rel=ROUNDING, abs=ROUNDING)
    weights = load_file(server.data_dir / server.task(paused["task_id"])["artifact"] / "model.safetensors")
    assert set(weights) == set(resumed["weights"])
    for name, expected in resumed["weights"].items():
        np.testing.assert_allclose(weights[name], np.array(expected), atol=ROUNDING, err_msg=name)


def test_a_completed_training_can_be_continued(server):
    parent = EXPECTED["tasks"]["iris"]
    answer = server.client.post(f"/continue/{parent['task_id']}", json={"epochs": 14})
    task_id = answer.raise_for_status().json()["task_id"]
    assert server.follow(task_id)["type"] == "complete"
    assert server.history(task_id)[:12] == parent["history"]
    assert server.epochs(task_id) == list(range(1, 15))
