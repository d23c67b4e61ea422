"""What each feature column is, decided from all its values: the checks and the encoder follow this one decision."""

from collections.abc import Mapping

import polars as pl

from epochd.core.columns import ColumnOptions, ColumnType
from epochd.data.checks.statistics import ColumnStatistics, Statistics
from epochd.data.schema import Kind

FEW = 50
"""A text column with no more distinct values than this has categories, whatever they are."""
MOSTLY = 0.5
"""The share of distinct values, and of values with several words, from which on a text column is free text."""
OF_KIND: dict[Kind, ColumnType] = {
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.CATEGORY: "category",
    Kind.DATE: "date",
    Kind.LIST: "list",
}


def column_types(statistics: Statistics, declared: Mapping[str, ColumnOptions]) -> dict[str, ColumnType]:
    """The type of each feature by name, without those that cannot be used; a client may have ``declared`` some."""
    found = {}
    for feature in statistics.features:
        options = declared.get(feature.name)
        kind = column_type(feature, statistics.rows, options.type if options else None)
        if kind is not None:
            found[feature.name] = kind
    return found


def column_type(feature: ColumnStatistics, rows: int, declared: ColumnType | None = None) -> ColumnType | None:
    """The type of a column of so many rows; None for one that cannot be used. Text is what the client declares."""
    if feature.kind is Kind.CATEGORY:
        return declared or ("text" if is_free_text(feature, rows - feature.missing) else "category")
    if feature.dtype == pl.Duration:
        return "duration"
    return "time" if feature.dtype == pl.Time else OF_KIND.get(feature.kind)


def is_free_text(feature: ColumnStatistics, present: int) -> bool:
    """Whether a text column with so many values has free text, such as comments and titles: most values differ, and
    most have several words. Single tokens that differ are identifiers, repeated texts are categories."""
    return (
        feature.kind is Kind.CATEGORY
        and feature.distinct > FEW
        and feature.distinct >= MOSTLY * present
        and feature.wordy >= MOSTLY * present
    )
