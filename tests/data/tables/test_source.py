"""The table of a dataset in every format, and its rows in batches."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.data.tables.catalog import open_dataset
from epochd.data.tables.source import Source
from epochd.data.tables.table import batches

TABLE = pl.DataFrame({"a": [1, 2, None], "b": ["x", "y", "z"], "c": [0.5, None, 2.5], "d": [date(2020, 2, 29)] * 3})


def write_zstd(path: Path) -> None:
    TABLE.lazy().sink_csv(path, separator="\t" if ".tsv" in path.name else ",", compression="zstd")


def write_gzip(path: Path) -> None:
    TABLE.lazy().sink_csv(path, separator="\t" if ".tsv" in path.name else ",", compression="gzip")


WRITERS = {
    ".csv": TABLE.write_csv,
    ".CSV": TABLE.write_csv,
    ".csv.gz": write_gzip,
    ".csv.zst": write_zstd,
    ".tsv": lambda path: TABLE.write_csv(path, separator="\t"),
    ".tsv.gz": write_gzip,
    ".tsv.zst": write_zstd,
    ".parquet": TABLE.write_parquet,
    ".arrow": TABLE.write_ipc,
    ".feather": lambda path: TABLE.write_ipc(path, compression="zstd"),
    ".ipc": TABLE.write_ipc_stream,
    ".xlsx": TABLE.write_excel,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_table_is_the_same_in_every_format(tmp_path, suffix):
    WRITERS[suffix](tmp_path / f"table{suffix}")
    assert open_dataset(f"table{suffix}", [tmp_path]).read().equals(TABLE)


@pytest.mark.parametrize("suffix", [".ndjson", ".jsonl", ".jsonl.gz", ".ndjson.zst"])
def test_json_lines_have_dates_as_text(tmp_path, suffix):
    packing = {".gz": "gzip", ".zst": "zstd"}.get(suffix[-3:] if suffix.endswith(".gz") else suffix[-4:])
    TABLE.lazy().sink_ndjson(tmp_path / f"table{suffix}", compression=packing or "uncompressed")
    wanted = TABLE.with_columns(pl.col("d").cast(pl.String))
    assert open_dataset(f"table{suffix}", [tmp_path]).read().equals(wanted)


@pytest.mark.parametrize("suffix", [".csv", ".ndjson", ".parquet", ".arrow", ".xlsx"])
def test_spaces_around_column_names_are_taken_off(tmp_path, suffix):
    spaced = TABLE.rename({"a": " a", "b": "b\t "})
    write = {".csv": spaced.write_csv, ".ndjson": spaced.write_ndjson, ".parquet": spaced.write_parquet}
    write |= {".arrow": spaced.write_ipc, ".xlsx": spaced.write_excel}
    write[suffix](tmp_path / f"table{suffix}")
    assert open_dataset(f"table{suffix}", [tmp_path]).apply(lambda t: t.select("b", "a").collect()).columns == [
        "b",
        "a",
    ]


def test_two_names_that_differ_in_spaces_only_are_refused(tmp_path):
    TABLE.rename({"a": " b"}).write_parquet(tmp_path / "table.parquet")
    with pytest.raises(DataError, match=r"same name: 'b' \(columns 1, 2\)"):
        open_dataset("table.parquet", [tmp_path]).apply(lambda table: table)


def test_a_float_nan_counts_as_missing(tmp_path):
    pl.DataFrame({"a": [1.0, float("nan")]}).write_parquet(tmp_path / "nan.parquet")
    assert open_dataset("nan.parquet", [tmp_path]).read()["a"].to_list() == [1.0, None]


@pytest.mark.parametrize("name", ["t*.csv", "[t].ndjson", "t?.parquet", "t*.arrow"])
def test_the_name_of_a_file_is_not_a_pattern(tmp_path, name):
    frame = pl.DataFrame({"a": [1]})
    write = {"csv": frame.write_csv, "ndjson": frame.write_ndjson}
    write |= {"parquet": frame.write_parquet, "arrow": frame.write_ipc}
    write[name.rsplit(".", 1)[1]](tmp_path / name)
    write[name.rsplit(".", 1)[1]](tmp_path / f"tt.{name.rsplit('.', 1)[1]}")
    assert open_dataset(name, [tmp_path]).read().rows() == [(1,)]


def test_a_column_that_turns_out_wider_far_down_is_read_again(tmp_path):
    (tmp_path / "late.csv").write_text("a\n" + "1\n" * 12_000 + "2.5\n")
    assert open_dataset("late.csv", [tmp_path]).read()["a"].to_list()[-1] == 2.5


def test_numbers_and_then_a_word_read_as_text(tmp_path):
    (tmp_path / "mixed.csv").write_text("a,b\n" + "1,2\n" * 50_000 + "word,2\n" * 5_000)
    frame = open_dataset("mixed.csv", [tmp_path]).read()
    assert frame.schema == {"a": pl.String, "b": pl.Int64}
    assert frame["a"].unique().sort().to_list() == ["1", "word"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_that_vanishes_is_reported_without_its_path(tmp_path, suffix):
    WRITERS[suffix](tmp_path / f"table{suffix}")
    source = open_dataset(f"table{suffix}", [tmp_path])
    source.path.unlink()
    for use in (source.read, source.schema_caveat, source.fingerprint):
        with pytest.raises(DataError, match=r"cannot be opened \(No such file") as caught:
            use()
        assert str(tmp_path) not in caught.value.message


def test_a_registered_file_of_an_unknown_format_is_reported(tmp_path):
    (tmp_path / "table.db").write_text("a\n1\n")
    with pytest.raises(DataError, match="'it' cannot be read as a table: its format is not known"):
        Source("it", tmp_path / "table.db").read()


def test_an_error_of_the_caller_is_not_reported_as_an_error_of_the_file(tmp_path):
    TABLE.write_csv(tmp_path / "table.csv")
    with pytest.raises(ZeroDivisionError):
        open_dataset("table.csv", [tmp_path]).apply(lambda table: 1 / 0)


@pytest.mark.parametrize("rows_per_group", [1, 7, 64, 1000])
def test_batches_are_cut_at_the_same_rows_however_the_file_was_written(tmp_path, rows_per_group):
    frame = pl.DataFrame({"a": range(1000)})
    frame.write_parquet(tmp_path / "t.parquet", row_group_size=rows_per_group)
    found = list(batches(open_dataset("t.parquet", [tmp_path]).apply(lambda table: table), size=64))
    assert [(first, batch.height) for first, batch in found] == [(i, min(64, 1000 - i)) for i in range(0, 1000, 64)]
    assert pl.concat([batch for _, batch in found]).equals(frame)


def test_batches_of_text_are_in_order_and_a_late_fault_is_raised(tmp_path):
    (tmp_path / "t.csv").write_text("a\n" + "".join(f"{i}\n" for i in range(300_000)))
    firsts = [
        (first, batch["a"][0]) for first, batch in batches(open_dataset("t.csv", [tmp_path]).apply(lambda table: table))
    ]
    assert firsts == [(i, i) for i in range(0, 300_000, 65_536)]
    with (tmp_path / "t.csv").open("a") as file:
        file.write("1,2\n")
    with pytest.raises(DataError, match="line 300002 has 2 values"):
        open_dataset("t.csv", [tmp_path]).apply(lambda table: list(batches(table)))


def test_an_empty_table_has_no_batches():
    assert list(batches(pl.LazyFrame({"a": []}))) == []


@pytest.mark.parametrize("record", [False, True])
@pytest.mark.parametrize("levels", [32, 33])
def test_values_in_lists_and_records_that_nest_without_end_are_refused(tmp_path, levels, record):
    kind: pl.DataType = pl.Int8()
    for _ in range(levels):
        kind = pl.Struct({"a": kind}) if record else pl.List(kind)
    pl.DataFrame({"x": [1], "deep": pl.Series([None], dtype=kind)}).write_ipc(tmp_path / "t.arrow")
    source = open_dataset("t.arrow", [tmp_path])
    if levels == 32:
        assert source.read().columns == ["x", "deep"]
    else:
        with pytest.raises(DataError, match="column 'deep' has values inside more than 32 lists or records"):
            source.read()
