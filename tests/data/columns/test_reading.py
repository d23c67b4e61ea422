"""A reading as JSON, and strictly for a prediction."""

import json
from datetime import datetime

import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.data.columns.numbers import NumberNotation
from epochd.data.columns.reading import Reading


@pytest.mark.parametrize(
    "reading",
    [
        Reading(),
        Reading("number", numbers=NumberNotation(",", ".", "%", "¥", True, True)),
        Reading("number", numbers=NumberNotation(suffix="K", minus="△", dashes=True, version=2), formulas=True),
        Reading("datetime", formats=("%Y/%m/%d %H:%M", "%Y/%m/%d"), zone="UTC", timezone="Asia/Shanghai"),
        Reading("boolean", truth=("是", "否"), missing=("x", "")),
        Reading("date", formats=("%d. %b %y",), makes_plain=True, last_year=2027),
        Reading("duration", formats=("%M:%S",)),
    ],
)
def test_a_reading_survives_json(reading):
    assert Reading.from_json(json.loads(json.dumps(reading.as_json()))) == reading


@pytest.mark.parametrize(
    "state", [{}, {"read_as": "list"}, {"read_as": "number", "other": 1}, {"read_as": "number", "numbers": {"x": 1}}]
)
def test_an_invalid_state_is_refused(state):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Reading.from_json(state)


@pytest.mark.parametrize(
    ("reading", "bad", "message"),
    [
        (Reading("number", numbers=NumberNotation(thousands=",")), "12x", "row 2 of column 'c' is not a number: '12x'"),
        (Reading("date", formats=("%d/%m/%Y",)), "31/02/2024", "row 2 of column 'c' is not a date: '31/02/2024'"),
        (Reading("boolean", truth=("是", "否")), "也许", "row 2 of column 'c' is neither true nor false: '也许'"),
    ],
)
def test_a_value_that_cannot_be_read_is_named_with_the_notation(reading, bad, message):
    with pytest.raises(DataError) as raised:
        reading.strictly(pl.Series("c", ["NA", bad]))
    [problem] = raised.value.problems
    assert problem.message == message
    assert reading.describe() in problem.hint


@pytest.mark.parametrize("form", ["%d/%m/%Y %H:%M", "%Y/%m/%d %H:%M", "%Y-%m-%d %H:%M:%S"])
@pytest.mark.parametrize("text", ["2024-03-02T10:30:00", "2024-03-02 10:30:00"])
def test_a_time_may_be_in_the_notation_of_json_too(form, text):
    found = Reading("datetime", formats=(form,)).strictly(pl.Series("c", [text]))
    assert found.to_list() == [datetime(2024, 3, 2, 10, 30)]


def test_a_date_whose_notation_looks_like_that_of_json_is_read_in_its_own():
    reading = Reading("date", formats=("%Y-%d-%m",))
    assert reading.strictly(pl.Series("c", ["2024-03-02"]))[0].isoformat() == "2024-02-03"
    with pytest.raises(DataError, match="is not a date"):
        reading.strictly(pl.Series("c", ["2024-03-22"]))


@pytest.mark.parametrize("formulas", [False, True])
@pytest.mark.parametrize("missing", [None, ("x",), ()])
def test_one_value_is_cleaned_as_a_column_is(missing, formulas):
    values = [
        "NA",
        " na ",
        "NaN",
        "nAn",
        "#N/A",
        "\\N",
        "x",
        " x",
        "none",
        "",
        "\u3000 \xa0",
        "#DIV/0!",
        "nano",
        "-",
        "a b",
        ' ="007"',
        '=" x "',
        '=""',
        '="a"b"',
        '="NA"',
    ]
    reading = Reading(missing=missing, formulas=formulas)
    column = pl.select(reading.cleaned(pl.lit(pl.Series(values)))).to_series().to_list()
    assert column == [reading.clean_text(value) for value in values]
    assert column[15] == ("007" if formulas else '="007"')
