"""Rows become examples: their size in bytes, and the row of an invalid value in the dataset."""

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.encoding.fit import EncoderFit
from epochd.data.splitting.sliding_windows import Examples
from epochd.data.storage.materialize import Layout, StoragePolicy, materialize
from epochd.data.tables import table as tables
from epochd.data.tables.table import Table

FRAME = pl.DataFrame({"x": np.arange(10.0), "z": np.arange(10.0)[::-1]})
TABLE = Table.of(FRAME.lazy(), None)


@pytest.fixture
def encoder():
    frame = FRAME.with_columns(y=pl.col("x"))
    fit = EncoderFit(parse({"target_column": "y"}), frame.schema, ["x", "z"], "regression", None, 10)
    fit.partial_fit(frame)
    return fit.finalize()


def layout(first, **options):
    first = np.array(first)
    return Layout({"train": Examples(first, first)}, **options)


def test_a_window_counts_all_of_its_rows(encoder):
    assert (layout([0, 4, 5]).shape(encoder), layout([0, 4, 5]).bytes(encoder)) == ((2,), 3 * 2 * 4)
    windows = layout([0, 1, 2], steps=5)
    assert (windows.shape(encoder), windows.bytes(encoder)) == ((5, 2), 3 * 5 * 2 * 4)


def test_windows_are_cut_from_the_rows_at_their_positions(encoder):
    position = np.arange(10)[::-1]
    found = materialize(TABLE, layout([0, 6], steps=3, position=position), encoder, {"train": [0, 1]}, None, "")
    encoded = encoder.features(FRAME)[::-1]
    np.testing.assert_array_equal(found["train"].x, [encoded[0:3], encoded[6:9]])


def test_an_invalid_value_is_reported_with_the_first_row_of_its_batch(encoder, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "BATCH_ROWS", 4)
    table = Table.of(FRAME.with_columns(x=pl.when(pl.col("x") == 6).then(1e300).otherwise("x")).lazy(), None)
    for policy in (None, StoragePolicy(tmp_path, 0, 2**20)):
        with pytest.raises(DataError) as caught:
            materialize(table, layout(np.arange(10)), encoder, {"train": np.zeros(10)}, policy, "0")
        assert "row 3 of column 'x'" in caught.value.problems[0].message
        assert "counted from row 5 of the dataset" in caught.value.problems[0].message
