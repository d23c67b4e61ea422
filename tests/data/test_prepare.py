"""Prepared arrays: split, fitted on training rows only, and refused for the reasons that inspection gives."""

import json

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.inspect import inspect
from epochd.data.prepare import prepare
from epochd.data.sources import open_dataset
from epochd.data.split import split


def spec(**options):
    return parse({"dataset": "table.csv", "target_column": "y"} | options)


def write(folder, frame):
    frame.write_csv(folder / "table.csv")
    return [folder]


def numbers(rows=50):
    rng = np.random.default_rng(1)
    x = rng.normal(size=rows)
    return pl.DataFrame({"x": x, "t": ["u", "v"] * (rows // 2), "y": 3 * x + rng.normal(size=rows)})


@pytest.mark.parametrize(
    ("name", "task", "width", "outputs"),
    [
        ("breast_cancer", "binary", 30, 1),
        ("digits", "multiclass", 64, 10),
        ("diabetes", "regression", 10, 1),
        ("iris", "multiclass", 4, 3),
        ("wine", "multiclass", 13, 3),
        ("sample", "binary", 4, 1),
    ],
)
def test_builtin_tables_are_prepared(name, task, width, outputs):
    prepared = prepare(spec(dataset=name, target_column="target"), [])
    total = len(prepared.train) + len(prepared.validation)
    assert total == open_dataset(name, []).read().height
    assert len(prepared.validation) == round(total * 0.2)
    assert (prepared.task, prepared.encoder.width, prepared.encoder.outputs) == (task, width, outputs)
    assert prepared.train.x.shape == (len(prepared.train), width)
    assert prepared.train.x.dtype == np.float32
    assert prepared.train.y.dtype == (np.int64 if task == "multiclass" else np.float32)
    assert np.isfinite(prepared.train.x).all()
    assert prepared.fingerprint == open_dataset(name, []).fingerprint()


def test_without_a_dataset_the_default_is_prepared():
    prepared = prepare(parse({"target_column": "target"}), [])
    assert prepared.encoder.feature_names == ["feature1", "feature2", "feature3", "feature4"]
    assert "default 'sample'" in prepared.warnings[0]
    assert prepare(parse({"target_column": "target"}), [], "iris").encoder.outputs == 3


def test_outliers_and_new_words_in_validation_rows_change_nothing(tmp_path):
    frame = numbers()
    before = prepare(spec(), write(tmp_path, frame))
    held_out = split(None, frame.height, 0.2, 0, stratified=False)[1].tolist()
    row = pl.int_range(pl.len())
    planted = frame.with_columns(
        x=pl.when(row == held_out[0]).then(1e9).otherwise("x"),
        t=pl.when(row == held_out[1]).then(pl.lit("new")).otherwise("t"),
        y=pl.when(row == held_out[2]).then(-1e9).otherwise("y"),
    )
    after = prepare(spec(), write(tmp_path, planted))
    assert after.encoder == before.encoder
    assert after.train.x.tobytes() == before.train.x.tobytes()
    assert after.validation.x.tobytes() != before.validation.x.tobytes()
    assert after.fingerprint != before.fingerprint


def test_preparing_twice_gives_the_same_bytes_and_another_seed_another_split(tmp_path):
    roots = write(tmp_path, numbers())
    first, second, other = (prepare(spec(seed=seed), roots) for seed in (3, 3, 4))
    assert first.train.x.tobytes() == second.train.x.tobytes()
    assert json.dumps(first.encoder.as_json()) == json.dumps(second.encoder.as_json())
    assert first.train.x.tobytes() != other.train.x.tobytes()


def test_classes_are_held_out_in_their_shares():
    prepared = prepare(spec(dataset="iris", target_column="target"), [])
    assert np.bincount(prepared.validation.y).tolist() == [10, 10, 10]


def test_without_a_validation_split_all_rows_are_trained_on(tmp_path):
    prepared = prepare(spec(validation_split=0.0), write(tmp_path, numbers()))
    assert prepared.validation is None
    assert len(prepared.train) == 50


def test_only_the_asked_columns_are_used_in_their_order(tmp_path):
    prepared = prepare(spec(feature_columns=["t", "x"]), write(tmp_path, numbers()))
    assert prepared.encoder.feature_names == ["t", "x"]
    assert set(prepared.train.x[:, 0]) == {0.0, 1.0}


def test_a_target_in_text_keeps_its_labels(tmp_path):
    frame = numbers().with_columns(y=pl.when(pl.col("x") > 0).then(pl.lit("是")).otherwise(pl.lit("否")))
    prepared = prepare(spec(), write(tmp_path, frame))
    assert prepared.encoder.classes == ("否", "是")
    assert set(prepared.train.y) == {0.0, 1.0}


@pytest.mark.parametrize(
    "options",
    [
        {"feature_columns": ["x", "z"]},
        {"target_column": "z"},
        {"task": "binary"},
        {"monitor": "val_accuracy"},
        {"dataset": "absent.csv"},
        {"feature_columns": ["z"], "task": "binary", "target_column": "t"},
    ],
)
def test_what_inspection_finds_is_refused_with_the_same_problems(tmp_path, options):
    roots = write(tmp_path, numbers())
    wrong = spec(**options)
    with pytest.raises(DataError) as caught:
        prepare(wrong, roots)
    found = inspect(wrong, roots, "sample").problems
    assert caught.value.problems == found
    assert found
