"""Columns of time and group: readable, and with room for windows on each side of the split."""

import datetime

import pytest
from tests.support.tables import ROWS, only_problem, only_warning, table

DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(i) for i in range(ROWS)]
GROUPS = ["north"] * 30 + ["south"] * 10


@pytest.mark.parametrize("times", [DAYS, [day.isoformat() for day in DAYS], [i / 4 for i in range(ROWS)]])
def test_dates_texts_and_numbers_order_rows(look, times):
    found = look(table(t=times), time_column="t", split="time")
    assert (found.problems, found.warnings) == ([], [])


def test_a_time_that_cannot_be_read_is_located(look):
    texts = [day.isoformat() for day in DAYS]
    texts[17] = "31.13.2024"
    found = look(table(t=texts), time_column="t", split="time")
    assert "'31.13.2024' (row 18)" in found.warnings[0]
    field, message = only_problem(found)
    assert field == "time_column"
    assert message == "row 18 of 't' is missing: the row cannot be put in order"


def test_rows_are_counted_through_a_large_table(look, monkeypatch):
    monkeypatch.setattr("epochd.data.checks.statistics.SMALL_ROWS", 100)
    rows = 70_000
    times = [*range(69_000), None, *range(69_001, rows)]
    columns = {"a": [i % 83 for i in range(rows)], "t": times, "y": [i // 5 % 2 for i in range(rows)]}
    assert "row 69001 of 't' is missing" in only_problem(look(columns, time_column="t", split="time"))[1]


def test_booleans_order_nothing_and_lists_group_nothing(look):
    assert only_problem(look(table(t=[True, False] * 20), time_column="t", split="time"))[0] == "time_column"
    assert only_problem(look(table(g=[[1]] * ROWS), group_column="g", split="group"))[0] == "group_column"


def test_rows_out_of_order_are_a_warning(look):
    days = [*DAYS[:9], DAYS[12], DAYS[10], DAYS[11], DAYS[9], *DAYS[13:]]
    told = only_warning(look(table(t=days), time_column="t", split="time"))
    assert "row 11 ('2024-01-11') is earlier than the row before it; they are sorted before training" in told


def test_each_group_has_an_order_of_its_own(look):
    times = [*range(30), *range(10)]
    options = {"time_column": "t", "group_column": "g", "sequence_length": 2, "split": "group"}
    assert look(table(t=times, g=GROUPS), **options).warnings == []
    times[33:36] = [5, 4, 3]
    told = only_warning(look(table(t=times, g=GROUPS), **options))
    assert "row 35 ('4') is earlier than the row before it of its 'g'" in told


def test_rows_of_the_same_time_are_a_warning_for_windows(look):
    days = [*DAYS[:5], DAYS[4], *DAYS[5:-1]]
    told = only_warning(look(table(t=days), time_column="t", sequence_length=2))
    assert "have the same 't', such as row 6 ('2024-01-05')" in told


def test_windows_longer_than_every_group_are_a_problem_with_the_figures(look):
    options = {"time_column": "t", "group_column": "g", "validation_split": 0}
    columns = table(t=list(range(ROWS)), g=GROUPS)
    assert look(columns, sequence_length=29, **options).problems == []
    field, message = only_problem(look(columns, sequence_length=30, **options))
    assert field == "sequence_length"
    assert message.endswith("sequence_length 30 and horizon 1 take 31 rows, but the longest group has only 30")


def test_each_side_of_the_split_needs_a_window(look):
    columns = table(t=list(range(ROWS)))
    assert look(columns, time_column="t", sequence_length=7).problems == []
    field, message = only_problem(look(columns, time_column="t", sequence_length=8))
    assert field == "sequence_length"
    assert message.startswith("no window fits into the validation rows")
    assert message.endswith("take 9 rows, but there are only 8")


def test_too_few_groups_for_the_sides_are_a_problem(look):
    found = look(table(g=GROUPS), group_column="g", split="group", test_split=0.2)
    field, message = only_problem(found)
    assert field == "group_column"
    assert "only 2 groups" in message


def test_columns_that_are_named_for_nothing_are_a_warning(look):
    assert "is not used" in only_warning(look(table(t=DAYS), time_column="t"))
    assert "both trained on and held out" in only_warning(look(table(g=GROUPS), group_column="g"))


HOURS = [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=i + 24 * (i >= 25)) for i in range(ROWS)]
WINDOWS = {"time_column": "t", "sequence_length": 3}


@pytest.mark.parametrize("times", [HOURS, [hour.isoformat() for hour in HOURS]])
def test_an_uneven_step_is_a_warning_with_its_row_the_usual_step_and_the_field_to_set(look, times):
    told = only_warning(look(table(t=times), **WINDOWS))
    assert "row 26 ('2024-01-03" in told
    assert "is 25h after the row before it, where 1h is usual, and it is the only such step" in told
    assert "set frequency to '1h'" in told
    assert "max_gap" in told


def test_steps_within_each_group_are_compared_and_those_between_groups_are_none(look):
    times = [*range(30), *range(10)]
    columns = table(t=times, g=GROUPS)
    assert look(columns, **WINDOWS, group_column="g").warnings == []
    columns["t"][35:] = range(8, 13)
    told = only_warning(look(columns, **WINDOWS, group_column="g"))
    assert "row 36 ('8') is 4 after the row before it of its 'g', where 1 is usual" in told
    assert "set frequency to 1 " in told


def test_steps_that_are_too_short_are_a_warning_without_a_frequency(look):
    told = only_warning(look(table(t=[0, 1, 2, 2.25, *range(3, ROWS - 1)]), **WINDOWS))
    assert "row 4 ('2.25') is 0.25 after the row before it" in told
    assert "set frequency" not in told


@pytest.mark.parametrize("months", [1, 3])
def test_months_are_even_although_their_lengths_differ(look, months):
    firsts = [datetime.date(2000 + i * months // 12, i * months % 12 + 1, 1) for i in range(ROWS)]
    assert look(table(t=firsts), **WINDOWS).warnings == []
    later = [*firsts[:30], *(first.replace(year=first.year + 1) for first in firsts[30:])]
    assert f"set frequency to '1{'mo' if months == 1 else 'q'}'" in only_warning(look(table(t=later), **WINDOWS))


def test_holes_are_counted_once_the_config_has_a_rule_for_them(look):
    told = only_warning(look(table(t=HOURS), **WINDOWS, frequency="1h"))
    assert "has 1 hole, the first before row 26" in told
    assert "the 3 of 37 windows that would cross a hole are left out" in told
    assert look(table(t=HOURS), **WINDOWS, frequency="1h", max_gap=25).warnings == []
    assert look(table(t=HOURS), **WINDOWS, max_gap="25h").warnings == []


def test_too_few_windows_between_holes_are_a_problem_before_any_work(look):
    columns = table(t=[*range(30), *range(40, 44), *range(50, 56)])
    field, message = only_problem(look(columns, time_column="t", sequence_length=6, frequency=1))
    assert field == "sequence_length"
    assert message.startswith("no window fits into the validation rows")
    assert message.endswith("take 7 rows, but the longest series without a hole has only 6")
    assert look(columns, time_column="t", sequence_length=5, frequency=1).problems == []


def test_a_validation_dataset_needs_a_window_between_its_holes_too(look):
    other = table(t=[5 * i for i in range(ROWS)])
    field, message = only_problem(look(table(t=range(ROWS)), other, **WINDOWS, frequency=1))
    assert field == "validation_dataset"
    assert "the longest series without a hole has only 1" in message


@pytest.mark.parametrize(
    ("times", "frequency", "says"),
    [(HOURS, 1, "has the type Datetime"), (range(ROWS), "1h", "has numbers"), (DAYS, 2.5, "has the type Date")],
)
def test_a_frequency_in_the_wrong_unit_names_the_type_of_the_column(look, times, frequency, says):
    field, message = only_problem(look(table(t=list(times)), **WINDOWS, frequency=frequency))
    assert field == "frequency"
    assert says in message
