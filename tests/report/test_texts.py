import re
from pathlib import Path

import pytest
from markupsafe import escape

import epochd.report
from epochd.report import chinese, english, texts
from epochd.report.texts import Both, number, say

ROOM = Path(epochd.report.__file__).parent
FIELD = re.compile(r"\{(\w+)\}")
PREFIXES = ("metric_", "baseline_", "part_", "kind_", "task_", "warning_", "fact_")
"""Of keys that are put together from a name."""


def test_both_languages_have_every_text():
    assert set(english.TEXTS) == set(chinese.TEXTS)
    assert all(english.TEXTS.values())
    assert all(chinese.TEXTS.values())


@pytest.mark.parametrize("key", sorted(english.TEXTS))
def test_a_text_has_the_same_values_in_both_languages(key):
    assert set(FIELD.findall(english.TEXTS[key])) == set(FIELD.findall(chinese.TEXTS[key]))
    english_words = re.findall(r"\b[a-z]{5,}", FIELD.sub("", english.TEXTS[key]))
    assert re.search(r"[\u4e00-\u9fff]", chinese.TEXTS[key]) or not english_words


def test_every_text_is_used():
    files = [path for path in ROOM.rglob("*") if path.suffix in (".py", ".html")]
    sources = [path.read_text(encoding="utf-8") for path in files if path.stem not in ("english", "chinese")]
    composed = {f"{kind}_{name}" for kind in ("roc", "precision_recall") for name in ("title", "note", "x", "y", "key")}
    composed |= {"accuracy_title", "r2_title", "resumed_key", "rollback_key"}
    unused = [
        key
        for key in set(english.TEXTS) - composed
        if not key.startswith(PREFIXES) and not any(f'"{key}"' in source for source in sources)
    ]
    assert unused == []


def test_values_are_escaped_and_shown_in_both_languages():
    both = say("dependence_title", column='<b> {x} "&')
    assert str(escape(both)) == (
        '<span lang="en">Dependence on &lt;b&gt; {x} &#34;&amp;</span>'
        '<span lang="zh">对 &lt;b&gt; {x} &#34;&amp; 的依赖</span>'
    )
    assert str(escape(Both("<i>", "<i>"))) == "&lt;i&gt;"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (0.0, "0"),
        (1e-17, "0"),
        (0.98765, "0.9877"),
        (9999.7, "10,000"),
        (123456.7, "123,457"),
        (1234567, "1,234,567"),
        (2e-7, "2e-07"),
        (-3.5e20, "-3.5e+20"),
        (True, "True"),
    ],
)
def test_numbers_have_four_digits(value, shown):
    assert number(value) == shown


def test_a_metric_of_the_history_names_its_part():
    assert texts.metric("val_auc") == Both("ROC AUC, validation", "验证ROC AUC")
    assert texts.metric("unheard_of") == Both("unheard_of", "unheard_of")


def test_text_is_cut_by_its_width():
    assert texts.fitting("数据集名称", 6) == "数据…"
    assert texts.fitting("short", 6) == "short"
    assert texts.fitting("\x1b[31m", 20) == "\\x1b[31m"
