import datetime

import numpy as np
import polars as pl
import pytest

from epochd.core import specs
from epochd.data.encoding.fit import EncoderFit
from epochd.report import columns
from epochd.report.columns import Encoded

DAY = datetime.datetime(2024, 3, 1)
TABLE = pl.DataFrame(
    {
        "amount": [1.5, None, -3.25, 100.0, 0.0, 7.0],
        "count": [1, 2, 3, 4, 5, 60],
        "same": [4.0] * 6,
        "colour": ["red", "green", None, "red", "blue", "red"],
        "open": [True, False, None, True, True, True],
        "when": [DAY, DAY + datetime.timedelta(days=30, hours=5), DAY, None, DAY, DAY],
        "target": [0.0, 1, 2, 3, 4, 5],
    }
)


def encoder(table=TABLE, **options):
    spec = specs.parse({"target_column": "target"} | options)
    fit = EncoderFit(spec, table.schema, table.columns[:-1], "regression", None, table.height, None)
    fit.partial_fit(table)
    return fit.finalize()


@pytest.mark.parametrize("options", [{}, {"scaling": "robust"}, {"scaling": "quantile"}, {"embedding_threshold": 1}])
def test_example_rows_are_encoded_as_the_rows_that_they_stand_for(options):
    found = encoder(**options)
    x = found.features(TABLE)
    rows = pl.DataFrame(columns.example_rows(Encoded(found, x)), schema_overrides={"amount": pl.Float64})
    assert found.features(rows) == pytest.approx(x, abs=1e-4)


def test_examples_are_plain_values():
    first = columns.example_rows(Encoded(encoder(), encoder().features(TABLE)))[1]
    assert first == {
        "amount": None,
        "count": 2,
        "same": 4,
        "colour": "green",
        "open": False,
        "when": "2024-03-31T05:00:00",
    }


def test_a_profile_has_ranges_missing_shares_and_frequent_values():
    found = {one.name: one for one in columns.profiles(Encoded(encoder(), encoder().features(TABLE)))}
    assert (found["amount"].low, found["amount"].high, found["amount"].missing) == ("-3.25", "100", 1 / 6)
    assert (found["same"].low, found["same"].high, found["same"].missing) == ("4", "4", 0)
    assert found["colour"].frequent == [("red", 0.5), ("blue", 1 / 6), ("green", 1 / 6)]
    assert (found["colour"].distinct, found["colour"].missing) == (3, 1 / 6)
    assert found["open"].frequent == [("true", 0.8), ("false", 0.2)]
    when = found["when"]
    assert (when.low, when.high, when.missing) == ("2024-03-01", "2024-03-31T05:00:00", 1 / 6)


def test_rare_and_missing_values_of_embedded_text_are_not_told_apart():
    found = encoder(embedding_threshold=1)
    profile = {one.name: one for one in columns.profiles(Encoded(found, found.features(TABLE)))}["colour"]
    assert (profile.kind, profile.missing, profile.frequent) == ("codes", None, [("red", 0.5)])


def test_a_column_without_any_value_has_no_range():
    table = TABLE.with_columns(amount=pl.lit(None, pl.Float64))
    found = encoder(table)
    profile = columns.profiles(Encoded(found, found.features(table)))[0]
    assert (profile.missing, profile.low) == (1.0, None)


def test_lists_are_read_back_without_their_padding():
    table = pl.DataFrame({"signal": [[1.0, 2.0, 3.0], [4.0], [5.0, 6.0]], "target": [0.0, 1, 2]})
    spec = specs.parse({"target_column": "target", "model_type": "gru"})
    fit = EncoderFit(spec, table.schema, ["signal"], "regression", None, 3, 3)
    fit.partial_fit(table)
    found = fit.finalize()
    rows = Encoded(found, found.features(table))
    assert columns.example_rows(rows) == [{"signal": [1, 2, 3]}, {"signal": [4]}, {"signal": [5, 6]}]
    assert np.array(columns.profiles(rows)[0].high) == "6"
