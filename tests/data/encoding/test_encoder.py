"""Columns become numbers and outputs become labels again; the state survives JSON exactly."""

import datetime as dt
import json
import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from epochd.core import specs
from epochd.core.errors import CorruptFile, DataError
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.fit import EncoderFit, longest_list

FRAME = pl.DataFrame(
    {
        "age": [20, 30, None, 50],
        "town": ["Ulm", "Bonn", None, "Ulm"],
        "member": [True, False, True, True],
        "y": ["no", "yes", "yes", "no"],
    }
)
FLOATS = st.floats(-1e100, 1e100)
SCALINGS = ["standard", "robust", "quantile"]
LABELS = st.one_of(
    st.lists(st.text(), min_size=2, max_size=8, unique=True),
    st.lists(st.integers(-(2**62), 2**62), min_size=2, max_size=8, unique=True),
    st.just([False, True]),
)


COLUMN_TYPES = {
    "number": (FLOATS, pl.Float64),
    "whole": (st.integers(0, 2**64 - 1), pl.UInt64),
    "duration": (st.timedeltas(dt.timedelta(-9999), dt.timedelta(9999)), pl.Duration("us")),
    "boolean": (st.booleans(), pl.Boolean),
    "text": (st.text(max_size=3), pl.String),
    "date": (st.dates(), pl.Date),
    "datetime": (st.datetimes(), pl.Datetime("us")),
    "zoned": (st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2100, 1, 1)), pl.Datetime("us", "UTC")),
    "time": (st.times(), pl.Time),
}


@st.composite
def columns(draw, lists=False):
    """A frame with a column of each kind, any value of which may be missing, and a target."""
    rows = draw(st.integers(1, 4))
    drawn = {
        name: pl.Series(draw(st.lists(st.none() | values, min_size=rows, max_size=rows)), dtype=dtype)
        for name, (values, dtype) in COLUMN_TYPES.items()
    }
    if lists:
        lengths = draw(st.lists(st.integers(1, 4), min_size=rows, max_size=rows))
        elements = [draw(st.lists(st.none() | FLOATS, min_size=n, max_size=n)) for n in lengths]
        drawn["list"] = pl.Series(elements, dtype=pl.List(pl.Float64))
    return pl.DataFrame(drawn | {"y": pl.Series(range(rows), dtype=pl.Float64)})


def fitted(frame=FRAME, features=("age", "town", "member"), task="binary", classes=("no", "yes"), **options):
    spec = specs.parse({"target_column": "y", **options})
    steps = longest_list(frame.lazy(), features)
    fit = EncoderFit(spec, frame.schema, features, task, classes, frame.height, steps)
    fit.partial_fit(frame)
    return fit.finalize()


def regression(values, **options):
    return fitted(pl.DataFrame({"x": [0.0] * len(values), "y": values}), ["x"], "regression", None, **options)


def problems(encoder, frame):
    with pytest.raises(DataError) as caught:
        encoder.features(frame)
    return caught.value.problems


def test_a_row_has_numbers_categories_booleans_and_flags_for_what_was_missing():
    x = fitted().features(FRAME)
    assert x.dtype == np.float32
    mean = 100 / 3
    scale = math.sqrt(((20 - mean) ** 2 + (30 - mean) ** 2 + (50 - mean) ** 2) / 4)
    assert x[:, 0] == pytest.approx([(20 - mean) / scale, (30 - mean) / scale, 0, (50 - mean) / scale])
    assert x[:, 1].tolist() == [0, 0, 1, 0]
    assert x[:, 2:6].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]]  # Bonn, Ulm, missing, else
    assert x[:, 6].tolist() == [1, -1, 1, 1]
    assert (fitted().shape, fitted().width) == ((7,), 7)


def test_numbers_equal_scikit_learns_imputer_and_scaler():
    rng = np.random.default_rng(5)
    values = rng.normal(1e6, 3, (200, 4))
    values[rng.random((200, 4)) < 0.2] = np.nan
    frame = pl.DataFrame(values, schema=list("abcd")).with_columns(y=pl.lit(1.0)).fill_nan(None)
    ours = fitted(frame, list("abcd"), "regression", None).features(frame)[:, ::2]
    theirs = StandardScaler().fit_transform(SimpleImputer().fit_transform(values))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_constant_column_becomes_zeros_despite_rounding():
    frame = pl.DataFrame({"x": [0.1] * 7, "y": [0.0, 1, 2, 3, 4, 5, 6]})
    assert fitted(frame, ["x"], "regression", None).features(frame).tolist() == [[0.0]] * 7


def test_a_column_without_any_training_value_can_be_encoded():
    frame = pl.DataFrame({"x": [None, None], "t": [None, None], "y": [1.0, 2.0]}, schema_overrides={"t": pl.String})
    encoder = fitted(frame, ["x", "t"], "regression", None)
    later = encoder.features(pl.DataFrame({"x": [3.0], "t": ["new"]}))
    assert later.tolist() == [[0.0, 0.0, 0.0, 1.0]], "no weight has been learned for it"


@pytest.mark.parametrize("dtype", [pl.Categorical, pl.Enum(["Ulm", "Bonn", "Rome"])])
def test_categoricals_are_encoded_like_text(dtype):
    frame = FRAME.with_columns(pl.col("town").cast(dtype))
    assert fitted(frame) == fitted()
    assert np.array_equal(fitted(frame).features(frame), fitted().features(FRAME))


def test_columns_may_come_in_any_order_with_others_among_them():
    shuffled = FRAME.select("member", pl.lit(1).alias("other"), "town", "age")
    assert np.array_equal(fitted().features(shuffled), fitted().features(FRAME))


def test_an_unseen_category_falls_into_the_last_column():
    row = pl.DataFrame({"age": [20], "town": ["Rome"], "member": [True]})
    assert fitted().features(row)[0, 2:6].tolist() == [0, 0, 0, 1]


def test_numbers_written_as_text_are_read():
    row = pl.DataFrame({"age": ["20", " 30 ", "", "NA", None], "town": "Ulm", "member": ["1", "0", "1", "1", "1"]})
    x = fitted().features(row)
    assert np.array_equal(x[:2, 0], fitted().features(FRAME)[:2, 0])
    assert x[2:, 0].tolist() == [0, 0, 0]


def test_every_missing_column_is_named():
    [problem] = problems(fitted(), FRAME.select("member", pl.col("age").alias("AGE")))
    assert problem.message == "missing columns: 'age', 'town'"
    assert problem.hint.endswith("there is 'AGE' for 'age'")


def test_a_value_that_is_no_number_is_named_with_its_row_in_every_such_column():
    frame = pl.DataFrame({"age": ["20", "old"], "town": [["Ulm"], []], "member": [1.0, math.inf]})
    age, town, member = problems(fitted(), frame)
    assert (age.field, age.message) == ("age", "row 2 of column 'age' is not a number: 'old'")
    assert (town.field, town.message) == (
        "town",
        "column 'town' has the type List(String), which cannot be read as text",
    )
    assert member.message == "row 2 of column 'member' is neither true nor false: inf"


def test_a_value_beyond_float32_is_refused():
    [problem] = problems(fitted(), FRAME.with_columns(age=pl.lit(1e60)))
    assert problem.message == "row 1 of column 'age' is infinite or too large: 1e+60"


def test_targets_have_the_form_that_training_needs():
    binary = fitted().target(FRAME)
    assert (binary.dtype, binary.tolist()) == (np.float32, [0, 1, 1, 0])
    many = fitted(task="multiclass").target(FRAME)
    assert (many.dtype, many.tolist()) == (np.int64, [0, 1, 1, 0])
    amounts = pl.DataFrame({"x": [0.0] * 4, "y": [1, 2, 3, 6]})
    values = regression([1, 2, 3, 6]).target(amounts)
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(0, abs=1e-6)
    assert values.std() == pytest.approx(1)


def test_a_target_with_a_missing_or_unknown_value_is_refused():
    for strange, shown in [("maybe", "row 2 has the label 'maybe'"), (None, "row 2 has no label")]:
        with pytest.raises(DataError, match=shown):
            fitted().target(pl.DataFrame({"y": ["no", strange]}))
    with pytest.raises(DataError, match="row 2 of column 'y' is missing"):
        regression([1.0, 2.0]).target(pl.DataFrame({"y": [1.0, None]}))


@given(LABELS, st.data())
def test_labels_survive_encoding_and_decoding(labels, data):
    classes = sorted(labels)
    task = "binary" if len(classes) == 2 else "multiclass"
    frame = pl.DataFrame(
        {"x": [0.0] * 20, "y": data.draw(st.lists(st.sampled_from(classes), min_size=20, max_size=20))}
    )
    encoder = fitted(frame, ["x"], task, classes)
    y = encoder.target(frame)
    outputs = y[:, None] * 2 - 1 if task == "binary" else np.eye(len(classes))[y]
    found = encoder.decode(outputs.astype(np.float32))
    assert found.labels == frame["y"].to_list()
    assert [type(label) for label in found.labels] == [type(label) for label in frame["y"].to_list()]
    assert found.probabilities.argmax(axis=1).tolist() == y.tolist()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20))
def test_regression_decodes_to_the_targets_own_unit(values):
    encoder = regression(values)
    found = encoder.decode(encoder.target(pl.DataFrame({"y": values}))[:, None])
    assert found.probabilities is None
    assert found.labels == pytest.approx(values, rel=1e-5, abs=1e-5 * (encoder.target_scale + abs(encoder.target_mean)))


@given(st.lists(st.floats(-0.9, 1e6), min_size=2, max_size=20))
def test_a_logarithm_decodes_to_the_targets_own_unit(values):
    encoder = regression(values, target_transform="log1p")
    y = encoder.target(pl.DataFrame({"y": values}))
    assert y.astype(float) * encoder.target_scale + encoder.target_mean == pytest.approx(np.log1p(values), abs=1e-5)
    found = encoder.decode(y[:, None])
    assert found.labels == pytest.approx(values, rel=1e-4, abs=1e-4 * (1 + abs(encoder.target_mean)))


def test_a_value_without_a_logarithm_is_named_with_its_row():
    encoder = regression([1.0, 2.0], target_transform="log1p")
    with pytest.raises(DataError, match=r"row 2 of column 'y' is not above -1, so it has no logarithm: -1.5"):
        encoder.target(pl.DataFrame({"y": [1.0, -1.5]}))


def test_the_transform_is_part_of_the_state_and_older_states_have_none():
    state = regression([1.0, 2.0], target_transform="log1p").as_json()
    assert Encoder.from_json(json.loads(json.dumps(state))).target_transform == "log1p"
    assert state.pop("target_transform") == "log1p"
    assert Encoder.from_json(state).target_transform is None


def test_the_second_of_two_classes_is_predicted_above_the_threshold():
    logits = np.log([[0.1 / 0.9], [0.3 / 0.7], [0.6 / 0.4]])
    encoder = fitted()
    assert encoder.decode(logits).labels == ["no", "no", "yes"]
    assert encoder.decode(logits, 0.2).labels == ["no", "yes", "yes"]
    assert encoder.decode(logits, 0.9).labels == ["no", "no", "no"]


def test_extreme_logits_give_probabilities_without_overflow():
    binary = fitted().decode(np.array([[1e4], [-1e4], [0]], dtype=np.float32))
    assert binary.probabilities.tolist() == [[0, 1], [1, 0], [0.5, 0.5]]
    assert binary.labels == ["yes", "no", "no"]
    many = fitted(task="multiclass").decode(np.array([[3e38, -3e38]], dtype=np.float32))
    assert many.probabilities.tolist() == [[1, 0]]


@settings(max_examples=30)
@given(columns(), st.sampled_from(SCALINGS))
def test_the_state_survives_json_exactly(frame, scaling):
    encoder = fitted(frame, frame.drop("y").columns, "regression", None, scaling=scaling, embedding_threshold=1)
    again = Encoder.from_json(json.loads(json.dumps(encoder.as_json(), allow_nan=False)))
    assert again == encoder
    assert again.features(frame).tobytes() == encoder.features(frame).tobytes()


@settings(max_examples=30)
@given(columns(lists=True), st.sampled_from(SCALINGS))
def test_the_state_of_sequences_survives_json_exactly(frame, scaling):
    features = frame.drop("y").columns
    encoder = fitted(frame, features, "regression", None, scaling=scaling, model_type="gru")
    again = Encoder.from_json(json.loads(json.dumps(encoder.as_json(), allow_nan=False)))
    assert again == encoder
    assert again.features(frame).tobytes() == encoder.features(frame).tobytes()


@settings(max_examples=30)
@given(columns(), st.randoms(use_true_random=False))
def test_any_order_of_columns_gives_equal_bytes(frame, random):
    encoder = fitted(frame, frame.drop("y").columns, "regression", None)
    shuffled = random.sample(frame.columns, frame.width)
    assert encoder.features(frame.select(shuffled)).tobytes() == encoder.features(frame).tobytes()


@settings(max_examples=30)
@given(columns(), st.sampled_from(SCALINGS))
def test_encoded_rows_are_finite_and_flags_say_what_is_missing(frame, scaling):
    encoder = fitted(frame, ["number"], "regression", None, scaling=scaling)
    x = encoder.features(frame)
    assert np.isfinite(x).all()
    missing = frame["number"].is_null().to_numpy()
    assert encoder.width == 1 + missing.any()
    if missing.any():
        assert x[:, 1].tolist() == missing.tolist()


def test_sides_hold_their_rows_of_all():
    encoder, sides = fitted(FRAME), [np.array([0, 3]), np.array([1])]
    found = [(rows, np.zeros((len(rows), encoder.width), np.float32)) for rows in sides]
    encoder.transform(FRAME, found)
    for rows, x in found:
        np.testing.assert_array_equal(x, encoder.features(FRAME)[rows])


def test_no_rows_give_no_rows():
    assert fitted().features(FRAME.head(0)).shape == (0, 7)


def test_classes_keep_their_types_in_json():
    for classes in [(False, True), (0, 1), (0.0, 1.0), ("0", "1"), (1, 2**60 + 1)]:
        encoder = fitted(classes=classes)
        again = Encoder.from_json(json.loads(json.dumps(encoder.as_json())))
        assert again == encoder
        assert [type(label) for label in again.classes] == [type(label) for label in classes]


LINEAR = {"kind": "linear", "centre": 0.0, "scale": 1.0}
NUMBER = {"kind": "number", "name": "x", "scale": LINEAR, "flag": False}


@pytest.mark.parametrize(
    "change",
    [
        {"columns": [{"kind": "magic"}]},
        {"columns": [{}]},
        {"columns": ["x"]},
        {"columns": [NUMBER | {"flag": 1}]},
        {"columns": [NUMBER | {"name": 7}]},
        {"columns": [NUMBER | {"scale": LINEAR | {"scale": 0.0}}]},
        {"columns": [NUMBER | {"scale": LINEAR | {"centre": math.nan}}]},
        {"columns": [NUMBER | {"scale": {"kind": "knots", "values": [1.0, 1.0], "scores": [0.0, 1.0]}}]},
        {"columns": [{"kind": "codes", "name": "x", "categories": ["a", "a"]}]},
        {"classes": 3},
        {"steps": 5},
        {"target_scale": None},
        {"target_transform": "sqrt"},
    ],
)
def test_a_damaged_state_is_reported(change):
    with pytest.raises(CorruptFile, match="the state of the encoder is invalid"):
        Encoder.from_json(fitted().as_json() | change)


def test_names_and_outputs_follow_from_the_state():
    assert fitted().feature_names == ["age", "town", "member"]
    assert fitted().outputs == 1
    assert fitted(task="multiclass", classes=("a", "b", "c")).outputs == 3
    assert regression([1.0, 2.0]).outputs == 1
