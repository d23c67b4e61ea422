"""Names become files, only inside the roots; files become tables, or an error that helps."""

import hashlib
from pathlib import Path

import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.data.sources import BUILTIN, open_dataset

CSV = "a,b\n1,x\n2,y\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "table.csv").write_text(CSV)
    (root / "deep" / "table.tsv").write_text(CSV.replace(",", "\t"))
    return root


def refusal(name: str, *roots: Path):
    with pytest.raises(DataError) as caught:
        open_dataset(name, list(roots))
    [problem] = caught.value.problems
    assert problem.field == "dataset"
    return problem


def unreadable(root: Path, name: str, content: bytes):
    (root / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_dataset(name, [root]).read()
    [problem] = caught.value.problems
    assert problem.field == "dataset"
    assert str(root) not in problem.message + problem.hint
    return problem


def test_a_file_is_found_by_a_relative_or_an_absolute_path(root):
    assert open_dataset("table.csv", [root]).read().rows() == [(1, "x"), (2, "y")]
    assert open_dataset("deep/table.tsv", [root]).read().rows() == [(1, "x"), (2, "y")]
    assert open_dataset(str(root / "table.csv"), [root]).path == (root / "table.csv").resolve()


def test_roots_are_searched_in_their_order(root, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "table.csv").write_text("c\n1\n")
    assert open_dataset("table.csv", [other, root]).read().columns == ["c"]
    assert open_dataset("deep/table.tsv", [tmp_path / "absent", other, root]).read().height == 2


@pytest.mark.parametrize("name", ["../secret.csv", "deep/../../secret.csv", "..", "a\0.csv"])
def test_dots_and_nul_are_refused(root, name):
    (root.parent / "secret.csv").write_text(CSV)
    assert "not a dataset name" in refusal(name, root).message


def test_a_file_outside_is_answered_like_one_that_does_not_exist(root):
    outside = root.parent / "secret.csv"
    before = refusal(str(outside), root)
    outside.write_text(CSV)
    assert refusal(str(outside), root) == before
    assert refusal("/etc/passwd.csv", root).message == "there is no dataset '/etc/passwd.csv'"


def test_a_link_out_of_the_root_is_refused_and_one_inside_is_followed(root):
    outside = root.parent / "secret.csv"
    outside.write_text(CSV)
    (root / "out.csv").symlink_to(outside)
    (root / "folder").symlink_to(root.parent)
    (root / "in.csv").symlink_to(root / "table.csv")
    (root / "loop.csv").symlink_to(root / "loop.csv")
    for name in ["out.csv", "folder/secret.csv", "loop.csv"]:
        assert "there is no dataset" in refusal(name, root).message
    assert open_dataset("in.csv", [root]).read().height == 2


def test_a_link_to_a_file_of_another_format_is_refused(root):
    (root / "table.db").write_text(CSV)
    (root / "alias.csv").symlink_to(root / "table.db")
    assert "there is no dataset" in refusal("alias.csv", root).message


def test_a_folder_and_an_endless_name_are_no_dataset(root):
    (root / "folder.csv").mkdir()
    assert "there is no dataset" in refusal("folder.csv", root).message
    assert "there is no dataset" in refusal("x" * 5000 + ".csv", root).message


def test_the_hint_names_builtins_near_names_and_files(root):
    assert "did you mean 'iris'" in refusal("irsi", root).hint
    hint = refusal("tabel.csv", root).hint
    assert "did you mean 'table.csv'" in hint
    assert "deep/table.tsv" in hint
    assert all(name in hint for name in BUILTIN)
    assert "hold no .csv" in refusal("x", root / "absent").hint


def test_another_format_is_refused_with_the_formats_that_can_be_read(root):
    problem = refusal("table.xlsx", root)
    assert "'.xlsx'" in problem.message
    assert ".parquet" in problem.hint


def test_missing_values_and_a_byte_order_mark_are_understood(root):
    (root / "bom.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,x\nNA,\nnull,NaN\n4.5,y\n")
    frame = open_dataset("bom.csv", [root]).read()
    assert frame.columns == ["a", "b"]
    assert frame.rows() == [(1.0, "x"), (None, None), (None, None), (4.5, "y")]


def test_a_float_nan_counts_as_missing(root):
    pl.DataFrame({"a": [1.0, float("nan")]}).write_parquet(root / "nan.parquet")
    assert open_dataset("nan.parquet", [root]).read()["a"].to_list() == [1.0, None]


def test_a_column_that_turns_out_wider_far_down_is_read_again(root):
    (root / "late.csv").write_text("a\n" + "1\n" * 12_000 + "2.5\n")
    assert open_dataset("late.csv", [root]).read()["a"].to_list()[-1] == 2.5


def test_the_name_of_a_file_is_not_a_pattern(root):
    (root / "t*.csv").write_text("a\n1\n")
    assert open_dataset("t*.csv", [root]).read().columns == ["a"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2\n1,2,3\n", "line 3 has 3 values, but the header names 2 columns"),
        (b"a,b\n1,2\ncaf\xe9,2\n", "line 3 is not UTF-8 (byte 0xe9)"),
        (b'a,b\n1,2\n3,"4\n', "line 3: unexpected end of data"),
        (b"", "the file is empty"),
    ],
)
def test_a_broken_text_file_is_told_with_its_line(root, content, message):
    assert unreadable(root, "broken.csv", content).message == f"'broken.csv' cannot be read as CSV: {message}"


def test_a_broken_parquet_file_is_told(root):
    problem = unreadable(root, "broken.parquet", b"PAR1 nonsense")
    assert problem.message.startswith("'broken.parquet' cannot be read as PARQUET")


def test_a_file_that_vanishes_is_told_without_its_path(root):
    source = open_dataset("table.csv", [root])
    (root / "table.csv").unlink()
    for use in (source.read, source.fingerprint):
        with pytest.raises(DataError, match="cannot be opened") as caught:
            use()
        assert str(root) not in caught.value.message


def test_the_fingerprint_is_the_sha256_of_the_content(root):
    source = open_dataset("table.csv", [root])
    assert source.fingerprint() == hashlib.sha256(CSV.encode()).hexdigest()
    (root / "table.csv").write_text(CSV + "3,z\n")
    assert source.fingerprint() != hashlib.sha256(CSV.encode()).hexdigest()
