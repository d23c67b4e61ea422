"""Batch predictions by real workers of a real server, which are killed and paused in the middle."""

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from epochd.client import Client
from epochd.data.tables.catalog import open_dataset
from tests.support.running import Running

ROWS = 200_000


@pytest.fixture
def client(open_server: Any) -> Iterator[tuple[Running, Client]]:
    server = open_server()
    with Client(server.url) as client:
        yield server, client


def until_parts(client: Client, task_id: str, more_than: int = 0) -> dict[str, Any]:
    """Follow the prediction until more rows than these are complete, or to its end."""
    for event in client.stream(task_id):
        if event["type"] == "progress" and event["progress"]["rows_done"] > more_than:
            return event
    return event


def ended(client: Client, task_id: str, folder: Path) -> str:
    """The digest of the file of a prediction that ends."""
    assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    return hashlib.sha256(client.download_prediction(task_id, folder / f"{task_id}.csv").read_bytes()).hexdigest()


def test_a_prediction_that_was_killed_and_paused_leaves_the_same_file(
    client: tuple[Running, Client], tmp_path: Path
) -> None:
    server, api = client
    model = server.start(epochs=1, hidden_units=[512, 512], framework="pytorch")
    assert server.follow(model)["type"] == "complete"
    rows = open_dataset("breast_cancer", []).read()
    table = pl.concat([rows.lazy()] * (ROWS // rows.height + 1)).head(ROWS).with_row_index("id")
    table.sink_parquet(server.data_dir / "datasets" / "rows.parquet")
    options = {"output_format": "csv", "id_columns": ["id"]}
    expected = ended(api, api.predict_dataset(model, "rows.parquet", **options)["task_id"], tmp_path)

    task_id = api.predict_dataset(model, "rows.parquet", **options)["task_id"]
    next(event for event in api.stream(task_id) if event.get("started"))
    (running,) = server.reconcile()["running"]
    done = until_parts(api, task_id)["progress"]["rows_done"]
    os.kill(running["pid"], signal.SIGKILL)
    until_parts(api, task_id, done)
    assert api.pause(task_id)["state"] == "paused"
    assert server.reconcile()["running"] == []
    api.resume(task_id)
    assert ended(api, task_id, tmp_path) == expected
    found = api.prediction(task_id)
    assert (found["attempt"], found["crashes"], found["progress"]["rows_done"]) == (3, 1, ROWS)
    resumed = [event["started"]["resumed"] for event in api.stream(task_id) if event.get("started")]
    assert resumed[0] is None
    assert 0 < resumed[1]["rows_done"] < resumed[2]["rows_done"] < ROWS
