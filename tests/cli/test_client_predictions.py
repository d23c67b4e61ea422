"""The client predicts what Python users have, and returns the same kind."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest

from epochd.client import Client
from epochd.client import tables as client_tables
from epochd.core.errors import DataError, InvalidRequest, NotFound
from epochd.data.tables.catalog import open_dataset

from .conftest import CONFIG, Server


@pytest.fixture(scope="module")
def model(server: Server) -> str:
    with Client(server.url) as client:
        task_id = client.start(CONFIG | {"output_path": "models/client"})["task_id"]
        assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    return "models/client"


@pytest.fixture
def rows() -> pl.DataFrame:
    return open_dataset("breast_cancer", []).read().drop("target").head(6)


def test_lists_and_columns_are_predicted_as_they_are(client: Client, model: str, rows: pl.DataFrame) -> None:
    records = client.predict(model, rows.to_dicts())
    assert [set(record) for record in records] == [{"prediction", "probabilities"}] * 6
    columns = client.predict(model, rows.to_dict(as_series=False), probabilities=False)
    assert columns == {"prediction": [record["prediction"] for record in records]}
    with_numpy = [{name: np.float64(value) for name, value in row.items()} for row in rows.to_dicts()]
    assert client.predict(model, with_numpy, version="latest") == records


@pytest.mark.parametrize("small", [True, False])
def test_frames_of_polars_come_back_as_frames(
    client: Client, model: str, rows: pl.DataFrame, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_tables, "SMALL_VALUES", 5_000 if small else 0)
    found = client.predict(model, rows.with_columns(day=pl.lit("2024")), id_columns=["day"])
    assert found.columns == ["day", "prediction", "probability_0", "probability_1"]
    expected = [record["prediction"] for record in client.predict(model, rows.to_dicts())]
    assert found["prediction"].to_list() == expected


def test_frames_of_pandas_keep_their_index(client: Client, model: str, rows: pl.DataFrame) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows.to_dict(as_series=False), index=list("abcdef"))
    frame.iloc[0, 0] = float("nan")
    frame["day"] = pandas.Timestamp("2024-01-31")
    found = client.predict(model, frame, echo=True)
    assert list(found.index) == list("abcdef")
    assert list(found.columns[-4:]) == ["day", "prediction", "probability_0", "probability_1"]
    assert found["day"].iloc[0].date() == date(2024, 1, 31)
    expected = client.predict(model, rows.with_columns(pl.col("mean radius").replace(rows["mean radius"][0], None)))
    assert found["prediction"].tolist() == expected["prediction"].to_list()


@pytest.mark.parametrize("kind", [list, pl.DataFrame])
def test_rows_that_cannot_be_scored_are_errors_or_told(
    client: Client, model: str, rows: pl.DataFrame, kind: Any
) -> None:
    broken = rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 2).then(pl.lit("x")).otherwise("mean area").alias("mean area")
    )
    data = kind(broken.to_dicts())
    with pytest.raises(DataError, match="row 3 of column 'mean area' is not a number: 'x'"):
        client.predict(model, data)
    found = client.predict(model, data, on_error="skip")
    problems = [one["problem"] for one in found] if kind is list else list(found["problem"])
    assert [isinstance(problem, str) for problem in problems] == [False, False, True, False, False, False]


def test_what_is_no_table_and_what_does_not_exist_are_errors(client: Client, model: str) -> None:
    with pytest.raises(InvalidRequest, match="data frame of pandas or Polars"):
        client.predict(model, 5)
    with pytest.raises(NotFound, match="'models/client'"):
        client.predict("models/clint", [{"a": 1}])
