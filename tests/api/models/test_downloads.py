"""A model's files, one by one or as a ZIP file, and nothing but them."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import pytest
from tests.support.house import House
from tests.support.reports import finished
from tests.support.trained_models import Store

from epochd.artifact.predict import Model
from epochd.report.drawing import page_data
from epochd.worker import model_report

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


async def test_the_zip_file_has_the_report_which_is_drawn_for_it(house: House, store: Store, tmp_path: Path) -> None:
    folder = store.folder / "artifacts/models/mixed" / store.mixed
    with ZipFile(BytesIO((await house.http.get(f"{MIXED}/download")).content)) as archive:
        assert f"{store.mixed}/report.html" not in archive.namelist(), "this model was trained without a report"
    data = model_report.report_data(finished(tmp_path / "made", dataset="iris"))
    (folder / "page.json").write_text(page_data(data), encoding="utf-8")
    with ZipFile(BytesIO((await house.http.get(f"{MIXED}/download")).content)) as archive:
        assert b"</html>" in archive.read(f"{store.mixed}/report.html")


async def test_a_report_that_cannot_be_drawn_is_left_out_of_the_zip_file(house: House, store: Store) -> None:
    (store.folder / "artifacts/models/mixed" / store.mixed / "page.json").write_text("[")
    answer = await house.http.get(f"{MIXED}/download")
    with ZipFile(BytesIO(answer.content)) as archive:
        assert f"{store.mixed}/model.json" in archive.namelist()
        assert f"{store.mixed}/report.html" not in archive.namelist()


@pytest.mark.parametrize("name", ["secret.txt", "..%2Fsecret.txt", "%2Fetc%2Fpasswd", "nothing", "model.json%00"])
async def test_only_files_of_the_manifest_are_sent(house: House, store: Store, name: str) -> None:
    folder = store.folder / "artifacts/models/mixed"
    for place in (folder, folder / store.mixed):
        (place / "secret.txt").write_text("secret")
    answer = await house.http.get(f"{MIXED}/versions/{store.mixed}/files/{name}")
    assert answer.status_code == 404
    assert "secret.txt" not in (await house.http.get(f"{MIXED}/download")).text


async def test_no_file_stays_open(house: House, store: Store) -> None:
    folder = store.folder / "artifacts/models/mixed"
    with (folder / store.mixed / "model.json").open():
        assert len(open_below(folder)) == 1
    for path in ("download", "files/model.safetensors", "files/x"):
        await house.http.get(f"{MIXED}/{path}")
        assert open_below(folder) == []


def open_below(folder: Path) -> list[Path]:
    """The files of a folder that this process has open."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # other threads open and close files too
            found.append(descriptor.readlink())
    return [path for path in found if path.is_relative_to(folder.resolve())]
