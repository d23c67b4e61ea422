"""A last row that is no example, but the total of the rows above it, as spreadsheets and reports end with one.

It is known by a word in its first text, also where that is no date or number of its column and was taken as missing, or
by its numbers: each is the sum of its column. The row stays; a warning names it.
"""

import math
import unicodedata
from collections.abc import Iterator, Mapping

from epochd.data.checks.issue import Issue, shown, warning
from epochd.data.checks.statistics import ColumnStatistics, Statistics
from epochd.data.columns.detection import Decision
from epochd.data.schema import Kind, shorten

WORDS = {
    *("合计", "总计", "小计", "总和", "合計", "總計", "小計", "總和", "総計", "합계", "총계", "소계", "итого", "всего"),
    *("total", "totals", "totale", "totaal", "sum", "summe", "gesamt", "gesamtsumme", "subtotal", "sub-total"),
    *("grand total", "sub total", "total general", "total général", "total geral", "sous-total"),
}
"""Texts of small letters, normalised to NFKC."""
MIN_ROWS = 3
TOLERANCE = 1e-4
"""Relative difference of a sum that is due to rounding: a total has fewer decimals than its values."""


def check(statistics: Statistics, decisions: Mapping[str, Decision]) -> Iterator[Issue]:
    """A warning if the last row looks like a total. ``decisions`` say how columns of text are read."""
    rows = statistics.rows
    if rows < MIN_ROWS:
        return
    word = _first_text(statistics, decisions)
    if word is not None and _is_word(word):
        yield warning(
            f"row {rows}, the last one, looks like a total: it has the text {shown(word)}; remove it from the data"
        )
        return
    sums = _sums(statistics)
    if len(sums) > 1:
        names = shorten([repr(name) for name in sums], 3)
        what = f"{names} are the sums of the rows above"
        yield warning(f"row {rows}, the last one, looks like a total: {what}; remove it from the data")


def _is_word(text: str) -> bool:
    plain = unicodedata.normalize("NFKC", text).casefold().strip().rstrip(":").rstrip()
    return " ".join(plain.split()) in WORDS or plain.replace(" ", "") in WORDS


def _first_text(statistics: Statistics, decisions: Mapping[str, Decision]) -> str | None:
    """The first text of the last row, or the one that was taken as missing in it; None if others are the same."""
    last = statistics.rows - 1
    for decision in decisions.values():
        if strays := [text for row, text in decision.examples if row == last]:
            return strays[0]
    name, text = next(((name, value) for name, value in statistics.last.items() if isinstance(value, str)), ("", None))
    if text is None or (statistics.head.get_column(name) == text).sum() > statistics.is_whole:
        return None
    return text


def _sums(statistics: Statistics) -> list[str]:
    """The columns whose last number is the sum of the others, if that is true of all that have one but 0."""
    columns = {f.name: (f.mean, f.missing) for f in statistics.features if f.kind is Kind.NUMBER}
    if (target := statistics.target) is not None and target.mean is not None:
        columns[target.name] = target.mean, target.missing
    found = []
    for name, (mean, missing) in columns.items():
        last = statistics.last.get(name)
        if mean is None or not isinstance(last, int | float) or not last:
            continue
        if not math.isclose(mean * (statistics.rows - missing), 2.0 * last, rel_tol=TOLERANCE):
            return []
        found.append(name)
    adds_up = any(_adds_up(f, statistics) for f in statistics.features if f.name in found)
    return found if adds_up else []


def _adds_up(feature: ColumnStatistics, statistics: Statistics) -> bool:
    """Whether a sum is one of several values: of a single one among zeros, the squares have that sum, too."""
    last, mean, deviation = statistics.last[feature.name], feature.mean or 0.0, feature.deviation or 0.0
    squares = (deviation**2 + mean**2) * (statistics.rows - feature.missing)
    return not math.isclose(squares, 2.0 * last**2, rel_tol=TOLERANCE)
