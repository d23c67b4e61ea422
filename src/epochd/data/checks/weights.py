"""The weight column: a number of at least 0 in each row, and not 0 in all of them."""

from collections.abc import Iterator

import polars as pl

from epochd.data.checks.issue import Issue, Lookup, Row, Text, huge_values, problem, shown
from epochd.data.checks.statistics import ColumnStatistics
from epochd.data.encoding.values import MAX_NUMBER
from epochd.data.schema import INTERCHANGEABLE, col

FIELD = "weight_column"


def check(weight: ColumnStatistics, rows: int, field: str = FIELD, where: str = "") -> Iterator[Issue]:
    """Everything that rules out these weights of ``rows`` rows; ``where`` goes after a message."""
    name = weight.name
    if weight.kind not in INTERCHANGEABLE:
        message = f"the weight column {name!r} has the type {weight.dtype}{where}, but weights are numbers"
        yield problem(field, message, "use a column of numbers, or omit weight_column")
        return
    if weight.missing:
        yield _missing(weight, rows, field, where)
    if weight.low is None or weight.high is None:
        return
    if max(-weight.low, weight.high) > MAX_NUMBER:
        size = col(name).cast(pl.Float64).abs()
        yield huge_values(field, name, size, "replace them by the right weights", where)
        return
    if weight.low < 0:
        yield _negative(weight, field, where)
    elif weight.high == 0:
        message = f"all weights in {name!r} are 0{where}: no row would count"
        yield problem(field, message, "give at least one row a weight above 0, or omit weight_column")


def _missing(weight: ColumnStatistics, rows: int, field: str, where: str) -> Issue:
    def describe(row: Row | None) -> Text:
        place = f"; the first is row {row.number}" if row else ""
        message = f"{weight.missing:,} of {rows:,} rows have no weight in {weight.name!r}{place}{where}"
        return message, "give each row a weight: 1 is that of a usual row, 0 leaves a row out"

    return Issue(field, describe, (Lookup(col(weight.name).is_null()),))


def _negative(weight: ColumnStatistics, field: str, where: str) -> Issue:
    def describe(row: Row | None) -> Text:
        place = f"row {row.number} is {shown(row.values[0])}" if row else f"the least one is {weight.low:g}"
        return f"weights are at least 0, but {place} in {weight.name!r}{where}", "correct the weight, or set it to 0"

    return Issue(field, describe, (Lookup(col(weight.name).cast(pl.Float64) < 0, (weight.name,)),))
