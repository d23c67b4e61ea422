"""Profiles against figures computed another way."""

import json
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochd.core.errors import DataError
from epochd.data.tables.catalog import open_dataset
from epochd.data.tables.source import Source
from epochd.registry import profile


@pytest.fixture
def columns(tmp_path: Path) -> Any:
    """Profiles a frame by way of a file; the columns by name."""

    def profiled(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
        frame.write_parquet(tmp_path / "t.parquet")
        found = profile.profile(Source("t", tmp_path / "t.parquet"))
        json.dumps(found, allow_nan=False)
        return {column["name"]: column for column in found["columns"]}

    return profiled


@pytest.fixture
def small_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a few thousand rows a large table."""
    monkeypatch.setattr(profile, "BATCH_ROWS", 1_000)
    monkeypatch.setattr(profile, "MAX_COUNTED", 2_000)
    monkeypatch.setattr(profile, "MAX_SAMPLED", 5_000)


def test_the_figures_of_a_real_column_are_polars_own() -> None:
    source = open_dataset("breast_cancer", [])
    values = source.read()["mean radius"]
    found = next(c for c in profile.profile(source)["columns"] if c["name"] == "mean radius")
    assert (found["min"], found["max"], found["missing"]) == (values.min(), values.max(), 0)
    assert found["mean"] == pytest.approx(values.mean())
    assert found["std"] == pytest.approx(values.std())
    assert found["quartiles"] == pytest.approx([values.quantile(q, "linear") for q in (0.25, 0.5, 0.75)])
    assert found["distinct"] == values.n_unique()
    assert not found["distinct_is_estimate"]
    assert not found["quartiles_are_estimates"]
    counts, edges = np.histogram(values.to_numpy(), profile.BINS)
    assert found["histogram"]["counts"] == counts.tolist()
    assert found["histogram"]["edges"] == pytest.approx(edges.tolist())


def test_a_large_table_has_exact_moments_and_good_estimates(columns: Any, small_rooms: None) -> None:
    draw = np.random.default_rng(1)
    values, few = draw.normal(1e6, 1, 40_000), draw.integers(0, 5, 40_000)
    found = columns(pl.DataFrame({"x": values, "few": few}))
    x = found["x"]
    assert (x["min"], x["max"]) == (values.min(), values.max())
    assert x["mean"] == pytest.approx(values.mean(), rel=1e-12)
    assert x["std"] == pytest.approx(values.std(ddof=1), rel=1e-9)
    assert x["distinct_is_estimate"]
    assert x["distinct"] == pytest.approx(40_000, rel=0.06)
    assert x["top"] is None
    assert x["quartiles_are_estimates"]
    assert x["quartiles"] == pytest.approx(np.quantile(values, [0.25, 0.5, 0.75]).tolist(), abs=0.06)
    assert x["histogram"]["counts"] == np.histogram(values, profile.BINS)[0].tolist()
    assert found["few"]["distinct"] == 5
    assert found["few"]["histogram"] == {"edges": [0, 1, 2, 3, 4, 5], "counts": np.bincount(few).tolist()}


def test_frequent_values_are_counted_over_all_batches(columns: Any, small_rooms: None) -> None:
    words = ["a"] * 2_500 + ["b"] * 3_000 + [None] * 700 + [f"w{i}" for i in range(100)]
    found = columns(pl.DataFrame({"word": words}))["word"]
    assert found["top"][:3] == [
        {"value": "b", "count": 3000},
        {"value": "a", "count": 2500},
        {"value": "w0", "count": 1},
    ]
    assert (found["kind"], found["missing"], found["distinct"], len(found["top"])) == ("text", 700, 102, 10)


def test_dates_are_profiled_as_moments(columns: Any) -> None:
    days = [date(2024, 1, 1) + timedelta(days=i) for i in range(101)]
    moments = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(101)]
    found = columns(pl.DataFrame({"day": days, "moment": moments}))
    assert (found["day"]["min"], found["day"]["max"]) == ("2024-01-01", "2024-04-10")
    assert (found["day"]["mean"], found["day"]["std"]) == ("2024-02-20", None)
    assert found["day"]["quartiles"] == ["2024-01-26", "2024-02-20", "2024-03-16"]
    assert found["moment"]["histogram"]["edges"][0] == "2024-01-01T00:00:00"
    assert sum(found["moment"]["histogram"]["counts"]) == 101


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, float("inf"), 3.0, None, -float("inf")], {"min": 1.0, "max": 3.0, "infinite": 2, "missing": 1}),
        ([None, None], {"missing": 2, "distinct": 0, "top": [], "histogram": None}),
        ([7, 7, 7], {"min": 7, "max": 7, "std": 0.0, "histogram": {"edges": [7, 7], "counts": [3]}}),
        ([5], {"std": None, "mean": 5.0, "quartiles": [5.0, 5.0, 5.0]}),
        ([2**63 - 1, -(2**63)], {"min": -(2**63), "max": 2**63 - 1}),
        ([1e308, -1e308], {"histogram": None, "distinct": 2}),
        ([True, False, True], {"kind": "boolean", "top": [{"value": True, "count": 2}, {"value": False, "count": 1}]}),
        ([timedelta(seconds=90), timedelta(0)], {"kind": "number", "max": 90.0, "mean": 45.0}),
        ([[1, 2], None], {"kind": "list", "missing": 1}),
        ([b"ab", b"c"], {"kind": "other", "missing": 0}),
    ],
)
def test_a_column_of_any_kind_has_a_profile(columns: Any, values: list[Any], expected: dict[str, Any]) -> None:
    found = columns(pl.DataFrame({"x": values}, strict=False))["x"]
    assert {key: found[key] for key in expected} == expected


def test_more_types_have_a_profile(columns: Any) -> None:
    frame = pl.DataFrame({"x": [1, 2]}).select(
        pl.col("x").cast(pl.Decimal(10, 2)).alias("decimal"),
        pl.col("x").cast(pl.String).cast(pl.Categorical).alias("category"),
        pl.col("x").cast(pl.Duration("ms")).alias("duration"),
        pl.col("x").cast(pl.Time).alias("time"),
        pl.struct("x").alias("struct"),
    )
    found = columns(frame)
    assert found["decimal"]["mean"] == 1.5
    assert found["category"]["top"][0] == {"value": "1", "count": 1}
    assert found["duration"]["max"] == 0.002
    assert found["time"]["kind"] == "date"
    assert found["struct"]["kind"] == "other"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), None),
        (float("inf"), None),
        ("x" * 500, "x" * profile.MAX_TEXT + "…"),
        (date(2024, 2, 29), "2024-02-29"),
        (timedelta(minutes=2), 120.0),
        (b"abc", "<3 bytes>"),
        (list(range(50)), [*range(profile.MAX_LIST), "…"]),
        ({"a": float("nan")}, {"a": None}),
    ],
)
def test_values_are_shown_as_plain_json(value: Any, shown: Any) -> None:
    assert profile.plain(value) == shown


def test_facts_are_those_of_the_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("len,rows\n1,a\n2,b\n")
    facts = profile.read_facts(Source("t", file))
    assert (facts.rows, facts.bytes) == (2, 17)
    assert facts.schema == [{"name": "len", "type": "Int64"}, {"name": "rows", "type": "String"}]


def test_a_fault_in_the_last_row_is_found(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("a,b\n" + "1,2\n" * 5_000 + "1,2,3\n")
    with pytest.raises(DataError, match="line 5002"):
        profile.read_facts(Source("t", file))


def limits(low: int, high: int) -> st.SearchStrategy[int]:
    """Whole numbers of a type, often its extremes."""
    return st.integers(low, high) | st.integers(low, low + 40) | st.integers(high - 40, high)


NUMBERS = {
    pl.Float64: st.none() | st.floats() | st.sampled_from([1.7e308, -1.7e308, 5e-324, 1e-323, 0.3, 0.1 + 0.2, -0.0]),
    pl.Float32: st.none() | st.floats(width=32),
    pl.Int8: limits(-(2**7), 2**7 - 1),
    pl.Int64: st.none() | limits(-(2**63), 2**63 - 1) | limits(2**53, 2**53 + 100),
    pl.UInt64: limits(0, 2**64 - 1) | limits(2**63, 2**63 + 100),
    pl.Int128: limits(-(2**127), 2**127 - 1),
}


@given(st.data(), st.sampled_from(list(NUMBERS)))
@settings(max_examples=200, deadline=None)
def test_any_numbers_have_a_profile_whose_counts_are_the_same_in_batches(data: Any, dtype: Any) -> None:
    few = data.draw(st.lists(NUMBERS[dtype], min_size=1, max_size=12))
    values = pl.Series("x", few * (2_400 // len(few)), dtype=dtype)
    whole = profiled_as_stream(values.to_frame())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(profile, "BATCH_ROWS", 1_000)
        patch.setattr(profile, "MAX_SAMPLED", 1_000)
        pieces = profiled_as_stream(values.to_frame())
    json.dumps(whole, allow_nan=False)
    for figure in ("missing", "infinite", "min", "max", "distinct", "histogram"):
        assert pieces[figure] == whole[figure]
    if histogram := whole["histogram"]:
        edges = histogram["edges"]
        assert sum(histogram["counts"]) == len(values) - whole["missing"] - whole["infinite"]
        assert all(one < other for one, other in pairwise(edges)) or (len(edges) == 2 and edges[0] == edges[1])


def profiled_as_stream(frame: pl.DataFrame) -> dict[str, Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        return profile._profiled(frame.lazy().with_columns(cs.float().fill_nan(None)), {})["columns"][0]


@pytest.mark.parametrize(
    ("values", "edges", "counts"),
    [
        (pl.Series([0.3, 0.1 + 0.2] * 10), [0.3, 0.1 + 0.2], [20]),
        (pl.Series([1e308] * 5), [1e308, 1e308], [5]),
        (pl.Series([2**63 - 1 - i for i in range(15)]), [2.0**63, 2.0**63], [15]),
        (pl.Series([2**53 + i for i in range(4)]), [2.0**53, 2.0**53 + 2, 2.0**53 + 4], [2, 2]),
    ],
)
def test_bins_are_fewer_where_floats_are_too_far_apart(columns: Any, values: Any, edges: Any, counts: Any) -> None:
    assert columns(pl.DataFrame({"x": values}))["x"]["histogram"] == {"edges": edges, "counts": counts}


def test_ids_and_nanoseconds_have_histograms_of_all_rows(columns: Any) -> None:
    frame = pl.DataFrame(
        {
            "id": [9007199254740993 * 100 + i for i in range(500)],
            "ns": [1_700_000_000_000_000_000 + i for i in range(500)],
            "moment": pl.Series([1_700_000_000_000_000_000 + 500 * i for i in range(500)]).cast(pl.Datetime("ns")),
        }
    )
    found = columns(frame)
    assert [sum(found[name]["histogram"]["counts"]) for name in frame.columns] == [500] * 3
    assert found["moment"]["max"] == "2023-11-14T22:13:20.000249"


def test_dates_that_python_does_not_know_are_shown(columns: Any) -> None:
    days = pl.Series([2_932_897, 2_932_900, -800_000, None, 2**31 - 1], dtype=pl.Int32).cast(pl.Date)
    waits = pl.Series([2**62, 1500, None, 0, -(2**63) + 1]).cast(pl.Duration("ms"))
    found = columns(pl.DataFrame({"day": days, "in_lists": days.reshape((5, 1)).arr.to_list(), "wait": waits}))
    assert (found["wait"]["min"], found["wait"]["max"]) == (-(2**63) / 1000, 2**62 / 1000)
    assert (found["day"]["min"], found["day"]["max"]) == ("-221-09-04", "5881580-07-11")
    assert found["day"]["top"][1] == {"value": "10000-01-01", "count": 1}
    assert found["day"]["missing"] == 1
