"""Columns that are known in advance: their values at the rows of the targets are channels of each window."""

import numpy as np
import polars as pl
import pytest

from epochd.core.errors import InvalidSpec
from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.prepare import prepare
from epochd.data.storage.materialize import StoragePolicy
from epochd.data.tables.catalog import Catalog

LENGTH = 3


def spec(**options):
    base = {
        "dataset": "t.parquet",
        "target_column": "y",
        "time_column": "t",
        "group_column": "g",
        "sequence_length": LENGTH,
    }
    base |= {"feature_columns": ["y"], "known_in_advance": ["p"], "task": "regression", "horizon": [1, 4]}
    return parse(base | options)


def table(groups=3, length=60, seed=0):
    draw = np.random.default_rng(seed)
    days = np.tile(np.arange(length), groups)
    frame = pl.DataFrame(
        {
            "t": days,
            "g": np.repeat([f"g{number}" for number in range(groups)], length),
            "p": draw.normal(size=groups * length),
            "h": draw.choice(["usual", "easter", "may"], groups * length),
            "y": draw.normal(size=groups * length),
        }
    )
    return frame[draw.permutation(frame.height)]


@pytest.mark.parametrize("horizon", [2, [1, 4], [0, 3]])
@pytest.mark.parametrize("limit", [None, 100])
def test_each_step_has_the_values_of_later_rows_and_the_last_one_those_of_the_targets(tmp_path, horizon, limit):
    frame = table()
    frame.write_parquet(tmp_path / "t.parquet")
    policy = None if limit is None else StoragePolicy(tmp_path / "cache", limit, 2**30)
    features = {"feature_columns": ["p"]} if horizon == [0, 3] else {}
    asked = spec(horizon=horizon, known_in_advance=["p", "h"], test_split=0.2, **features)
    found = prepare(asked, Catalog([tmp_path]), policy)
    encoder = found.encoder
    assert encoder.windowed.feature_names[: len(encoder.columns)] == encoder.feature_names
    values = {(row["g"], row["t"]): row for row in frame.to_dicts()}
    ahead = [rows for rows in asked.horizons if rows > 0]
    for name in ("train", "validation", "test"):
        part, rows = getattr(found, name), found.rows[name]
        x = part.gather(np.arange(len(part))).x if limit else part.x
        assert x.shape == (len(rows), LENGTH, encoder.windowed.width)
        for example, row in zip(x, rows, strict=True):
            group, target = frame[int(row)].select("g", "t").row(0)
            end = target - asked.furthest
            for step in range(LENGTH):
                at = end - LENGTH + 1 + step
                now = encoder.features(pl.DataFrame([values[group, at]]))[0]
                known = pl.DataFrame([values[group, at + later] for later in ahead])
                later = encoder.features(known)[:, encoder.known_channels]
                np.testing.assert_array_equal(example[step], np.concatenate([now, later.ravel()]))


def test_the_checks_know_the_shape_and_the_embeddings_of_later_values(tmp_path):
    table().write_parquet(tmp_path / "t.parquet")
    asked = spec(known_in_advance=["h", "p"], embedding_threshold=2)
    report, found = check_dataset(asked, Catalog([tmp_path])), prepare(asked, Catalog([tmp_path]))
    assert report.problems == []
    assert report.shape == found.train.x.shape[1:]
    assert report.embedded == found.encoder.embedded
    assert len(report.embedded) == 3
    assert report.features == ["y", "h", "p"]


def test_a_column_of_time_can_be_known_in_advance(tmp_path):
    table().write_parquet(tmp_path / "t.parquet")
    found = prepare(spec(known_in_advance=["t"]), Catalog([tmp_path]))
    assert found.encoder.windowed.feature_names == ["y", "t", "t+1", "t+4"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"known_in_advance": ["y"]}, "is the target, which is not known in advance"),
        ({"known_in_advance": ["p", "p"]}, "is listed more than once"),
        ({"horizon": 0, "feature_columns": ["p"]}, "needs a horizon above 0"),
        ({"sequence_length": None}, "option of sequence_length"),
    ],
)
def test_what_cannot_be_known_in_advance_is_a_problem(options, says):
    with pytest.raises(InvalidSpec, match=says) as caught:
        spec(**options)
    assert "known_in_advance" in {problem.field for problem in caught.value.problems}


def test_a_column_that_is_missing_or_gives_the_target_away_is_a_problem(tmp_path):
    table().with_columns(copy=pl.col("y")).write_parquet(tmp_path / "t.parquet")
    found = check_dataset(spec(known_in_advance=["prices"]), Catalog([tmp_path]))
    assert [problem.field for problem in found.problems] == ["known_in_advance"]
    leak = check_dataset(spec(known_in_advance=["copy"]), Catalog([tmp_path]))
    assert "is equal to the target" in leak.problems[0].message
    past = check_dataset(spec(known_in_advance=None, feature_columns=["copy"]), Catalog([tmp_path]))
    assert past.problems == []
