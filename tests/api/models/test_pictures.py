"""Pictures are predicted from base64, from paths on the server, and as arrays of pixels; broken ones are named."""

import asyncio
import base64
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import polars as pl
import pytest
from tests.support import pictures, trained_models
from tests.support.house import House
from tests.support.readers import InProcessReaders

from epochd.api import service
from epochd.data.tables.catalog import Catalog
from epochd.serving.predictor import Predictor

CONFIG = {"dataset": "shapes", "target_column": "label", "image_size": [12, 12], "model_type": "cnn"}
OPTIONS = {"output_path": "/models/shapes", "hidden_units": [8], "epochs": 5, "learning_rate": 0.01, "batch_size": 16}
MODEL = "/api/v1/models/models/shapes"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with pictures and a model of them, which no test changes."""
    folder = tmp_path_factory.mktemp("pictures") / "data"
    pictures.shapes(folder / "datasets/shapes", 60)

    async def train() -> None:
        async with trained_models.opened(folder) as house:
            await trained_models.train(house, **CONFIG, **OPTIONS)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service, "ReaderPool", InProcessReaders)
        asyncio.run(train())
    return folder


@pytest.fixture
async def house(data: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr(service, "ReaderPool", InProcessReaders)
    async with trained_models.opened(data) as house:
        yield house


@pytest.fixture
def expected(data: Path) -> pl.DataFrame:
    """The pictures of the dataset with the predictions of the saved model."""
    predictor = Predictor.load(data / "artifacts/models/shapes/latest")
    table = Catalog([data / "datasets"]).open("shapes").read()
    assert predictor.encoder.image is not None
    frame = predictor.encoder.image.pictures(data / "datasets/shapes").checked(table)
    return predictor.predict(frame).frame(table)


def content(data: Path, path: str) -> str:
    return base64.b64encode((data / "datasets/shapes" / path).read_bytes()).decode()


async def test_the_model_says_what_it_reads(house: House) -> None:
    about = (await house.http.get(MODEL)).json()
    [image] = about["inputs"]
    assert (image["name"], image["kind"]) == ("image", "image")
    assert image["example"].startswith("data:image/png;base64,")
    answer = await house.http.post(f"{MODEL}/predict", json=[{"image": image["example"]}])
    assert answer.status_code == 200, answer.text


async def test_base64_data_uris_and_paths_give_the_same_predictions(
    house: House, data: Path, expected: pl.DataFrame
) -> None:
    paths = expected["image"].to_list()[::7]
    for rows in (
        [{"image": content(data, path)} for path in paths],
        [{"image": f"data:image/any;base64,{content(data, path)}"} for path in paths],
        [{"image": f"shapes/{path}"} for path in paths],
    ):
        answer = await house.http.post(f"{MODEL}/predict", json={"rows": rows})
        assert answer.status_code == 200, answer.text
        found = answer.json()["predictions"]
        assert [one["prediction"] for one in found] == expected["prediction"].to_list()[::7]
        assert found[0]["probabilities"]["cross"] == pytest.approx(expected["probability_cross"][0])


async def test_pictures_come_in_other_formats_too(house: House, data: Path, expected: pl.DataFrame) -> None:
    rows = pl.DataFrame({"image": [f"shapes/{path}" for path in expected["image"]], "id": range(60)})
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = await house.http.post(f"{MODEL}/predict?id_columns=id,image", content=rows.write_csv(), headers=headers)
    assert answer.status_code == 200, answer.text
    found = pl.read_csv(answer.content)
    assert found.columns == ["id", "image", "prediction", *(f"probability_{name}" for name in pictures.SHAPES)]
    assert found["prediction"].to_list() == expected["prediction"].to_list()
    file = BytesIO()
    contents = [(data / "datasets/shapes" / path).read_bytes() for path in expected["image"]]
    pl.DataFrame({"image": contents}).write_parquet(file)
    headers = {"Content-Type": "application/vnd.apache.parquet", "Accept": "text/csv"}
    answer = await house.http.post(f"{MODEL}/predict", content=file.getvalue(), headers=headers)
    assert pl.read_csv(answer.content)["prediction"].to_list() == expected["prediction"].to_list()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("shapes/none.png", "does not exist"),
        ("../../secret.png", "is not a path inside"),
        ("/etc/passwd", "is not a path inside"),
        ("data:image/png;base64,QUJD", "is not a PNG"),
        (None, "is missing"),
        (7, "does not exist"),
    ],
)
async def test_a_row_whose_picture_cannot_be_read_is_named(house: House, data: Path, value, reason: str) -> None:
    rows = [{"image": "shapes/circle/000.png"}, {"image": value}]
    answer = await house.http.post(f"{MODEL}/predict", json=rows)
    assert answer.status_code == 422, answer.text
    [problem] = answer.json()["problems"]
    assert problem["field"] == "image"
    assert problem["message"].startswith("row 2 of column 'image'")
    assert reason in problem["message"]
    skipped = (await house.http.post(f"{MODEL}/predict?on_error=skip", json=rows)).json()
    assert [one["prediction"] is None for one in skipped["predictions"]] == [False, True]
    assert reason in skipped["predictions"][1]["problem"]


async def test_echo_passes_no_pixels(house: House) -> None:
    answer = await house.http.post(f"{MODEL}/predict?echo=true", json=[{"image": "shapes/circle/000.png", "id": 3}])
    [found] = answer.json()["predictions"]
    assert found.keys() == {"image", "id", "prediction", "probabilities"}


async def test_the_open_inference_protocol_takes_pixels(house: House, data: Path, expected: pl.DataFrame) -> None:
    about = (await house.http.get("/v2/models/models/shapes")).json()
    assert about["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 12, 12, 3]}]
    image = Predictor.load(data / "artifacts/models/shapes/latest").encoder.image
    assert image is not None
    pixels = image.pixels(image.pictures(data / "datasets/shapes").checked(expected[:3]))
    for kind in ("UINT8", "FP32"):
        tensor = {"name": "image", "datatype": kind, "shape": [3, 12, 12, 3], "data": pixels.reshape(-1).tolist()}
        answer = await house.http.post("/v2/models/models/shapes/infer", json={"inputs": [tensor]})
        assert answer.status_code == 200, answer.text
        outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
        assert outputs["prediction"] == expected["prediction"].to_list()[:3]
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
    answer = await house.http.post("/v2/models/models/shapes/infer", json={"inputs": [tensor]})
    assert (answer.status_code, "[n, 12, 12, 3]" in answer.text) == (422, True)


async def test_mlflows_protocol_says_where_pictures_are_read(house: House) -> None:
    body = {"dataframe_records": [{"image": "shapes/circle/000.png"}]}
    answer = await house.http.post("/serving/models/shapes/invocations", json=body)
    assert answer.status_code == 422, answer.text
    assert "[12, 12, 3] pixels are needed here" in answer.text
