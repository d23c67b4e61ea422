"""What a text column is: free text, categories, or something that names its row."""

import polars as pl
import pytest
from tests.support.tables import only_problem

from epochd.data.checks.statistics import WORDY

ROWS = 200
WORDS = ["fine", "pen", "broke", "after", "days", "quick", "delivery", "never", "again", "colour"]


def sentence(i):
    return f"{WORDS[i % 10]} {WORDS[i // 10 % 10]} {WORDS[i // 7 % 10]}, {WORDS[i // 3 % 10]} {i}"


def table(values):
    return {
        "a": list(values),
        "n": [i * 0.7 % 3 for i in range(len(values))],
        "y": [i // 7 % 2 for i in range(len(values))],
    }


SENTENCES = [sentence(i) for i in range(ROWS)]
CHINESE = [f"质量很好，我很喜欢这个{'红黄蓝绿黑'[i % 5]}色的{'笔书包'[i % 3]}{i}" for i in range(ROWS)]


@pytest.mark.parametrize("values", [SENTENCES, CHINESE, [*SENTENCES[:120], *[None] * 80]])
def test_texts_of_several_words_that_differ_are_free_text(look, values):
    found = look(table(values), features={"text_width": 32})
    assert found.problems == []
    assert found.types == {"a": "text", "n": "number"}
    assert found.shape == (32 + (None in values) + 1,)
    assert found.embedded == ()


@pytest.mark.parametrize(
    "values",
    [
        SENTENCES[:40] * 5,  # 40 texts
        [*["fine pen"] * 150, *SENTENCES[:50]],  # mostly the same
    ],
)
def test_texts_that_are_repeated_are_categories(look, values):
    assert look(table(values)).types["a"] == "category"


def test_single_tokens_that_differ_are_no_text(look):
    found = look(table([f"C-{i}" for i in range(ROWS)]))
    assert "looks like an identifier" in found.left_out[0].reason


def test_what_the_config_says_takes_precedence(look):
    few = table(SENTENCES[:3] * 50)
    found = look(few, columns={"a": {"type": "text"}}, features={"text_width": 32})
    assert (found.types["a"], found.shape) == ("text", (33,))
    assert look(table(SENTENCES), columns={"a": {"type": "category"}}).types["a"] == "category"


def test_every_kind_of_column_has_a_type(look):
    columns = table([f"u{i % 3}" for i in range(ROWS)]) | {
        "b": [i % 2 == 0 for i in range(ROWS)],
        "d": pl.select(pl.date(2024, 1, 1) + pl.duration(days=pl.int_range(ROWS) % 50)).to_series(),
        "t": pl.select(pl.time(pl.int_range(ROWS) % 24)).to_series(),
        "s": pl.select(pl.duration(minutes=pl.int_range(ROWS) % 40)).to_series(),
        "l": [[1.0, i % 4] for i in range(ROWS)],
    }
    types = look(columns).types
    assert types == {
        "a": "category",
        "n": "number",
        "b": "boolean",
        "d": "date",
        "t": "time",
        "s": "duration",
        "l": "list",
    }


def test_free_text_cannot_be_the_steps_of_a_sequence(look):
    for model in ("cnn", "lstm", "gru"):
        message = f"'a' is free text, but {model} reads the feature columns as the steps of a sequence"
        assert only_problem(look(table(SENTENCES), model_type=model))[1].startswith(message)
    windows = look(table(SENTENCES), model_type="gru", sequence_length=4, time_column="n", features={"text_width": 32})
    assert (windows.problems, windows.shape) == ([], (4, 32))


def test_a_table_that_is_read_in_parts_is_decided_by_all_its_rows(look, monkeypatch):
    monkeypatch.setattr("epochd.data.checks.statistics.MIN_HEAD", 10)
    monkeypatch.setattr("epochd.data.checks.statistics.SMALL_ROWS", 10)
    monkeypatch.setattr("epochd.data.checks.statistics.COUNTED_BYTES", 0)
    later = [*[f"C-{i}" for i in range(20)], *SENTENCES]
    assert look(table(later)).types["a"] == "text"
    assert look(table([*SENTENCES[:20], *[f"C-{i % 90}" for i in range(300)]])).types["a"] == "category"


@pytest.mark.parametrize(
    ("text", "wordy"),
    [
        ("good pen", True),
        ("Braund, Mr. Owen Harris", True),
        ("(very)\nbad!", True),
        ("नमस्ते दुनिया", True),
        ("质量很好，不错", True),
        ("ภาษาไทย", True),
        ("SW1A 2AA", False),
        ("customer 12", False),
        ("张小明", False),
        ("2024-01-05 13:45", False),
        ("https://example.org/some/path", False),
        ("C-123", False),
        ("", False),
    ],
)
def test_words_are_told_from_codes(text, wordy):
    assert pl.select(pl.lit(text).str.contains(WORDY)).item() is wordy
