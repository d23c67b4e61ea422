"""Numbers and booleans in all their types."""

import datetime as dt
from decimal import Decimal

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.data.encoding.numeric import BooleanFit, NumberFit
from epochd.data.encoding.scaling import ScaleFit


def number(series, scaling="standard"):
    fit = NumberFit(series.name, ScaleFit(scaling))
    fit.partial_fit(series)
    return fit.finalize()


def boolean(series):
    fit = BooleanFit(series.name)
    fit.partial_fit(series)
    return fit.finalize()


def written(column, series):
    out = np.zeros((len(series), column.width), np.float32)
    column.transform(series, out)
    return out


@pytest.mark.parametrize(
    "series",
    [
        pl.Series("x", [-1, 0, 1], dtype=pl.Int8),
        pl.Series("x", [1, 2**63, 2**64 - 1], dtype=pl.UInt64),
        pl.Series("x", [-(2**100), 0, 2**100], dtype=pl.Int128),
        pl.Series("x", [Decimal("-0.10"), Decimal("0.00"), Decimal("0.10")]),
        pl.Series("x", [dt.timedelta(hours=h) for h in (1, 2, 3)]),
        pl.Series("x", ["-5", "0", " 5 "]).cast(pl.Categorical),
    ],
)
def test_every_numeric_type_is_a_number(series):
    assert written(number(series), series)[:, 0] == pytest.approx([-(1.5**0.5), 0, 1.5**0.5])


def test_durations_count_in_seconds():
    series = pl.Series("x", [dt.timedelta(minutes=1), dt.timedelta(minutes=3)])
    assert number(series).scale.centre == 120
    for unit in ("ms", "us", "ns"):
        assert number(series.cast(pl.Duration(unit))) == number(series)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_what_is_missing_gets_the_centre_and_a_flag_if_training_rows_had_any(scaling):
    gaps = pl.Series("x", [1.0, None, 9.0, float("nan")])
    found = written(number(gaps, scaling), gaps)
    assert found[:, 1].tolist() == [0, 1, 0, 1]
    assert found[[1, 3], 0].tolist() == [0, 0]
    whole = number(gaps.head(1), scaling)
    assert whole.width == 1
    assert written(whole, gaps)[1].tolist() == [0]


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
@pytest.mark.parametrize("huge", [float("inf"), -1e101])
def test_an_infinite_or_huge_value_is_named(scaling, huge):
    series = pl.Series("x", [1.0, 2.0, huge])
    with pytest.raises(DataError, match="row 3 of column 'x' is infinite or too large"):
        number(series, scaling)
    if np.isinf(huge):
        with pytest.raises(DataError, match="row 3 of column 'x' is infinite or too large"):
            written(number(series.head(2), scaling), series)


def test_dates_are_not_read_as_numbers():
    with pytest.raises(DataError, match=r"'x' has the type Date, which cannot be read as numbers"):
        written(number(pl.Series("x", [1, 2])), pl.Series("x", [dt.date(2024, 1, 1)]))


@pytest.mark.parametrize("values", [[True, False, None], [1, 0, None], ["True", "false", "NA"], ["1", "0.0", ""]])
def test_booleans_are_one_and_minus_one_however_they_are_written(values):
    column = boolean(pl.Series("b", [True, None]))
    assert written(column, pl.Series("b", values)).tolist() == [[1, 0], [-1, 0], [0, 1]]


@pytest.mark.parametrize("values", [["true", "perhaps"], [1, 2], [0.0, 0.5]])
def test_what_is_neither_true_nor_false_is_named(values):
    with pytest.raises(DataError, match="row 2 of column 'b' is neither true nor false"):
        written(boolean(pl.Series("b", [True])), pl.Series("b", values))
