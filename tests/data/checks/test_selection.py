"""Columns that name their row are left out with a warning, unless the config says otherwise."""

import uuid

import polars as pl
import pytest
from tests.support.tables import ROWS, only_problem, only_warning, table

from epochd.core.specs import parse
from epochd.data.checks.identifier_names import is_identifier_name
from epochd.data.checks.report import check_dataset
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog

MANY = 120
LATIN = [
    "id",
    "customer_id",
    "CustomerNo",
    "userId",
    "PassengerId",
    "order number",
    "Kunden-Nr.",
    "Unnamed: 0",
    "userid",
]
LATIN += ["__index_level_0__", "row_number", "phone"]
ASIAN = ["编号", "客户编号", "客户号", "订单号", "身份证号", "手机号", "序号", "用户ID", "電話", "番号"]


def numbered(**columns):
    """MANY rows of a good table with these columns besides."""
    good = {"a": [i * 7 % 40 / 2 for i in range(MANY)], "y": [i // 3 % 2 for i in range(MANY)]}
    return columns | good


def odd(i):
    """Whole numbers that neither repeat nor count rows."""
    return 100_000 + i * 7919 % 10_007


@pytest.mark.parametrize("name", ["name", "full_name", "Customer Name", "姓名", "联系人"])
def test_names_of_people_are_left_out_by_the_name_of_their_column(look, name):
    values = [f"Anna Meier {'abcdefgh'[i % 8]}{i}" for i in range(MANY)]
    assert [column.name for column in look(numbered(**{name: values})).left_out] == [name]


@pytest.mark.parametrize(
    "values",
    [
        [f"c-{i}" for i in range(MANY)],
        [str(uuid.UUID(int=i * 7919)) for i in range(MANY)],
        [f"meier{i}@example.org" for i in range(MANY - 3)] + [None] * 3,
        [f"张伟{i}" for i in range(MANY)],
    ],
    ids=["codes", "uuids", "addresses", "chinese names"],
)
def test_text_that_is_different_in_nearly_all_rows_is_left_out(look, values):
    found = look(numbered(who=values))
    assert found.features == ["a"]
    present = sum(value is not None for value in values)
    reason = (
        f"'who' looks like an identifier: {present} distinct texts in {present} rows, such as {values[0]!r} in row 1"
    )
    assert [(column.name, column.reason) for column in found.left_out] == [("who", reason)]
    option = '"columns": {"who": {"type": "category"}}'
    assert only_warning(found) == f"{reason}; it is left out: to use it nevertheless, set {option}"


@pytest.mark.parametrize("units", [("kg", "g"), ("Cr", "Dr"), ("Mio. €", "Mrd. €")])
def test_numbers_in_several_units_are_not_called_identifiers(look, units):
    found = look(numbered(weight=[f"{odd(i)} {units[i % 2]}" for i in range(MANY)]))
    assert found.features == ["a"]
    assert only_warning(found) == (
        f"'weight' is text, because its numbers have different units, such as '{odd(0)} {units[0]}' in row 1; "
        "it is left out: to use it as numbers, write all of them in one unit"
    )


@pytest.mark.parametrize("dtype", [pl.Int64, pl.Int32, pl.UInt16, pl.Float64])
def test_whole_numbers_of_any_type_that_their_name_calls_identifiers_are_left_out(look, dtype):
    numbers = pl.Series([i * 7919 % 10_007 for i in range(MANY)], dtype=dtype)
    found = look(numbered(客户编号=numbers))
    assert found.features == ["a"]
    assert only_warning(found).startswith(
        "'客户编号' looks like an identifier: 120 distinct numbers in 120 rows, such as 0"
    )
    assert '"columns": {"客户编号": {"type": "number"}}' in found.warnings[0]


def test_numbers_are_no_identifiers_by_their_values_alone(look):
    assert look(numbered(income=[odd(i) for i in range(MANY)])).features == ["income", "a"]
    assert look(numbered(customer_id=[odd(i) + 0.5 for i in range(MANY)])).features == ["customer_id", "a"]


@pytest.mark.parametrize("name", LATIN + ASIAN)
def test_names_of_identifiers(name):
    assert is_identifier_name(name)


@pytest.mark.parametrize(
    "name", ["paid", "grid", "信号", "number", "price", "casino", "rooms", "valid", "brow", "年龄"]
)
def test_other_names(name):
    assert not is_identifier_name(name)


def test_a_column_that_counts_the_rows_is_left_out(look):
    counter = list(range(1000, 1000 + MANY))
    found = look(numbered(n=counter))
    assert found.features == ["a"]
    assert only_warning(found).startswith("'n' looks like a row index: each value is the one before plus 1; it is left")
    counter[4:6] = [1005, 1004]
    assert look(numbered(n=counter)).features == ["n", "a"]


def test_a_small_table_has_identifiers_where_names_or_values_say_so(look):
    numbers = [i * 37 % 101 for i in range(ROWS)]
    keys = [str(uuid.UUID(int=i)) for i in range(ROWS)]
    words = [f"w{i}" for i in range(ROWS)]
    found = look(table(id=numbers, code=keys, word=words))
    assert [column.name for column in found.left_out] == ["id", "code"]
    assert found.features == ["a", "b", "word"]


def test_free_text_is_no_identifier(look):
    reviews = [f"the room was number {i} and the breakfast was cold" for i in range(MANY)]
    assert look(numbered(review=reviews)).left_out == []
    assert look(numbered(评论=[f"房间很干净，早餐不错，第{i}次入住了这家酒店" for i in range(MANY)])).left_out == []


@pytest.mark.parametrize("kind", ["category", "number"])
def test_a_type_makes_a_column_a_feature_without_a_warning(look, kind):
    found = look(numbered(id=[odd(i) for i in range(MANY)]), columns={"id": {"type": kind}})
    assert (found.features, found.warnings, found.left_out) == (["id", "a"], [], [])


def test_a_type_leaves_a_column_out(look):
    found = look(table(), columns={"a": {"type": "identifier"}})
    assert (found.features, found.warnings) == (["b"], [])
    assert [(c.name, c.reason) for c in found.left_out] == [("a", "the type of 'a' in columns is 'identifier'")]


def test_listed_numbers_are_used_with_a_warning_and_listed_texts_are_not(look):
    columns = numbered(id=[odd(i) for i in range(MANY)], who=[f"c-{i}" for i in range(MANY)])
    found = look(columns, feature_columns=["who", "id", "a"])
    assert found.features == ["id", "a"]
    assert [column.name for column in found.left_out] == ["who"]
    assert any(w.endswith("it is used because feature_columns lists it") for w in found.warnings)
    by_pattern = look(columns, feature_columns=["*"])
    assert (by_pattern.features, len(by_pattern.left_out)) == (["a"], 2)


def test_a_table_of_identifiers_only_is_refused(look):
    columns = {"who": [f"c-{i}" for i in range(MANY)], "y": [i // 3 % 2 for i in range(MANY)]}
    message = (
        "'who' looks like an identifier: 120 distinct texts in 120 rows, such as 'c-0' in row 1, "
        "and no other column is left to learn from"
    )
    assert only_problem(look(columns)) == ("feature_columns", message)


def test_excluded_columns_are_no_features(look):
    columns = table(px1=table()["a"], px2=[i * 3 % 11 for i in range(ROWS)])
    assert look(columns, exclude_columns=["px*"]).features == ["a", "b"]
    found = look(columns, feature_columns=["px*", "a"], exclude_columns=["px2"])
    assert (found.features, found.left_out) == (["px1", "a"], [])


def test_excluded_columns_that_do_not_exist_are_problems_with_the_nearest(look):
    found = look(table(colour=table()["a"]), exclude_columns=["color"])
    assert only_problem(found) == ("exclude_columns", "the dataset has no column 'color'")
    assert "did you mean 'colour'?" in found.problems[0].hint
    assert only_problem(look(table(), exclude_columns=["z*"]))[1] == "the dataset has no column that matches 'z*'"


def test_excluding_everything_is_a_problem(look):
    message = "exclude_columns leaves no feature to learn from"
    assert only_problem(look(table(), exclude_columns=["*"])) == ("exclude_columns", message)


@pytest.mark.parametrize("is_checked", [True, False])
def test_a_training_learns_from_the_features_of_the_checks(tmp_path, is_checked):
    pl.DataFrame(numbered(who=[f"c-{i}" for i in range(MANY)])).write_parquet(tmp_path / "t.parquet")
    spec, catalog = parse({"dataset": "t.parquet", "target_column": "y"}), Catalog([tmp_path])
    checked = check_dataset(spec, catalog) if is_checked else None
    found = prepare(spec, catalog, checked=checked)
    assert found.encoder.feature_names == ["a"]
    assert found.first_rows.columns == ["a", "y"]


def test_a_resumed_training_learns_from_what_it_learned_from_before(tmp_path):
    columns = numbered(id=[odd(i) for i in range(MANY)])
    pl.DataFrame(columns).write_parquet(tmp_path / "t.parquet")
    spec, catalog = parse({"dataset": "t.parquet", "target_column": "y"}), Catalog([tmp_path])
    before = prepare(spec.model_copy(update={"feature_columns": ["id", "a"]}), catalog).encoder
    assert prepare(spec, catalog, encoder=before).encoder.feature_names == ["id", "a"]


def test_an_identifier_is_no_leak(look):
    """Each value of an identifier comes with one value of the target."""
    columns = numbered(who=[f"c-{i}" for i in range(MANY)])
    columns["y"] = [i * 7919 % 503 / 7 for i in range(MANY)]
    assert look(columns).problems == []


def test_a_large_table_has_the_same_identifiers(look, monkeypatch):
    columns = numbered(id=[odd(i) for i in range(MANY)], who=[f"c-{i}" for i in range(MANY)])
    small = look(columns)
    for name in ("SMALL_ROWS", "MIN_HEAD", "COUNTED_BYTES"):
        monkeypatch.setattr(f"epochd.data.checks.statistics.{name}", 60)
    large = look(columns)
    assert [column.name for column in large.left_out] == [column.name for column in small.left_out] == ["id", "who"]


def test_a_validation_dataset_need_not_have_the_columns_left_out(look):
    columns = numbered(who=[f"c-{i}" for i in range(MANY)])
    others = {"a": [i * 3 % 17 / 3 for i in range(ROWS)], "y": [i // 2 % 2 for i in range(ROWS)]}
    assert look(columns, others).problems == []
