"""What a column of text is, decided from all its values."""

import json
from datetime import date, datetime, time

import numpy as np
import polars as pl
import pytest

from epochd.core.columns import ColumnOptions, ReadOptions
from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.columns import dates, decided_columns, detection
from epochd.data.columns.reading import Reading
from epochd.data.columns.words import clean_text
from epochd.data.prepare import prepare
from epochd.data.tables.catalog import Catalog


def decide(values, is_label=False, **options):
    """The decision for one column, and its values as read."""
    table = pl.DataFrame({"c": values}).lazy()
    given = ReadOptions(columns={"c": ColumnOptions(**options)} if options else {}, labels=("c",) if is_label else ())
    decisions = decided_columns.decide(table, given)
    found = decided_columns.read(table, decisions).collect()["c"].to_list()
    return decisions.get("c"), found


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["1,5", "2,25", "-"], [1.5, 2.25, None]),
        ([" 34", "35\u3000", "\xa036"], [34, 35, 36]),
        (["NAN", "1.5", "n/a", "NULL", "#DIV/0!", "无"], [None, 1.5, None, None, None, None]),
        (["是", "否", "是", "未知"], [True, False, True, None]),
        (["Yes", "no", "YES ", "?"], [True, False, True, None]),
        (["True", "False"], [True, False]),
        (["有", "无"], [True, False]),
        (["true", "NA"], [True, None]),
        (["31/12/2024", "5/1/2024"], [date(2024, 12, 31), date(2024, 1, 5)]),
        (["12/31/2024", "1/5/2024"], [date(2024, 12, 31), date(2024, 1, 5)]),
        (["2024/1/5", "2024/1/6 13:00"], [datetime(2024, 1, 5), datetime(2024, 1, 6, 13)]),
        (["20240105", "20241231"], [date(2024, 1, 5), date(2024, 12, 31)]),
        (["20240105", "20241331"], [20240105, 20241331]),
        (["202010", "202005"], [date(2020, 10, 1), date(2020, 5, 1)]),
        (["202010", "202013"], [202010, 202013]),
        (["187010", "202012"], [187010, 202012]),
        (["10/2020", "5/2020"], [date(2020, 10, 1), date(2020, 5, 1)]),
        (["1/1000", "1/2000"], ["1/1000", "1/2000"]),
        (
            ["2. Oktober 2020", "3 mars 2021", "Mon, 4 Jan 2021"],
            [date(2020, 10, 2), date(2021, 3, 3), date(2021, 1, 4)],
        ),
        (["２０２０/１０/０２", "2020/05/09"], [date(2020, 10, 2), date(2020, 5, 9)]),
        (["2020-10-02 20:43:26 EST"] * 2, ["2020-10-02 20:43:26 EST"] * 2),
        (["0000-00-00", "2020-10-02", "0000-00-00 00:00:00", "00/00/0000"], [None, date(2020, 10, 2), None, None]),
        (["0000年00月00日", "2020年1月2日"], [None, date(2020, 1, 2)]),
        (["00000000", "20201002"], [None, date(2020, 10, 2)]),
        (["0000-00-00", "0000-00-00"], ["0000-00-00", "0000-00-00"]),
        (["00:00", "08:30"], [time(0), time(8, 30)]),
        (["08:30", "08:30:15"], [time(8, 30), time(8, 30, 15)]),
        (["4:16.120", "5:00"], [256.12, 300]),
        (["007", "07", "7", "070"], ["007", "07", "7", "070"]),
        (["1:30:00", "26:15:00", "00:00:30"], [5_400.0, 94_500.0, 30.0]),
        (["90 min", "1h30m", "2 days 03:00:00"], [5_400.0, 5_400.0, 183_600.0]),
        (["1小时30分", "45分钟"], [5_400.0, 2_700.0]),
        (["95分", "60分"], [95, 60]),
        (["5 m", "3.5 m"], [5.0, 3.5]),
        ([" a ", "b", "NA", "None"], ["a", "b", None, None]),
        (["-", "?", "a"], ["-", "?", "a"]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (['="31"', ' =" 5 "', '=""'], [31, 5, None]),
        (['="00031"', '="7"', '="NA"'], ["00031", "7", None]),
        (["００７", "１２"], ["００７", "１２"]),
        (["٠٠٧", "٢٣"], ["٠٠٧", "٢٣"]),
        (["$ -", "$ 5", "-"], [0, 5, None]),
        (["192.168.100.172", "192.168.101.100"], ["192.168.100.172", "192.168.101.100"]),
        (["$5", "10%"], ["$5", "10%"]),
        (["13,3 Mio. €", "1,2 Mrd. €"], ["13,3 Mio. €", "1,2 Mrd. €"]),
        (["1.00 Cr", "1.00 Dr"], ["1.00 Cr", "1.00 Dr"]),
        (["5.5 MB", "300 KB"], ["5.5 MB", "300 KB"]),
        (["123.456.789.123.456.789.123"], ["123.456.789.123.456.789.123"]),
        (["是", "是"], ["是", "是"]),
        ([None, None], [None, None]),
    ],
)
def test_a_column_is_what_its_values_have_in_common(values, found):
    assert decide(values)[1] == found


def test_a_few_strays_become_missing_and_are_told_with_row_value_and_count():
    values = ["1,000"] * 60 + ["abc", "x1"] + ["2,000"] * 38
    decision, found = decide(values)
    assert (found[60], found[61], found[62]) == (None, None, 2000)
    assert decision.strays == 2
    assert (
        "2 values are not of that form and taken as missing: 'abc' (row 61), 'x1' (row 62)"
        in decision.warnings("c")[-1]
    )
    assert decide(values + ["abc"] * 10)[1][0] == "1,000"


def test_dates_that_do_not_exist_are_strays():
    days = [f"{day}/02/2024" for day in range(1, 30)]
    decision, found = decide([*days, "31/02/2024"])
    assert (decision.strays, decision.examples) == (1, ((29, "31/02/2024"),))
    assert found[-2:] == [date(2024, 2, 29), None]


def test_a_doubt_about_day_and_month_is_told_with_what_settles_it():
    decision, found = decide(["5/1/2024", "3/4/2024"])
    assert found == [date(2024, 1, 5), date(2024, 4, 3)]
    [warning] = decision.warnings("c")
    assert '{"c": {"type": "date", "format": "%m/%d/%Y"}}' in warning
    settled, found = decide(["5/1/2024", "3/4/2024"], type="date", format="%m/%d/%Y")
    assert (found, settled.warnings("c")) == ([date(2024, 5, 1), date(2024, 3, 4)], [])
    assert decide(["5.1.2024", "3.4.2024"])[0].warnings("c") == []


@pytest.mark.parametrize(
    ("values", "found", "doubt"),
    [
        (["18B", "73", "98"], [18e9, 73, 98], "values such as '18B' are read as numbers (18000000000)"),
        (["9M", "5K", "35B"], [9e6, 5e3, 35e9], "values such as '35B' are read as numbers (35000000000)"),
        (["4 bn", "300 mn"], [4e9, 300e6], "values such as '4 bn' are read as numbers (4000000000)"),
        (["10.100.200", "11.200.100"], [10100200, 11200100], "values such as '10.100.200' are read as numbers"),
        (["612 345 678", "712 345 678"], [612345678, 712345678], "values such as '612 345 678' are read as numbers"),
    ],
)
def test_numbers_that_may_be_codes_are_doubted_and_no_labels(values, found, doubt):
    decision, read = decide(values)
    assert read == found
    [warning] = decision.warnings("c")
    assert doubt in warning
    assert '{"c": {"type": "category"}} if they are codes, and {"c": {"type": "number"}} if not' in warning
    settled, read = decide(values, type="number")
    assert (read, settled.doubt) == (found, "")
    is_label_of_codes = "345" not in values[0]
    assert decide(values, is_label=True)[1] == (values if is_label_of_codes else found)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (["1.2M", "340K"], [1.2e6, 340e3]),
        (["$1M", "$2K"], [1e6, 2e3]),
        (["1万", "2亿", "3"], [1e4, 2e8, 3]),
        (["1.234.567", "12.345"], [1234567, 12345]),
        (["1.234.567 €", "2.345.678 €"], [1234567, 2345678]),
        (["-1.234.567", "2.345.678"], [-1234567, 2345678]),
        (["84.7%", "0", "0.0"], [0.847, 0, 0]),
        (["1.234,-", "18,-"], [1234, 18]),
        (["١٬٢٣٤"], [1234]),
    ],
)
def test_numbers_that_can_mean_nothing_else_are_not_doubted(values, found):
    for is_label in (False, True):
        decision, read = decide(values, is_label=is_label)
        assert (read, decision.doubt) == (found, "")


@pytest.mark.parametrize(
    ("values", "found"), [(["84.7%", "0.134", "0"], [0.847, 0.00134, 0]), (["4‰", "5", "0"], [0.004, 0.005, 0])]
)
def test_numbers_without_the_sign_of_others_are_doubted(values, found):
    decision, read = decide(values)
    assert read == pytest.approx(found)
    assert f"numbers without {values[0][-1]} beside others with it, such as {values[1]!r}" in decision.doubt
    assert decide(values, type="number")[0].doubt == ""


def test_zeros_are_found_in_any_batch(monkeypatch):
    monkeypatch.setattr(decided_columns, "BATCH_ROWS", 3)
    assert decide(["84%", "3%", "4%", "0", "0", "7%"])[0].doubt == ""
    assert "such as '0'" in decide(["84%", "3%", "4%", "0", "0", "7%", "5"])[0].doubt


def test_a_group_above_255_is_found_in_any_batch(monkeypatch):
    monkeypatch.setattr(decided_columns, "BATCH_ROWS", 2)
    values = ["192.168.100.172"] * 4
    assert decide(values)[0].reading.read_as == "text"
    assert decide([*values, "192.168.100.256"])[0].reading.read_as == "number"


def test_many_zeros_of_an_accounting_format_do_not_make_text():
    values = ["$ -" if i % 5 else f"$ {i}.50" for i in range(3_000)]
    assert decide(values)[1][:6] == [0.5, 0, 0, 0, 0, 5.5]
    values = ["-" if i % 5 else f"{i}.50" for i in range(3_000)]
    assert decide(values)[1][:6] == [0.5, None, None, None, None, 5.5]


@pytest.mark.parametrize(
    ("values", "found", "option"),
    [
        (["1:36:54", "24:16"], [5814, 1456], {"type": "duration", "format": "%H:%M"}),
        (["1:36:54", "4:16"], [5814, 256], {"type": "duration", "format": "%H:%M"}),
        (["01:36:54", "4:16"], [5814, 256], {"type": "duration", "format": "%H:%M"}),
        (["36:54", "76:54"], [132_840, 276_840], {"type": "duration", "format": "%M:%S"}),
        (["01:36:54", "04:16"], [time(1, 36, 54), time(4, 16)], {"type": "duration", "format": "%M:%S"}),
        (["10.1.12", "9.3.11"], [date(2012, 1, 10), date(2011, 3, 9)], {"type": "category"}),
        (["202010", "202005"], [date(2020, 10, 1), date(2020, 5, 1)], {"type": "number"}),
        ([202010, 202005], [date(2020, 10, 1), date(2020, 5, 1)], {"type": "number"}),
        (["２／３／２０２４"], [date(2024, 3, 2)], {"type": "date", "format": "%m/%d/%Y"}),
        (["28-Oct-52", "4-May-98"], [date(1952, 10, 28), date(1998, 5, 4)], {"type": "date", "last_year": 2069}),
        (["31.12.24", "31.12.30"], [date(2024, 12, 31), date(2030, 12, 31)], {"type": "date", "last_year": 2027}),
    ],
)
def test_a_doubt_names_an_option_that_reads_the_values_otherwise(values, found, option, monkeypatch):
    monkeypatch.setattr(dates, "next_year", lambda: 2027)
    decision, read = decide(values)
    assert read == found
    [warning] = decision.warnings("c")
    assert warning.endswith(f"set columns: {json.dumps({'c': option})}")
    settled, read = decide(values, **option)
    assert read != found
    assert settled is None or settled.warnings("c") == []  # integers that are declared numbers need no decision


@pytest.mark.parametrize(
    "values",
    [
        *(["1:36:54", "24:16:30"], ["08:30", "09:15"], ["8:30", "9:15"], ["4:16.5", "24:16"], ["1h30", "90 min"]),
        *(["05.10.12", "10.1.12"], ["10.1.12", "13.1.12"], ["10.1.12 8:30"], ["10.1.2012"]),
        *(["20201002", "2020-10-03"], ["05.10.99", "05.10.27", "05.10.70"], ["28-Oct-1852"]),
    ],
)
def test_there_is_no_doubt_where_values_tell(values, monkeypatch):
    monkeypatch.setattr(dates, "next_year", lambda: 2027)
    assert decide(values)[0].warnings("c") == []


def test_what_is_declared_is_not_in_doubt(monkeypatch):
    monkeypatch.setattr(dates, "next_year", lambda: 2027)
    for values, options in (
        (["1:36:54", "4:16"], {"type": "duration", "format": "%M:%S"}),
        (["1:36:54", "4:16"], {"type": "time"}),
        (["10.1.12", "9.3.11"], {"type": "date"}),
        (["1.2.52"], {"last_year": 2027}),
    ):
        assert decide(values, **options)[0].warnings("c") == []


def test_years_of_two_digits_are_read_as_in_training_whatever_the_year(monkeypatch):
    monkeypatch.setattr(dates, "next_year", lambda: 2027)
    births = [date(1935 + row % 70, row % 12 + 1, row % 28 + 1) for row in range(200)]
    for form in ("%d.%m.%y", "%d-%b-%y", "%d/%m/%y"):
        written = [day.strftime(form) for day in births]
        assert decide(written)[1] == births
        decision, found = decide(written, type="date", format=form)
        assert found == births
        [warning] = decision.warnings("c")
        assert f'"format": "{form}", "last_year": 2069' in warning
    monkeypatch.setattr(dates, "next_year", lambda: 2050)
    stored = Reading.from_json(json.loads(json.dumps(decision.reading.as_json())))
    assert stored.strictly(pl.Series(["1/2/43", "1/2/27"])).to_list() == [date(1943, 2, 1), date(2027, 2, 1)]
    assert Reading("date", formats=("%y%m%d",)).strictly(pl.Series(["430201"])).to_list() == [date(2043, 2, 1)]


def test_a_declared_format_reads_names_of_months_and_wide_digits_too():
    for values, form in (
        (["2. Oktober 2020"], "%d. %B %Y"),
        (["2. Oktober 2020"], "%d. %b %Y"),
        (["２.１０.２０２０"], "%d.%m.%Y"),
    ):
        decision, found = decide(values, type="date", format=form)
        assert (found, decision.strays) == ([date(2020, 10, 2)], 0)
    assert decide(["January 5, 2024"], format="%B %d, %Y")[0].strays == 0


def test_wide_digits_make_no_more_shapes_than_others():
    wide = str.maketrans("0123456789", "０１２３４５６７８９")
    days = [date(2000 + row // 336, row // 28 % 12 + 1, row % 28 + 1) for row in range(3_000)]
    decision, found = decide([f"{day}".translate(wide) for day in days])
    assert found == days
    assert decision.strays == 0


def test_missing_dates_are_no_strays_however_many_there_are():
    decision, found = decide(["0000-00-00"] * 60 + ["2020-10-02"] * 39 + ["x"])
    assert (decision.strays, found[0], found[60]) == (1, None, date(2020, 10, 2))
    read = decision.reading.strictly(pl.Series("c", ["0000-00-00", "2020-01-01"]))
    assert read.to_list() == [None, date(2020, 1, 1)]
    with pytest.raises(DataError):
        decision.reading.strictly(pl.Series("c", ["2020-00-00"]))


def test_a_number_of_digits_that_is_no_date_is_a_stray_among_dates():
    decision, found = decide([f"2020-10-{day:02}" for day in range(1, 31)] + ["123456"])
    assert (decision.strays, found[0], found[-1]) == (1, date(2020, 10, 1), None)


def test_a_time_is_a_duration_where_that_is_declared():
    assert decide([time(1, 15, 15)], type="duration")[1] == [4515]


def test_integers_that_are_all_dates_are_dates_in_typed_columns_too():
    decision, found = decide([20240105, 20241231])
    assert found == [date(2024, 1, 5), date(2024, 12, 31)]
    assert "type" in decision.warnings("c")[0]
    assert decide([20240105, 20241331])[1] == [20240105, 20241331]
    assert decide([20240105, 20241231], type="number")[1] == [20240105, 20241231]


@pytest.mark.parametrize(
    ("values", "options", "found"),
    [
        (["1", "2"], {"type": "category"}, ["1", "2"]),
        ([1, 2], {"type": "category"}, ["1", "2"]),
        (["007", "8"], {"type": "number"}, [7, 8]),
        (["1,234"], {"type": "number", "decimal": ","}, [1.234]),
        (["1.234"], {"decimal": ","}, [1234]),
        (["a", "b", ""], {"missing": ["a"]}, [None, "b", None]),
        (["NA", "b"], {"missing": []}, ["NA", "b"]),
        (["9", "9999"], {"missing": ["9999"]}, [9, None]),
        (["x", "1", "2", "3"], {"type": "number"}, [None, 1, 2, 3]),
        (["192.168.100.172"], {"type": "number"}, [192168100172]),
        (["08:30"], {"type": "time", "format": "%H:%M"}, [datetime(2024, 1, 1, 8, 30).time()]),
        (["08:30"], {"type": "duration"}, [30_600.0]),
    ],
)
def test_what_a_client_says_takes_precedence(values, options, found):
    assert decide(values, **options)[1] == found


def test_words_of_labels_stay_and_none_of_them_is_a_stray():
    assert decide(["是", "否"], is_label=True)[1] == ["是", "否"]
    assert decide(["true", "false"], is_label=True)[1] == [True, False]
    assert decide(["1"] * 99 + ["x"], is_label=True)[1][0] == "1"
    assert decide(["1,5", "2,5"], is_label=True)[1] == [1.5, 2.5]


def test_a_decision_depends_on_all_rows_and_not_on_how_they_are_batched(monkeypatch):
    values = [f"{i % 28 + 1}/{i % 12 + 1}/2024" for i in range(2_000)] + ["1,5"] * 30
    expected = decide(values)
    for size in (7, 500):
        monkeypatch.setattr(decided_columns, "BATCH_ROWS", size)
        assert decide(values) == expected
    late = ["x"] * 500 + [f"{i},5" for i in range(20_000)]
    assert decide(late)[1][-1] == 19999.5


def test_numbers_among_many_missing_values_are_numbers():
    values = [None if i % 4 else f"{i},5" for i in range(3_000)]
    assert decide(values)[1][4] == 4.5
    assert decide(["NA" if i % 4 else f"{i},5" for i in range(3_000)])[1][4] == 4.5


def test_free_text_with_digits_is_text():
    values = [f"order {i} of customer {i * 7}" for i in range(5_000)]
    assert decide(values)[0].reading == Reading()


def test_a_known_reading_is_followed_unless_too_few_values_fit():
    reading = decide(["31/12/2024", "5/1/2024"])[0].reading
    table = pl.DataFrame({"c": ["1/2/2024", "3/2/2024"], "n": ["1,5", "x"], "t": [" a", "NA"]}).lazy()
    kinds = {"n": decided_columns.Kind.NUMBER}
    found = decided_columns.read(table, decided_columns.follow(table, {"c": reading}, kinds, check=True)).collect()
    assert found.rows() == [(date(2024, 2, 1), "1,5", "a"), (date(2024, 2, 3), "x", None)]
    other = pl.DataFrame({"c": ["2024-02-01", "3/2/2024"]}).lazy()
    assert decided_columns.follow(other, {"c": reading}, {}, check=True) == {}
    assert decided_columns.follow(other, {"c": reading}, {}, check=False)["c"].reading == reading


WRITTEN = ["a", " a", "b ", "NA", "", "c"] * 10
PLACES = {"a": 0, "b": 1, "c": 2}


@pytest.mark.parametrize("dtype", [pl.String, pl.Categorical, pl.Enum(["a", " a", "b ", "NA", "", "c"])])
def test_text_is_cleaned_alike_whatever_its_type_is(tmp_path, dtype):
    """In training as in prediction: spaces are not part of a value, and words for missing values are none."""
    frame = pl.DataFrame({"c": pl.Series(WRITTEN, dtype=dtype), "y": [float(row) for row in range(60)]})
    frame.write_parquet(tmp_path / "t.parquet")
    prepared = prepare(parse({"dataset": "t.parquet", "target_column": "y"}), Catalog([tmp_path]))
    found = prepared.encoder.features(frame)
    for value, row in zip(WRITTEN[:6], found[:6], strict=True):
        expected = [float(place == PLACES.get(value.strip())) for place in range(3)]
        assert row[:3].tolist() == expected
    np.testing.assert_array_equal(found[prepared.rows["train"]], prepared.train.x)


def test_a_categorical_is_read_as_declared(tmp_path):
    frame = pl.DataFrame({"c": pl.Series(["1,5", "2,5", "x"], dtype=pl.Categorical)}).lazy()
    options = ReadOptions(columns={"c": ColumnOptions(type="number", decimal=",")})
    decisions = decided_columns.decide(frame, options)
    assert decided_columns.read(frame, decisions).collect()["c"].to_list() == [1.5, 2.5, None]
    assert decided_columns.decide(frame, ReadOptions())["c"].reading.read_as == "text"


@pytest.mark.parametrize("text", [["a", "b"] * 200, [f"w{row % 40}" for row in range(400)], list("abcd") * 100])
def test_only_text_that_cleaning_changes_is_cleaned(text):
    for value in ["", " a", "a ", "NA", "null", "\ta"]:
        frame = pl.DataFrame({"c": [*text, value]}).lazy()
        decision = decided_columns.decide(frame, ReadOptions())["c"]
        assert not decision.is_clean
        assert decided_columns.read(frame, {"c": decision}).collect()["c"][-1] == clean_text(value)
    frame = pl.DataFrame({"c": [*text, None]}).lazy()
    decision = decided_columns.decide(frame, ReadOptions())["c"]
    assert decision.is_clean
    assert decided_columns.read(frame, {"c": decision}).collect().equals(frame.collect())


@pytest.mark.parametrize("batch", [7, 100, 10_000])
def test_values_are_counted_alike_in_any_batches(batch, monkeypatch):
    """Few distinct values are counted before they are looked at, many are looked at at once."""
    monkeypatch.setattr(detection, "MAX_COUNTED", 30)
    few = pl.Series("c", [f"{row % 9}" for row in range(900)])
    many = pl.Series("c", [f"{row}" for row in range(900)])
    values = pl.concat([few, many, few, pl.Series("c", ["", " 3", "x1", "y", "y"])])
    of = detection.Values()
    for first in range(0, len(values), batch):
        of.add(values.slice(first, batch))
    of.finish()
    counts = {key: (shape.count, shape.value, shape.row) for key, shape in of.shapes.items()}
    expected = {"9": (1811, "0", 0), "99": (90, "10", 910), "999": (800, "100", 1000)}
    assert counts == expected | {"x9": (1, "x1", 2702), "y": (2, "y", 2703)}
    assert (of.rows, of.present, of.is_clean) == (2705, 2704, False)
