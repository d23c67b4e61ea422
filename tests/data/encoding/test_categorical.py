"""Text becomes columns, or codes."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core.errors import DataError
from epochd.core.feature_options import FeatureOptions
from epochd.data.encoding import categorical
from epochd.data.encoding.categorical import CategoryFit, Codes, OneHot
from epochd.data.encoding.encoder import Encoder

TEXTS = st.lists(st.none() | st.sampled_from(["a", "b", "c", "", "ü"]), max_size=30)


def fitted(values, most=None, pieces=1, dtype=pl.String, options=FeatureOptions()):
    fit = CategoryFit("t", most, options)
    size = -(-len(values) // pieces) or 1
    for start in range(0, len(values), size):
        fit.partial_fit(pl.Series("t", values[start : start + size], dtype=pl.String).cast(dtype))
    return fit.finalize()


def written(column, values):
    return Encoder((column,), "y", "regression").features(pl.DataFrame([pl.Series("t", values)])).tolist()


@given(TEXTS, st.integers(1, 5), st.none() | st.integers(1, 4))
def test_the_result_does_not_depend_on_batches(values, pieces, most):
    assert fitted(values, most, pieces) == fitted(values, most)


def test_missing_values_have_a_column_if_training_rows_had_any():
    with_gaps, without = fitted(["b", None, "a"]), fitted(["b", "a"])
    assert written(with_gaps, ["a", None, "new"]) == [[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    assert written(without, ["a", None, "new"]) == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_many_values_become_codes_of_those_seen_twice():
    column = fitted(["b", "a", "b", "a", "rare", None], most=2)
    assert column == Codes("t", ("a", "b"))
    assert column.codes == 3
    assert written(column, ["a", "b", "rare", "new", None]) == [[0], [1], [2], [2], [2]]


def test_as_many_values_as_the_threshold_stay_one_hot():
    assert fitted(["a", "b", "c"], most=3) == OneHot("t", ("a", "b", "c"), False)


def test_the_most_frequent_values_get_codes_and_ties_go_by_value(monkeypatch):
    monkeypatch.setattr(categorical, "MAX_CODES", 2)
    assert fitted(["c", "a", "b"] * 2 + ["b"], most=1) == Codes("t", ("a", "b"))


def test_a_hundred_thousand_values_are_counted_in_batches():
    values = [str(i % 30_000) for i in range(60_000)]
    column = fitted(values, most=64, pieces=6)
    assert column.categories == tuple(sorted(set(values)))


def test_a_column_may_have_the_name_of_an_internal_column():
    fit = CategoryFit("rows", None)
    fit.partial_fit(pl.Series("rows", ["x", "y"]))
    assert fit.finalize().categories == ("x", "y")


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["b", "a", "unused"])])
def test_categoricals_and_enums_count_as_their_text(dtype):
    assert fitted(["a", "b", None], dtype=dtype) == fitted(["a", "b", None])


def test_values_are_compared_as_text():
    assert written(fitted(["1", "2"]), [2, 1]) == [[0, 1, 0], [1, 0, 0]]
    assert written(fitted(["true", "x"]), [True]) == [[1, 0, 0]]
    assert written(fitted(["2024-01-02", "soon"]), [dt.date(2024, 1, 2)]) == [[1, 0, 0]]


def test_lists_cannot_be_read_as_text():
    with pytest.raises(DataError, match="cannot be read as text"):
        written(fitted(["a"]), [["a"]])


def limited(values, most=None, pieces=1, **options):
    return fitted(values, most, pieces, options=FeatureOptions(**options))


def test_at_most_so_many_categories_are_told_apart_and_the_rarest_share_the_column_of_other_values():
    column = limited(["a", "b", "b", "c", "c", "c", None], max_categories=2)
    assert column == OneHot("t", ("b", "c"), True)
    assert written(column, ["a", "new", "b", None]) == [[0, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 0]]


def test_of_equally_frequent_categories_the_first_ones_are_kept_whatever_the_batches():
    for pieces in (1, 3, 6):
        assert limited(["d", "c", "b", "a", "c", "d"], None, pieces, max_categories=3).categories == ("a", "c", "d")


@pytest.mark.parametrize(("least", "kept"), [(2, ("b", "c")), (0.4, ("c",)), (1, ("a", "b", "c"))])
def test_a_category_needs_so_many_training_rows_or_such_a_share_of_them(least, kept):
    assert limited(["a", "b", "b", "c", "c", "c", None], min_frequency=least).categories == kept


def test_so_few_categories_are_told_apart_that_no_codes_are_needed():
    values = [f"v{i % 90}" for i in range(400)]
    assert isinstance(limited(values, 64), Codes)
    assert isinstance(limited(values, 64, max_categories=50), OneHot)
    assert limited(values, 10, max_categories=50).codes == 51


@given(TEXTS, st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))
def test_limits_do_not_depend_on_batches(values, pieces, most, least):
    options = {"max_categories": most, "min_frequency": least}
    assert limited(values, None, pieces, **options) == limited(values, None, **options)
