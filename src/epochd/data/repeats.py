"""Does a validation dataset hold rows that are trained on, in whatever format? Its scores then say nothing of new rows.

Rows are compared by hashes of their features and target. That tells something only where hardly any row of the training
data is there twice: otherwise a new row may well be like a known one by chance.
"""

from collections.abc import Sequence

import polars as pl

from epochd.core.specs import TrainingSpec
from epochd.data.kinds import Kind, column, kind_of
from epochd.data.sources import Source

MAX_CELLS = 20_000_000
"""Larger training data are not gone through again for this."""
SAMPLED = 10_000
"""Rows of the validation dataset that are looked for, at most."""
LEAST = 10
"""Fewer rows may be known by chance."""
SHARE = 0.9
"""The share of different rows that the training data need, and the share of known ones that is told."""


def warnings(spec: TrainingSpec, source: Source, rows: int, other: Source, features: Sequence[str]) -> list[str]:
    """A warning if nearly all of the validation dataset ``other`` is among the ``rows`` of the training data; both have
    the feature columns and the target."""
    names = list(dict.fromkeys([*features, spec.target_column]))
    if rows * len(names) > MAX_CELLS:
        return []
    sample = other.apply(lambda table: _hashes(table.head(SAMPLED), names))
    if len(sample) < LEAST:
        return []
    known = source.apply(lambda table: _hashes(table, names)).unique()
    found = int(sample.is_in(known.implode()).sum())
    if len(known) < SHARE * rows or found < SHARE * len(sample):
        return []
    of = f"its first {SAMPLED:,} rows" if len(sample) == SAMPLED else f"its {len(sample):,} rows"
    return [
        f"validation_dataset {other.name!r}: {found:,} of {of} are in the training data too, so its scores say nothing "
        "of new rows; leave these rows out of one of the two"
    ]


def _hashes(table: pl.LazyFrame, names: Sequence[str]) -> pl.Series:
    """One number for each row."""
    schema = table.collect_schema()
    row = pl.struct(_plain(name, schema[name]) for name in names)
    return table.select(row.hash()).collect(engine="streaming").to_series()


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column's values in a form that all formats have in common; numbers are rounded to float32."""
    this, kind = column(name), kind_of(dtype)
    if kind in (Kind.NUMBER, Kind.BOOLEAN):
        return (this.dt.total_microseconds() if dtype == pl.Duration else this).cast(pl.Float32)
    if kind is Kind.LIST:
        return this.cast(pl.List(pl.Float32))
    return this.cast(pl.Datetime("us") if kind is Kind.DATE and dtype != pl.Time else pl.String)
