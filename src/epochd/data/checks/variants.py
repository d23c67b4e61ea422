"""Labels and categories that are written in several ways: ``Yes`` and ``yes`` are different to a model."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping

import polars as pl

from epochd.core.specs import Task
from epochd.data.checks.issue import Issue, shown, warning
from epochd.data.checks.statistics import Statistics
from epochd.data.schema import MAX_LISTED, Kind, kind_of

MAX_DISTINCT = 1_000
"""Columns of more distinct texts are not searched."""
MOST = 5
"""Texts with variants that are listed for one column."""


def check(statistics: Statistics, task: Task | None) -> Iterator[Issue]:
    """A warning for the target, and one for each text column, in which texts differ in case, width or Unicode form
    only. Features are searched in the first rows of a large table."""
    target = statistics.target
    if target is not None and target.counts is not None and kind_of(target.dtype) is Kind.CATEGORY:
        labels = dict(target.counts.cast({"value": pl.String}).iter_rows())
        if task != "regression" and (found := variants(labels)):
            yield warning(
                f"labels of {target.name!r} that differ only in case, width, spaces or Unicode form are different "
                f"classes: {_described(found)}; write them alike if they mean the same"
            )
    first = "" if statistics.is_whole else f" in the first {statistics.head.height:,} rows"
    texts = [f.name for f in statistics.features if f.kind is Kind.CATEGORY and 1 < f.distinct <= MAX_DISTINCT]
    flawed = [(name, found) for name in texts if (found := variants(_counts(name, statistics)))]
    for name, found in flawed[:MAX_LISTED]:
        yield warning(
            f"values of {name!r} that differ only in case, width, spaces or Unicode form are different "
            f"categories{first}: {_described(found)}; write them alike if they mean the same"
        )


def variants(counts: Mapping[str, int]) -> list[dict[str, int]]:
    """The groups of texts that are the same but for case, width, spaces and Unicode form, with their counts."""
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for text, rows in counts.items():
        groups[folded(text)][text] = rows
    return [group for group in groups.values() if len(group) > 1]


def folded(text: str) -> str:
    """The text without differences of case, of width and Unicode form (NFKC), and of spaces."""
    once = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", once).split())


def _counts(name: str, statistics: Statistics) -> dict[str, int]:
    values = statistics.head.get_column(name).alias("value").drop_nulls().cast(pl.String)
    return dict(values.value_counts(sort=True, name="rows").iter_rows())


def _described(groups: list[dict[str, int]]) -> str:
    """``'Yes' (31 rows), 'yes' (5 rows)`` for each group."""
    listed = [", ".join(f"{shown(text)} ({rows:,})" for text, rows in group.items()) for group in groups[:MOST]]
    return "; ".join(listed) + (f"; and {len(groups) - MOST} more" if len(groups) > MOST else "")
