"""Time zones: times with an offset to UTC beside times without one, in a table and at prediction."""

from collections.abc import Iterator, Mapping

import polars as pl

from epochd.core.columns import ColumnOptions
from epochd.core.errors import Problem
from epochd.data.checks.issue import Issue, quoted, shown, warning
from epochd.data.checks.statistics import Statistics
from epochd.data.columns.reading import Reading
from epochd.data.schema import MAX_LISTED

EXAMPLE = "Asia/Shanghai"


def problems(columns: Mapping[str, ColumnOptions]) -> list[Problem]:
    """A problem for each time zone that does not exist."""
    return [
        Problem(
            "columns",
            f"{shown(options.timezone)}, the timezone of {name!r}, is not the name of a time zone",
            f"use a name of the IANA database, such as {EXAMPLE} or Europe/Berlin",
        )
        for name, options in columns.items()
        if options.timezone is not None and not is_zone(options.timezone)
    ]


def is_zone(name: str) -> bool:
    """Whether times can be converted to the zone of this name."""
    try:
        pl.Series([0], dtype=pl.Datetime("us", "UTC")).dt.convert_time_zone(name)
    except pl.exceptions.ComputeError:
        return False
    return True


def check(
    statistics: Statistics, columns: Mapping[str, ColumnOptions], readings: Mapping[str, Reading]
) -> Iterator[Issue]:
    """A warning for each feature of times with an offset to UTC whose option ``timezone`` is not set."""
    zoned = [f for f in statistics.features if isinstance(f.dtype, pl.Datetime) and f.dtype.time_zone is not None]
    undeclared = [f for f in zoned if f.name not in columns or columns[f.name].timezone is None]
    for feature in undeclared[:MAX_LISTED]:
        option = f'"columns": {{{quoted(feature.name)}: {{"timezone": "{EXAMPLE}"}}}}'
        reading = readings.get(feature.name)
        if reading is not None and any(not form.endswith("%z") for form in reading.formats):
            yield warning(
                f"some times of {feature.name!r} have an offset to UTC and some have none: those without one are taken "
                f"to be in UTC; if they are in another zone, name it, such as {option}"
            )
            continue
        assert isinstance(feature.dtype, pl.Datetime)
        yield warning(
            f"the times of {feature.name!r} have an offset to UTC and are encoded in local time of "
            f"{feature.dtype.time_zone}: predictions need times with an offset, too; if theirs have none, name "
            f"the zone that they are in, such as {option}"
        )
