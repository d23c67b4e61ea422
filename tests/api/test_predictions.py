"""The routes about batch predictions: what is refused before any work, what is shown, and the file at the end."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from epochd.api.app import create_app
from epochd.core.events import ReportKind
from epochd.core.settings import Settings
from epochd.core.tickets import PredictionTicket
from epochd.data.tables.catalog import open_dataset
from epochd.worker import predict
from tests.api.test_openapi import answered, check
from tests.support.house import House, OpenHouse, PlayedWorker
from tests.support.predictions import trained
from tests.support.reporters import RecordingReporter

MODEL = "epoch_training_20260101_000000_abcdef"
PATH = "/api/v1/predictions"
ASKED = {"model": "/models", "dataset": "rows.parquet"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact store with one model, in ``models``."""
    return trained(tmp_path_factory.mktemp("store"), task_id=MODEL).parents[1]


@pytest.fixture
async def home(open_house: OpenHouse, model: Path, tmp_path: Path) -> House:
    """A server with this model, and a dataset for it."""
    shutil.copytree(model, tmp_path / "data" / "artifacts", symlinks=True)
    (tmp_path / "data" / "datasets").mkdir()
    rows = open_dataset("sample", []).read().drop("target").with_row_index("id")
    rows.write_parquet(tmp_path / "data" / "datasets" / "rows.parquet")
    return await open_house()


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return create_app(Settings()).openapi()


async def started(home: House, **options: Any) -> str:
    answer = await home.http.post(PATH, json=ASKED | options)
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


async def carried_out(home: House, reporter: RecordingReporter | None = None) -> PlayedWorker:
    """The next prediction, carried out in this process; its reports are sent."""
    worker = await home.worker()
    assert isinstance(worker.ticket, PredictionTicket)
    reporter = reporter or RecordingReporter()
    predict.execute(worker.ticket, reporter)
    for kind, payload in reporter.reports:
        await worker.report(kind, **payload)
    await worker.end()
    return worker


async def paused(home: House, chunks: int = 0) -> str:
    """A prediction that was paused after so many parts."""
    task_id = await started(home)
    await home.http.post(f"{PATH}/{task_id}/pause", params={"wait": 0})
    await carried_out(home, RecordingReporter(chunks=chunks))
    return task_id


async def test_a_dataset_is_predicted_and_the_file_downloaded(home: House, described: dict[str, Any]) -> None:
    answer = await home.http.post(PATH, json=ASKED | {"id_columns": ["id"]})
    told = answered(described, answer, PATH)
    assert told["config"]["version"] == MODEL
    assert told["columns"] == ["id", "prediction", "probability_0", "probability_1"]
    await carried_out(home)
    found = answered(described, await home.http.get(f"{PATH}/{told['task_id']}"), f"{PATH}/{{task_id}}")
    assert (found["state"], found["progress"]["rows_done"], found["output"]["rows"]) == ("completed", 569, 569)
    file = await home.http.get(f"{PATH}/{told['task_id']}/output")
    assert file.headers["content-type"] == "application/vnd.apache.parquet"
    assert pl.read_parquet(file.content).columns == told["columns"]
    assert len(file.content) == found["output"]["bytes"]


async def test_the_events_are_as_described(home: House, described: dict[str, Any]) -> None:
    task_id = await started(home)
    await carried_out(home)
    stream = await home.http.get(f"{PATH}/{task_id}/stream")
    events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: ")]
    for event in events:
        check(described, "PredictionEvent", event)
    assert [event["type"] for event in events] == ["state", "state", "state", "progress", "complete"]
    answered(described, await home.http.get(PATH), PATH)
    answered(described, await home.http.get(f"{PATH}/{task_id}/logs"), f"{PATH}/{{task_id}}/logs")


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"model": "/nowhere"}, 404, "there is no model 'nowhere'"),
        ({"model": "/models/../models"}, 404, "there is no model"),
        ({"model": MODEL}, 404, "there is no task"),
        ({"version": "epoch_training_20260101_000000_ffffff"}, 404, "has no version"),
        ({"version": "../models"}, 404, "has no version"),
        ({"dataset": "../rows.parquet"}, 422, "is not a dataset name"),
        ({"dataset": "iris"}, 422, "the dataset has no column 'feature1'"),
        ({"id_columns": ["nr"]}, 422, "the dataset has no column 'nr'"),
        ({"output_format": "xlsx"}, 422, "input should be 'parquet' or 'csv'"),
        ({"bom": True}, 422, "bom is an option of output_format 'csv'"),
        ({"echo": True, "id_columns": ["id"]}, 422, "echo and id_columns are both set"),
        ({"id_column": "id"}, 422, "unknown field 'id_column'"),
        ({"dataset": None}, 422, "but None was given"),
    ],
)
async def test_what_cannot_be_predicted_is_refused_before_any_work(
    home: House, options: dict[str, Any], status: int, message: str
) -> None:
    answer = await home.http.post(PATH, json=ASKED | options)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["message"]
    assert (await home.http.get(PATH)).json()["total"] == 0


async def test_predictions_and_trainings_have_lists_and_routes_of_their_own(home: House) -> None:
    task_id, training = await started(home, name="of customers"), await home.start()
    assert [task["task_id"] for task in (await home.get("/tasks")).json()["tasks"]] == [training]
    [line] = (await home.http.get(PATH, params={"name": "CUSTOM", "state": "running"})).json()["predictions"]
    assert (line["task_id"], line["model"], line["version"]) == (task_id, "/models", MODEL)
    assert (await home.get(f"/progress/{task_id}")).status_code == 404
    assert "see /api/v1/predictions" in (await home.post(f"/stop/{task_id}")).json()["message"]
    assert (await home.http.post(f"{PATH}/{training}/stop")).status_code == 404


async def test_a_prediction_is_paused_and_resumed(home: House, described: dict[str, Any]) -> None:
    task_id = await paused(home)
    assert (await home.http.get(f"{PATH}/{task_id}")).json()["state"] == "paused"
    assert (await home.http.get(f"{PATH}/{task_id}/output")).status_code == 409
    answered(described, await home.http.post(f"{PATH}/{task_id}/resume"), f"{PATH}/{{task_id}}/resume")
    await carried_out(home)
    assert (await home.http.get(f"{PATH}/{task_id}")).json()["state"] == "completed"


@pytest.mark.parametrize("gone", ["the data", "the model"])
async def test_a_resume_needs_the_same_data_and_the_model(
    home: House, gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epochd.worker.prediction_parts.MAX_ROWS", 100)
    task_id = await paused(home, chunks=2)
    if gone == "the data":
        pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "data" / "datasets" / "rows.parquet")
    else:
        shutil.rmtree(tmp_path / "data" / "artifacts" / "models")
    answer = await home.http.post(f"{PATH}/{task_id}/resume")
    assert answer.status_code == 409
    assert ("has changed since task" if gone == "the data" else "was removed: stop the task") in answer.json()[
        "message"
    ]


async def test_a_cancelled_prediction_leaves_no_files(home: House, tmp_path: Path) -> None:
    task_id = await paused(home)
    assert (await home.http.post(f"{PATH}/{task_id}/stop")).json()["state"] == "cancelled"
    assert not (tmp_path / "data" / "checkpoints" / task_id).exists()
    assert (await home.http.get(f"{PATH}/{task_id}/output")).status_code == 409


async def test_a_removed_prediction_leaves_no_files_and_the_model(home: House, tmp_path: Path) -> None:
    task_id = await started(home)
    await carried_out(home)
    assert (await home.http.delete(f"{PATH}/{task_id}")).json()["task_id"] == task_id
    assert not [path for path in (tmp_path / "data").rglob(f"*{task_id}*")]
    assert (tmp_path / "data" / "artifacts" / "models" / MODEL).is_dir()
    assert (await home.http.get(f"{PATH}/{task_id}")).status_code == 404


async def test_a_failure_names_the_rows(home: House, tmp_path: Path) -> None:
    task_id = await started(home)
    worker = await home.worker()
    named = [{"field": "a", "message": "row 3 of column 'a' is not a number: 'x'", "hint": ""}]
    await worker.report(ReportKind.FAILED, code="rows_not_scored", message="row 3 …", problems=named)
    await worker.end()
    error = (await home.http.get(f"{PATH}/{task_id}")).json()["error"]
    assert (error["code"], error["problems"]) == ("rows_not_scored", named)
