"""How CSV and TSV are written: separators, quotes, blank lines, short lines, titles, headers."""

import random

import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.formats import layout, text
from epochd.data.tables.catalog import Catalog, open_dataset


@pytest.fixture
def source(tmp_path):
    def source(content, name="t.csv"):
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return open_dataset(name, [tmp_path])

    return source


def refused(found):
    with pytest.raises(DataError) as error:
        found.read()
    [problem] = error.value.problems
    return problem.message.partition(": ")[2], problem.hint


class TestLinesThatAreNoRows:
    def test_blank_lines_anywhere_are_none(self, source):
        frame = source("x,y\n" + "0.5,1\n0.25,0\n\n" * 40 + "\n \n\t\n").read()
        assert (frame.height, frame["x"].null_count()) == (80, 0)

    def test_lines_of_separators_at_the_end_are_none_and_elsewhere_are_rows(self, source):
        frame = source("a,b,c\n1,2,3\n,,\n4,5,6\n,,\n,,\r\n").read()
        assert frame["a"].to_list() == [1, None, 4]

    def test_in_a_table_of_one_column_an_empty_value_in_quotes_is_a_row(self, source):
        assert source('a\n1\n""\n\n2\n\n').read()["a"].to_list() == [1, None, 2]

    @pytest.mark.parametrize("content", ["a\n1\n\n2\n", "a\r\n1\r\n\r\n2\r\n", "a\n1\n  \n2", "\na\n1\n2\n\n\n"])
    def test_blank_lines_in_a_table_of_one_column_are_none(self, source, content):
        assert source(content).read()["a"].to_list() == [1, 2]

    def test_a_blank_line_inside_quotes_is_part_of_a_value(self, source):
        assert source('a,b\n1,"x\n\ny"\n\n2,z\n').read().rows() == [(1, "x\n\ny"), (2, "z")]


class TestLinesOfTheWrongLength:
    def test_a_short_line_is_refused_with_its_number_and_both_counts(self, source):
        reason, hint = refused(source("y,a,b\n0,1000.19\n1,0.45,1000.81\n0,1000.2\n"))
        assert reason == "line 2 has 2 values, but the header names 3 columns"
        assert hint == "write all commas of the line, also where values are missing"

    def test_a_short_line_far_down_is_refused(self, source):
        content = "a,b\n" + "1.5,2.5\n" * 300_000 + "1.5\n" + "1.5,2.5\n" * 10
        assert refused(source(content))[0] == "line 300002 has 1 value, but the header names 2 columns"

    def test_short_and_long_lines_that_have_the_right_number_together_are_refused(self, source):
        assert refused(source("a,b\n1,2,3\n4\n5,6\n"))[0] == "line 2 has 3 values, but the header names 2 columns"

    def test_lines_are_counted_below_values_with_lines_in_them(self, source):
        assert refused(source('a,b\n"x\ny",2\n3\n'))[0].startswith("line 4 has 1 value")


class TestQuotes:
    def test_a_quote_inside_a_value_is_part_of_it_and_told(self, source):
        found = source("desc,x,y\n" + "".join(f'{i}" pipe {i},0.5,{i % 2}\n' for i in range(20)))
        frame = found.read()
        assert (frame.height, frame["desc"][5]) == (20, '5" pipe 5')
        assert found.notes() == [
            "line 2 of 't.csv' has a quote inside a value that is not quoted; such quotes are read as part of the value"
        ]

    def test_the_line_of_the_first_such_quote_is_told(self, source):
        assert source('a,b\n"x\ny",1\n6" pipe,2\n').notes()[0].startswith("line 4 of 't.csv' has a quote")

    def test_text_after_a_closing_quote_is_refused_in_plain_words(self, source):
        reason, hint = refused(source('a,b\n1,"x" y\n'))
        assert reason == "line 2 has text after the quote that closes a value"
        assert hint == 'quote the whole value, and write "" for a quote in it'

    @pytest.mark.parametrize("place", [0, 5, 400])
    def test_quotes_after_a_backslash_are_part_of_a_value_where_csv_has_no_other_meaning_for_them(self, source, place):
        rows = ['plain,1\n"a ""b"" c",2\n'] * 500
        rows[place] = '"5\\" pipe, \\"new\\"",3\n"C:\\temp\\\\",4\n'
        found = source("a,b\n" + "".join(rows))
        assert found.read()["a"][2 * place : 2 * place + 2].to_list() == ['5" pipe, "new"', "C:\\temp\\"]
        assert found.read()["a"][-1] == 'a "b" c'
        assert found.notes() == ["the quotes inside values of 't.csv' are written \\\", which was detected"]

    def test_a_backslash_at_the_end_of_a_quoted_value_is_part_of_it(self, source):
        found = source('a,b\n"C:\\temp\\",1\n"D:\\",2\n')
        assert found.read().rows() == [("C:\\temp\\", 1), ("D:\\", 2)]
        assert found.notes() == []

    def test_a_file_that_no_way_of_writing_quotes_explains_is_refused_as_csv(self, source):
        assert (
            refused(source('a,b\n"5\\" pipe",1\n"x" y,2\n'))[0] == "line 2 has text after the quote that closes a value"
        )

    def test_doubled_quotes_separators_and_lines_in_quotes_need_no_copy(self, source, monkeypatch):
        monkeypatch.setattr(text, "copied", None)
        assert source('a,b\n"x ""y"", z","1\n2"\n"",3\n').read().rows() == [('x "y", z', "1\n2"), (None, "3")]

    def test_a_value_in_quotes_may_have_spaces_before_it(self, source):
        assert source('a,b\n1, "x, y"\n2, "z"\n').read().rows() == [(1, "x, y"), (2, "z")]

    def test_a_value_in_quotes_may_be_longer_than_a_piece(self, source, monkeypatch):
        monkeypatch.setattr(text._chunks, "__defaults__", (100,))
        long = "x,\n" * 200
        assert source(f'a,b\n"{long}",1\ny,2\n').expecting({}).read()["a"].to_list() == [long, "y"]


class TestSeparators:
    @pytest.mark.parametrize(
        ("name", "sign", "word"), [("t.csv", ";", "semicolons"), ("t.csv", "\t", "tabs"), ("t.csv", "|", "bars"),
                                   ("t.tsv", ",", "commas"), ("t.tsv", ";", "semicolons")],
    )  # fmt: skip
    def test_another_separator_is_detected_and_told(self, source, name, sign, word):
        found = source(f"a{sign}b{sign}c\n1{sign}x{sign}2\n3{sign}y{sign}4\n", name)
        assert found.read().rows() == [(1, "x", 2), (3, "y", 4)]
        assert found.notes() == [f"the values of {name!r} are separated by {word}, which was detected"]

    def test_decimal_commas_do_not_hide_semicolons(self, source):
        assert source("Datum;Preis, EUR;Menge\n1.1.;1,5;2\n2.1.;2,5;3\n").read().columns == [
            "Datum",
            "Preis, EUR",
            "Menge",
        ]

    def test_the_usual_separator_wins_where_it_fits_all_lines(self, source):
        found = source("id,tags\n1,a;b;c\n2,d;e;f\n")
        assert (found.read().columns, found.notes()) == (["id", "tags"], [])

    def test_a_first_line_that_tells_excel_the_separator_is_heeded(self, source):
        found = source("sep=;\r\na;b\r\n1;2\r\n")
        assert found.read().rows() == [(1, 2)]

    @pytest.mark.parametrize(("sign", "word"), [("，", "full-width commas"), ("；", "full-width semicolons")])
    def test_full_width_separators_are_refused_and_named(self, source, sign, word):
        reason, hint = refused(source(f"城市{sign}年龄{sign}目标\n北京{sign}55{sign}1\n上海{sign}37{sign}0\n"))
        assert reason.startswith(f"its only column is '城市{sign}年龄{sign}目标'")
        assert word in reason
        assert hint == "replace them by commas, and save the file again"

    def test_a_table_of_one_column_of_text_with_full_width_commas_is_read(self, source):
        assert source("评论，内容\n好\n很好，谢谢，再见\n").read().height == 2

    def test_lines_that_end_in_cr_alone_are_read(self, source):
        assert source(b"a,b\r1,2\r3,4\r").read().rows() == [(1, 2), (3, 4)]


class TestHeader:
    def test_titles_and_comments_above_the_header_are_skipped_and_told(self, source):
        found = source("# made by a program, 2024\n销售报表,,\n\n城市,金额,达标\n北京,5,1\n上海,6,0\n广州,7,1\n")
        assert found.read().columns == ["城市", "金额", "达标"]
        assert found.notes() == [
            "line 1 of 't.csv' is skipped, because it is above the header: '# made by a program, 2024'",
            "line 2 of 't.csv' is skipped, because it is above the header: '销售报表,,'",
        ]

    @pytest.mark.parametrize("header", ["a,b,c", "a,,c", "a,b,"])
    def test_a_header_is_no_title(self, source, header):
        found = source(f"{header}\n1,,3\n4,,6\n".replace("b,\n1,,3\n4,,6", "b,\n1,2,\n4,5,"))
        assert (found.read().height, found.notes()) == (2, [])

    def test_a_column_without_name_and_values_is_ignored(self, source):
        assert source("a,b,\n1,2,\n3,4, \n").read().columns == ["a", "b"]

    @pytest.mark.parametrize("content", ["1.5,2,x\n2.5,3,y\n3.5,4,z\n", "2020-01-01,5\n2020-01-02,6\n"])
    def test_names_that_look_like_values_are_told(self, source, content):
        [note] = source(content).notes()
        assert note.startswith("the first line of 't.csv' is read as the names of the columns, but '")
        assert note.endswith("look like values; if the file has no header line, add one")

    @pytest.mark.parametrize("content", ["0,1,2\n5,6,7\n", "land,2019,2020\nde,1,2\n", "a,1\nx,y\n", "n,m\n1,2\n"])
    def test_numbers_that_count_are_names(self, source, content):
        assert source(content).notes() == []

    def test_a_check_warns_of_what_was_detected(self, tmp_path):
        (tmp_path / "t.csv").write_text("Report\na;y\n" + "1;0\n2;1\n3;1\n" * 20)
        warnings = check_dataset(parse({"dataset": "t.csv", "target_column": "y"}), Catalog([tmp_path])).warnings
        assert warnings[:2] == [
            "the values of 't.csv' are separated by semicolons, which was detected",
            "line 1 of 't.csv' is skipped, because it is above the header: 'Report'",
        ]


@pytest.mark.parametrize("seed", range(20))
def test_a_table_reads_the_same_however_it_is_written(source, monkeypatch, seed):
    """Random tables: with blank lines and quotes, in any encoding and separator, in pieces of any size."""
    draw = random.Random(seed)
    words = ["北京", "上海", 'a "b"', "x,y", "p;q", "two\nlines", "", "word", "是", "1"]
    rows = [[draw.choice(words), f"t{draw.random():.3f}", draw.choice(words)] for _ in range(40)]
    rows = [row for row in rows if any(row)]
    sign, codec = draw.choice(",;\t|"), draw.choice(["utf-8", "utf-8-sig", "gb18030", "utf-16"])
    lines = [["名称", "数", "c"], *rows]

    def quoted(value):
        is_plain = draw.random() < 0.5 and not set(value) & set(',;\t|"\n')
        return value if is_plain else '"' + value.replace('"', '""') + '"'

    written = "".join(sign.join(map(quoted, row)) + draw.choice(["\n", "\r\n", "\n\n"]) for row in lines)
    monkeypatch.setattr(text._chunks, "__defaults__", (draw.choice([7, 100, 1 << 20]),))
    frame = source(written.encode(codec)).read()
    assert frame.columns == lines[0]
    assert frame.rows() == [tuple(value or None for value in row) for row in rows]


def test_a_regular_file_is_read_by_polars_itself(source, monkeypatch):
    monkeypatch.setattr(text, "copied", None)
    monkeypatch.setattr(layout, "_rows", None)
    frame = pl.DataFrame({"a": range(5_000), "b": [0.5] * 5_000, "c": ["x", 'y, "z"'] * 2_500})
    assert source(frame.write_csv()).read().equals(frame)
