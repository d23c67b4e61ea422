"""NDJSON: keys become columns."""

import gzip
from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from epochd.core.errors import DataError
from epochd.core.specs import parse
from epochd.data.checks.report import check_dataset
from epochd.data.formats import json_lines
from epochd.data.tables.catalog import Catalog, open_dataset


@pytest.fixture(params=["small", "large"])
def size(request, monkeypatch):
    """Small files, and such as pass for large ones."""
    if request.param == "large":
        monkeypatch.setattr(json_lines, "LARGE_FILE", 0)
    return request.param


def read(folder, content, name="t.ndjson"):
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return open_dataset(name, [folder]).read()


def test_lists_become_list_columns_and_absent_keys_missing_values(tmp_path):
    frame = read(tmp_path, '{"a": [1, 2]}\n\n{"a": [3.5], "b": null}\n{"b": true}\n')
    assert frame.schema == {"a": pl.List(pl.Float64), "b": pl.Boolean}
    assert frame["a"].to_list() == [[1.0, 2.0], [3.5], None]


def test_a_byte_order_mark_is_skipped(tmp_path):
    assert read(tmp_path, b'\xef\xbb\xbf{"a": 1}\n').rows() == [(1,)]
    assert read(tmp_path, gzip.compress(b'\xef\xbb\xbf{"a": 1}\n'), "t.jsonl.gz").rows() == [(1,)]


@pytest.mark.parametrize(("late", "dtype"), [("2.5", pl.Float64), ('"word"', pl.Int64), ("null", pl.Int64)])
def test_a_value_of_another_type_far_down_widens_the_column(tmp_path, late, dtype, size):
    frame = read(tmp_path, '{"a": 1}\n' * 12_000 + f'{{"a": {late}}}\n')
    assert frame["a"].dtype == dtype
    assert frame.height == 12_001


def test_lists_that_are_empty_at_first_keep_their_numbers(tmp_path, size):
    frame = read(tmp_path, '{"a": []}\n' * 12_000 + '{"a": [1, 2]}\n')
    assert frame["a"][-1].to_list() == [1, 2]


def test_a_key_that_comes_late_is_a_column(tmp_path):
    frame = read(tmp_path, '{"a": 1}\n' * 12_000 + '{"a": 2, "late": 0.5}\n')
    assert (frame.columns, frame["late"].null_count(), frame["late"][-1]) == (["a", "late"], 12_000, 0.5)
    compressed = gzip.compress(b'{"a": 1}\n' * 12_000 + b'{"late": 0.5}\n')
    assert read(tmp_path, compressed, "t.jsonl.gz").columns == ["a", "late"]


def test_where_a_late_key_is_not_found_the_hint_says_so(tmp_path, size):
    (tmp_path / "t.ndjson").write_text('{"a": 1, "y": 0}\n{"a": 3, "y": 1}\n' * 6_000 + '{"a": 2, "late": 0.5}\n')
    spec = parse({"dataset": "t.ndjson", "target_column": "y", "feature_columns": ["late", "none"]})
    hints = {problem.message: problem.hint for problem in check_dataset(spec, Catalog([tmp_path])).problems}
    said = "; in an NDJSON file this large only keys of the first 10,000 rows are columns"
    assert hints["the dataset has no column 'none'"].endswith(said) == (size == "large")
    assert ("the dataset has no column 'late'" in hints) == (size == "large")


def test_a_word_in_a_list_of_numbers_is_named_with_its_row(tmp_path):
    rows = [f'{{"a": [1, 2], "y": {i % 2}}}' for i in range(30)]
    rows[7] = '{"a": [1, 2, "x"], "y": 1}'
    (tmp_path / "t.ndjson").write_text("\n".join(rows))
    [problem] = check_dataset(parse({"dataset": "t.ndjson", "target_column": "y"}), Catalog([tmp_path])).problems
    assert problem.message.endswith("row 8 has the element 'x', which is not a number")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"a": {"x": 1}}\n{"a": 2}\n', "column 'a' is an object in line 1, but a single value in line 2"),
        ('{"a": 1}\n\n{"a": true}\n', "column 'a' is a single value in line 1, but true or false in line 3"),
        ('{"a": [1]}\n{"a": [[1]]}\n{"a": [{"b": 1}]}\n', "a list of values in line 1, but a list of lists in line 2"),
        ('{\n  "a": 1\n}\n', "line 1 is not valid JSON"),
        ('{"a": "é"}\n'.encode() * 2 + b'{"a": "caf\xe9"}\n', "line 3 is not UTF-8"),
    ],
)
def test_the_line_that_breaks_a_file_is_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read(tmp_path, lines)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024-01-31", date(2024, 1, 31)),
        ("2024-01-31T10:30:00", datetime(2024, 1, 31, 10, 30)),
        ("2024-01-31T12:30:00+02:00", datetime(2024, 1, 31, 10, 30, tzinfo=UTC)),
        ("10:30", time(10, 30)),
        ("31/01/2024", date(2024, 1, 31)),
        ("2024-13-45", "2024-13-45"),
    ],
)
def test_dates_are_recognised_as_in_csv(tmp_path, text, value):
    lines = f'{{"d": null}}\n{{"d": "{text}"}}\n{{"d": "{text}"}}\n'
    assert read(tmp_path, lines)["d"].to_list() == [None, value, value]


def test_a_null_value_does_not_make_dates_text(tmp_path):
    lines = '{"d": "2024-01-31"}\n' * 12_000 + '{"d": "NA"}\n'
    assert read(tmp_path, lines)["d"].dtype == pl.Date


def test_a_column_of_dates_with_many_words_far_down_is_text_and_others_stay_dates(tmp_path):
    lines = '{"d": "2024-01-31", "t": "2024-01-31T10:30"}\n' * 12_000
    frame = read(tmp_path, lines + '{"d": "never", "t": "2024-01-31T10:30"}\n' * 1_000)
    assert frame.schema == {"d": pl.String, "t": pl.Datetime("us")}
    assert frame["d"][-1] == "never"


@pytest.mark.parametrize("value", ['2.5, "s": "x"', '"word", "s": "x"'])
def test_a_number_of_another_type_in_a_table_with_text_is_read(tmp_path, value):
    frame = read(tmp_path, '{"a": 1, "s": "2024-01-31"}\n' * 12_000 + f'{{"a": {value}}}\n')
    assert frame["s"].dtype == pl.Date
    assert frame.height == 12_001


def test_lists_with_words_are_refused_with_row_and_word(tmp_path):
    (tmp_path / "t.ndjson").write_text('{"v": [], "y": 2.5}\n{"v": [1, 2, "x"], "y": 7.25}\n' * 20)
    [problem] = check_dataset(parse({"dataset": "t.ndjson", "target_column": "y"}), Catalog([tmp_path])).problems
    assert problem.message == (
        "'v' has the unsupported type List(String): row 2 has the element 'x', which is not a number"
    )
