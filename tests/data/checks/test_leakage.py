"""Features that are the target are refused; those that nearly are get a warning."""

import datetime
from decimal import Decimal

import pytest
from tests.support.tables import ROWS, only_problem, only_warning, table

VALUES = [i * 0.37 % 5 for i in range(ROWS)]
LABELS = [("yes", "no", "no", "maybe")[i % 4] for i in range(ROWS)]


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Both roads: all of the table in memory, and only its beginning."""
    if request.param == "large":
        monkeypatch.setattr("epochd.data.checks.statistics.SMALL_ROWS", 20)
        monkeypatch.setattr("epochd.data.checks.statistics.MIN_HEAD", 20)


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
    message = f"'c' maps one-to-one to the target 'y': where one is 'YES', the other is {target[0]!r}, such as in row 1"
    assert only_problem(look(table(c=copy, y=target))) == ("feature_columns", message)


NUMBERS = {"yes": 10, "no": 30, "maybe": 20}
DATES = {label: datetime.date(2024, 1, code) for label, code in NUMBERS.items()}


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("target", [LABELS, [{"yes": 0, "no": 1, "maybe": 2}[label] for label in LABELS]])
@pytest.mark.parametrize(("codes", "shown"), [(NUMBERS, "10"), (DATES, "'2024-01-10'")])
def test_numbers_or_dates_that_stand_for_the_classes_are_a_leak(look, target, codes, shown):
    copy = [codes[label] for label in LABELS]
    example = f"where one is {shown}, the other is {target[0]!r}, such as in row 1"
    field, message = only_problem(look(table(c=copy, y=target)))
    assert (field, message) == ("feature_columns", f"'c' maps one-to-one to the target 'y': {example}")
    assert look(table(c=[*copy[:-1], copy[0]], y=target)).problems == []
    assert look(table(c=["z" if label == "no" else "w" for label in LABELS], y=target)).problems == []


@pytest.mark.usefixtures("size")
def test_numbers_that_stand_for_several_classes_are_none(look):
    assert look(table(c=[int(label == "no") for label in LABELS], y=LABELS)).problems == []


@pytest.mark.usefixtures("size")
def test_the_target_of_a_regression_written_as_text_is_a_leak(look):
    found = look(table(c=[f"{value:.2f}" for value in VALUES], y=[round(value, 2) for value in VALUES]))
    assert found.task == "regression"
    assert only_problem(found) == ("feature_columns", "'c' is equal to the target 'y' in every row")


@pytest.mark.usefixtures("size")
def test_decimals_are_compared_by_their_values(look):
    exact = [Decimal(round(value * 100)) / 100 for value in VALUES]
    message = "'c' is equal to the target 'y' in every row"
    assert only_problem(look(table(c=[float(value) for value in exact], y=exact)))[1] == message
    assert only_problem(look(table(c=[str(value) for value in exact], y=exact)))[1] == message


@pytest.mark.usefixtures("size")
@pytest.mark.parametrize("codes", [NUMBERS, DATES, {label: label.upper() for label in NUMBERS}])
def test_what_stands_for_each_number_of_a_regression_is_a_warning(look, codes):
    target = [{"yes": 0.5, "no": 1.5, "maybe": 9.5}[label] for label in LABELS]
    told = only_warning(look(table(c=[codes[label] for label in LABELS], y=target)))
    assert told.startswith("'c' and the target 'y' map one-to-one to each other: where one is ")
    assert "the other is 0.5, such as in row 1: if it is made from the target, list the other columns" in told


@pytest.mark.usefixtures("size")
def test_rows_that_come_twice_make_no_code_of_a_quantity(look):
    values = [i * 0.37 for i in range(60)]
    doubled = {"c": [value**3 % 7 for value in values] * 4, "y": [value % 5 for value in values] * 4}
    assert look(doubled | {"a": [i * 7 % 240 for i in range(240)]}).warnings == []


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


def test_two_classes_as_text_are_compared_with_numbers_too(look):
    told = only_warning(
        look(
            table(
                c=[3 + 4 * y + 0.001 * (i % 3) for i, y in enumerate(table()["y"])],
                y=["no" if y == 0 else "yes" for y in table()["y"]],
            )
        )
    )
    assert "correlated (+1.0000)" in told


def test_in_a_forecast_the_past_of_the_target_is_no_leak(look):
    columns = table(c=VALUES, y=VALUES, t=list(range(ROWS)))
    assert look(columns, time_column="t", sequence_length=3).problems == []
    assert only_problem(look(columns, time_column="t", sequence_length=3, horizon=0))[0] == "feature_columns"
