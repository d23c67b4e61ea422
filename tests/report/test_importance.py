import numpy as np
import polars as pl
import pytest

from epochd.core import specs
from epochd.data.encoding.fit import EncoderFit
from epochd.report import importance
from epochd.report.importance import Measurement, Scored

ROWS = 300
RNG = np.random.default_rng(7)
TABLE = pl.DataFrame(
    {
        "used": RNG.normal(10, 3, ROWS),
        "ignored": RNG.normal(0, 1, ROWS),
        "colour": RNG.choice(["red", "green", "blue"], ROWS),
        "flag": RNG.random(ROWS) < 0.5,
        "target": RNG.normal(0, 1, ROWS),
    }
)


@pytest.fixture(scope="module")
def encoder():
    spec = specs.parse({"target_column": "target"})
    fit = EncoderFit(spec, TABLE.schema, TABLE.columns[:-1], "regression", None, ROWS, None)
    fit.partial_fit(TABLE)
    return fit.finalize()


def measurement(encoder, outputs, **options):
    x = encoder.features(TABLE)
    truth = outputs(x)[:, 0]

    def score(found):
        return Scored(float(((found[:, 0] - truth) ** 2).mean()), 0.0)

    return Measurement(outputs, score, encoder, x, x.shape[1:], **options)


def of_first_and_colour(x):
    """The scaled column ``used``, and whether ``colour`` is red (its second to last one-hot column)."""
    return (2 * x[:, :1] + x[:, 4:5]).astype(np.float32)


def test_only_columns_that_the_outputs_depend_on_are_important(encoder):
    found, skipped = importance.importances(measurement(encoder, of_first_and_colour))
    by_name = {one.column: one for one in found}
    assert skipped == []
    assert [one.column for one in found][:2] == ["used", "colour"]
    assert by_name["used"].loss == pytest.approx(8, rel=0.2)  # twice the variance of 2 x, whose deviation is 2
    assert by_name["ignored"].loss == by_name["flag"].loss == 0
    assert all(one.repeats == importance.REPEATS for one in found)


def test_the_channels_of_a_column_are_exchanged_together(encoder):
    seen = []

    def outputs(x):
        seen.append(x[:, 2:6].sum(axis=1))
        return x[:, :1]

    importance.importances(measurement(encoder, outputs))
    assert all((sums == 1).all() for sums in seen)  # every row has exactly one colour


def test_the_same_seed_measures_the_same(encoder):
    first, again, other = (
        importance.importances(measurement(encoder, of_first_and_colour, seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_columns_that_the_time_does_not_suffice_for_are_named(encoder):
    found, skipped = importance.importances(measurement(encoder, of_first_and_colour, deadline=0.0))
    assert found == []
    assert skipped == ["used", "ignored", "colour", "flag"]


def test_outputs_that_are_not_finite_are_not_measured(encoder):
    given = measurement(encoder, lambda x: np.full((len(x), 1), np.inf, np.float32))
    with np.errstate(invalid="ignore"):
        found, skipped = importance.importances(given)
    assert found == []
    assert len(skipped) == 4


def test_the_dependence_on_a_number_is_in_its_own_unit(encoder):
    found = importance.dependence(
        measurement(encoder, lambda x: x[:, :1]), "used", lambda out: out.mean(axis=0), {"": 0}
    )
    scale = encoder.columns[0].scale
    assert found.lines[0].y == pytest.approx([(x - scale.centre) / scale.scale for x in found.x], abs=1e-5)
    assert min(found.x) == pytest.approx(np.quantile(TABLE["used"], 0.05), rel=0.1)


def test_the_dependence_on_text_has_a_point_for_each_category(encoder):
    found = importance.dependence(
        measurement(encoder, of_first_and_colour), "colour", lambda out: out.mean(axis=0), {"": 0}
    )
    reds = dict(zip(found.categories, found.lines[0].y, strict=True))
    assert set(reds) == {"red", "green", "blue"}
    assert reds["red"] == pytest.approx(reds["blue"] + 1, abs=1e-5)


def test_a_boolean_has_two_points_and_a_late_dependence_none(encoder):
    given = measurement(encoder, lambda x: x[:, 6:7])
    found = importance.dependence(given, "flag", lambda out: out.mean(axis=0), {"": 0})
    assert (found.categories, found.lines[0].y) == (["false", "true"], [-1, 1])
    late = measurement(encoder, lambda x: x[:, :1], deadline=0.0)
    assert importance.dependence(late, "used", lambda out: out.mean(axis=0), {"": 0}) is None


def test_a_value_that_every_step_repeats_stays_the_same_on_every_step():
    table = pl.DataFrame({"signal": [[1.0, 2.0], [3.0]] * 20, "level": np.arange(40.0), "target": np.arange(40.0)})
    fit = EncoderFit(
        specs.parse({"target_column": "target", "model_type": "gru"}),
        table.schema,
        ["signal", "level"],
        "regression",
        None,
        40,
        2,
    )
    fit.partial_fit(table)
    found, x, seen = fit.finalize(), fit.finalize().features(table), []

    def outputs(x):
        seen.append((x[:, 0, 1] == x[:, 1, 1]).sum())
        return x[:, 0, :1]

    importance.importances(Measurement(outputs, lambda out: Scored(0.0, 0.0), found, x, x.shape[1:]))
    assert seen[:3] == [20, 20, 40]  # as it is, with another signal, with another level
