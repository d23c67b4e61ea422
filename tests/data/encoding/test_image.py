"""Pictures as features: one scale per channel, the same numbers from memory and from a file."""

import json

import numpy as np
import polars as pl
import pytest
from tests.support import pictures

from epochd.core import specs
from epochd.core.errors import CorruptFile, DataError
from epochd.data import prepare
from epochd.data.encoding import image
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.image import ImageFit
from epochd.data.feed.dataset import MemmapDataset
from epochd.data.storage.materialize import StoragePolicy
from epochd.data.tables import pictures as columns
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.pictures import PIXELS

NAME = "image" + PIXELS


def frame(pixels):
    flat = pixels.reshape(len(pixels), -1)
    paths = [f"{number}.png" for number in range(len(pixels))]
    return pl.DataFrame({"image": paths}).with_columns(pl.Series(NAME, flat))


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_a_channel_is_scaled_as_its_pixels_together(scaling):
    pixels = np.random.default_rng(1).integers(0, [200, 256, 1], (50, 4, 5, 3)).astype(np.uint8)
    fit = ImageFit("image", (4, 5), "rgb", scaling)
    for start in range(0, 50, 20):
        fit.partial_fit(frame(pixels[start : start + 20]))
    found = fit.finalize().transform(frame(pixels))
    assert (found.shape, found.dtype) == (pixels.shape, np.float32)
    assert not found[..., 2].any(), "a channel that never varies is 0"
    if scaling == "standard":
        wide = pixels[..., :2].astype(np.float64)
        expected = (wide - wide.mean(axis=(0, 1, 2))) / wide.std(axis=(0, 1, 2))
        np.testing.assert_allclose(found[..., :2], expected, atol=1e-5)
    assert (np.diff(found[..., 1][pixels[..., 1] == pixels[0, 0, 0, 1]]) == 0).all()


def test_pixels_of_other_types_are_scaled_too():
    pixels = np.random.default_rng(2).integers(0, 256, (6, 2, 2, 1)).astype(np.uint8)
    fit = ImageFit("image", (2, 2), "grey", "standard")
    fit.partial_fit(frame(pixels))
    column = fit.finalize()
    numbers = pl.DataFrame({"image": pl.Series(pixels.reshape(6, 4).astype(np.float32))})
    np.testing.assert_allclose(column.transform(numbers), column.transform(frame(pixels)), atol=1e-6)
    with pytest.raises(DataError, match=r"row 2 .*no finite numbers"):
        column.transform(pl.DataFrame({"image": pl.Series(np.array([[1.0] * 4, [np.nan] * 4]))}))
    with pytest.raises(DataError, match=r"has the type String, but \[2, 2, 1\] pixels"):
        column.transform(pl.DataFrame({"image": ["a.png"]}))
    assert column.transform(pl.DataFrame({"image": ["a.png"]}).clear()).shape == (0, 2, 2, 1)


@pytest.fixture
def shapes(tmp_path):
    pictures.shapes(tmp_path / "root/shapes", 60)
    return Catalog([tmp_path / "root"])


SPEC = specs.parse({"dataset": "shapes", "target_column": "label", "image_size": [9, 7], "model_type": "cnn"})


def test_pictures_in_memory_and_in_a_file_are_the_same(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "BATCH_BYTES", 9 * 7 * 3 * 11)
    resident = prepare.prepare(SPEC, shapes)
    streamed = prepare.prepare(SPEC, shapes, StoragePolicy(tmp_path / "rows", 0, 1 << 30))
    assert isinstance(streamed.train, MemmapDataset)
    assert streamed.encoder == resident.encoder
    assert resident.train.x.shape == (48, 9, 7, 3)
    assert (streamed.train.gather(np.arange(48)).x == resident.train.x).all()
    assert resident.fingerprint == streamed.fingerprint
    assert resident.encoder.classes == pictures.SHAPES


def test_the_encoder_is_the_same_after_json(shapes):
    encoder = prepare.prepare(SPEC.model_copy(update={"scaling": "quantile"}), shapes).encoder
    state = json.loads(json.dumps(encoder.as_json()))
    assert Encoder.from_json(state) == encoder
    assert encoder.shape == (9, 7, 3)
    state["columns"][0]["scales"].pop()
    with pytest.raises(CorruptFile, match="2 scales"):
        Encoder.from_json(state)


def test_a_broken_picture_is_named_with_its_row_before_the_training(shapes, tmp_path, monkeypatch):
    monkeypatch.setattr(columns, "BATCH_BYTES", 9 * 7 * 3 * 11)
    path = tmp_path / "root/shapes/square/038.png"
    path.write_bytes(path.read_bytes()[:200])
    rows = shapes.open("shapes").read()
    row = rows["image"].to_list().index("square/038.png") + 1
    for policy in (None, StoragePolicy(tmp_path / "rows", 0, 1 << 30)):
        with pytest.raises(DataError, match=rf"row {row} of column 'image': the picture 'square/038.png' is damaged"):
            prepare.prepare(SPEC, shapes, policy)


def test_only_a_sample_of_many_pixels_is_kept_for_quantiles(monkeypatch):
    monkeypatch.setattr(image, "SAMPLE", 1_000)
    fit = ImageFit("image", (40, 40), "grey", "robust")
    fit.partial_fit(frame(np.random.default_rng(3).integers(0, 101, (30, 40, 40, 1)).astype(np.uint8)))
    [scale] = fit.finalize().scales
    assert (scale.centre, scale.scale) == (pytest.approx(50, abs=2), pytest.approx(50, abs=3))
