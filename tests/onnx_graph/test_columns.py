"""Raw columns encoded by a graph are what the encoder makes of them."""

import datetime as dt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochd.data.encoding.scaling import CONSTANT_SCALE, Knots, Linear
from epochd.onnx_graph import columns, scales
from epochd.onnx_graph.builder import Graph
from epochd.onnx_graph.feeds import Feeds
from epochd.onnx_graph.inputs import Input, Output, column_inputs
from tests.onnx_graph.models import Model, digits, flights, with_gaps
from tests.support.onnx_files import run


def encoded(model, frame):
    """The encoder's channels but the mask, computed by the graph, in the encoder's order."""
    encoder = model.encoder
    taken, out = column_inputs(encoder, None), Output("out", "FP32", (-1, *encoder.shape), "")
    graph = Graph(taken, [out])
    rows = columns.encode(graph, encoder, taken, None)
    graph.op("Identity", graph.take(rows.plain, np.argsort(rows.channels).tolist(), len(rows.channels)), into="out")
    return run(graph.model("", {}).SerializeToString(), Feeds(encoder)(frame))["out"]


def fitted(frame, **options):
    return Model.of(frame.with_columns(y=pl.lit(1.0)), "regression", **options)


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_columns_of_all_kinds_are_encoded_as_by_the_encoder(scaling):
    frame = flights().drop("tailnum", "dest")
    model = fitted(frame, scaling=scaling)
    for rows in (frame, with_gaps(frame)):
        np.testing.assert_allclose(encoded(model, rows), model.encoder.features(rows), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("equally_long", [False, True])
@pytest.mark.parametrize("chosen", [["pixels"], ["pixels", "other"], ["kind", "pixels", "ink", "other"]])
def test_lists_and_repeated_columns_are_zero_where_no_step_exists(equally_long, chosen):
    frame = digits(equally_long).select(chosen)
    model = fitted(frame)
    shorter = frame.with_columns(pl.col(pl.List(float)).list.head(2))
    for rows in (with_gaps(frame), shorter):
        expected = model.encoder.features(rows)
        found = encoded(model, rows)
        np.testing.assert_allclose(found, expected[..., : found.shape[-1]], rtol=1e-6, atol=1e-6)


MOMENTS = {
    pl.Datetime("us"): st.datetimes(),
    pl.Datetime("ms"): st.datetimes(),
    pl.Datetime("ns"): st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2250, 1, 1)),
    pl.Datetime("us", "Europe/Berlin"): st.datetimes(dt.datetime(1850, 1, 1), dt.datetime(2100, 1, 1)),
    pl.Date: st.dates(),
    pl.Time: st.times(),
}


@pytest.mark.parametrize("dtype", MOMENTS, ids=str)
@settings(max_examples=25)
@given(st.data())
def test_any_date_and_time_has_the_encoders_calendar_parts(dtype, data):
    drawn = data.draw(st.lists(st.none() | MOMENTS[dtype], min_size=2, max_size=6))
    frame = pl.DataFrame({"a": pl.Series(drawn, dtype=dtype), "b": pl.Series(drawn[::-1], dtype=dtype)})
    model = fitted(frame)
    np.testing.assert_allclose(encoded(model, frame), model.encoder.features(frame), rtol=1e-5, atol=2e-6)


def test_the_days_of_leap_years_and_of_years_before_christ_are_counted_exactly():
    years = [-401, -400, -4, 0, 1, 4, 1600, 1700, 1900, 1969, 1970, 2000, 2023, 2024, 2100, 2400, 9999]
    days = pl.select(pl.concat([pl.date(year, month, day) for year in years for month, day in BORDERS])).to_series()
    days = days.drop_nulls()
    frame = pl.DataFrame({"day": days, "last": days.cast(pl.Datetime("us")).dt.offset_by("86399999999us")})
    model = fitted(frame)
    assert model.encoder.columns[0].cycles == ("year", "week")
    np.testing.assert_allclose(encoded(model, frame), model.encoder.features(frame), rtol=1e-6, atol=1e-6)


BORDERS = [(1, 1), (2, 28), (3, 1), (12, 30), (12, 31)]

NUMBERS = st.floats(-1e9, 1e9)


@st.composite
def any_scale(draw):
    if draw(st.booleans()):
        return Linear(draw(NUMBERS), draw(st.sampled_from([1e-3, 1.0, 1e6, CONSTANT_SCALE])))
    values = sorted(draw(st.sets(st.integers(-1000, 1000), min_size=2, max_size=256)))
    return Knots(tuple(map(float, values)), tuple(np.linspace(-3, 3, len(values)).tolist()))


@settings(max_examples=60)
@given(st.lists(any_scale(), min_size=1, max_size=4), st.data())
def test_scales_are_those_of_the_encoder(chosen, data):
    values = st.none() | NUMBERS | st.integers(-1100, 1100)
    rows = [data.draw(st.lists(values, min_size=3, max_size=3)) for _ in chosen]
    numbers = np.array(rows, float).T
    chosen = [chosen[i] for i in scales.linear_first(chosen)]
    graph = Graph(
        [Input("x", None, "", "FP64", (-1, len(chosen)), None, "")], [Output("out", "FP64", numbers.shape, "")]
    )
    graph.op("Identity", scales.apply(graph, "x", graph.op("IsNaN", "x"), chosen), into="out")
    expected = [scale.apply(column.copy()) for scale, column in zip(chosen, numbers.T, strict=True)]
    found = run(graph.model("", {}).SerializeToString(), {"x": numbers})["out"]
    np.testing.assert_allclose(found.T, np.nan_to_num(expected, nan=0.0), rtol=1e-12, atol=1e-12)


TEXTS = st.sampled_from(["", "Ulm", "Bonn", " Ulm", "<missing>", "é", "a\0b", "名"])


@settings(max_examples=60)
@given(st.lists(st.none() | TEXTS, min_size=1, max_size=5), st.lists(st.none() | TEXTS, min_size=1, max_size=5))
def test_missing_text_is_told_apart_from_every_known_and_unknown_one(known, later):
    model = fitted(pl.DataFrame({"town": pl.Series(known, dtype=pl.String)}))
    rows = pl.DataFrame({"town": pl.Series(later, dtype=pl.String)})
    np.testing.assert_array_equal(encoded(model, rows), model.encoder.features(rows))
