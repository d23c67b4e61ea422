"""The bodies of MLflow's documentation and those of its client are predicted as the model predicts them."""

import json
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from mlflow.utils.proto_json_utils import dump_input_data
from tests.support import trained_models
from tests.support.house import House
from tests.support.trained_models import Store

from epochd.artifact.predict import Model

BREAST, MIXED, SERIES = (f"/serving/models/{name}" for name in ("breast/eu", "mixed", "series"))
JSON = {"Content-Type": "application/json"}


def expected(store: Store, name: str, rows: pl.DataFrame) -> pl.DataFrame:
    return Model.load(store.folder / "artifacts" / "models" / name / "latest").predict(rows)


async def scored(house: House, path: str, body: Any, headers: Any = JSON) -> Any:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    answer = await house.http.post(f"{path}/invocations", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert list(answer.json()) == ["predictions"]
    return answer.json()["predictions"]


def forms(rows: pl.DataFrame) -> dict[str, Any]:
    columns = rows.to_dict(as_series=False)
    return {
        "split": {"dataframe_split": {"columns": rows.columns, "data": [list(row) for row in rows.rows()]}},
        "index": {"dataframe_split": {"index": [0, 1], "columns": rows.columns, "data": rows.rows()}},
        "records": {"dataframe_records": rows.to_dicts()},
        "instances": {"instances": rows.to_dicts()},
        "tensor": {"instances": rows.rows()},
        "inputs": {"inputs": columns},
        "columns of one": {"inputs": {name: [[value] for value in values] for name, values in columns.items()}},
        "rows": {"inputs": rows.rows()},
    }


@pytest.mark.parametrize("form", list(forms(pl.DataFrame({"x": [1]}))))
async def test_every_form_of_json_is_read(house: House, store: Store, form: str) -> None:
    rows = trained_models.breast(2)
    assert await scored(house, BREAST, forms(rows)[form]) == expected(store, "breast/eu", rows)["prediction"].to_list()


async def test_what_the_client_of_mlflow_sends_is_read(house: House, store: Store) -> None:
    rows = trained_models.breast(3)
    labels = expected(store, "breast/eu", rows)["prediction"].to_list()
    for data in (pd.DataFrame(rows.to_dict(as_series=False)), rows.to_numpy()):
        assert await scored(house, BREAST, dump_input_data(data)) == labels


async def test_csv_and_parquet_are_read(house: House, store: Store) -> None:
    rows = trained_models.mixed().drop("y").head(5)
    labels = expected(store, "mixed", rows)["prediction"].to_list()
    assert await scored(house, MIXED, rows.write_csv(), {"Content-Type": "text/csv; charset=utf-8"}) == labels
    file = BytesIO()
    rows.write_parquet(file)
    parquet = {"Content-Type": "application/vnd.apache.parquet"}
    assert await scored(house, MIXED, file.getvalue(), parquet) == labels


async def test_probabilities_are_given_on_request(house: House, store: Store) -> None:
    rows = trained_models.breast(2)
    body = {"dataframe_records": rows.to_dicts(), "params": {"probabilities": True}}
    found = await scored(house, f"{BREAST}/versions/{store.breast[1]}", body)
    wanted = expected(store, "breast/eu", rows)
    np.testing.assert_allclose([row["probabilities"]["1"] for row in found], wanted["probability_1"], rtol=1e-6)


async def test_a_forecast_has_its_group_and_time(house: House) -> None:
    rows = trained_models.series(5).with_columns(pl.col("day").cast(pl.String))
    found = await scored(house, SERIES, {"dataframe_records": rows.to_dicts()})
    assert [(row["shop"], row["day"], row["forecast_time"]) for row in found] == [
        ("north", "2024-01-05", "2024-01-07"),
        ("south", "2024-01-05", "2024-01-07"),
    ]


async def test_a_model_answers_ping_health_and_version(house: House) -> None:
    for name in ("ping", "health"):
        answer = await house.http.get(f"{MIXED}/{name}")
        assert (answer.status_code, answer.text) == (200, "\n")
    assert (await house.http.get(f"{MIXED}/version")).text == "0.1.0"


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "code", "message"),
    [
        (BREAST, {"rows": []}, JSON, 422, "INVALID_PARAMETER_VALUE", "the fields are ['rows']"),
        (BREAST, {"inputs": [], "instances": []}, JSON, 422, "INVALID_PARAMETER_VALUE", "send one of"),
        (BREAST, [1], JSON, 422, "INVALID_PARAMETER_VALUE", "a JSON object is required"),
        (BREAST, {"instances": [[1, 2]]}, JSON, 422, "INVALID_PARAMETER_VALUE", "row 1 has 2 values, but"),
        (BREAST, {"dataframe_split": {}}, JSON, 422, "INVALID_PARAMETER_VALUE", '"columns" and "data" is required'),
        (BREAST, {"instances": [{}], "params": {"x": 1}}, JSON, 422, "INVALID_PARAMETER_VALUE", "only parameter"),
        (BREAST, {"dataframe_records": [{"x": 1}]}, JSON, 422, "INVALID_PARAMETER_VALUE", "missing columns"),
        (BREAST, {}, {"Content-Type": "text/plain"}, 415, "BAD_REQUEST", "the Content-Type is 'text/plain'"),
        ("/serving/nothing", {}, JSON, 404, "RESOURCE_DOES_NOT_EXIST", "there is no model 'nothing'"),
    ],
)
async def test_errors_have_a_code_and_a_message(
    house: House, path: str, body: Any, headers: Any, status: int, code: str, message: str
) -> None:
    answer = await house.http.post(f"{path}/invocations", content=json.dumps(body), headers=headers)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code), answer.text
    assert message in answer.json()["message"]


async def test_more_json_than_the_server_parses_is_refused_with_what_to_send(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("epochd.api.protocols.mlflow_scoring.JSON_BYTES", 1_000)
    answer = await house.http.post(f"{BREAST}/invocations", content=b" " * 1_001, headers=JSON)
    assert (answer.status_code, "send fewer rows, CSV or Parquet" in answer.json()["message"]) == (413, True)
