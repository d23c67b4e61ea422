"""Lists become padded, masked sequences."""

import numpy as np
import polars as pl
import pytest

from epochd.core import specs
from epochd.core.errors import DataError
from epochd.data.encoding.fit import EncoderFit, longest_list

FRAME = pl.DataFrame(
    {
        "a": [[1.0, 2.0, 3.0], [4.0, None], [6.0]],
        "place": ["x", "y", "x"],
        "b": [[1, 1, 1], [1, 3], [3]],
        "y": [0.0, 1.0, 2.0],
    }
)


def fitted(frame=FRAME, features=("a", "place", "b"), steps=None, **options):
    spec = specs.parse({"target_column": "y", "model_type": "gru", **options})
    steps = steps or longest_list(frame.lazy(), features)
    fit = EncoderFit(spec, frame.schema, features, "regression", None, frame.height, steps)
    fit.partial_fit(frame)
    return fit.finalize()


def refused(frame, encoder=None):
    with pytest.raises(DataError) as caught:
        (encoder or fitted()).features(frame)
    return caught.value.problems[0].message


def test_each_list_is_a_channel_that_is_padded_with_zeros():
    x = fitted().features(FRAME)
    a = np.array([1, 2, 3, 4, 6])
    scale = np.sqrt(np.square(a - a.mean()).sum() / 6)  # the missing element counts as the mean
    assert x.shape == (3, 3, 6)
    assert x[0, :, 0] == pytest.approx((a[:3] - a.mean()) / scale)
    assert x[1, :, 0] == pytest.approx([(4 - a.mean()) / scale, 0, 0])
    assert x[:, :, 4] == pytest.approx(np.array([[-1, -1, -1], [-1, 2, 0], [2, 0, 0]]) / 2**0.5)


def test_other_columns_are_repeated_on_the_steps_that_exist_and_the_mask_comes_last():
    x = fitted().features(FRAME)
    assert x[:, :, 5].tolist() == [[1, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert x[:, :, 1:4].tolist() == [
        [[1, 0, 0]] * 3,
        [[0, 1, 0], [0, 1, 0], [0, 0, 0]],
        [[1, 0, 0], [0, 0, 0], [0, 0, 0]],
    ]


def test_equal_lengths_need_no_mask_unless_the_dataset_has_longer_lists():
    frame = FRAME.head(1)
    assert (fitted(frame).masked, fitted(frame).shape) == (False, (3, 4))
    assert (fitted(frame, steps=5).masked, fitted(frame, steps=5).shape) == (True, (5, 5))
    assert fitted(frame, steps=5).width == 25


def test_a_shorter_row_is_padded_also_where_training_rows_had_one_length():
    x = fitted(FRAME.head(1)).features(FRAME)
    assert x[2, 1:].tolist() == [[0, 0, 0, 0]] * 2
    assert (x[2, 0] != 0).any()


def test_arrays_are_lists_of_one_length():
    arrays = FRAME.head(1).with_columns(pl.col("a", "b").cast(pl.Array(pl.Float64, 3)))
    assert fitted(arrays) == fitted(FRAME.head(1))
    assert np.array_equal(fitted().features(arrays), fitted().features(FRAME.head(1)))


@pytest.mark.parametrize("dtype", [pl.Int8, pl.Boolean, pl.Decimal(10, 2)])
def test_elements_may_have_any_numeric_type(dtype):
    frame = FRAME.with_columns(a=pl.Series([[0, 1, 1], [0, None], [1]], dtype=pl.List(pl.Int8)))
    cast = frame.with_columns(pl.col("a").cast(pl.List(dtype)))
    assert fitted(cast) == fitted(frame)
    assert np.array_equal(fitted(cast).features(cast), fitted(frame).features(frame))


def test_lists_beside_text_never_become_codes():
    assert fitted(embedding_threshold=1).embedded == ()


def test_no_rows_give_no_rows():
    assert fitted().features(FRAME.head(0)).shape == (0, 3, 6)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"a": [[1.0, 2.0, 3.0], [], [1.0]]}, "row 2 of column 'a' has an empty list"),
        ({"a": [[1.0, 2.0, 3.0], None, [1.0]]}, "row 2 of column 'a' has no list"),
        ({"a": None}, "row 1 of column 'a' has no list"),
        (
            {"a": [[1.0] * 3, [1.0] * 2, [1.0] * 2]},
            "row 3 has lists of different lengths: 2 elements in 'a', 1 element in 'b'",
        ),
        ({"a": [[1.0] * 4] * 3, "b": [[1] * 4] * 3}, "row 1 of column 'a' has 4 elements; the model reads at most 3"),
        ({"a": [[1.0] * 3, [1.0, np.inf], [1.0]]}, "row 2 of column 'a' has an element that is infinite"),
        ({"a": [["u", "v", "w"], ["u", "v"], ["u"]]}, "column 'a' has the type List(String), which cannot be read"),
        ({"a": 7}, "cannot be read as lists of numbers"),
    ],
)
def test_a_row_whose_lists_cannot_be_used_is_named(change, what):
    columns = {
        name: pl.Series(values) if isinstance(values, list) else pl.lit(values) for name, values in change.items()
    }
    assert what in refused(FRAME.with_columns(**columns))


@pytest.mark.parametrize("broken", [[[1.0] * 3, [], [1.0]], [[1.0] * 3, [1.0], [1.0]], [[1.0] * 3, [1e200, 1], [1.0]]])
def test_training_rows_whose_lists_cannot_be_used_are_refused(broken):
    with pytest.raises(DataError, match="row 2"):
        fitted(FRAME.with_columns(a=pl.Series(broken)))


def test_the_longest_list_is_found_in_all_list_columns():
    table = FRAME.with_columns(c=pl.lit([0] * 7, dtype=pl.Array(pl.Int64, 7))).lazy()
    assert longest_list(table, ["a", "place"]) == 3
    assert longest_list(table, ["a", "c"]) == 7
    assert longest_list(table, ["place", "y"]) is None
