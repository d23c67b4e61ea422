"""Columns of pictures: which files a path may lead to, pictures in the table itself, and the fingerprint of all."""

import base64
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from PIL import Image
from tests.support.pictures import png, shape

from epochd.core import specs
from epochd.core.errors import DataError
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.pictures import PIXELS, REASON, Pictures

SPEC = specs.parse({"dataset": "set/table.csv", "target_column": "y", "image_column": "file", "image_size": [4, 4]})


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "root/set"
    (folder / "a").mkdir(parents=True)
    for number in range(3):
        shape("circle", number).save(folder / f"a/{number}.png")
    (tmp_path / "secret.png").write_bytes(png(shape("cross", 1)))
    (tmp_path / "root/other.png").write_bytes(png(shape("cross", 2)))
    return folder


def table(home, *paths):
    pl.DataFrame({"file": paths, "y": range(len(paths))}).write_csv(home / "table.csv")
    return pictures.opened(Catalog([home.parent]), SPEC, SPEC.dataset)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../other.png", "is not a path inside the folder of the dataset"),
        ("a/../../other.png", "is not a path inside"),
        ("a\\..\\..\\other.png", "is not a path inside"),
        ("{home}/a/0.png", "is not a path inside"),
        ("C:/a/0.png", "is not a path inside"),
        ("a/link.png", "is a link that leads out of the folder"),
        ("linked/other.png", "is a link that leads out of the folder"),
        ("a/none.png", "does not exist"),
        ("a", "is not a file"),
        ("table.csv", "is not a PNG, JPEG"),
        ("loop", "cannot be opened|does not exist"),
        ("x" * 300, "cannot be opened"),
    ],
)
def test_a_path_never_leads_out_of_the_folder(home, path, reason):
    (home / "a/link.png").symlink_to(home.parents[1] / "secret.png")
    (home / "linked").symlink_to(home.parent)
    (home / "loop").symlink_to(home / "loop")
    source = table(home, "a/0.png", path.format(home=home))
    frame = source.read()
    for look in (source.pictures.checked, lambda frame: _raise(source.pictures.problems(frame["file"]))):
        with pytest.raises(DataError, match=rf"row 2 of column 'file': the picture .* ({reason})"):
            look(frame)


def _raise(found):
    raise DataError(found)


def test_paths_are_relative_to_the_dataset_or_to_image_root(home):
    source = table(home, "a/0.png", "a\\1.png")
    assert source.pictures.checked(source.read())["file" + PIXELS].dtype == pl.Array(pl.UInt8, 48)
    spec = SPEC.model_copy(update={"image_root": "set/a"})
    elsewhere = pictures.opened(Catalog([home.parent]), spec, spec.dataset)
    assert elsewhere.pictures.path("0.png") == home.resolve() / "a/0.png"
    for root in ("../x", "nowhere", "/etc", "set/table.csv"):
        with pytest.raises(DataError, match="no folder"):
            pictures.opened(Catalog([home.parent]), SPEC.model_copy(update={"image_root": root}), SPEC.dataset)


def test_pictures_may_be_in_the_table_itself(home):
    content = png(shape("square", 4))
    text = base64.b64encode(content).decode()
    whole = Pictures("file", 4, 4, "rgb")
    found = [
        whole.checked(pl.DataFrame({"file": [value]}))["file" + PIXELS].to_list()
        for value in (text, f"data:image/png;base64,{text}", content)
    ]
    assert found[0] == found[1] == found[2]
    for value, reason in (
        ("data:image/png,abc", "not in base64"),
        ("data:image/png;base64,ab!c", "not valid base64"),
        ("a/0.png", "send the picture in base64"),
        (None, "is missing"),
        (text[:200], "is damaged|not valid base64"),
    ):
        frame = whole.decoded(pl.DataFrame({"file": [text, value]}))
        assert frame["file" + PIXELS].is_null().to_list() == [False, True]
        with pytest.raises(DataError, match=rf"row 2 .*({reason})"):
            whole.checked(pl.DataFrame({"file": [text, value]}))


def test_too_much_base64_is_refused(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_EMBEDDED", 100)
    found = Pictures("file", 4, 4, "rgb").decoded(pl.DataFrame({"file": ["data:image/png;base64," + "A" * 101]}))
    assert "101 characters in base64; the limit is 100" in found["file" + REASON][0]


def test_threads_keep_the_order_of_the_rows(home, monkeypatch):
    monkeypatch.setattr(pictures, "THREADS", 3)
    paths = [f"a/{number % 3}.png" for number in range(50)]
    many = table(home, *paths[:20], "none.png", *paths[20:])
    frame = many.pictures.decoded(many.read())
    assert frame["file" + REASON].is_not_null().arg_true().to_list() == [20]
    one = replace(many.pictures, folders=many.pictures.folders).decoded(many.read()[:1])
    assert frame["file" + PIXELS][0].to_list() == one["file" + PIXELS][0].to_list()
    assert (frame["file" + PIXELS][3] == frame["file" + PIXELS][0]).all()


def test_the_content_of_the_pictures_is_part_of_the_fingerprint(home):
    source = table(home, "a/0.png", "a/1.png")
    for fingerprint in (source.fingerprint, source.quick_fingerprint):
        first = fingerprint()
        (home / "a/2.png").unlink(missing_ok=True)
        assert fingerprint() == first
        Image.fromarray(np.zeros((3, 3), np.uint8)).save(home / "a/1.png")
        assert fingerprint() != first
        shape("circle", 1).save(home / "a/1.png")
    (home / "a/1.png").unlink()
    with pytest.raises(DataError, match="row 2"):
        source.fingerprint()


def test_many_broken_pictures_are_counted(home):
    source = table(home, *(f"none{number}.png" for number in range(30)))
    found = source.pictures.problems(source.read()["file"])
    assert (len(found), found[-1].message) == (21, "10 more pictures cannot be read")
