"""Indexes that pandas has written are no features, in any order of rows and from any format."""

import json
import random

import polars as pl
import pytest
import xlsxwriter

from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog

ROWS = 60
INDEX = random.Random(5).sample(range(1000), ROWS)
TABLE = {"x": [(i * 7 % 10) / 10 for i in range(ROWS)], "y": [i % 2 for i in range(ROWS)]}


def checked(folder, name, **options):
    return check_dataset(parse({"dataset": name, "target_column": "y"} | options), Catalog([folder]))


def with_metadata(folder, index, columns):
    """A Parquet file with the metadata of pandas."""
    file = folder / "t.parquet"
    about = {"pandas": json.dumps({"index_columns": index})}
    pl.DataFrame(columns).write_parquet(file, metadata=about)


@pytest.mark.parametrize("index", [["__index_level_0__"], ["customer"]])
def test_the_index_in_pandas_metadata_is_left_out_and_told(tmp_path, index):
    with_metadata(tmp_path, index, TABLE | {index[0]: INDEX})
    found = checked(tmp_path, "t.parquet")
    assert (found.features, found.problems) == (["x"], [])
    assert (
        f"{index[0]!r} is an index that pandas or R has written to 't.parquet', so it is no feature; list it in "
        "feature_columns to make it one"
    ) in found.warnings


def test_an_index_that_is_listed_stays(tmp_path):
    with_metadata(tmp_path, ["customer"], TABLE | {"customer": INDEX})
    found = checked(tmp_path, "t.parquet", feature_columns=["x", "customer"])
    assert found.features == ["x", "customer"]
    assert not any("index" in warning for warning in found.warnings)


def test_an_index_may_be_the_time(tmp_path):
    with_metadata(tmp_path, ["t"], TABLE | {"t": sorted(INDEX)})
    found = checked(tmp_path, "t.parquet", time_column="t", split="time")
    assert (found.features, found.problems) == (["x"], [])


@pytest.mark.parametrize("metadata", [None, [{"kind": "range", "start": 0, "stop": 60, "step": 1}], ["gone"]])
def test_a_range_is_no_column(tmp_path, metadata):
    with_metadata(tmp_path, metadata or [], TABLE)
    assert checked(tmp_path, "t.parquet").features == ["x"]


def written(folder, suffix, name):
    table = pl.DataFrame({name: INDEX} | TABLE)
    file = folder / f"t{suffix}"
    match suffix:
        case ".csv":
            file.write_text(table.write_csv())
        case ".xlsx":
            with xlsxwriter.Workbook(file) as book:
                sheet = book.add_worksheet()
                for number, row in enumerate([table.columns, *table.rows()]):
                    sheet.write_row(number, 0, row)
        case ".arrow":
            table.write_ipc(file)
        case _:
            table.write_parquet(file)


@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "__index_level_0__"])
@pytest.mark.parametrize("suffix", [".csv", ".xlsx", ".arrow", ".parquet"])
def test_an_index_is_known_by_its_name_in_every_format(tmp_path, suffix, name):
    written(tmp_path, suffix, name)
    assert checked(tmp_path, f"t{suffix}").features == ["x"]


@pytest.mark.parametrize("suffix", [".csv", ".xlsx"])
def test_an_index_without_a_name_is_left_out(tmp_path, suffix):
    written(tmp_path, suffix, "")
    assert checked(tmp_path, f"t{suffix}").features == ["x"]


def test_what_is_trained_on_has_no_index(tmp_path):
    (tmp_path / "t.csv").write_text(pl.DataFrame({"": INDEX} | TABLE).write_csv())
    prepared = prepare(parse({"dataset": "t.csv", "target_column": "y"}), Catalog([tmp_path]))
    assert prepared.encoder.feature_names == ["x"]


def test_a_model_that_was_trained_with_an_index_still_reads_it(tmp_path):
    (tmp_path / "t.csv").write_text(pl.DataFrame({"": INDEX} | TABLE).write_csv())
    spec = parse({"dataset": "t.csv", "target_column": "y"})
    old = prepare(spec.model_copy(update={"feature_columns": ["Unnamed: 0", "x"]}), Catalog([tmp_path])).encoder
    assert prepare(spec, Catalog([tmp_path]), encoder=old).encoder.feature_names == ["Unnamed: 0", "x"]


def test_an_index_that_was_written_twice_is_left_out_twice(tmp_path):
    (tmp_path / "t.csv").write_text(pl.DataFrame({"": INDEX, "Unnamed: 0": INDEX} | TABLE).write_csv())
    found = checked(tmp_path, "t.csv")
    assert ([column.name for column in found.columns], found.features) == (["x", "y"], ["x"])
