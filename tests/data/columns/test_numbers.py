"""Numbers in notations: which one a column has, and what its values are."""

import re
from collections import Counter

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochd.data.columns import number_choice
from epochd.data.columns.numbers import NumberNotation


def read(values, decimal=None):
    """The chosen notation, and the values read in it; None where there is no number."""
    shapes = Counter(re.sub("[0-9]", "9", value) for value in values)
    facts = number_choice.Facts(zero_decimals=sum(bool(re.match(r"^\D*0[.,]\d", value)) for value in values))
    chosen = number_choice.choose(shapes, facts, decimal)
    if chosen is None:
        return None, None
    found = pl.select(chosen.notation.expression(pl.lit(pl.Series(values)))).to_series().to_list()
    return chosen, found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["11,000", "900"], [11000, 900]),
        (["1,234,567", "1,234.5"], [1234567.0, 1234.5]),
        (["12,34,567", "1,234"], [1234567, 1234]),
        (["6,4", "12,75"], [6.4, 12.75]),
        (["0,125", "1,234"], [0.125, 1.234]),
        (["1.234,5", "12"], [1234.5, 12.0]),
        (["1.234.567", "12"], [1234567, 12]),
        (["1 234 567", "1\u202f234", "1\xa0000"], [1234567, 1234, 1000]),
        (["1'234.5", "12"], [1234.5, 12.0]),
        (["68%", "12.5 %", "-3%"], [0.68, 0.125, -0.03]),
        (["0", "68%"], [0.0, 0.68]),
        (["$7.11", "-$3", "$-5", "($1,200.00)"], [7.11, -3.0, -5.0, -1200.0]),
        (["¥1,234.50", "￥12", "300元", "人民币 5"], [1234.5, 12.0, 300.0, 5.0]),
        (["7,50 €", "1.000 €"], [7.5, 1000.0]),
        (["USD 12", "USD 3.5"], [12.0, 3.5]),
        (["12 kg", "3.5kg"], [12.0, 3.5]),
        (["30km/h", "5km/h"], [30, 5]),
        (["1.2万", "3400", "2亿"], [12000.0, 3400.0, 2e8]),
        (["1.5万元", "300元"], [15000.0, 300.0]),
        (["7.6K", "2M", "300"], [7600.0, 2e6, 300.0]),
        (["−5", "–7", "12-", "(3)", "－2"], [-5, -7, -12, -3, -2]),
        (["１２３", "４５．５", "－１"], [123.0, 45.5, -1.0]),
        (["12.5％", "（3％）"], [0.125, -0.03]),
        (["1e-5", "2.5E3", "3"], [1e-5, 2500.0, 3.0]),
        (["inf", "-Infinity", "∞", "1.5"], [float("inf"), -float("inf"), float("inf"), 1.5]),
        ([".5", "5."], [0.5, 5.0]),
        (["18,-", "5,-"], [18, 5]),
        (["18,-- €", "5,50 €", "-3,- €"], [18.0, 5.5, -3.0]),
        (["1.234,-", "18,-"], [1234, 18]),
        (["CHF 17612.–", "CHF 5.50"], [17612.0, 5.5]),
        (["18:-", "1 234:-"], [18, 1234]),
        (["₹ 22,55,257.72/-", "₹ 5/-"], [2255257.72, 5.0]),
        (["(18,-)", "-3,- €", "(2,50) €"], [-18.0, -3.0, -2.5]),
        (["123-", "96,000-", "5.50"], [-123.0, -96000.0, 5.5]),
        (["12 kg-", "5kg-", "3 kg"], [-12, -5, 3]),
        (["$ (1,234.50)", "$ 9,876.00", "$ -", "$-"], [-1234.5, 9876.0, 0.0, 0.0]),
        (["-   €", "- 1.234,50 €", "(2,50) €"], [0.0, -1234.5, -2.5]),
        (["Rs. 12,34,567.50", "Rs 5", "₹7"], [1234567.5, 5.0, 7.0]),
        (["Fr. 1'234.50", "CHF 5", "SFr. 6"], [1234.5, 5.0, 6.0]),
        (["Fr. 1.234,50", "Fr. 5,00"], [1234.5, 5.0]),
        (["△18,611", "▲5", "75,606.5"], [-18611.0, -5.0, 75606.5]),
        (["\\18,611", "￥5"], [18611, 5]),
        (["(13.4)%", "5%"], [-0.134, 0.05]),
        (["MX$1,234.5", "MX$ 5"], [1234.5, 5.0]),
        (["$ 1,234.5 USD", "$ 5 USD"], [1234.5, 5.0]),
        (["1,344e+05", "8,474e+05"], [134400.0, 847400.0]),
        (["1,234.5", "1.2e+05"], [1234.5, 120000.0]),
        (["1 item", "5 items"], [1, 5]),
        (["٢٣٧", "١٬٢٣٤٫٥", "٥"], [237.0, 1234.5, 5.0]),
        (["२३७", "-५"], [237, -5]),
        (["۱۲۳٪"], [1.23]),
    ],
)
def test_numbers_are_read_in_the_notation_of_the_column(values, expected):
    assert read(values)[1] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["$5", "$3", "€7"], [5, 3, None]),  # another currency is another unit
        (["12 kg", "3 kg", "500 g"], [12, 3, None]),
        (["1,234.5", "1,2,3"], [1234.5, None]),
        (["1.5", "12.5.3", "x7"], [1.5, None, None]),
        (["1,500.5", "1.500,5", "2,000.5"], [1500.5, None, 2000.5]),
        (["5 -", "4"], [None, 4]),
        (["1,234e5", "1,234,567"], [None, 1234567]),
        (["5", "12%", "$3", "30%"], [0.05, 0.12, None, 0.3]),  # no percentage is an amount of money
        (["1,2 Mio. €", "3 Mio. €", "500 €", "1 Mrd. €"], [1.2, 3.0, None, None]),
        (["1.00 Cr", "3.00 Cr", "2.00 Dr", "5.00"], [1.0, 3.0, None, None]),
        (["US$5", "US$6", "$7"], [5, 6, None]),
        (["5 as", "3 a", "6 as"], [5, None, 6]),
        (["18.5", "5.-"], [18.5, 5.0]),
    ],
)
def test_what_is_not_in_the_notation_is_no_number(values, expected):
    assert read(values)[1] == expected


@pytest.mark.parametrize(
    "values",
    [
        *(["192.168.1.1"], ["138 1234 5678"], ["a1", "b2"], ["1-2"], ["()"], ["2024-01-05"], ["3/4"], ["2.png"]),
        *(
            ["$ -", "-"],
            ["▲1.5", "▼2.5", "▲3"],
            ["▲1.5", "▲2.5"],
            ["$5 EUR"],
            ["5-.-"],
            ["5 kg -"],
            ["(5)-"],
            ["-(5)"],
            ["$-"],
        ),
    ],
)
def test_codes_are_no_numbers(values):
    assert read(values)[0] is None


def test_an_ambiguous_separator_is_said_and_can_be_settled():
    chosen, found = read(["1,234", "5,678"])
    assert found == [1234, 5678]
    assert chosen.doubt == "numbers such as 1,234 are read as 1234, and may also mean 1.234"
    settled, found = read(["1,234", "5,678"], decimal=",")
    assert (settled.doubt, found) == ("", [1.234, 5.678])
    for clear in (["1,234", "5,67"], ["1,234", "1,234,567"], ["1,234.5"], ["0,123", "5,678"], ["1234"]):
        assert read(clear)[0].doubt == ""


def test_only_integers_are_whole():
    assert read(["1,234", "5"])[0].notation.whole
    assert not read(["1,234", "5.0"])[0].notation.whole
    assert not read(["5", "inf"])[0].notation.whole


@pytest.mark.parametrize(
    ("notation", "values", "expected"),
    [
        (NumberNotation(","), ["18,-", "18,5", "5 -"], [-18.0, 18.5, -5.0]),
        (NumberNotation(thousands=","), ["1,344e+05", "18.-"], [134400000.0, -18.0]),
        (NumberNotation(unit="items"), ["1 item", "5 items"], [None, 5.0]),
        (NumberNotation(currency="INR"), ["INR 5", "5 INR"], [5.0, 5.0]),
    ],
)
def test_notations_of_older_models_read_as_they_did(notation, values, expected):
    assert pl.select(notation.expression(pl.lit(pl.Series(values)))).to_series().to_list() == expected


@pytest.mark.parametrize("values", [["$13.3M", "$2.5B", "$1M"], ["1.5k", "2.5k", "300"], ["1.5亿", "2万", "3亿"]])
def test_a_notation_is_described_with_the_suffix_that_most_values_have(values):
    described = read(values)[0].notation.describe()
    assert described == {"$": "$1234.5M", "1": "1234.5k" if "k" in values[0] else "1234.5亿"}[values[0][0]]


@settings(max_examples=500)
@given(
    st.tuples(
        st.sampled_from(["", "-", "- ", "−", "△"]),
        st.sampled_from(["", "$", "€ ", "Rs. ", "Fr. ", "\\", "MX$"]),
        st.sampled_from(["5", "1,234", "1.234", "1'234.50", "1 234,5", ".5", "5.", "1,5e-3", "18,-", "18.–", "18:-"]),
        st.sampled_from(["", " kg", "%", " USD", " €", "k", "万", "元", " items", " Mio. €"]),
        st.sampled_from(["", "-", " -"]),
    ),
    st.sampled_from(["{}", "({})", "({})%", "$ ({})", "({}) €"]),
    st.sampled_from([[], ["5"], ["5 item", "6%"]]),
)
def test_as_many_values_are_read_as_their_shapes_promise(parts, form, others):
    chosen, found = read([form.format("".join(parts)), *others])
    assert chosen is None or sum(value is not None for value in found) == chosen.fitting


@given(
    st.lists(st.decimals(-(10**9), 10**9, places=2), min_size=3, max_size=20),
    st.sampled_from([(".", ","), (",", "."), (".", " "), (",", " "), (".", "'"), (".", "")]),
    st.sampled_from(["{}", "${}", "{} €", "{}%", "¥{}", "{} kg"]),
    st.sampled_from(["-", "−", "(", "last"]),
)
def test_any_numbers_in_any_notation_are_read_back(values, separators, affix, minus):
    decimal, thousands = separators

    def written(value):
        digits = f"{abs(value):,.2f}".translate({ord(","): thousands, ord("."): decimal})
        text = affix.format(digits)
        if value >= 0:
            return text
        return f"({text})" if minus == "(" else f"{text}-" if minus == "last" else f"{minus}{text}"

    chosen, found = read([written(value) for value in values])
    assert found == pytest.approx([float(value) / chosen.notation.divisor for value in values])


@pytest.mark.parametrize("unit", ["%", "‰"])
def test_a_percentage_is_the_number_that_a_cell_of_excel_has(unit):
    notation = NumberNotation(unit=unit)
    found = pl.select(notation.expression(pl.lit(pl.Series([f"{part}{unit}" for part in range(1001)])))).to_series()
    assert found.to_list() == [part / notation.divisor for part in range(1001)]
