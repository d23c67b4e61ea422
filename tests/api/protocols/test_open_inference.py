"""A model as tensors: what tritonclient sends is predicted as the model predicts it."""

import json
from typing import Any

import numpy as np
import pytest
from tests.support import trained_models
from tests.support.house import House
from tests.support.trained_models import Store
from tritonclient.http import InferInput, InferResult
from tritonclient.http._utils import _get_inference_request
from tritonclient.utils import np_to_triton_dtype

from epochd.artifact.predict import Model

BREAST, MIXED, SERIES = "/v2/models/models/breast/eu", "/v2/models/models/mixed", "/v2/models/models/series"


def model(store: Store, name: str) -> Model:
    return Model.load(store.folder / "artifacts" / "models" / name / "latest")


async def infer(house: House, path: str, arrays: dict[str, Any], binary: bool = True) -> InferResult:
    inputs = []
    for name, array in arrays.items():
        inputs.append(InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    body, size = _get_inference_request(inputs, "", None, 0, False, False, 0, None, None)
    headers = {} if size is None else {"Inference-Header-Content-Length": str(size)}
    answer = await house.http.post(f"{path}/infer", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return InferResult.from_response_body(
        answer.content, header_length=int(answer.headers["Inference-Header-Content-Length"])
    )


def columns_of(rows: Any) -> dict[str, Any]:
    """A tensor for each column: missing text is empty, a missing number NaN."""
    found = {}
    for series in rows:
        text = series.dtype.is_temporal() or series.dtype == str
        values = [("" if v is None else str(v)) for v in series] if text else series.to_numpy()
        found[series.name] = np.array(values, object if text else None)[:, None]
    return found


async def test_the_server_describes_itself_and_is_ready(house: House) -> None:
    assert (await house.http.get("/v2")).json()["extensions"] == ["binary_tensor_data"]
    assert (await house.http.get("/v2/health/live")).json() == {"live": True}
    assert (await house.http.get("/v2/health/ready")).json() == {"ready": True}
    names = (await house.http.get("/v2/models")).json()["models"]
    assert names == ["models/breast/eu", "models/mixed", "models/series"]


@pytest.mark.parametrize("binary", [True, False])
async def test_a_tensor_per_column_is_predicted(house: House, store: Store, binary: bool) -> None:
    rows = trained_models.mixed().drop("y").fill_null(float("nan")).with_columns()
    arrays = columns_of(rows)
    if not binary:
        arrays["texture"] = np.nan_to_num(arrays["texture"], nan=20.0)
        rows = rows.with_columns(texture=arrays["texture"][:, 0])
    result = await infer(house, MIXED, arrays | {"surplus": np.ones(3)}, binary)
    expected = model(store, "mixed").predict(rows)
    assert [label.decode() for label in result.as_numpy("prediction")] == expected["prediction"].to_list()
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected.drop("prediction").to_numpy(), rtol=1e-6)


async def test_one_tensor_with_all_columns_is_predicted(house: House, store: Store) -> None:
    rows = trained_models.breast(7)
    result = await infer(house, f"{BREAST}/versions/{store.breast[0]}", {"anything": rows.to_numpy().astype("f4")})
    folder = store.folder / "artifacts" / "models" / "breast" / "eu" / store.breast[0]
    expected = Model.load(folder).predict(rows)
    np.testing.assert_array_equal(result.as_numpy("prediction"), expected["prediction"])
    assert result.get_response()["model_version"] == store.breast[0]


async def test_no_rows_and_numbers_that_are_too_large_have_an_answer(house: House) -> None:
    empty = {"name": "x", "shape": [0, 30], "datatype": "FP32", "data": []}
    answer = await house.http.post(f"{BREAST}/infer", json={"inputs": [empty]})
    assert [one["shape"] for one in answer.json()["outputs"]] == [[0], [0, 2]]
    large = {"name": "x", "shape": [1, 30], "datatype": "FP16", "data": [70_000] * 30}
    answer = await house.http.post(f"{BREAST}/infer", json={"inputs": [large]})
    assert (answer.status_code, "is infinite or too large" in answer.json()["error"]) == (422, True)


async def test_windows_are_rows_of_a_tensor(house: House, store: Store) -> None:
    rows = trained_models.series(6)
    windows = np.stack([rows["value"].to_numpy()[start : start + 4] for start in (2, 8)])
    result = await infer(house, SERIES, {"value": windows})
    expected = model(store, "series").predict(rows)["prediction"].to_numpy()[[5, 11]]
    np.testing.assert_allclose(result.as_numpy("prediction"), expected, rtol=1e-6)


async def test_the_metadata_name_types_shapes_and_classes(house: House, store: Store) -> None:
    found = (await house.http.get(MIXED)).json()
    assert {one["name"]: (one["datatype"], one["shape"]) for one in found["inputs"]} == {
        "code": ("BYTES", [-1, 1]),
        "large": ("BOOL", [-1, 1]),
        "day": ("BYTES", [-1, 1]),
        "texture": ("FP64", [-1, 1]),
    }
    assert [(one["name"], one["datatype"], one["shape"]) for one in found["outputs"]] == [
        ("prediction", "BYTES", [-1]),
        ("probabilities", "FP64", [-1, 2]),
    ]
    assert json.loads(found["parameters"]["classes"]) == ["benign", "malignant"]
    assert found["versions"] == [store.mixed]
    assert (await house.http.get(f"{SERIES}/versions/latest")).json()["inputs"][0]["shape"] == [-1, 4]
    assert (await house.http.get(f"{MIXED}/ready")).json() == {"name": "models/mixed", "ready": True}


def request(**inputs: Any) -> dict[str, Any]:
    tensors = [{"name": n, "shape": list(np.shape(d)), "datatype": "FP64", "data": d} for n, d in inputs.items()]
    return {"inputs": tensors}


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (f"{BREAST}/infer", request(x=[[1.0, 2.0]]), 422, "x has the shape [1, 2]; the model needs [n, 30]"),
        (f"{MIXED}/infer", request(texture=[[1.0]]), 422, "the request has no column 'code'"),
        (f"{SERIES}/infer", request(value=[[1.0]]), 422, "needs [n, 4]: a window of 4 rows"),
        (f"{SERIES}/infer", {}, 422, "needs a list of tensors"),
        ("/v2/models/nothing/infer", {}, 404, "there is no model 'nothing'"),
        ("/v2/models/models/mixed/versions/old/infer", {}, 404, "has no version 'old'"),
        ("/v2/nothing", {}, 404, "no route at /v2/nothing"),
    ],
)
async def test_errors_are_a_flat_text(house: House, path: str, body: Any, status: int, message: str) -> None:
    answer = await house.http.post(path, json=body)
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]


async def test_too_many_rows_and_too_much_json_are_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epochd.api.protocols.open_inference.JSON_BYTES", 1_000)
    answer = await house.http.post(f"{SERIES}/infer", content=b" " * 1_001)
    assert (answer.status_code, "send binary tensors" in answer.json()["error"]) == (413, True)
