"""A model's files, one by one or as a ZIP file, and nothing but them."""

import os
from io import BytesIO
from zipfile import ZipFile

import pytest
from tests.support.house import House
from tests.support.trained_models import Store

from epochd.artifact.predict import Model

MIXED = "/api/v1/models/models/mixed"


async def test_the_zip_file_is_the_folder_of_the_model(house: House, store: Store) -> None:
    answer = await house.http.get(f"{MIXED}/download")
    assert answer.headers["content-type"] == "application/zip"
    assert f"{store.mixed}.zip" in answer.headers["content-disposition"]
    with ZipFile(BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(store.folder / "copy")
    assert Model.load(store.folder / "copy" / store.mixed).setup.task == "binary"


async def test_a_file_is_sent_as_it_is(house: House, store: Store) -> None:
    for path in (f"{MIXED}/files/model.json", f"/api/v1/models/{store.mixed}/versions/{store.mixed}/files/model.json"):
        answer = await house.http.get(path)
        content = (store.folder / "artifacts/models/mixed" / store.mixed / "model.json").read_bytes()
        assert (answer.content, answer.headers["content-length"]) == (content, str(len(content)))


@pytest.mark.parametrize("name", ["secret.txt", "..%2Fsecret.txt", "%2Fetc%2Fpasswd", "nothing", "model.json%00"])
async def test_only_files_of_the_manifest_are_sent(house: House, store: Store, name: str) -> None:
    folder = store.folder / "artifacts/models/mixed"
    for place in (folder, folder / store.mixed):
        (place / "secret.txt").write_text("secret")
    answer = await house.http.get(f"{MIXED}/versions/{store.mixed}/files/{name}")
    assert answer.status_code == 404
    assert "secret.txt" not in (await house.http.get(f"{MIXED}/download")).text


async def test_no_file_stays_open(house: House) -> None:
    counts = []
    for _ in range(2):
        for path in ("download", "files/model.safetensors", "files/x"):
            await house.http.get(f"{MIXED}/{path}")
        counts.append(len(os.listdir("/proc/self/fd")))
    assert counts[0] == counts[1]
