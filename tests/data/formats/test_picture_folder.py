"""A folder of pictures is a table of paths and labels."""

import pytest
from PIL import Image
from tests.support import pictures

from epochd.core.errors import DataError
from epochd.data.tables.catalog import Catalog


@pytest.fixture
def draw(tmp_path):
    def draw(*paths):
        for path in paths:
            (tmp_path / "root" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2)).save(tmp_path / "root" / path)
        return Catalog([tmp_path / "root"])

    return draw


def test_a_class_folder_is_a_label(draw, tmp_path):
    catalog = draw("flowers/tulip/b/2.png", "flowers/rose/1.JPG", "flowers/rose/.hidden.png", "flowers/_old/1.png")
    (tmp_path / "root/flowers/readme.txt").write_text("flowers")
    table = catalog.open("flowers").read()
    assert table.rows() == [("rose/1.JPG", "rose"), ("tulip/b/2.png", "tulip")]
    assert table.columns == ["image", "label"]


def test_pictures_outside_of_class_folders_have_no_label(draw):
    assert draw("new/2.png", "new/10.png").open("new").read().to_dict(as_series=False) == {"image": ["10.png", "2.png"]}
    assert draw("new/rose/1.png").open("new").read()["label"].to_list() == [None, None, "rose"]


def test_a_folder_without_pictures_is_one_of_parquet_files(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no \.parquet file"):
        Catalog([tmp_path]).open("empty").read()


def test_links_out_of_the_folder_are_no_rows(draw, tmp_path):
    catalog = draw("a/x/1.png", "b/2.png")
    (tmp_path / "root/a/x/2.png").symlink_to(tmp_path / "root/b/2.png")
    (tmp_path / "root/a/x/3.png").symlink_to(tmp_path / "root/a/x/1.png")
    (tmp_path / "root/a/y").symlink_to(tmp_path / "root/b")
    assert catalog.open("a").read()["image"].to_list() == ["x/1.png", "x/3.png"]


def test_the_fingerprint_is_that_of_all_pictures(tmp_path, monkeypatch):
    pictures.shapes(tmp_path / "shapes", 6)
    source = Catalog([tmp_path]).open("shapes")
    for fingerprint in (source.fingerprint, source.quick_fingerprint):
        first = fingerprint()
        assert fingerprint() == first
        pictures.shape("cross", 99).save(tmp_path / "shapes/circle/000.png")
        assert fingerprint() != first
        pictures.shapes(tmp_path / "shapes", 6)
        assert fingerprint() == first
    monkeypatch.setattr("epochd.data.tables.fingerprint.HASHED_BYTES", 10)
    sampled = source.quick_fingerprint()
    assert sampled.startswith("sampled:")
    (tmp_path / "shapes/cross/001.png").rename(tmp_path / "shapes/circle/001.png")
    assert source.quick_fingerprint() != sampled
