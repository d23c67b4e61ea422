"""Words that stand for a missing value or for a truth value, and the cleaning of text, the same in every format.

Spaces around a value are never part of it. Some words always mean a missing value; others, such as ``-`` or
``unknown``, only in a column of numbers, dates or truth values, because in a column of categories they may be one.
"""

import re
from collections.abc import Sequence

import polars as pl

MISSING = (
    *("", "na", "n/a", "#n/a", "#n/a n/a", "#na", "<na>", "nan", "-nan", "null", "#null!", "none", "nat", "\\n"),
    *("#div/0!", "#value!", "#ref!", "#name?", "#num!", "1.#qnan", "-1.#qnan", "1.#ind", "-1.#ind"),
)
"""Words that mean a missing value whatever their case: what R, pandas, databases and Excel write for one."""
MISSING_BESIDE_VALUES = (
    *("-", "--", "---", "—", "–", "——", "?", "??", ".", "..", "...", "…", "*", "/", "\\", "#", "nil", "(null)"),
    *(
        "n.a.",
        "n.a",
        "n.d.",
        "nd",
        "k.a.",
        "tbd",
        "tba",
        "unknown",
        "missing",
        "undefined",
        "(blank)",
        "blank",
        "empty",
    ),
    *(
        "not available",
        "not applicable",
        "no data",
        "nodata",
        "无",
        "空",
        "缺失",
        "未知",
        "暂无",
        "不详",
        "未填",
        "没有",
    ),
    *("無", "缺", "待定", "不適用", "不适用", "無資料", "欠損", "なし"),
)
"""Words that mean a missing value only in a column of numbers, dates or truth values."""
TRUTH = (
    *(
        ("true", "false"),
        ("yes", "no"),
        ("y", "n"),
        ("t", "f"),
        ("on", "off"),
        ("是", "否"),
        ("有", "无"),
        ("有", "無"),
    ),
    *(("对", "错"), ("真", "假"), ("ja", "nein"), ("oui", "non"), ("si", "no"), ("sí", "no"), ("sim", "não")),
    *(("はい", "いいえ"), ("да", "нет"), ("√", "×"), ("✓", "✗")),
)
"""Pairs of words for true and false, in lower case."""
FORMULA = r'^="\s*([^"]*?)\s*"$'
"""What programs write to a CSV file so that Excel takes a value for text."""
LONGEST = max(map(len, MISSING))
_MISSING = frozenset(MISSING)


def cleaned(text: pl.Expr, missing: Sequence[str] | None = None, *, formulas: bool = False) -> pl.Expr:
    """Text without spaces around it, null for a word of ``missing`` as it is written, or by default for one of MISSING
    whatever its case. An empty value is always missing. With ``formulas``, ``="007"`` is the text 007."""
    stripped = text.str.strip_chars()
    if formulas:
        stripped = stripped.str.replace(FORMULA, "$1")
    if missing is not None:
        return pl.when(~stripped.is_in(["", *(word.strip() for word in missing)])).then(stripped)
    return pl.when(~stripped.str.contains(pattern(MISSING))).then(stripped)


def clean_text(value: str, missing: Sequence[str] | None = None, *, formulas: bool = False) -> str | None:
    """``cleaned`` of one value."""
    stripped = value.strip()
    if formulas:
        stripped = re.sub(FORMULA, r"\1", stripped)
    if missing is not None:
        return None if stripped in ("", *(word.strip() for word in missing)) else stripped
    return None if len(stripped) <= LONGEST and stripped.lower() in _MISSING else stripped


def pattern(words: Sequence[str]) -> str:
    """A regular expression for exactly these words, whatever their case."""
    return f"(?i)^(?:{'|'.join(pl_escape(word) for word in words)})$"


def pl_escape(text: str) -> str:
    """Text as a part of a regular expression of Polars, which escapes fewer characters than Python's."""
    return "".join(f"\\{char}" if char in r"\.+*?()|[]{}^$#&-~" else char for char in text)
