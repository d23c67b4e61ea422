"""Times with and without an offset to UTC are never mixed silently."""

import datetime as dt
import json

import numpy as np
import polars as pl
import pytest
from tests.support.tables import only_problem, only_warning

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.encoding.dates import Date, DateFit
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog

ROWS = 60
NAIVE = [dt.datetime(2024, 1, 1) + dt.timedelta(hours=7 * i) for i in range(ROWS)]
LABELS = [i // 3 % 2 for i in range(ROWS)]
SHANGHAI = {"columns": {"t": {"timezone": "Asia/Shanghai"}}}


def zoned(zone="UTC"):
    return {"t": pl.Series(NAIVE).dt.replace_time_zone(zone), "y": LABELS}


def fitted(series, timezone=None):
    fit = DateFit("t", series.dtype, timezone=timezone)
    fit.partial_fit(series)
    return fit.finalize()


def encoded(column, values):
    series = pl.Series("t", values)
    out = np.zeros((len(series), column.width), np.float32)
    column.transform(series, out)
    return out


def test_times_with_an_offset_are_a_warning_that_names_the_option(look):
    message = only_warning(look(zoned()))
    assert message.startswith(
        "the times of 't' have an offset to UTC and are encoded in local time of UTC: predictions"
    )
    assert message.endswith('"columns": {"t": {"timezone": "Asia/Shanghai"}}')
    assert look({"t": NAIVE, "y": LABELS}).warnings == []
    assert look(zoned(), **SHANGHAI).warnings == []


def test_offsets_in_some_rows_only_are_a_warning(tmp_path):
    texts = [time.isoformat() + ("+08:00" if i % 2 else "") for i, time in enumerate(NAIVE)]
    pl.DataFrame({"t": texts, "y": LABELS}).write_csv(tmp_path / "t.csv")
    found = check_dataset(parse({"dataset": "t.csv", "target_column": "y"}), Catalog([tmp_path]))
    assert any("some times of 't' have an offset to UTC and some have none" in w for w in found.warnings)


def test_a_zone_that_does_not_exist_is_a_problem(look):
    found = look(zoned(), columns={"t": {"timezone": "Mars/Olympus"}})
    message = "'Mars/Olympus', the timezone of 't', is not the name of a time zone"
    assert only_problem(found) == ("columns", message)


@pytest.mark.parametrize(
    "values",
    [NAIVE, [time.isoformat() for time in NAIVE], [time.date() for time in NAIVE]],
    ids=["times", "text", "dates"],
)
def test_times_without_an_offset_are_refused_by_a_model_of_times_with_one(values):
    column = fitted(zoned()["t"].alias("t"))
    with pytest.raises(DataError, match="row 1 of column 't' is a time without an offset to UTC") as caught:
        encoded(column, values)
    assert '"columns": {"t": {"timezone": "Asia/Shanghai"}}' in caught.value.problems[0].hint


def test_missing_times_need_no_offset():
    column = fitted(zoned()["t"].alias("t"))
    assert encoded(column, pl.Series([None, None], dtype=pl.Datetime("us"))).shape == (2, column.width)
    assert encoded(column, ["2024-01-05T10:00:00Z", None]).shape == (2, column.width)


def test_the_option_says_in_which_zone_times_without_an_offset_are():
    utc = zoned()["t"].alias("t")
    column = fitted(utc, "Asia/Shanghai")
    assert (column.zone, column.naive) == ("Asia/Shanghai", "Asia/Shanghai")
    wall = utc.dt.convert_time_zone("Asia/Shanghai").dt.replace_time_zone(None)
    for same in (wall, wall.dt.to_string("%Y-%m-%dT%H:%M:%S"), wall.dt.to_string("%Y-%m-%d %H:%M:%S+08:00")):
        assert np.array_equal(encoded(column, same), encoded(column, utc))
    assert Date.from_json(json.loads(json.dumps(column.as_json()))) == column


def test_a_model_of_times_without_an_offset_reads_those_with_one_in_its_zone():
    wall = pl.Series("t", NAIVE)
    column = fitted(wall, "Asia/Shanghai")
    utc = wall.dt.replace_time_zone("Asia/Shanghai").dt.convert_time_zone("UTC")
    assert np.array_equal(encoded(column, utc), encoded(column, wall))
    assert np.array_equal(encoded(column, utc.dt.to_string("%Y-%m-%dT%H:%MZ")), encoded(column, wall))


@pytest.mark.parametrize("text", ["2024-01-05T10:00+08:00", "2024-01-05T10:00:00+0800", "2024-01-05 02:00Z"])
def test_offsets_are_read_in_every_iso_notation(text):
    column = fitted(zoned()["t"].alias("t"))
    assert np.array_equal(encoded(column, [text]), encoded(column, ["2024-01-05T02:00:00Z"]))


def test_an_older_model_takes_such_times_to_be_in_its_zone():
    state = fitted(zoned()["t"].alias("t")).as_json()
    del state["naive"]
    column = Date.from_json(state)
    assert np.array_equal(encoded(column, NAIVE), encoded(column, zoned()["t"]))


def test_the_option_is_part_of_the_model(tmp_path):
    pl.DataFrame(zoned()).write_parquet(tmp_path / "t.parquet")
    spec = parse({"dataset": "t.parquet", "target_column": "y"} | SHANGHAI)
    column = prepare(spec, Catalog([tmp_path])).encoder.columns[0]
    assert (column.zone, column.naive) == ("Asia/Shanghai", "Asia/Shanghai")
