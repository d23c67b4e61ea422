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

    def test_a_single_text_that_may_be_a_row_is_refused_as_what_it_may_be(self, source):
        reason, hint = refused(source("city,y\nParis,1\nBerlin\n"))
        assert reason == "line 3 has 1 value, but the header names 2 columns"
        assert hint == "if 'Berlin' is a footer or a comment, delete the line; otherwise write all commas of the line"


class TestFooters:
    @pytest.mark.parametrize(
        ("footer", "told"),
        [("(40 rows affected)\n", "'(40 rows affected)'"), ("(40 rows affected)", "'(40 rows affected)'"),
         ("\nTotal rows: 40\n\n", "'Total rows: 40'"), ("共40笔记录", "'共40笔记录'"),
         ("end of report\n", "'end of report'"), ("--------\n", "'--------'")],
    )  # fmt: skip
    def test_a_line_of_a_single_text_at_the_end_is_skipped_and_told(self, source, footer, told):
        found = source("d,n,y\n" + "2024-01-01,1,2\n" * 300 + footer)
        assert found.read().height == 300
        [note] = found.notes()
        line = 303 if footer.startswith("\n") else 302
        assert note == f"line {line} of 't.csv' is skipped, because it looks like a footer: {told}"

    def test_several_footers_are_told_one_by_one(self, source):
        found = source("d;n;y\n" + "a;1;2\n" * 9 + "-----\n共9笔记录\n\n导出时间:[2024-02-01 00:00:00]\n", "t.csv")
        assert found.read().height == 9
        assert [note[:7] for note in found.notes()[1:]] == ["line 11", "line 12", "line 14"]

    @pytest.mark.parametrize(
        "end",
        ["Berlin\n", "5\n", "2024-01-01\n", "10:30\n", "A-12\n", "this text was cut", "note: cut", "(x),1\n", "(5)\n",
         "(40 rows)\na,1,2\n", "http://x.org\n"],
    )  # fmt: skip
    def test_what_may_be_the_rest_of_a_row_is_no_footer(self, source, end):
        assert "line 6 has" in refused(source("d,n,y\n" + "a,1,2\n" * 4 + end))[0]

    def test_a_table_of_one_column_has_none(self, source):
        assert source("text\nit is good\n(no words)\n").read().height == 2

    def test_the_last_line_of_a_value_in_quotes_is_none(self, source):
        assert source('a,b\n1,"x"\n2,"y\nSee also: z"\n').read()["b"][1] == "y\nSee also: z"

    @pytest.mark.parametrize("name", ["t.csv", "t.ndjson"])
    @pytest.mark.parametrize("end", ["\x1a", "\n\x1a"])
    def test_the_sign_of_dos_for_the_end_is_no_text(self, source, name, end):
        content = '{"a": 1, "b": 2}\n{"a": 3, "b": 4}' if name == "t.ndjson" else "a,b\n1,2\n3,4"
        assert source(content + end, name).read().rows() == [(1, 2), (3, 4)]


class TestValuesBesideTheNamedColumns:
    def test_an_empty_value_at_the_end_of_each_line_is_left_out_and_told(self, source):
        found = source("d,n,y\n" + "2024-01-01,1,2,\n" * 5)
        assert found.read().columns == ["d", "n", "y"]
        assert found.notes() == [
            "the lines of 't.csv' end in a separator and its header does not, so the empty column at the end is "
            "left out"
        ]

    def test_a_separator_at_the_end_of_the_header_alone_is_none(self, source):
        assert source("d,n,y,\n" + "2024-01-01,1,2\n" * 5).read().columns == ["d", "n", "y"]

    def test_one_value_there_far_down_is_refused(self, source):
        reason, _ = refused(source("a,b\n" + "1,2,\n" * 300 + "1,2,3\n"))
        assert reason == "column 3 has no name, but values such as '3'"

    def test_a_line_without_it_is_refused(self, source):
        reason, _ = refused(source("a,b\n" + "1,2,\n" * 300 + "1,2\n"))
        assert reason == "line 302 has 2 values, but the first lines below the header have 3"

    @pytest.mark.parametrize(
        ("name", "content"),
        [("t.tsv", "n\ty\n1\t5\t0\n2\t6\t1\n3\t7\t0\n"),
         ("t.csv", '"n","y"\n"1",5,0\n"7",6,1\n"3",7,0\n'),
         ("t.csv", '"n","y"\n"Mazda RX4",5,0\n"Fiat 128",6,1\n"Volvo",7,0\n')],
    )  # fmt: skip
    def test_row_names_of_r_are_an_index(self, source, name, content):
        found = source(content, name)
        assert found.read().drop("Unnamed: 0").rows() == [(5, 0), (6, 1), (7, 0)]
        assert found.without_index([]).read().columns == ["n", "y"]
        assert found.notes()[0] == (
            f"the header of {name!r} names one column less than its lines have, as R writes row names: the first "
            "column, 'Unnamed: 0' here, is taken for them"
        )

    @pytest.mark.parametrize(
        "content",
        ["name,y\nSmith,John,1\nMiller,Ann,0\n", "a,b\n1,5,2\n7,5,3\n", "d,n\n2024-01-01,5,x\n2024-01-02,6,y\n",
         '"n","y"\n"a",5,0\n"a",6,1\n', "a,b\n1,2,3\n"],
    )  # fmt: skip
    def test_lines_with_another_value_more_are_refused(self, source, content):
        assert refused(source(content))[0] == "line 2 has 3 values, but the header names 2 columns"


class TestPrintedTables:
    @pytest.mark.parametrize(
        "content",
        ["|Material|Menge|y|\n|--------------|\n|A6|96,5-|47,50|\n|B2|46,5-|66,50|\n|----------|\n",
         "Liste\n\n--------------\n|Material|Menge|y|\n--------------\n|A6|96,5-|47,50|\n|B2|46,5-|66,50|\n------\n",
         "+----+------+---+\n| Material | Menge | y |\n+----+---+---+\n|A6|-96,5|47,5|\n|B2|-46,5|66,5|\n+----+---+",
         "| Material | Menge | y |\n|:---|---:|---|\n| A6 | -96,5 | 47,5 |\n| B2 | -46,5 | 66,5 |\n"],
    )  # fmt: skip
    def test_bars_and_lines_of_dashes_are_no_values(self, source, content):
        found = source(content)
        assert found.read().rows() == [("A6", -96.5, 47.5), ("B2", -46.5, 66.5)]
        assert "lines of dashes in 't.csv' are skipped, and bars at both ends of its lines left out" in found.notes()

    def test_values_of_dashes_in_other_tables_are_values(self, source):
        assert source("a|b\n---|---\nx|y\n").read().rows() == [("---", "---"), ("x", "y")]


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

    def test_all_lines_of_a_title_are_told_with_the_number_of_the_first(self, source):
        found = source('\n,,\n"Report\nof sales",,\nregion,qty,y\na,1,0\nb,2,1\n')
        assert found.read().columns == ["region", "qty", "y"]
        assert found.notes() == [
            "line 3 of 't.csv' is skipped, because it is above the header: '\"Report\\nof sales\",,'"
        ]

    def test_of_many_titles_the_first_ones_are_told(self, source):
        found = source("".join(f"line {i}\n" for i in range(25)) + "region,qty,y\n" + "a,1,0\nb,2,1\n" * 40)
        assert found.read().height == 80
        assert found.notes()[4:] == [
            "line 5 of 't.csv' is skipped, because it is above the header: 'line 4'",
            "20 more of the lines above the header of 't.csv' are skipped",
        ]

    @pytest.mark.parametrize("title", ["Sales report\n", "Sales report,,,\n"])
    def test_years_are_names_below_a_title(self, source, title):
        found = source(title + "region,2020,2021,y\n" + "a,5,2,0.7\nb,3,2,0.1\n" * 3)
        assert found.read().columns == ["region", "2020", "2021", "y"]

    @pytest.mark.parametrize("rows", ["a,2020,5\nb,2021,6\n", "a,10,x\nb,20,y\n"])
    def test_a_row_of_values_below_a_title_is_no_header(self, source, rows):
        refused(source("Sales report\n" + rows * 3))

    @pytest.mark.parametrize(
        ("content", "rows"),
        [("Sales,,Target\ndate,qty,y\n", "'Sales, , Target' and 'date, qty, y'"),
         (",in,in,out\n,date,qty,y\n", "', in, in, out' and ', date, qty, y'")],
    )  # fmt: skip
    def test_two_header_rows_are_refused_as_such(self, source, content, rows):
        row = "2024-01-01,5,1\n" if content[0] == "S" else "0,2024-01-01,5,1\n"
        reason, hint = refused(source(content + row * 3))
        assert reason == f"there seem to be two header rows, {rows} below it"
        assert hint == "write one row with a name for each column, and delete the other"

    def test_a_column_without_name_is_refused_with_a_value(self, source):
        reason, hint = refused(source("a,,c\nx,y,z\nu,v,w\n"))
        assert reason == "column 2 has no name, but values such as 'y'"
        assert hint.startswith("name it in the header, or delete what stands below")

    def test_a_byte_order_mark_that_was_written_twice_is_no_part_of_a_name(self, source):
        assert source(b"\xef\xbb\xbf\xef\xbb\xbfa,b\n1,2\n").read().columns == ["a", "b"]
        assert source(b'\xef\xbb\xbf\xef\xbb\xbf{"a": 1}\n', "t.ndjson").read().columns == ["a"]
        assert text.as_utf8(b"\xef\xbb\xbf\xef\xbb\xbfa,b\n", None) == b"a,b\n"

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
