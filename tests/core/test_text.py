"""What is shown of text from outside."""

import sys
import unicodedata

import pytest

from epochd.core.text import JOINERS, MAX_SHOWN, cut, indented, is_token, shown, visible

EXECUTED = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_no_character_that_a_terminal_executes_or_reorders_by_is_shown_as_it_is():
    for char in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(char) in EXECUTED and char not in JOINERS:
            shown = visible(f"a{char}b")
            assert char not in shown
            assert shown.isascii()


@pytest.mark.parametrize(
    "text",
    ["", "plain text", "名　称", "naïve café", "عمر", "שלום", "می‌خواهم", "👩‍🔬", "1 000", r"C:\x1b", "a  b"],
)
def test_readable_text_of_all_scripts_is_left_alone(text):
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("cba\u202etxt", r"cba\u202etxt"),
        ("a\r\n\tb", r"a\r\n\tb"),
        ("\ud800\U000e0041\ufeff", r"\ud800\U000e0041\ufeff"),
    ],
)
def test_other_characters_are_shown_as_python_writes_them(text, shown):
    assert visible(text) == shown


def test_a_caller_can_keep_tabs():
    assert visible("a\tb\r", keep="\t") == "a\tb\\r"


def test_a_second_line_cannot_be_mistaken_for_one_of_the_program():
    assert indented("one\nerror: two\x1b[1m\tend") == "one\n\terror: two\\x1b[1m\tend"


@pytest.mark.parametrize("token", ["a", "x" * 4096, "aZ09-._~+/==", "!#$%&'*\"(){}[]@"])
def test_a_token_of_visible_ascii_can_be_sent(token):
    assert is_token(token)


@pytest.mark.parametrize("token", ["", "x" * 4097, "a b", "ключ", "a\n", "\x7f", "a\tb", "ﬀ", " a"])
def test_any_other_token_can_not(token):
    assert not is_token(token)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, "\x01" * 10**6, ["x" * 1000] * 1000, {"x" * 10**6: [[[[1]]]]}, 10**4000]
)
def test_a_large_value_is_cut(value):
    assert len(shown(value)) <= MAX_SHOWN
    assert len(shown(value, 80)) <= 80


def test_a_small_value_is_shown_whole():
    assert [shown(value) for value in ("a", ["b", 1], {"c": None}, True)] == ["'a'", "['b', 1]", "{'c': None}", "True"]
    assert (cut("a" * 9, 9), cut("a" * 9, 8)) == ("a" * 9, "aaaaa...")
