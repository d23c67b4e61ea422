"""Raw rows become the tensors of a graph, or the errors of the encoder."""

import datetime as dt

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.onnx_graph.feeds import Feeds
from epochd.onnx_graph.inputs import MISSING_TIME
from tests.onnx_graph.models import Model, digits, flights, windows_of, with_target


@pytest.fixture(scope="module")
def encoder():
    return Model.of(with_target(flights(), "binary"), "binary", embedding_threshold=10).encoder


def test_each_value_has_the_form_that_its_input_describes(encoder):
    moment = dt.datetime(2013, 7, 1, 12, tzinfo=dt.UTC)
    rows = (
        flights()
        .head(2)
        .with_columns(
            dep_delay=pl.Series([" 1.5 ", "NA"]),
            late=pl.Series(["TRUE", None]),
            short=pl.Series([1, 0]),
            day=pl.Series(["2013-01-02", None]),
            hour=pl.Series([moment, None]),
            planned=pl.Series([dt.time(0, 0, 1), None]),
            flown=pl.Series([dt.timedelta(minutes=2), None]),
            label=pl.Series(["EWR", None]),
        )
    )
    found = {name: array[:, 0].tolist() for name, array in Feeds(encoder)(rows).items()}
    assert found["dep_delay"] == pytest.approx([1.5, np.nan], nan_ok=True)
    assert found["late"] == pytest.approx([1.0, np.nan], nan_ok=True)
    assert found["short"] == [1.0, 0.0]
    assert found["day"] == [1_357_084_800_000_000, MISSING_TIME]
    assert found["hour"] == [int(moment.timestamp() - 4 * 3600) * 1_000_000, MISSING_TIME], "New York's summer time"
    assert found["planned"] == [1_000_000, MISSING_TIME]
    assert found["flown"] == pytest.approx([120.0, np.nan], nan_ok=True)
    assert found["label_"] == ["EWR", ""]


def test_times_are_rounded_down_to_microseconds():
    times = pl.Series([-1, 0, 999, 1000], dtype=pl.Int64)
    frame = pl.DataFrame({"x": times.cast(pl.Datetime("ns")), "y": [0.0, 1, 2, 3]})
    encoder = Model.of(frame, "regression").encoder
    assert Feeds(encoder)(frame)["x"][:, 0].tolist() == [-1, 0, 0, 1]


WRONG = {
    "no-numbers": {"distance": pl.Series(["far"] * 3), "dep_delay": pl.Series(["1", "2", "x"])},
    "infinite": {"distance": pl.Series([1.0, np.inf, 2]), "constant": pl.Series([1.0, -np.inf, 2])},
    "too-large": {"flown": pl.Series([1.0, 2, 1e300]), "distance": pl.Series([1.0, 1e200, 2])},
    "no-booleans": {"late": pl.Series(["yes", "no", "maybe"]), "short": pl.Series([0, 1, 2])},
    "no-dates": {"day": pl.Series(["1.2.2013"] * 3), "planned": pl.Series(["12"] * 3), "hour": pl.Series([1, 2, 3])},
    "no-text": {"carrier": pl.Series([dt.time(1)] * 3), "tailnum": pl.Series([[1]] * 3), "late": pl.Series(["?"] * 3)},
    "absent": {"late": None, "day": None, "carrier": None},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_rows_are_refused_with_the_errors_of_the_encoder(encoder, wrong):
    rows = flights().head(3)
    for name, series in wrong.items():
        rows = rows.drop(name) if series is None else rows.with_columns(series.alias(name))
    with pytest.raises(DataError) as expected:
        encoder.features(rows)
    with pytest.raises(DataError) as found:
        Feeds(encoder)(rows)
    assert found.value.problems == expected.value.problems
    assert len(found.value.problems) >= 1


LISTS = {
    "too-long": {"pixels": [[1.0] * 30] * 3, "other": [[1.0] * 30] * 3},
    "uneven": {"pixels": [[1.0], [1.0], [1.0, 2.0]], "other": [[1.0]] * 3},
    "empty": {"pixels": [[1.0], [], [1.0]], "other": [[1.0]] * 3},
    "none": {"pixels": [[1.0], None, [1.0]], "other": [[1.0]] * 3},
    "infinite": {"pixels": [[1.0]] * 3, "other": [[1.0], [np.inf], [1.0]]},
    "no-lists": {"pixels": [1.0] * 3, "other": [[1.0]] * 3},
    "other-column": {"pixels": [[1.0]] * 3, "other": [[1.0]] * 3, "ink": ["x"] * 3},
}


@pytest.mark.parametrize("wrong", LISTS.values(), ids=LISTS)
def test_lists_are_refused_with_the_errors_of_the_encoder(wrong):
    encoder = Model.of(with_target(digits(), "binary"), "binary", model_type="gru").encoder
    rows = digits().head(3).with_columns(pl.Series(name, values) for name, values in wrong.items())
    with pytest.raises(DataError) as expected:
        encoder.features(rows)
    with pytest.raises(DataError) as found:
        Feeds(encoder)(rows)
    assert found.value.problems == expected.value.problems


def test_lists_are_padded_with_nan_behind_their_lengths():
    encoder = Model.of(with_target(digits(), "binary"), "binary", model_type="gru").encoder
    found = Feeds(encoder)(digits().head(2))
    assert found["lengths"].tolist() == [[3], [4]]
    assert found["pixels"].shape == (2, 21)
    assert np.isnan(found["pixels"][0]).tolist() == [False] * 3 + [True] * 18


def test_windows_take_their_rows_from_the_columns():
    options = {"sequence_length": 4, "time_column": "arr_time", "model_type": "gru"}
    encoder = Model.of(with_target(flights(), "binary"), "binary", **options).encoder
    found = Feeds(encoder, 4)(flights().head(6), windows_of(6, 4))
    distances = flights()["distance"].head(6).to_numpy()
    assert found["distance"].tolist() == [distances[first : first + 4].tolist() for first in range(3)]
    assert {name: array.shape for name, array in found.items()} == dict.fromkeys(found, (3, 4))


def test_a_model_of_windows_and_no_other_needs_windows(encoder):
    with pytest.raises(ValueError, match="needs the rows of each window"):
        Feeds(encoder)(flights(), windows_of(6, 4))
    with pytest.raises(ValueError, match="needs the rows of each window"):
        Feeds(encoder, 4)(flights())


def test_a_graph_of_encoded_rows_is_fed_with_them(encoder):
    rows = flights().head(3)
    found = Feeds(encoder, start="features")(rows)
    np.testing.assert_array_equal(found.pop("features"), encoder.features(rows))
    assert found == {}
