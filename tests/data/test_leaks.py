"""Features that are the target are refused; those that nearly are get a warning."""

from datetime import date

import pytest
from tests.data.tables import ROWS, only_problem, only_warning, table

VALUES = [i * 0.37 % 5 for i in range(ROWS)]
LABELS = [("yes", "no", "no", "maybe")[i % 4] for i in range(ROWS)]


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Both roads: all of the table in memory, and only its beginning."""
    if request.param == "large":
        monkeypatch.setattr("epochd.data.view.SMALL_ROWS", 20)
        monkeypatch.setattr("epochd.data.view.LEAST_ROWS", 20)


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize(
    ("copy", "target"),
    [(VALUES, VALUES), ([float(i % 2) for i in range(ROWS)], [i % 2 for i in range(ROWS)]), (LABELS, LABELS)],
)
def test_a_feature_that_equals_the_target_is_a_leak(look, copy, target):
    found = look(table(c=copy, y=target))
    assert only_problem(found) == ("feature_columns", "'c' is equal to the target 'y' in every row")
    assert "list the other columns" in found.problems[0].hint


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("target", [LABELS, [{"yes": 2, "no": 1, "maybe": 0}[label] for label in LABELS]])
def test_a_renamed_copy_of_the_target_is_a_leak(look, target):
    copy = [label.upper() for label in LABELS]
    message = f"'c' is the target 'y' in other words: where one is 'YES', the other is {target[0]!r}, such as in row 1"
    assert only_problem(look(table(c=copy, y=target))) == ("feature_columns", message)


@pytest.mark.usefixtures("size")
def test_a_copy_with_a_single_difference_is_none(look):
    assert look(table(c=[*LABELS[:-1], "yes"], y=LABELS)).problems == []
    assert look(table(c=[*[f"{label}!" for label in LABELS[:-1]], "yes!"], y=LABELS)).problems == []


@pytest.mark.usefixtures("size")
def test_a_feature_made_from_the_target_is_a_warning(look):
    doubled = [-2 * value + 0.001 * (i % 3) for i, value in enumerate(VALUES)]
    assert "'c' and the target 'y' are almost perfectly correlated (-1.0000)" in only_warning(
        look(table(c=doubled, y=VALUES))
    )


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("target", [LABELS, [{"yes": 2, "no": 1, "maybe": 0}[label] for label in LABELS]])
@pytest.mark.parametrize(
    "code", [{"yes": 10, "no": 30, "maybe": 20}, {label: date(2024, 1, len(label)) for label in LABELS}]
)
def test_numbers_and_dates_that_stand_for_the_classes_are_a_leak(look, code, target):
    field, message = only_problem(look(table(c=[code[label] for label in LABELS], y=target)))
    assert (field, message[:39]) == ("feature_columns", "'c' is the target 'y' in other words: w")
    nearly = [code[label] for label in (*LABELS[:-1], "yes")]
    assert look(table(c=nearly, y=target)).problems == []


@pytest.mark.usefixtures("size")
def test_numbers_written_as_text_are_compared_as_numbers(look):
    target = [i % 7 / 2 for i in range(ROWS)]
    found = look(table(c=[str(value) for value in target], y=target))
    assert only_problem(found) == ("feature_columns", "'c' is equal to the target 'y' in every row")
    assert look(table(c=[*map(str, target[:-1]), "none"], y=target)).problems == []


def test_two_classes_as_text_are_compared_with_numbers_too(look):
    ys = table()["y"]
    labels = ["no" if y == 0 else "yes" for y in ys]
    nearly = [3 + 4 * y + 0.001 * (i % 3) for i, y in enumerate(ys)]
    assert "correlated (+1.0000)" in only_warning(look(table(c=nearly, y=labels)))
    assert only_problem(look(table(c=[3 + 4 * y for y in ys], y=labels)))[0] == "feature_columns"


def test_in_a_forecast_the_past_of_the_target_is_no_leak(look):
    columns = table(c=VALUES, y=VALUES, t=list(range(ROWS)))
    assert look(columns, time_column="t", sequence_length=3).problems == []
    assert only_problem(look(columns, time_column="t", sequence_length=3, horizon=0))[0] == "feature_columns"
