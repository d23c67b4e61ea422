"""What is wrong with a config of pictures, found before any work starts."""

import polars as pl
import pytest
from tests.support import pictures

from epochd.core import specs
from epochd.core.errors import InvalidSpec
from epochd.data.checks.report import check_dataset
from epochd.data.tables import pictures as columns
from epochd.data.tables.catalog import Catalog


@pytest.fixture
def check(tmp_path):
    pictures.shapes(tmp_path / "root/shapes", 30)
    pictures.shapes(tmp_path / "root/other", 12)

    def check(**options):
        values = {"dataset": "shapes", "target_column": "label", "model_type": "cnn", "batch_size": 8} | options
        return check_dataset(specs.parse(values), Catalog([tmp_path / "root"]))

    check.root = tmp_path / "root"
    return check


def table(check, **columns):
    names = [path.relative_to(check.root).as_posix() for path in sorted((check.root / "shapes").rglob("*.*"))]
    pl.DataFrame({"file": names, "kind": [name.split("/")[1] for name in names]} | columns).write_csv(
        check.root / "table.csv"
    )


def test_a_folder_of_pictures_needs_no_image_column(check):
    found = check(image_size=[6, 5], image_mode="grey")
    assert (found.problems, found.warnings) == ([], [])
    assert (found.image_column, found.features, found.shape, found.task) == (
        "image",
        ["image"],
        (6, 5, 1),
        "multiclass",
    )


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"model_type": "gru"}, "model_type"),
        ({"input_shape": [4, 4]}, "input_shape"),
        ({"sequence_length": 3, "time_column": "image"}, "sequence_length"),
        ({"feature_columns": ["image", "label2"]}, "feature_columns"),
    ],
)
def test_options_that_do_not_suit_pictures_are_problems_of_a_folder_and_of_a_column(check, options, field):
    assert field in [problem.field for problem in check(**options).problems]
    with pytest.raises(InvalidSpec) as error:
        specs.parse({"target_column": "label", "image_column": "image", "model_type": "cnn"} | options)
    assert field in [problem.field for problem in error.value.problems]


def test_options_of_pictures_need_pictures(check):
    found = check(dataset="iris", target_column="target", model_type="mlp", image_size=[8, 8], image_mode="grey")
    assert [problem.field for problem in found.problems] == ["image_size", "image_mode"]
    assert "omit" in found.problems[0].hint


def test_augmentation_needs_images(check):
    options = {"augmentation": {"flip": "horizontal"}}
    assert check(**options).problems == []
    of_table = {"dataset": "iris", "target_column": "target"}
    [found] = check(**of_table, **options).problems
    assert (found.field, "rows of this dataset are not images" in found.message) == ("augmentation", True)
    assert check(**of_table, **options, input_shape=[2, 2]).problems == []


def test_a_table_names_its_pictures(check):
    table(check, price=range(30))
    options = {"dataset": "table.csv", "target_column": "kind"}
    found = check(**options, image_column="file")
    assert (found.problems, found.features, found.shape) == ([], ["file"], (32, 32, 3))
    assert "these columns are not used: 'price'" in found.warnings[0]
    assert [problem.field for problem in check(**options, image_column="fill").problems] == ["image_column"]
    assert "did you mean 'file'?" in check(**options, image_column="fill").problems[0].hint
    [wrong] = check(**options, image_column="price").problems
    assert "'price' has the type Int64" in wrong.message
    assert check(**options, image_column="file", image_root="shapes").problems
    with pytest.raises(InvalidSpec, match="target column"):
        specs.parse({"target_column": "kind", "image_column": "kind"})


def test_pictures_that_cannot_be_read_are_named(check, monkeypatch):
    (check.root / "shapes/cross/001.png").write_text("text")
    [found] = check().problems
    assert found.field == "image_column"
    assert found.message.startswith("row 11 of column 'image': the picture 'cross/001.png' is not a PNG")
    monkeypatch.setattr(columns, "MAX_CHECKED", 10)
    monkeypatch.setattr("epochd.data.checks.images.MAX_CHECKED", 10)
    assert check().problems == []
    assert check().warnings == ["the first 10 of 30 pictures were looked at; the others are read by the training"]


def test_pictures_of_a_validation_dataset_are_checked_too(check):
    assert check(validation_dataset="other").problems == []
    (check.root / "other/cross/001.png").write_text("text")
    [found] = check(validation_dataset="other").problems
    assert (found.field, "cross/001.png" in found.message) == ("validation_dataset", True)
    [same] = check(validation_dataset="shapes").problems
    assert "is the dataset that is trained on" in same.message
