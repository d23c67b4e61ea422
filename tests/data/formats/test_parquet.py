"""Folders of Parquet files: one table, its order that of the paths."""

from datetime import date

import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.data.formats import parquet
from epochd.data.tables.catalog import open_dataset
from epochd.data.tables.source import Source


def write(folder, relative, *values):
    path = folder / relative
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"a": values}).write_parquet(path)


def test_a_folder_is_read_in_the_order_of_its_paths(tmp_path):
    for relative, value in (("t/b.parquet", 3), ("t/a/z.parquet", 2), ("t/A.PARQUET", 1)):
        write(tmp_path, relative, value)
    assert open_dataset("t", [tmp_path]).read()["a"].to_list() == [1, 2, 3]


def test_folders_of_keys_become_columns(tmp_path):
    write(tmp_path, "t/year=2019/day=2019-05-01/0.parquet", 1)
    write(tmp_path, "t/year=2020/day=2020-05-01/0.parquet", 2, 3)
    frame = open_dataset("t", [tmp_path]).read()
    assert frame.rows() == [(1, 2019, date(2019, 5, 1)), (2, 2020, date(2020, 5, 1)), (3, 2020, date(2020, 5, 1))]


def test_keys_above_the_folder_are_not_columns(tmp_path):
    write(tmp_path, "lake=9/t/year=2020/0.parquet", 1)
    write(tmp_path, "lake=9/plain/0.parquet", 1)
    assert open_dataset("lake=9/t", [tmp_path]).read().rows() == [(1, 2020)]
    assert open_dataset("lake=9/plain", [tmp_path]).read().rows() == [(1,)]


def test_a_single_file_below_a_key_has_its_own_columns_only(tmp_path):
    write(tmp_path, "t/year=2020/0.parquet", 1)
    assert open_dataset("t/year=2020/0.parquet", [tmp_path]).read().columns == ["a"]


def test_metadata_of_writers_is_not_read(tmp_path):
    write(tmp_path, "t/0.parquet", 1)
    write(tmp_path, "t/_temporary/1.parquet", 2)
    write(tmp_path, "t/.hidden.parquet", 3)
    (tmp_path / "t" / "_SUCCESS").touch()
    (tmp_path / "t" / "0.parquet.crc").write_text("no table")
    assert open_dataset("t", [tmp_path]).read()["a"].to_list() == [1]


def test_links_are_read_only_if_they_stay_in_the_folder(tmp_path):
    write(tmp_path, "t/0.parquet", 1)
    write(tmp_path, "secret/0.parquet", 2)
    (tmp_path / "t" / "in.parquet").symlink_to(tmp_path / "t" / "0.parquet")
    (tmp_path / "t" / "out.parquet").symlink_to(tmp_path / "secret" / "0.parquet")
    (tmp_path / "t" / "folder").symlink_to(tmp_path / "secret")
    (tmp_path / "alias").symlink_to(tmp_path / "t")
    assert [path.name for path in parquet.files_in(tmp_path / "t")] == ["0.parquet", "in.parquet"]
    assert Source("alias", tmp_path / "alias").read()["a"].to_list() == [1, 1]


def test_columns_may_be_in_any_order_but_not_more(tmp_path):
    (tmp_path / "t").mkdir()
    pl.DataFrame({"a": [1], "b": [2]}).write_parquet(tmp_path / "t" / "0.parquet")
    pl.DataFrame({"b": [4], "a": [3]}).write_parquet(tmp_path / "t" / "1.parquet")
    assert open_dataset("t", [tmp_path]).read().rows() == [(1, 2), (3, 4)]
    pl.DataFrame({"a": [5], "b": [6], "c": [7]}).write_parquet(tmp_path / "t" / "1.parquet")
    with pytest.raises(DataError, match=r"'1.parquet' has column 'c', which '0.parquet' does not have"):
        open_dataset("t", [tmp_path]).read()
