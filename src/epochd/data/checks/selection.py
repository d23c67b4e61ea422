"""Which of the selected columns are learned from: those that name their row, such as a customer number, are left out.

An identifier says nothing about new rows, and most tables have one, so a config that does not list its features need
not name it. A column that must be used is listed, or gets a type in ``columns``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import polars as pl

from epochd.core.columns import ColumnOptions
from epochd.core.specs import TrainingSpec
from epochd.data.checks.column_types import is_free_text
from epochd.data.checks.identifier_names import is_identifier_name
from epochd.data.checks.issue import Issue, option, problem, shown, warning
from epochd.data.checks.statistics import ColumnStatistics, Statistics
from epochd.data.columns.numbers import NumberShape
from epochd.data.schema import MAX_LISTED, Kind

FIELD = "feature_columns"
FEW, FEW_NAMED = 50, 10
"""A column with no more distinct values than this is not taken for an identifier; fewer if its name or the form of its
values says so."""
IDENTIFYING, ESTIMATED = 0.9, 0.8
"""The share of distinct values that makes an identifier; smaller where distinct values are estimated."""
KEY = re.compile(
    r"(?i)[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[0-9a-f]{40}|[0-9a-f]{64}|[0-9A-HJKMNP-TV-Z]{26}|\d{17}[\dX]"
)
"""UUIDs, ULIDs, hashes in hexadecimal digits, and numbers of Chinese identity cards."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that the config selects, but that is not learned from, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Selection:
    """The statistics without the columns that are left out, these columns, and the issues of the selection."""

    statistics: Statistics
    left_out: list[LeftOut]
    issues: list[Issue]


def select(statistics: Statistics, spec: TrainingSpec, columns: Mapping[str, ColumnOptions]) -> Selection:
    """Leave identifiers out. ``columns`` are the options of the table's columns: a type there settles what a column is.
    If nothing is left, that is a problem."""
    left_out: list[LeftOut] = []
    warnings: list[str] = []
    listed = set(spec.feature_columns or ())
    for feature in statistics.features if statistics.rows else ():
        options = columns.get(feature.name)
        declared = options.type if options is not None else None
        if declared == "identifier":
            left_out.append(LeftOut(feature.name, f"the type of {feature.name!r} in columns is 'identifier'"))
            continue
        reason = _reason(feature, statistics) if declared is None and feature.name != spec.target_column else ""
        if not reason:
            continue
        if feature.name in listed and feature.kind is not Kind.CATEGORY:
            warnings.append(f"{reason}; it is used because feature_columns lists it")
            continue
        left_out.append(LeftOut(feature.name, reason))
        warnings.append(f"{reason}; it is left out: {_way_back(feature, statistics)}")
    names = {column.name for column in left_out}
    kept = [feature for feature in statistics.features if feature.name not in names]
    issues = [] if kept else list(_nothing_left(left_out))
    return Selection(replace(statistics, features=kept), left_out, issues or list(_shortened(warnings)))


def _nothing_left(left_out: list[LeftOut]) -> Iterator[Issue]:
    for column in left_out[:MAX_LISTED]:
        hint = f"add other columns, or set {option(column.name, 'category')} if it is no identifier"
        yield problem(FIELD, f"{column.reason}, and no other column is left to learn from", hint)


def _shortened(warnings: list[str]) -> Iterator[Issue]:
    yield from map(warning, warnings[:MAX_LISTED])
    if len(warnings) > MAX_LISTED:
        yield warning(f"{len(warnings) - MAX_LISTED} more columns look like identifiers and are left out")


def _way_back(feature: ColumnStatistics, statistics: Statistics) -> str:
    """How to use a column nevertheless."""
    if feature.kind is Kind.CATEGORY and _are_amounts(_first_texts(feature.name, statistics)):
        return "to use it as numbers, write all of them in one unit"
    if feature.kind is Kind.CATEGORY:
        return f"to use it nevertheless, set {option(feature.name, 'category')}"
    return f"to use it nevertheless, list it in feature_columns or set {option(feature.name, 'number')}"


def _reason(feature: ColumnStatistics, statistics: Statistics) -> str:
    """Why a column is an identifier; empty if it is not one."""
    name, present = feature.name, statistics.rows - feature.missing
    distinct = f"about {feature.distinct:,}" if feature.is_estimate else f"{feature.distinct:,}"
    sample = _sample(_first_values(name, statistics))
    if feature.kind is Kind.CATEGORY and _names_rows(feature, statistics):
        if _are_amounts(_first_texts(name, statistics)):
            return f"{name!r} is text, because its numbers have different units{sample}"
        return f"{name!r} looks like an identifier: {distinct} distinct texts in {present:,} rows{sample}"
    if is_row_index(feature, statistics):
        return f"{name!r} looks like a row index: each value is the one before plus 1"
    if feature.kind is Kind.NUMBER and feature.whole and is_distinct(feature, statistics, FEW_NAMED):
        return f"{name!r} looks like an identifier: {distinct} distinct numbers in {present:,} rows{sample}"
    return ""


def _names_rows(feature: ColumnStatistics, statistics: Statistics) -> bool:
    """Whether text is different in nearly all rows, and neither free text nor mostly numbers with stray words."""
    head = _first_texts(feature.name, statistics)
    named = is_identifier_name(feature.name) or _are_keys(head)
    if not is_distinct(feature, statistics, FEW_NAMED if named else FEW):
        return False
    present = statistics.rows - feature.missing
    mixed = feature.stray is not None and 2 * feature.numbers > present
    return named or not (mixed or is_free_text(feature, present))


def is_distinct(feature: ColumnStatistics, statistics: Statistics, few: int) -> bool:
    """Whether nearly all values are different; where they were estimated, those of the first rows are counted too."""
    distinct, present = feature.distinct, statistics.rows - feature.missing
    if distinct <= few or not feature.is_estimate:
        return distinct > few and distinct >= IDENTIFYING * present
    first = _first_values(feature.name, statistics).drop_nulls()
    return distinct >= ESTIMATED * present and first.n_unique() >= IDENTIFYING * len(first)


def _are_amounts(texts: pl.Series) -> bool:
    """Whether most texts are numbers with a unit of more than one letter or another unit."""
    units = [found.unit for text in texts if (found := NumberShape.of(text)) is not None and found.unit]
    return 2 * len(units) > len(texts) and max(map(len, units)) > 1


def _are_keys(texts: pl.Series) -> bool:
    return len(texts) > 0 and all(KEY.fullmatch(text) for text in texts)


def is_row_index(feature: ColumnStatistics, statistics: Statistics) -> bool:
    """Whether each row's whole number is the one before plus one: by the first rows, and by the column's range."""
    if not feature.dtype.is_integer() or feature.missing or feature.low is None or feature.high is None:
        return False
    if statistics.rows <= FEW or feature.high - feature.low != statistics.rows - 1:
        return False
    return bool((_first_values(feature.name, statistics).cast(pl.Int64).diff().drop_nulls() == 1).all())


def _first_texts(name: str, statistics: Statistics) -> pl.Series:
    return _first_values(name, statistics).drop_nulls().cast(pl.String).head(100)


def _first_values(name: str, statistics: Statistics) -> pl.Series:
    """The values of the first rows, by a name that Polars does not read as a pattern."""
    return statistics.head.get_column(name).alias("value")


def _sample(values: pl.Series) -> str:
    """``, such as 'x' in row 7``; empty if the first rows have no value."""
    place = values.is_not_null().arg_max()
    value = None if place is None else values[place]
    return "" if value is None else f", such as {shown(value)} in row {(place or 0) + 1}"
