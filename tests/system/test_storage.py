"""Trainings whose folders are in a real object store: what dies, or loses its disk, goes on from there."""

import csv
import io
import random
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import psutil
import pytest

from epochd.artifact import files, stored
from epochd.artifact.objects import Objects
from epochd.client import Client
from epochd.data.tables.catalog import open_dataset
from epochd.dispatch.host import processes
from tests.support.reporters import without_times
from tests.support.running import Running
from tests.support.stores import KEY, SECRET, Azurite, Weed
from tests.system.test_predictions import ended, until_parts

TRAINING = {
    "framework": "pytorch",
    "dataset": "sales",
    "epochs": 16,
    "hidden_units": [128, 64],
    "batch_size": 8,
    "learning_rate_scheduler": "plateau",
    "patience": 2,
    "output_path": "models/sales",
}


@pytest.fixture(params=["s3", pytest.param("azure", marks=pytest.mark.long)])
def store(request: pytest.FixtureRequest) -> Weed | Azurite:
    found: Weed | Azurite = request.getfixturevalue({"s3": "weed", "azure": "azurite"}[request.param])
    return found


def table() -> bytes:
    generator, text = random.Random(1), io.StringIO()
    rows = [(generator.random(), generator.choice("xyz")) for _ in range(1500)]
    csv.writer(text).writerows([("amount", "kind", "target"), *((a, k, int(a > 0.5) + 1) for a, k in rows)])
    return text.getvalue().encode()


def upload(server: Running) -> None:
    headers, names = {"Content-Type": "application/octet-stream"}, {"name": "sales", "filename": "sales.csv"}
    url = f"{server.url}/api/v1/datasets"
    server.client.post(url, headers=headers, params=names, content=table()).raise_for_status()


def bucket_of(settings: dict[str, str], store: Weed | Azurite) -> Objects:
    return Objects.opened(settings["EPOCHD_STORAGE"], store.options())


def printed(server: Running, task_id: str, attempt: int, *lines: str) -> None:
    """Have a worker of this server print something."""
    with (server.data_dir / "logs" / task_id / f"{attempt}.log").open("a", encoding="utf-8") as log:
        log.writelines(f"{line}\n" for line in lines)


def outcome(server: Running, bucket: Objects, task_id: str, folder: Path):
    """The history and the weights of a training that is complete, as the store has them."""
    task = server.task(task_id)
    assert task["state"] == "completed", task["error"]
    found = stored.manifest(bucket, task["artifact"])
    assert found is not None
    place = folder / task_id
    stored.get_folder(bucket, found, place)
    return without_times(server.history(task_id)), (place / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """The outcome of TRAINING on a server without a store."""
    server = Running(tmp_path_factory.mktemp("expected"))
    try:
        upload(server)
        task_id = server.start(**TRAINING)
        assert server.follow(task_id)["type"] == "complete"
        task = server.task(task_id)
        weights = (server.data_dir / task["artifact"] / "model.safetensors").read_bytes()
        return without_times(server.history(task_id)), weights
    finally:
        server.end(signal.SIGTERM)


def test_a_training_goes_on_from_the_store_after_its_server_has_lost_all_but_the_database(
    open_server, store, tmp_path, expected
):
    settings = store.settings() | {"EPOCHD_CHECKPOINT_SECONDS": "0"}
    server = open_server(**settings, AWS_SECRET_ACCESS_KEY=SECRET)
    bucket = bucket_of(settings, store)
    upload(server)
    task_id = server.start(**TRAINING)
    server.until(task_id, lambda event: event["type"] == "checkpoint", times=3)
    server.end(signal.SIGKILL)
    for worker in processes.find_marked(tmp_path):
        assert not [name for name, value in worker.environ().items() if SECRET in value]
        worker.kill()
        worker.wait(10)
    for kind in ("artifacts", "checkpoints", "datasets", "cache"):
        shutil.rmtree(tmp_path / kind, ignore_errors=True)
    again = open_server(**settings)
    assert again.follow(task_id)["type"] == "complete"
    task = again.task(task_id)
    assert task["attempt"] == 2
    started = again.until(task_id, lambda event: "started" in event, times=2)
    assert started["started"]["resumed"]["epoch"] > 0, f"it has not begun anew: {started}"
    assert outcome(again, bucket, task_id, tmp_path / "copies") == expected
    assert len(stored.numbered(bucket, f"checkpoints/{task_id}")) == 2
    again.end(signal.SIGTERM)

    for kind in ("artifacts", "checkpoints", "datasets", "cache", "logs"):
        shutil.rmtree(tmp_path / kind, ignore_errors=True)
    third = open_server(**settings)
    models = f"{third.url}/api/v1/models"
    row = {"rows": [{"amount": 0.7, "kind": "x"}]}
    for name in ("models/sales", task_id, "models/sales"):
        answer = third.client.post(f"{models}/{name}/predict", json=row)
        assert answer.status_code == 200, answer.text
    assert third.client.get(f"/logs/{task_id}").json()["attempts"] == [1, 2]
    started = third.client.post(f"/continue/{task_id}", json={"epochs": 18}).raise_for_status().json()
    assert third.follow(started["task_id"])["type"] == "complete"
    assert stored.latest(bucket, "artifacts/models/sales")[0] == started["task_id"]

    removed = third.client.delete(f"{models}/models/sales/versions/{started['task_id']}")
    assert removed.status_code == 200, removed.text
    assert stored.latest(bucket, "artifacts/models/sales")[0] == task_id
    for one in (started["task_id"], task_id):
        third.client.delete(f"/tasks/{one}").raise_for_status()
    third.client.delete(f"{third.url}/api/v1/datasets/sales").raise_for_status()
    assert [key for key in bucket.sizes("") if not key.startswith(".")] == [f"artifacts/models/sales/{files.LATEST}"]


def test_an_agent_reads_and_writes_the_store_itself_and_has_no_key_of_it(
    open_server, open_agent, store, tmp_path, expected
):
    settings = store.settings() | {"EPOCHD_CHECKPOINT_SECONDS": "0", "EPOCHD_LEASE_SECONDS": "3"}
    server, bucket = open_server(slots=0, **settings), bucket_of(settings, store)
    upload(server)
    task_id = server.start(**TRAINING)
    first = open_agent(server, "first")
    server.until(task_id, lambda event: "started" in event)
    for worker in first.workers():
        environment = psutil.Process(worker).environ()
        assert not [name for name, value in environment.items() if KEY in value or SECRET in value]
    server.until(task_id, lambda event: event["type"] == "checkpoint", times=3)
    first.kill()
    open_agent(server, "second")
    assert server.follow(task_id)["type"] == "complete"
    task = server.task(task_id)
    assert (task["attempt"], task["agent"], task["crashes"]) == (2, "second", 0)
    assert outcome(server, bucket, task_id, tmp_path / "copies") == expected
    for kind in ("artifacts", "checkpoints"):
        kept = [path for path in (server.data_dir / kind).rglob("*") if path.is_file() and not path.is_symlink()]
        assert kept == [], "no byte of it was on the disk of the server"
    body = {"model": task_id, "dataset": "sales", "echo": True}
    predicted = server.client.post(f"{server.url}/api/v1/predictions", json=body).raise_for_status().json()["task_id"]
    url = f"{server.url}/api/v1/predictions/{predicted}"
    with server.client.stream("GET", f"{url}/stream", timeout=60) as answer:
        assert "complete" in answer.read().decode()
    assert len(server.client.get(f"{url}/output").raise_for_status().content) > 1000


def test_servers_share_a_store_and_no_folder(store, tmp_path, expected, new_postgres, migrated_postgres):
    """A dataset is uploaded to one, trained on by the other, which ends; the first one completes the training, and each
    serves the model, until one of them removes it."""
    database = {"EPOCHD_SHARED": "true", "EPOCHD_DATABASE_URL": new_postgres(migrated_postgres)}
    settings = store.settings() | database | {"EPOCHD_CHECKPOINT_SECONDS": "0"}
    first = Running(tmp_path / "first", **settings)
    second, bucket = Running(tmp_path / "second", **settings), bucket_of(settings, store)
    try:
        upload(second)
        task_id = second.start(**TRAINING)
        first.until(task_id, lambda event: "started" in event)
        assert second.client.get(f"/logs/{task_id}").json()["attempts"] == [1], "the leader was asked"
        printed(first, task_id, 1, "one")
        shown: list[dict[str, Any]] = []
        with Client(second.url) as client, ThreadPoolExecutor(1) as pool:
            following = pool.submit(lambda: shown.extend(client.follow(task_id)))
            until = time.monotonic() + 10
            while not shown:
                assert time.monotonic() < until, "the log of the leader is not followed"
                time.sleep(0.01)
            first.until(task_id, lambda event: event["type"] == "checkpoint", times=3)
            printed(first, task_id, 1, "two", "three")
            assert first.end(signal.SIGTERM) == 0
            second.until(task_id, lambda event: event["type"] == "checkpoint", times=12)
            printed(second, task_id, 2, "four")
            assert second.follow(task_id)["type"] == "complete"
            following.result(timeout=20)
        lines = (1, "one"), (1, "two"), (1, "three"), (2, "four")
        assert shown == [{"attempt": attempt, "line": line} for attempt, line in lines]
        assert second.task(task_id)["attempt"] == 2
        assert outcome(second, bucket, task_id, tmp_path / "copies") == expected
        assert second.client.get(f"/logs/{task_id}").json()["attempts"] == [1, 2], "also that of the other server"

        first = Running(tmp_path / "first", **settings)
        row = {"rows": [{"amount": 0.7, "kind": "x"}]}
        models = "/api/v1/models/models/sales"
        answers = [one.client.post(f"{one.url}{models}/predict", json=row) for one in (first, second)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].content == answers[1].content
        second.client.delete(f"{second.url}{models}/versions/{task_id}").raise_for_status()
        until = time.monotonic() + 15
        while first.client.post(f"{first.url}{models}/predict", json=row).status_code != 404:
            assert time.monotonic() < until, "the other server still serves a removed model"
            time.sleep(0.5)
    finally:
        for server in (first, second):
            if server.process.poll() is None:
                server.end(signal.SIGTERM)


def test_a_prediction_goes_on_from_the_parts_in_the_store(open_server, store, tmp_path):
    settings = store.settings()
    server, bucket = open_server(**settings), bucket_of(settings, store)
    model = server.start(epochs=1, hidden_units=[512, 512], framework="pytorch")
    rows = open_dataset("breast_cancer", []).read()
    pl.concat([rows.lazy()] * 200).with_row_index("id").sink_parquet(tmp_path / "rows.parquet")
    names, url = {"name": "rows", "filename": "rows.parquet"}, f"{server.url}/api/v1/datasets"
    headers = {"Content-Type": "application/octet-stream"}
    content = (tmp_path / "rows.parquet").read_bytes()
    server.client.post(url, headers=headers, params=names, content=content).raise_for_status()
    assert server.follow(model)["type"] == "complete"
    options = {"output_format": "csv", "id_columns": ["id"]}
    with Client(server.url) as api:
        expected = ended(api, api.predict_dataset(model, "rows", **options)["task_id"], tmp_path)
        task_id = api.predict_dataset(model, "rows", **options)["task_id"]
        done = until_parts(api, task_id)["progress"]["rows_done"]
    server.end(signal.SIGKILL)
    for worker in processes.find_marked(tmp_path):
        worker.kill()
        worker.wait(10)
    for kind in ("artifacts", "checkpoints", "datasets", "cache", "predictions"):
        shutil.rmtree(tmp_path / kind, ignore_errors=True)
    with Client(open_server(**settings).url) as api:
        assert ended(api, task_id, tmp_path) == expected
        started = [event["started"]["resumed"] for event in api.stream(task_id) if event.get("started")]
        assert started[0] is None
        assert started[1]["rows_done"] >= done > 0
    until = time.monotonic() + 10
    while bucket.sizes(f"checkpoints/{task_id}"):
        assert time.monotonic() < until, "its parts are not needed any more"
        time.sleep(0.2)
