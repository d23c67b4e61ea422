"""An encoder is fitted on training rows, in batches."""

from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epochd.core import specs
from epochd.core.errors import DataError
from epochd.data.encoding import fit
from epochd.data.encoding.fit import EncoderFit

ROWS = 500
RNG = np.random.default_rng(8)
TABLE = pl.DataFrame(
    {
        "size": RNG.lognormal(2, 1, ROWS),
        "kind": RNG.choice(["a", "b", "c", "d"], ROWS),
        "seen": RNG.random(ROWS) < 0.5,
        "day": pl.Series(RNG.integers(0, 1000, ROWS), dtype=pl.Int32).cast(pl.Date),
        "y": RNG.normal(5, 2, ROWS),
    }
).with_columns(pl.when(pl.col("size") > 3).then(pl.col("size")))
FEATURES = TABLE.columns[:-1]


def fitted(*batches, **options):
    spec = specs.parse({"target_column": "y", **options})
    rows = sum(batch.height for batch in batches)
    found = EncoderFit(spec, TABLE.schema, FEATURES, "regression", None, rows)
    for batch in batches:
        found.partial_fit(batch)
    return found.finalize()


@given(st.lists(st.integers(0, ROWS), max_size=4), st.sampled_from(["standard", "robust", "quantile"]))
def test_batch_boundaries_change_no_shape_and_numbers_only_by_rounding(cuts, scaling):
    ends = [0, *sorted(cuts), ROWS]
    pieces = [TABLE[start:end] for start, end in pairwise(ends)]
    found, whole = fitted(*pieces, scaling=scaling), fitted(TABLE, scaling=scaling)
    assert (found.shape, found.columns[1:3]) == (whole.shape, whole.columns[1:3])
    np.testing.assert_allclose(found.features(TABLE), whole.features(TABLE), rtol=1e-5, atol=1e-6)
    assert found.target_scale == pytest.approx(whole.target_scale)


def test_the_same_batches_give_the_same_bits():
    assert fitted(TABLE[:200], TABLE[200:]) == fitted(TABLE[:200], TABLE[200:])


def test_only_the_fitted_rows_count():
    training = TABLE.filter(pl.col("kind") != "d", pl.col("size").is_not_null(), pl.col("day") < pl.date(1971, 1, 1))
    encoder = fitted(training)
    assert encoder.columns[0].scale.centre == training["size"].to_numpy().mean()
    assert encoder.columns[1].categories == ("a", "b", "c")
    assert not any(column.flag for column in encoder.columns)
    assert encoder.target_mean == training["y"].to_numpy().mean()


def test_the_target_of_a_classification_is_not_standardised():
    spec = specs.parse({"target_column": "kind"})
    found = EncoderFit(spec, TABLE.schema, ["size"], "multiclass", ["a", "b", "c", "d"], ROWS)
    found.partial_fit(TABLE)
    encoder = found.finalize()
    assert (encoder.target_mean, encoder.target_scale, encoder.classes) == (0, 1, ("a", "b", "c", "d"))


@pytest.mark.parametrize(
    ("options", "embedded"),
    [
        ({"model_type": "mlp"}, ((2, 5),)),
        ({"model_type": "gru", "sequence_length": 5, "time_column": "day"}, ((2, 5),)),
        ({"model_type": "gru"}, ()),
        ({"model_type": "cnn"}, ()),
        ({"model_type": "mlp", "embedding_threshold": 4}, ()),
    ],
)
def test_many_categories_become_codes_where_the_network_can_embed_them(options, embedded):
    assert fitted(TABLE, **({"embedding_threshold": 3} | options)).embedded == embedded


def test_quantiles_come_from_a_sample_of_bounded_size(monkeypatch):
    monkeypatch.setattr(fit, "COLUMN_SAMPLE", 100)
    centre = fitted(TABLE[:333], TABLE[333:], scaling="robust").columns[0].scale.centre
    assert centre == TABLE["size"].gather_every(5).median()
    monkeypatch.setattr(fit, "TOTAL_SAMPLE", 50)
    centre = fitted(TABLE, scaling="robust").columns[0].scale.centre
    assert centre == TABLE["size"].gather_every(10).median()


def test_a_type_that_cannot_be_learned_from_is_refused():
    schema = pl.Schema({"s": pl.Struct({"a": pl.Int8}), "y": pl.Float64})
    with pytest.raises(DataError, match="'s' has the type Struct"):
        EncoderFit(specs.parse({"target_column": "y"}), schema, ["s"], "regression", None, 9)


PIXELS = pl.DataFrame(
    {f"p{i}": RNG.normal(100.0 * (i % 2), 1 + i, ROWS) for i in range(8)} | {"y": RNG.normal(5, 2, ROWS)}
)


def fitted_pixels(table=PIXELS, **options):
    spec = specs.parse({"target_column": "y", "model_type": "cnn"} | options)
    found = EncoderFit(spec, table.schema, table.columns[:-1], "regression", None, table.height)
    for start in range(0, table.height, 100):
        found.partial_fit(table[start : start + 100])
    return found.finalize()


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile"])
def test_the_pixels_of_a_channel_are_scaled_together(scaling):
    scales = [column.scale for column in fitted_pixels(input_shape=[2, 2, 2], scaling=scaling).columns]
    assert len(set(scales)) == 2
    assert set(scales[::2]) == {scales[0]}
    channel = PIXELS.select("p0", "p2", "p4", "p6").to_numpy().ravel()
    alone = fitted_pixels(pl.DataFrame({"p": channel, "y": channel}), scaling=scaling).columns[0].scale
    numbers = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(
        scales[0].apply(numbers), alone.apply(numbers), atol=0.05 if scaling != "standard" else 1e-9
    )


def test_columns_that_are_no_pixels_keep_a_scale_of_their_own():
    for options in ({}, {"input_shape": [4, 2], "model_type": "gru"}):
        assert len({column.scale for column in fitted_pixels(**options).columns}) == 8
    gap = PIXELS.with_columns(pl.when(pl.col("p0") > 0).then(pl.col("p0")))
    assert len({column.scale for column in fitted_pixels(gap, input_shape=[2, 4]).columns}) == 8


def test_a_pixel_that_never_varies_is_compared_with_the_others():
    table = PIXELS.with_columns(p0=pl.lit(0.0))
    encoder = fitted_pixels(table, input_shape=[2, 2, 2])
    assert encoder.columns[0].scale == encoder.columns[2].scale
    assert (
        fitted_pixels(table.with_columns(pl.lit(3.0).alias(f"p{i}") for i in range(8)), input_shape=[2, 4])
        .features(table)
        .any()
        == np.False_
    )
