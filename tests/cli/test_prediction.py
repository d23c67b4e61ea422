"""Prediction from a shell, on a server and with a folder, and the commands about models."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from epochd.cli import console
from epochd.client import Client
from epochd.data.tables.catalog import open_dataset

from .conftest import CONFIG, Server

MODEL = "models/shop/cli"


@pytest.fixture(scope="module")
def task_id(server: Server) -> str:
    """A trained task."""
    with Client(server.url) as client:
        task_id: str = client.start(CONFIG | {"output_path": MODEL})["task_id"]
        assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    return task_id


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Five rows with an id."""
    found = open_dataset("breast_cancer", []).read().drop("target").head(5).with_row_index("id", 100)
    found.write_csv(tmp_path / "rows.csv")
    return tmp_path / "rows.csv"


@pytest.mark.parametrize("name", ["out.csv", "out.parquet", "out.json", "out.ndjson"])
def test_predictions_of_server_and_folder_are_the_same_in_every_format(
    run: Any, server: Server, task_id: str, rows: Path, tmp_path: Path, name: str
) -> None:
    found = []
    for model in (MODEL, task_id, server.data_dir / "artifacts" / MODEL / "latest"):
        done = run("predict", model, rows, "--output", tmp_path / name, "--id-columns", "id", "--url", server.url)
        assert done.code == 0, done.err
        found.append((tmp_path / name).read_bytes())
    assert found[0] == found[1]
    read = {"out.csv": pl.read_csv, "out.parquet": pl.read_parquet, "out.json": pl.read_json}.get(name, pl.read_ndjson)
    assert read(found[0]).equals(read(found[2]))
    assert read(found[0])["id"].to_list() == [100, 101, 102, 103, 104]


@pytest.mark.parametrize("name", ["rows.json", "rows.ndjson", "rows.parquet"])
def test_rows_are_read_in_every_format(
    run: Any, server: Server, task_id: str, rows: Path, tmp_path: Path, name: str
) -> None:
    frame = pl.read_csv(rows)
    {"rows.json": frame.write_json, "rows.ndjson": frame.write_ndjson, "rows.parquet": frame.write_parquet}[name](
        tmp_path / name
    )
    of_csv = run("predict", task_id, rows, "--url", server.url).out
    assert run("predict", task_id, tmp_path / name, "--url", server.url).out == of_csv
    folder = server.data_dir / "artifacts" / MODEL / task_id
    assert pl.read_csv(run("predict", folder, tmp_path / name).out.encode()).equals(pl.read_csv(of_csv.encode()))


def test_rows_that_cannot_be_scored_are_skipped_on_request(
    run: Any, server: Server, task_id: str, rows: Path, tmp_path: Path
) -> None:
    rows.write_text(rows.read_text().replace("\n101,", "\n101,x"), encoding="utf-8")
    refused = run("predict", task_id, rows, "--url", server.url)
    assert (refused.code, "row 2 of column 'mean radius'" in refused.err) == (console.REFUSED, True)
    for model in (task_id, server.data_dir / "artifacts" / MODEL / task_id):
        done = run("predict", model, rows, "--on-error", "skip", "--bom", "--url", server.url).out
        assert done.startswith("\ufeffprediction,")
        assert [found is None for found in pl.read_csv(done.encode())["problem"]] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing.csv"], "cannot be"),
        (["rows.csv", "--output", "out.xls"], "--output"),
        (["rows.csv", "--id-columns", "idd"], "did you mean 'id'?"),
    ],
)
def test_what_is_wrong_is_said(
    run: Any, server: Server, task_id: str, rows: Path, arguments: list[str], said: str
) -> None:
    file, *options = arguments
    for model in (task_id, server.data_dir / "artifacts" / MODEL / task_id):
        failed = run("predict", model, rows.parent / file, *options, "--url", server.url)
        assert failed.code in (console.REFUSED, console.FAILED)
        assert said in failed.err


def test_models_are_listed_shown_aliased_downloaded_and_removed(
    run: Any, server: Server, client: Client, tmp_path: Path
) -> None:
    task_id = client.start(CONFIG | {"output_path": "models/other"})["task_id"]
    assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    url = ["--url", server.url]
    assert run("models", "alias", "models/other", "champion", "latest", *url).code == 0
    assert "champion" in run("models", "list", "--name", "other", *url).out
    assert "mean radius" in run("models", "show", "models/other", "--version", "champion", *url).out
    assert run("models", "download", "models/other", tmp_path, *url).code == 0
    assert json.loads((tmp_path / task_id / "model.json").read_text())["task_id"] == task_id
    assert "exists already" in run("models", "download", task_id, tmp_path, *url).err
    assert "'champion'" in run("models", "remove", "models/other", task_id, *url).err
    assert run("models", "alias", "models/other", "champion", "--remove", *url).code == 0
    assert run("models", "remove", "models/other", task_id, *url).code == 0
    assert run("models", "show", "models/other", *url).code == console.FAILED
