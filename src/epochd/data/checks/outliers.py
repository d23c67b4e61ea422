"""Numbers so far from all others that the standard deviation is theirs alone: scaled by it, the others are the same."""

from collections.abc import Iterator

import polars as pl

from epochd.core.specs import TrainingSpec
from epochd.data.checks.features import is_huge
from epochd.data.checks.issue import Issue, Lookup, Row, Text, shown, warning
from epochd.data.checks.statistics import ColumnStatistics, Statistics, number
from epochd.data.schema import MAX_LISTED, Kind

FLATTENED, DOMINATED = 20.0, 10.0
"""Standard deviations per interquartile range above which a column is flattened: by many values, and by a single one
that makes up most of the variance. The ratio is 0.74 for normally distributed numbers, 15 for lognormal ones of which
the logarithm has a deviation of 2."""
MIN_ROWS = 10


def check(statistics: Statistics, spec: TrainingSpec) -> Iterator[Issue]:
    """A warning for each column that its largest or smallest value flattens, with the row and the value. Quartiles are
    those of the first rows."""
    if spec.scaling != "standard" or statistics.rows < MIN_ROWS:
        return
    numbers = [feature for feature in statistics.features if feature.kind is Kind.NUMBER and not is_huge(feature)]
    found = [issue for feature in numbers if (issue := _outlier(feature, statistics))]
    yield from found[:MAX_LISTED]
    if len(found) > MAX_LISTED:
        yield warning(f'{len(found) - MAX_LISTED} more columns have outliers; "scaling": "quantile" limits them')


def _outlier(feature: ColumnStatistics, statistics: Statistics) -> Issue | None:
    low, high, mean, deviation = feature.low, feature.high, feature.mean, feature.deviation
    if low is None or high is None or mean is None or not deviation:
        return None
    name, present = feature.name, statistics.rows - feature.missing
    values = statistics.head.select(number(name, feature.dtype).alias("value")).to_series().drop_nulls()
    first, third = values.quantile(0.25, "linear"), values.quantile(0.75, "linear")
    if first is None or third is None or not first < third:
        return None
    farthest = _farthest(feature)
    ratio, share = deviation / (third - first), (farthest - mean) ** 2 / (present * deviation**2)
    if not (ratio > FLATTENED or (ratio > DOMINATED and share > 0.5)):
        return None

    def describe(row: Row | None) -> Text:
        value, place = (shown(row.values[0]), f" (row {row.number})") if row else (f"{farthest:g}", "")
        return (
            f"{name!r} has an outlier: {value}{place}, while half of its values lie between {first:.6g} and "
            f"{third:.6g}; "
            'divided by their standard deviation, all others are nearly the same: correct it, or set "scaling": '
            '"quantile", which limits such values, or "robust", which keeps their size'
        ), ""

    return Issue("", describe, (Lookup(number(name, feature.dtype) == pl.lit(farthest), (name,)),))


def _farthest(feature: ColumnStatistics) -> float:
    """The lowest or highest value, whichever is farther from the mean."""
    low, high, mean = feature.low or 0.0, feature.high or 0.0, feature.mean or 0.0
    return high if high - mean > mean - low else low
