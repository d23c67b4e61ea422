"""Data larger than the resident limit: the same numbers, from mapped files."""

import numpy as np
import polars as pl
import pytest

from epochd.core import specs
from epochd.data import cache
from epochd.data.batches import Batches, epoch_order
from epochd.data.prepare import Residence, prepare
from epochd.data.windows import windows


@pytest.fixture
def table(tmp_path):
    """Numbers with gaps, text, and a target; more rows than one batch of reading."""
    draw = np.random.default_rng(3)
    rows = 2 * cache.BATCH_ROWS + 1000
    numbers = draw.normal(size=(rows, 3))
    frame = pl.DataFrame(numbers, schema=["a", "b", "c"]).with_columns(
        a=pl.when(pl.Series(draw.random(rows) < 0.1)).then(None).otherwise(pl.col("a")),
        colour=pl.Series(draw.choice(["red", "green", "blue"], rows)),
        target=pl.Series((numbers.sum(axis=1) > 0).astype(int)),
    )
    frame.write_parquet(tmp_path / "t.parquet")
    return tmp_path


def prepared(folder, limit=None, **options):
    spec = specs.parse({"dataset": "t.parquet", "target_column": "target", **options})
    return prepare(spec, [folder], residence=None if limit is None else Residence(folder / "cache", limit))


def test_streamed_rows_are_those_in_memory_to_the_last_bit(table):
    resident, streamed = prepared(table), prepared(table, limit=2**20)
    assert streamed.encoder == resident.encoder
    assert streamed.fingerprint == resident.fingerprint
    for part in ("train", "validation"):
        mine, theirs = getattr(streamed, part), getattr(resident, part)
        assert cache.is_mapped(mine.x)
        assert not cache.is_mapped(theirs.x)
        np.testing.assert_array_equal(mine.x, theirs.x)
        np.testing.assert_array_equal(mine.y, theirs.y)


def test_data_below_the_limit_stay_in_memory(table):
    assert not cache.is_mapped(prepared(table, limit=2**30).train.x)
    assert not (table / "cache").exists()


def test_a_second_training_finds_the_rows_and_another_split_makes_its_own(table):
    prepared(table, limit=1)
    files = {path: path.stat().st_mtime_ns for path in (table / "cache").glob("*/x.float32")}
    prepared(table, limit=1)
    assert {path: path.stat().st_mtime_ns for path in (table / "cache").glob("*/x.float32")} == files
    prepared(table, limit=1, seed=5)
    assert len(list((table / "cache").iterdir())) == 2 * len(files)


def test_a_deleted_cache_is_made_again(table):
    first = np.array(prepared(table, limit=1).train.x)
    for path in sorted((table / "cache").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    np.testing.assert_array_equal(prepared(table, limit=1).train.x, first)


def test_windows_hold_each_chunks_rows_in_training_order(table):
    resident, streamed = prepared(table).train, prepared(table, limit=1).train
    batches = Batches(len(resident), 64, 7, 500)
    order, done = epoch_order(len(resident), 7, 2), 0
    for chunk, window in windows(batches, streamed, 2):
        np.testing.assert_array_equal(window.x, resident.x[chunk.rows])
        np.testing.assert_array_equal(window.y, resident.y[order[done : done + len(window)]])
        done += len(window)
    assert done == len(resident)
    assert all(window is None for _, window in windows(batches, resident, 0))


def test_windows_can_be_left_in_the_middle(table):
    streamed = prepared(table, limit=1).train
    for _, window in windows(Batches(len(streamed), 64, 7, 500), streamed, 0, done=500):
        assert len(window) == 64 * 500
        break
