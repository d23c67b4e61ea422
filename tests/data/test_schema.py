"""Names and patterns become columns."""

import pytest
from tests.support.tables import ROWS, only_problem, table

VALUES = [i * 3 % 11 for i in range(ROWS)]


def wide(**columns):
    return table(px1=VALUES, px2=[*VALUES[1:], 4], px10=[*VALUES[3:], 2, 7, 1]) | columns


def test_features_come_in_the_order_of_the_spec(look):
    assert look(table(), feature_columns=["b", "a"]).features == ["b", "a"]


@pytest.mark.parametrize(
    ("asked", "features"),
    [
        (["px*"], ["px1", "px2", "px10"]),
        (["px?"], ["px1", "px2"]),
        (["px[2-9]", "a"], ["px2", "a"]),
        (["px10", "px*"], ["px10", "px1", "px2"]),
        (["*"], ["a", "b", "px1", "px2", "px10"]),
    ],
)
def test_a_pattern_selects_columns_in_the_order_of_the_table(look, asked, features):
    assert look(wide(), feature_columns=asked).features == features


def test_an_exact_name_is_not_a_pattern(look):
    found = look({"*": VALUES, "^a.*$": table()["b"], "y": table()["y"]}, feature_columns=["*"])
    assert (found.features, found.problems) == (["*"], [])
    assert look({"*": VALUES, "^a.*$": table()["b"], "y": table()["y"]}).features == ["*", "^a.*$"]


def test_without_a_list_time_and_group_are_not_features(look):
    found = look(table(t=list(range(ROWS)), g=table()["b"]), time_column="t", group_column="g", split="time")
    assert (found.features, found.problems) == (["a", "b"], [])
    assert look(wide(), feature_columns=["p*"], group_column="px1", split="group").features == ["px2", "px10"]


def test_a_forecast_may_learn_from_the_past_of_its_target(look):
    columns = table(t=list(range(ROWS)))
    found = look(columns, feature_columns=["a", "y"], time_column="t", sequence_length=3)
    assert (found.features, found.problems) == (["a", "y"], [])
    assert look(columns, time_column="t", sequence_length=3).features == ["a", "b"]


def test_columns_that_do_not_exist_are_named_with_the_nearest(look):
    found = look(table(height=VALUES), feature_columns=["hieght", "zzz"], target_column="Y", time_column="hour")
    first, second, third, fourth = found.problems
    assert (first.field, first.message) == ("feature_columns", "the dataset has no column 'hieght'")
    assert first.hint == "did you mean 'height'? its columns are: a, b, y, height"
    assert second.hint == "its columns are: a, b, y, height"
    assert (third.field, third.message) == ("target_column", "the dataset has no column 'Y'")
    assert (fourth.field, fourth.message) == ("time_column", "the dataset has no column 'hour'")


def test_the_nearest_column_may_differ_in_case(look):
    found = look(table(height=VALUES), feature_columns=["HEIGHT", "HIEGHT", "HEI*"], target_column="Y")
    assert [problem.hint.partition(" its")[0] for problem in found.problems] == [
        *["did you mean 'height'?"] * 3,
        "did you mean 'y'?",
    ]


def test_a_pattern_without_a_match_names_columns_that_begin_like_it(look):
    found = look(wide(), feature_columns=["a", "pix*"])
    assert only_problem(found) == ("feature_columns", "the dataset has no column that matches 'pix*'")
    assert found.problems[0].hint.startswith("did you mean 'px")


def test_very_many_missing_columns_are_summarised(look):
    found = look(table(), feature_columns=[f"c{i}" for i in range(500)])
    assert len(found.problems) == 21
    assert found.problems[-1].message == "480 more columns do not exist"


def test_a_table_of_only_a_target_is_a_problem(look):
    message = "the dataset has no column besides the target to learn from"
    assert only_problem(look({"y": [0, 1] * 20})) == ("dataset", message)
