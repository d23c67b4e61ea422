"""Rows in any format are predicted as the model predicts them, and answered in the format that the client accepts."""

import json
from io import BytesIO
from typing import Any

import httpx
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.support import trained_models
from tests.support.house import House
from tests.support.trained_models import Store

from epochd.api import bodies
from epochd.artifact.predict import Model

MODELS = "/api/v1/models"
BREAST, MIXED, SERIES = (f"{MODELS}/models/{name}/predict" for name in ("breast/eu", "mixed", "series"))
CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"


def expected(store: Store, model: str, rows: pl.DataFrame) -> pl.DataFrame:
    return Model.load(store.folder / "artifacts" / model / "latest").predict(rows)


def written(rows: pl.DataFrame, content_type: str) -> bytes:
    """The rows as a body."""
    file = BytesIO()
    match content_type:
        case "text/csv":
            rows.write_csv(file)
        case "application/x-ndjson":
            rows.write_ndjson(file)
        case "application/vnd.apache.parquet":
            rows.write_parquet(file)
        case "application/vnd.apache.arrow.stream":
            rows.write_ipc_stream(file)
        case "application/vnd.apache.arrow.file":
            rows.write_ipc(file)
        case _:
            return rows.write_json().encode()
    return file.getvalue()


def table(answer: httpx.Response) -> pl.DataFrame:
    """The predictions of a JSON answer as the model's table."""
    assert answer.status_code == 200, answer.text
    found = pl.DataFrame(answer.json()["predictions"])
    if "probabilities" not in found.columns:
        return found
    return found.with_columns(pl.col("probabilities").name.prefix_fields("probability_")).unnest("probabilities")


@pytest.mark.parametrize("form", ["rows", "list", "columns"])
async def test_json_is_read_in_three_forms(house: House, store: Store, form: str) -> None:
    rows = trained_models.breast()
    columns = {"columns": rows.to_dict(as_series=False)}
    body: Any = {"rows": {"rows": rows.to_dicts()}, "list": rows.to_dicts(), "columns": columns}[form]
    answer = await house.http.post(BREAST, json=body)
    assert_frame_equal(table(answer), expected(store, "models/breast/eu", rows))
    assert (answer.json()["model"], answer.json()["version"]) == ("models/breast/eu", store.breast[1])


@pytest.mark.parametrize(
    "content_type",
    ["application/json", CSV, "application/x-ndjson", PARQUET]
    + [f"application/vnd.apache.arrow.{form}" for form in ("stream", "file")],
)
async def test_every_format_gives_the_same_predictions(house: House, store: Store, content_type: str) -> None:
    rows = trained_models.mixed().drop("y")
    answer = await house.http.post(MIXED, content=written(rows, content_type), headers={"Content-Type": content_type})
    assert_frame_equal(table(answer), expected(store, "models/mixed", rows))
    assert not list((store.folder / "cache").glob("bodies/*"))


async def test_json_that_is_larger_than_memory_allows_is_read_by_a_reader(
    house: House, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "MEMORY_BYTES", 1_000)
    rows = trained_models.mixed().drop("y")
    answer = await house.http.post(f"{MIXED}?id_columns=day", json=json.loads(rows.write_json()))
    found = table(answer)
    assert_frame_equal(found.drop("day"), expected(store, "models/mixed", rows))
    assert found["day"].to_list() == rows["day"].cast(pl.String).to_list()


@pytest.mark.parametrize("accept", [CSV, f"text/html, {PARQUET};q=0.9, application/json;q=0.1"])
async def test_tables_are_answered_as_csv_or_parquet(house: House, store: Store, accept: str) -> None:
    rows = trained_models.mixed().drop("y").head(5)
    answer = await house.http.post(f"{MIXED}?echo=true", content=rows.write_json(), headers={"Accept": accept})
    media_type = CSV if accept == CSV else PARQUET
    assert answer.headers["content-type"].split(";")[0] == media_type
    read = pl.read_csv if media_type == CSV else pl.read_parquet
    found = read(BytesIO(answer.content))
    assert found.columns[:4] == rows.columns
    wanted = expected(store, "models/mixed", rows)
    assert_frame_equal(found.select(wanted.columns), wanted)


async def test_csv_begins_with_a_byte_order_mark_on_request(house: House) -> None:
    body = "﻿" + trained_models.breast().write_csv()
    answer = await house.http.post(f"{BREAST}?bom=true", content=body, headers={"Content-Type": CSV, "Accept": CSV})
    assert answer.content.startswith(b"\xef\xbb\xbfprediction,probability_0,probability_1\n")


async def test_columns_of_the_request_never_hide_those_of_the_answer(house: House) -> None:
    rows = trained_models.breast(2).with_columns(id=pl.Series([7, 8]), prediction=pl.lit("mine"), extra=pl.lit(1))
    answer = await house.http.post(f"{BREAST}?id_columns=id,prediction&probabilities=false", json=rows.to_dicts())
    first = answer.json()["predictions"][0]
    assert (first["id"], first["prediction_input"], set(first)) == (7, "mine", {"id", "prediction_input", "prediction"})
    refused = await house.http.post(f"{BREAST}?id_columns=ids", json=rows.to_dicts())
    assert "did you mean 'id'?" in refused.json()["problems"][0]["hint"]


class TestUnusableRows:
    ROWS = pl.DataFrame(
        {
            "code": ["01", "02", "01"],
            "large": ["true", "perhaps", "0"],
            "day": ["2024-01-31", "2024-01-31", "soon"],
            "texture": ["1", "x", " 3 "],
        }
    )

    async def test_all_are_refused_and_each_problem_is_named(self, house: House) -> None:
        answer = await house.http.post(MIXED, json=self.ROWS.to_dicts())
        assert (answer.status_code, answer.json()["code"]) == (422, "data_error")
        assert [problem["message"] for problem in answer.json()["problems"]] == [
            "row 2 of column 'large' is neither true nor false: 'perhaps'",
            "row 2 of column 'texture' is not a number: 'x'",
            "row 3 of column 'day' is not a date: 'soon'",
        ]

    @pytest.mark.parametrize("content_type", ["application/json", CSV])
    async def test_on_request_they_are_skipped_and_the_others_scored(
        self, house: House, store: Store, content_type: str
    ) -> None:
        body = written(self.ROWS, content_type)
        answer = await house.http.post(f"{MIXED}?on_error=skip", content=body, headers={"Content-Type": content_type})
        found = answer.json()
        wanted = expected(store, "models/mixed", self.ROWS.head(1))
        assert [row["prediction"] for row in found["predictions"]] == [wanted["prediction"][0], None, None]
        assert [(p["row"], p["column"], p["value"]) for p in found["problems"]] == [
            (2, "large", "'perhaps'"),
            (2, "texture", "'x'"),
            (3, "day", "'soon'"),
        ]

    async def test_in_a_table_a_column_says_what_is_wrong(self, house: House) -> None:
        body, headers = self.ROWS.write_json(), {"Accept": CSV}
        answer = await house.http.post(f"{MIXED}?on_error=skip", content=body, headers=headers)
        problems = pl.read_csv(answer.content)["problem"]
        assert problems[0] is None
        assert problems[1].startswith("row 2 of column 'large' is neither true nor false: 'perhaps'; row 2 of")

    async def test_missing_columns_are_refused_in_any_case(self, house: House) -> None:
        rows = self.ROWS.drop("day").to_dicts()
        answer = await house.http.post(f"{MIXED}?on_error=skip", json=rows)
        assert answer.json()["problems"][0]["message"] == "missing columns: 'day'"


class TestForecasts:
    async def test_each_group_gets_one_forecast_with_its_time(self, house: House, store: Store) -> None:
        rows = trained_models.series(10)
        body = [{"rows": rows.with_columns(pl.col("day").cast(pl.String)).to_dicts()}, rows.write_csv()]
        answers = [
            await house.http.post(SERIES, json=body[0]),
            await house.http.post(SERIES, content=body[1], headers={"Content-Type": CSV}),
        ]
        every = expected(store, "models/series", rows)["prediction"]
        for answer in answers:
            assert answer.json()["predictions"] == [
                {
                    "day": "2024-01-10",
                    "shop": shop,
                    "forecast_time": "2024-01-12",
                    "prediction": pytest.approx(every[row]),
                }
                for shop, row in (("north", 9), ("south", 19))
            ]

    async def test_every_row_has_a_forecast_on_request(self, house: House, store: Store) -> None:
        rows = trained_models.series(10).sample(fraction=1, shuffle=True, seed=1)
        answer = await house.http.post(
            f"{SERIES}?every_row=true", content=written(rows, PARQUET), headers={"Content-Type": PARQUET}
        )
        every = expected(store, "models/series", rows)["prediction"].to_list()
        assert [row["prediction"] for row in answer.json()["predictions"]] == pytest.approx(every)
        assert every.count(None) == 6

    async def test_windows_with_an_unusable_row_have_no_forecast(self, house: House) -> None:
        rows = trained_models.series(10).with_columns(pl.col("day").cast(pl.String), pl.col("value").cast(pl.String))
        bad = rows.with_columns(value=pl.when(pl.int_range(pl.len()) == 8).then(pl.lit("x")).otherwise("value"))
        answer = await house.http.post(f"{SERIES}?on_error=skip", json=bad.to_dicts())
        found = answer.json()
        assert [row["prediction"] is None for row in found["predictions"]] == [True, False]
        assert [(p["row"], p["column"]) for p in found["problems"]] == [(9, "value")]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"", 422, "not valid JSON"),
        (b"{]", 422, "not valid JSON"),
        (b"[]", 422, "there are no rows"),
        (b"[1]", 422, "row 1 is 1, not an object"),
        (b'{"row": []}', 422, "rows are required"),
        (b'{"columns": {"a": [1], "b": []}}', 422, "column 'a' has 1 values, but 'b' has 0"),
        (b'[{"a": NaN}]', 422, "not valid JSON"),
        (json.dumps([{"a": 1}] * 101).encode(), 413, "the request has 101 rows, and the limit is 100"),
    ],
)
async def test_a_body_of_another_form_is_refused(store: Store, body: bytes, status: int, said: str) -> None:
    async with trained_models.opened(store.folder, predict_rows=100) as house:
        answer = await house.http.post(BREAST, content=body)
    assert answer.status_code == status
    assert said in answer.json()["message"]


@pytest.mark.parametrize("content_type", ["application/json", CSV, PARQUET])
async def test_a_body_that_is_too_large_is_refused_and_nothing_is_kept(store: Store, content_type: str) -> None:
    async with trained_models.opened(store.folder, predict_mb=1) as house:
        answer = await house.http.post(BREAST, content=b"x" * (3 << 20), headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert "EPOCHD_PREDICT_MB" in answer.json()["message"]
    assert not list((store.folder / "cache").glob("bodies/*"))


@pytest.mark.parametrize("content_type", [CSV, PARQUET, "application/vnd.apache.arrow.file", "application/x-ndjson"])
async def test_a_file_that_cannot_be_read_is_explained(house: House, content_type: str) -> None:
    answer = await house.http.post(BREAST, content=b"\0" * 100, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == (422, "data_error")
    [problem] = answer.json()["problems"]
    assert (problem["field"], "'body' cannot be read" in problem["message"]) == ("body", True)


async def test_a_table_of_too_many_rows_is_refused(store: Store) -> None:
    async with trained_models.opened(store.folder, predict_rows=3) as house:
        body = written(trained_models.breast(), CSV)
        answer = await house.http.post(BREAST, content=body, headers={"Content-Type": CSV})
    assert (answer.status_code, "more than 3 rows" in answer.json()["message"]) == (413, True)


@pytest.mark.real_readers
async def test_a_reader_process_reads_the_file(house: House, store: Store) -> None:
    rows = trained_models.mixed().drop("y")
    answer = await house.http.post(MIXED, content=written(rows, PARQUET), headers={"Content-Type": PARQUET})
    assert_frame_equal(table(answer), expected(store, "models/mixed", rows))


@pytest.mark.parametrize("codec", ["utf-16", "utf-8-sig"])
async def test_text_in_another_encoding_is_predicted_the_same(house: House, codec: str) -> None:
    rows = trained_models.breast().head(5)
    plain = await house.http.post(BREAST, content=rows.write_csv(), headers={"Content-Type": CSV})
    other = await house.http.post(BREAST, content=rows.write_csv().encode(codec), headers={"Content-Type": CSV})
    assert other.json()["predictions"] == plain.json()["predictions"]
    as_json = await house.http.post(BREAST, content=json.dumps(rows.to_dicts()).encode(codec))
    assert as_json.json()["predictions"] == plain.json()["predictions"]


@pytest.mark.parametrize("declared", ["parameter", "charset"])
async def test_an_encoding_is_declared_by_a_parameter_or_by_the_charset(house: House, declared: str) -> None:
    rows = trained_models.breast().head(3)
    content = rows.with_columns(城市=pl.lit("北京")).write_csv().encode("gbk")
    charset, query = (CSV, "&encoding=gbk") if declared == "parameter" else (f"{CSV}; charset=GB2312", "")
    url = f"{BREAST}?id_columns=城市{query}"
    answer = await house.http.post(url, content=content, headers={"Content-Type": charset})
    assert [record["城市"] for record in answer.json()["predictions"]] == ["北京"] * 3


async def test_a_charset_that_is_not_known_or_wrong_is_named(house: House) -> None:
    answer = await house.http.post(BREAST, content=b"a\n1\n", headers={"Content-Type": f"{CSV}; charset=klingon"})
    assert (answer.status_code, "'klingon'" in answer.json()["message"]) == (422, True)
    answer = await house.http.post(f"{BREAST}?encoding=utf-8", content='[{"a": "é"}]'.encode("latin-1"))
    assert (answer.status_code, "the text is not UTF-8" in answer.json()["message"]) == (422, True)
