"""A single value can make all others of a column the same."""

import numpy as np
import polars as pl
import pytest
from tests.support.tables import only_warning

ROWS = 100
RANDOM = np.random.default_rng(2)
NORMAL = RANDOM.normal(size=ROWS).tolist()
LABELS = [i // 3 % 2 for i in range(ROWS)]


def with_value(value, row=40):
    return {"a": [*NORMAL[: row - 1], value, *NORMAL[row:]], "y": LABELS}


@pytest.mark.parametrize("value", [1e30, -1e30, 999.0, -999.0])
def test_an_outlier_is_a_warning_with_its_row_and_value_and_the_scalings_that_help(look, value):
    message = only_warning(look(with_value(value)))
    assert message.startswith(f"'a' has an outlier: {value!r} (row 40), while half of its values lie between -")
    assert '"scaling": "quantile"' in message
    assert '"robust"' in message


@pytest.mark.parametrize("scaling", ["robust", "quantile"])
def test_other_scalings_are_not_warned_of(look, scaling):
    assert look(with_value(1e30), scaling=scaling).warnings == []


def test_whole_numbers_and_decimals_have_outliers_too(look):
    whole = [i * 7 % 31 for i in range(ROWS - 1)]
    assert "99999 (row 100)" in only_warning(look({"a": [*whole, 99_999], "y": LABELS}))
    decimals = pl.Series([*whole, 99_999], dtype=pl.Decimal(12, 2))
    assert "(row 100)" in only_warning(look({"a": decimals, "y": LABELS}))


@pytest.mark.parametrize(
    "values",
    [
        NORMAL,
        [*NORMAL[1:], 6.0],
        np.exp(2 * RANDOM.normal(size=ROWS)).tolist(),
        [0.0] * (ROWS - 1) + [1.0],
        [0.0] * 90 + [float(i) for i in range(10)],
    ],
    ids=["normal", "a large one", "lognormal", "a rare flag", "mostly zeros"],
)
def test_other_columns_have_none(look, values):
    assert look({"a": values, "y": LABELS}).warnings == []


def test_an_outlier_of_a_large_table_may_be_in_its_last_row(look, monkeypatch):
    for name in ("SMALL_ROWS", "MIN_HEAD"):
        monkeypatch.setattr(f"epochd.data.checks.statistics.{name}", 40)
    assert "1e+30 (row 100)" in only_warning(look(with_value(1e30, row=100)))
