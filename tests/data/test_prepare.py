"""Prepared arrays: split, fitted on training rows only, and rejected with the problems of the checks."""

import json

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.prepare import prepare
from epochd.data.splitting.split import split
from epochd.data.storage.materialize import StoragePolicy
from epochd.data.tables import table
from epochd.data.tables.catalog import Catalog, open_dataset


def spec(**options):
    return parse({"dataset": "table.csv", "target_column": "y"} | options)


def write(folder, frame):
    frame.write_csv(folder / "table.csv")
    return Catalog([folder])


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
    prepared = prepare(spec(dataset=name, target_column="target"), Catalog())
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
    prepared = prepare(parse({"target_column": "target"}), Catalog())
    assert prepared.encoder.feature_names == ["feature1", "feature2", "feature3", "feature4"]
    assert prepare(parse({"target_column": "target"}), Catalog(default="iris")).encoder.outputs == 3


def test_outliers_and_new_categories_in_validation_rows_do_not_change_the_encoder(tmp_path):
    frame = numbers()
    before = prepare(spec(), write(tmp_path, frame))
    held_out = split(spec(), frame.height).validation.tolist()
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
    catalog = write(tmp_path, numbers())
    first, second, other = (prepare(spec(seed=seed), catalog) for seed in (3, 3, 4))
    assert first.train.x.tobytes() == second.train.x.tobytes()
    assert json.dumps(first.encoder.as_json()) == json.dumps(second.encoder.as_json())
    assert first.train.x.tobytes() != other.train.x.tobytes()


def test_classes_are_held_out_in_their_shares():
    prepared = prepare(spec(dataset="iris", target_column="target"), Catalog())
    assert np.bincount(prepared.validation.y).tolist() == [10, 10, 10]


def test_without_a_validation_split_all_rows_are_trained_on(tmp_path):
    prepared = prepare(spec(validation_split=0.0), write(tmp_path, numbers()))
    assert prepared.validation is None
    assert len(prepared.train) == 50


def test_only_the_requested_columns_are_used_in_their_order(tmp_path):
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
        {"dataset": "absent.csv"},
        {"feature_columns": ["z"], "task": "binary", "target_column": "t"},
    ],
)
def test_problems_of_the_checks_are_raised(tmp_path, options):
    catalog = write(tmp_path, numbers())
    wrong = spec(**options)
    with pytest.raises(DataError) as caught:
        prepare(wrong, catalog)
    found = check_dataset(wrong, catalog).problems
    assert caught.value.problems == found
    assert found


def everything(rows=500):
    """A column of each kind that a flat table can have, with gaps, and a target of three classes."""
    draw = np.random.default_rng(8)
    x = draw.normal(size=rows)
    return pl.DataFrame(
        {
            "x": x,
            "gaps": pl.Series(draw.normal(size=rows)).set(pl.Series(draw.random(rows) < 0.1), None),
            "flag": draw.random(rows) < 0.5,
            "few": draw.choice(["red", "green", "blue"], rows),
            "many": draw.choice([f"word {number}" for number in range(90)], rows),
            "day": pl.Series(draw.integers(17_000, 20_000, rows)).cast(pl.Int32).cast(pl.Date),
            "when": pl.Series(draw.integers(0, 10**15, rows)).cast(pl.Datetime("us")),
            "lot": draw.integers(0, 30, rows),
            "y": np.digitize(x, [-0.5, 0.5]),
        }
    )


def lists(rows=500):
    draw = np.random.default_rng(8)
    steps = [draw.normal(size=length) for length in draw.integers(2, 7, rows)]
    return pl.DataFrame(
        {"s": [step.tolist() for step in steps], "z": draw.normal(size=rows), "y": [s.mean() for s in steps]}
    )


def parquet(folder, frame, name="table.parquet"):
    frame.write_parquet(folder / name)
    return Catalog([folder])


@pytest.mark.parametrize(
    ("frame", "options"),
    [
        (everything(), {}),
        (everything(), {"split": "time", "time_column": "when", "scaling": "robust"}),
        (everything(), {"split": "group", "group_column": "lot", "scaling": "quantile"}),
        (everything(), {"target_column": "x", "split": "random"}),
        (lists(), {"model_type": "gru"}),
    ],
)
def test_streamed_data_are_encoded_to_the_same_bits_as_data_in_memory(tmp_path, monkeypatch, frame, options):
    monkeypatch.setattr(table, "BATCH_ROWS", 64)
    asked = spec(dataset="table.parquet", test_split=0.15, **options)
    catalog = parquet(tmp_path, frame)
    held = prepare(asked, catalog)
    streamed = prepare(asked, catalog, StoragePolicy(tmp_path / "cache", 1, 2**30))
    assert streamed.encoder == held.encoder
    assert (streamed.fingerprint, streamed.task) == (held.fingerprint, held.task)
    for name in ("train", "validation", "test"):
        mine, theirs = getattr(streamed, name), getattr(held, name)
        assert isinstance(mine, MemmapDataset)
        assert isinstance(theirs, InMemoryDataset)
        assert mine.shape == theirs.x.shape[1:] == held.encoder.shape
        taken = mine.gather(np.arange(len(mine)))
        assert taken.x.tobytes() == theirs.x.tobytes()
        assert (taken.y.dtype, taken.y.tobytes()) == (theirs.y.dtype, theirs.y.tobytes())
        assert np.array_equal(streamed.rows[name], held.rows[name])


def test_the_sides_contain_their_rows_as_the_encoder_encodes_them(tmp_path):
    frame = everything()
    found = prepare(spec(dataset="table.parquet", test_split=0.1), parquet(tmp_path, frame))
    assert sorted(np.concatenate(list(found.rows.values()))) == list(range(frame.height))
    for name, rows in found.rows.items():
        part = getattr(found, name)
        np.testing.assert_array_equal(part.x, found.encoder.features(frame[rows]))
        np.testing.assert_array_equal(part.y, found.encoder.target(frame[rows]))


def test_text_that_widens_the_rows_beyond_the_limit_is_stored_though_the_table_was_in_memory(tmp_path):
    catalog, options = parquet(tmp_path, everything()), {"dataset": "table.parquet", "embedding_threshold": 1000}
    limit = 500 * 9 * 4
    narrow = prepare(spec(feature_columns=["x"], **options), catalog, StoragePolicy(tmp_path / "cache", limit, 2**30))
    wide = prepare(spec(feature_columns=["many"], **options), catalog, StoragePolicy(tmp_path / "cache", limit, 2**30))
    assert isinstance(narrow.train, InMemoryDataset)
    assert isinstance(wide.train, MemmapDataset)


def validated(tmp_path, other, **options):
    """Prepared with ``other`` as the validation dataset."""
    catalog = write(tmp_path, numbers())
    other.write_csv(tmp_path / "other.csv")
    policy = StoragePolicy(tmp_path / "cache", options.pop("limit", 2**30), 2**30)
    return prepare(spec(validation_dataset="other.csv", **options), catalog, policy)


@pytest.mark.parametrize("limit", [1, 2**30])
def test_a_validation_dataset_is_validated_on_as_a_whole(tmp_path, limit):
    other = numbers(30).select("y", "t", (pl.col("x") * 100).alias("x"))
    found = validated(tmp_path, other, limit=limit, test_split=0.1)
    part = found.validation if isinstance(found.validation, InMemoryDataset) else found.validation.gather(np.arange(30))
    np.testing.assert_array_equal(part.x, found.encoder.features(other))
    np.testing.assert_array_equal(part.y, found.encoder.target(other))
    assert found.rows["validation"].tolist() == list(range(30))
    assert (len(found.train), len(found.test)) == (45, 5)


def test_the_encoder_is_not_fitted_on_a_validation_dataset(tmp_path):
    one, other = (validated(tmp_path, numbers(30).with_columns(pl.col("x") * times)) for times in (1, 9))
    assert one.encoder == other.encoder
    assert one.fingerprint != other.fingerprint
    assert one.fingerprint != open_dataset("table.csv", [tmp_path]).fingerprint()


@pytest.mark.parametrize("other", [numbers(30).drop("x"), numbers(30).with_columns(y=pl.lit("a word"))])
def test_problems_of_a_validation_dataset_name_it(tmp_path, other):
    with pytest.raises(DataError) as caught:
        validated(tmp_path, other)
    assert {problem.field for problem in caught.value.problems} == {"validation_dataset"}


def coded(rows, codes):
    """A column of codes that may look like numbers, one of numbers, and labels that may look like numbers."""
    rng = np.random.default_rng(rows)
    columns = {"code": rng.choice(codes, rows), "x": rng.normal(size=rows), "y": rng.choice(["1", "02"], rows)}
    return pl.DataFrame(columns)


@pytest.mark.parametrize("limit", [1, 2**30])
@pytest.mark.parametrize("empty", [True, False])
def test_a_validation_dataset_of_text_is_read_as_what_was_trained_on(tmp_path, limit, empty):
    coded(60, ["01", "02", "1", "A7"]).vstack(pl.DataFrame({"code": "A7", "x": 0.0, "y": ["z"] * 2})).write_csv(
        tmp_path / "table.csv"
    )
    other = coded(30, ["01", "02", "1"]).with_columns(x=pl.lit(None, pl.Float64) if empty else pl.col("x"))
    other.write_csv(tmp_path / "other.csv")
    options = spec(validation_dataset="other.csv")
    assert check_dataset(options, Catalog([tmp_path])).problems == []
    found = prepare(options, Catalog([tmp_path]), StoragePolicy(tmp_path / "cache", limit, 2**30))
    part = found.validation if isinstance(found.validation, InMemoryDataset) else found.validation.gather(np.arange(30))
    np.testing.assert_array_equal(part.x, found.encoder.features(other))
    np.testing.assert_array_equal(part.y, found.encoder.target(other))


@pytest.mark.parametrize("second", [False, True])
def test_changed_data_are_read_as_what_a_given_encoder_was_fitted_on(tmp_path, second):
    coded(60, ["01", "02", "1", "A7"]).write_csv(tmp_path / "table.csv")
    coded(30, ["01", "A7"]).write_csv(tmp_path / "other.csv")
    options = spec(validation_dataset="other.csv") if second else spec(validation_split=0)
    encoder = prepare(options, Catalog([tmp_path])).encoder
    changed = coded(50, ["01", "02", "1"])
    changed.write_csv(tmp_path / "table.csv")
    found = prepare(options, Catalog([tmp_path]), encoder=encoder)
    np.testing.assert_array_equal(found.train.x, encoder.features(changed))


def test_windows_of_a_validation_dataset_are_ordered_separately(tmp_path):
    frame = pl.DataFrame({"t": range(40), "x": np.arange(40.0), "y": np.random.default_rng(0).normal(size=40)})
    write(tmp_path, frame)
    frame[:10].reverse().write_csv(tmp_path / "other.csv")
    options = {"time_column": "t", "sequence_length": 3, "validation_dataset": "other.csv"}
    found = prepare(spec(**options), Catalog([tmp_path]))
    assert found.rows["validation"].tolist() == [6, 5, 4, 3, 2, 1, 0]
    np.testing.assert_array_equal(found.validation.x, found.train.x[:7])


def test_a_given_encoder_is_used_unchanged(tmp_path):
    before = prepare(spec(), write(tmp_path, numbers()))
    changed = write(tmp_path, numbers(60).with_columns(pl.col("x") * 7))
    after = prepare(spec(), changed, encoder=before.encoder)
    assert after.encoder is before.encoder
    assert after.train.x[:, 0].std() > 5
    assert prepare(spec(), changed).encoder != before.encoder


def test_a_given_encoder_refuses_data_that_lack_its_columns_or_have_other_classes(tmp_path):
    frame = numbers().with_columns(y=pl.col("t"), t=pl.lit("w"))
    before = prepare(spec(), write(tmp_path, frame.with_columns(z=-pl.col("x"))))
    with pytest.raises(DataError, match="the changed dataset has no column 'z'"):
        prepare(spec(), write(tmp_path, frame), encoder=before.encoder)
    other = frame.with_columns(z=-pl.col("x"), y=pl.col("y").replace("u", "new"))
    with pytest.raises(DataError, match="row 1 has the label 'new'"):
        prepare(spec(), write(tmp_path, other), encoder=before.encoder)
