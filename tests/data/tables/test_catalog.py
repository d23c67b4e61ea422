"""Names become files, only inside the roots."""

import gzip
import unicodedata
from pathlib import Path

import pytest

from epochd.core.errors import DataError
from epochd.data.tables.catalog import BUILTIN, Catalog, open_dataset

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
    for name in ["out.csv", "loop.csv"]:
        refused = refusal(name, root)
        assert "is a link that does not lead to a dataset in" in refused.message
        assert name not in refused.hint.split("built-in")[0]
    assert "there is no dataset" in refusal("folder/secret.csv", root).message
    assert open_dataset("in.csv", [root]).read().height == 2


def test_a_link_to_a_file_of_another_format_is_refused(root):
    (root / "table.db").write_text(CSV)
    (root / "alias.csv").symlink_to(root / "table.db")
    assert "is a link that does not lead to a dataset in" in refusal("alias.csv", root).message


def test_a_folder_is_a_dataset_and_an_endless_name_is_not(root):
    assert open_dataset("deep", [root]).path == (root / "deep").resolve()
    assert "there is no dataset" in refusal("x" * 5000 + ".csv", root).message
    assert "there is no dataset" in refusal(str(root.parent), root).message


def test_the_hint_names_builtins_near_names_and_files(root):
    assert "did you mean 'iris'" in refusal("irsi", root).hint
    assert "did you mean 'iris'?" in refusal("IRIS", root).hint
    hint = refusal("tabel.csv", root).hint
    assert "did you mean 'table.csv'" in hint
    assert "deep/table.tsv" in hint
    assert all(name in hint for name in BUILTIN)
    assert "folders are empty" in refusal("x", root / "absent").hint


def test_the_hint_names_registered_datasets_and_folders_of_files(root):
    (root / "sales" / "year=2020").mkdir(parents=True)
    with pytest.raises(DataError) as caught:
        Catalog([root], {"flights": root / "table.csv"}).open("flihgts")
    hint = caught.value.problems[0].hint
    assert "did you mean 'flights'" in hint
    assert "registered: flights;" in hint
    assert "sales, table.csv" in hint


def test_a_file_is_found_without_its_suffix_and_the_source_has_its_whole_name(root):
    (root / "客户流失.v2.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    for name, whole in {
        "table": "table.csv",
        "deep/table": "deep/table.tsv",
        "客户流失.v2": "客户流失.v2.csv.gz",
    }.items():
        found = open_dataset(name, [root])
        assert (found.name, found.read().height) == (whole, 2)
    assert open_dataset(str(root / "table"), [root]).name == str(root / "table.csv")
    assert open_dataset("./table", [root]).path == (root / "table.csv").resolve()


def test_a_whole_name_and_a_registered_name_win_over_a_file_without_its_suffix(root):
    (root / "table").mkdir()
    assert open_dataset("table", [root]).path == (root / "table").resolve()
    catalog = Catalog([root], {"deep/table": root / "table.csv"})
    assert catalog.open("deep/table").path == root / "table.csv"
    assert open_dataset("deep/table", [root]).name == "deep/table.tsv"


def test_several_files_with_the_name_without_a_suffix_are_listed(root, tmp_path):
    (root / "table.parquet").touch()
    problem = refusal("table", root)
    assert problem.message.endswith("the names of several files: table.csv, table.parquet")
    assert "suffix" in problem.hint
    other = tmp_path / "other" / "deep"
    other.mkdir(parents=True)
    (other / "table.tsv").write_text("c\n1\n")
    assert open_dataset("deep/table", [other.parent, root]).read().columns == ["c"]  # the same name in two roots


def test_a_file_without_its_suffix_is_found_only_inside_a_root(root):
    (root.parent / "secret.csv").write_text(CSV)
    (root / "out.csv").symlink_to(root.parent / "secret.csv")
    (root / "folder").symlink_to(root.parent)
    (root / ".uploads").mkdir()
    (root / ".uploads" / "half.csv").write_text(CSV)
    for name in ["../secret", str(root.parent / "secret"), "out", "folder/secret", ".uploads/half", "", "."]:
        with pytest.raises(DataError):
            Catalog([root], default="..").open(name).read()


@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("given", ["NFC", "NFD"])
def test_letters_may_be_composed_or_not_in_the_name_and_on_the_disk(root, stored, given):
    folder, file = (unicodedata.normalize(stored, name) for name in ("été", "données.csv"))
    (root / folder).mkdir()
    (root / folder / file).write_text(CSV)
    for name in ("été/données.csv", "été/données", str(root / "été" / "données.csv")):
        found = open_dataset(unicodedata.normalize(given, name), [root])
        assert found.read().height == 2
        assert unicodedata.is_normalized("NFC", found.name)
    assert "there is no dataset" in refusal("été/autres.csv", root).message


def test_another_format_is_refused_with_the_formats_that_can_be_read(root):
    problem = refusal("table.sav", root)
    assert problem.message == "'table.sav' is not a dataset: files that end in '.sav' cannot be read"
    assert ".parquet" in problem.hint


def test_a_registered_name_takes_precedence_over_a_file_and_a_builtin_before_both(root):
    catalog = Catalog([root], {"table.csv": root / "deep" / "table.tsv", "iris": root / "table.csv"})
    assert catalog.open("table.csv").path == root / "deep" / "table.tsv"
    assert catalog.open("iris").read().width == 5


def test_no_name_means_the_default(root):
    assert Catalog([root]).open(None).name == "sample"
    assert Catalog([root], default="table.csv").open("").path == (root / "table.csv").resolve()


def test_a_name_that_begins_with_a_dot_is_not_a_dataset(tmp_path):
    (tmp_path / ".uploads").mkdir()
    (tmp_path / ".uploads" / "half.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError) as refused:
        Catalog([tmp_path]).open(".uploads/half.csv")
    assert "half.csv" not in refused.value.problems[0].hint


def test_a_registered_path_that_has_become_a_link_out_of_its_root_is_refused(root, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "table.csv"
    outside.write_text(CSV)
    catalog = Catalog([root], {"a": root / "table.csv", "b": root / "deep" / "table.tsv", "c": root / "loop"})
    assert catalog.open("a").path == (root / "table.csv").resolve()
    (root / "table.csv").rename(root / "inside.csv")
    (root / "table.csv").symlink_to(root / "inside.csv")
    assert catalog.open("a").path == (root / "inside.csv").resolve()
    (root / "table.csv").unlink()
    (root / "table.csv").symlink_to(outside)
    (root / "deep").rename(outside.parent / "deep")
    (root / "deep").symlink_to(outside.parent / "deep")
    (root / "loop").symlink_to(root / "loop")
    for name in ("a", "b", "c"):
        with pytest.raises(DataError, match=f"the registered path of '{name}'"):
            catalog.open(name)
