"""What the feature columns hold: the figures that a config is judged by, taken in one pass over the table."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import polars as pl

from epochd.core.errors import Problem
from epochd.data.kinds import Kind, column, kind_of, way_out
from epochd.data.targets import MAX_NUMBER

MAX_DISTINCT = 1_000
"""Distinct values of a text column above which one-hot encoding makes no sense."""
MAX_TOLD = 20
"""How many problems, or warnings, of one kind are told one by one."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Figures of one feature column; ``low`` and ``high`` for numbers, the rest for text.

    ``numbers`` counts the texts that read as a number, ``stray`` is the first one that does not.
    """

    name: str
    dtype: pl.DataType
    missing: int
    low: float | None = None
    high: float | None = None
    distinct: int = 0
    numbers: int = 0
    stray: str | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.dtype)

    @property
    def width(self) -> int:
        """Columns after encoding; text has one more for values that are missing or unknown."""
        return self.distinct + 1 if self.kind is Kind.CATEGORY else 1

    @property
    def is_constant(self) -> bool:
        return self.distinct == 1 if self.kind is Kind.CATEGORY else self.low is not None and self.low == self.high


def figures(schema: pl.Schema, names: list[str]) -> list[pl.Expr]:
    """Expressions for everything ``read`` needs, each a single value named ``<position>.<figure>``."""
    return [
        expression.alias(f"{position}.{figure}")
        for position, name in enumerate(names)
        for figure, expression in _figures(name, schema[name])
    ]


def _figures(name: str, dtype: pl.DataType) -> Iterator[tuple[str, pl.Expr]]:
    this = column(name)
    yield "missing", this.null_count()
    if kind_of(dtype) is Kind.NUMBER:
        yield "low", this.min().cast(pl.Float64)
        yield "high", this.max().cast(pl.Float64)
    elif kind_of(dtype) is Kind.CATEGORY:
        yield "distinct", this.drop_nulls().n_unique()
        if dtype == pl.String:
            number = this.cast(pl.Float64, strict=False)
            yield "numbers", number.count()
            yield "stray", this.filter(number.is_null() & this.is_not_null()).first()


def read(schema: pl.Schema, names: list[str], row: dict[str, Any]) -> list[Feature]:
    """Features from the one row that ``figures`` gives."""
    found: list[dict[str, Any]] = [{} for _ in names]
    for key, value in row.items():
        position, _, figure = key.partition(".")
        found[int(position)][figure] = value
    return [Feature(name, schema[name], **values) for name, values in zip(names, found, strict=True)]


def absent(names: list[str], field: str, schema: pl.Schema) -> list[Problem]:
    """A problem for each name that the table lacks."""
    lacking = [name for name in names if name not in schema]
    columns = list(schema)
    problems = []
    for name in lacking[:MAX_TOLD]:
        nearest = get_close_matches(name, columns, n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(map(repr, nearest))}? " if nearest else ""
        listed = ", ".join(columns[:MAX_TOLD]) + (f" and {len(columns) - MAX_TOLD} more" * (len(columns) > MAX_TOLD))
        problems.append(Problem(field, f"the dataset has no column {name!r}", f"{hint}its columns are: {listed}"))
    if len(lacking) > MAX_TOLD:
        problems.append(Problem(field, f"{len(lacking) - MAX_TOLD} more columns do not exist", ""))
    return problems


def problems(features: list[Feature], rows: int) -> list[Problem]:
    """What keeps these columns from being learned from."""
    found = [problem for feature in features if (problem := _problem(feature, rows)) is not None]
    if len(found) <= MAX_TOLD:
        return found
    rest = Problem("feature_columns", f"{len(found) - MAX_TOLD} more columns have problems", "")
    return [*found[:MAX_TOLD], rest]


def _problem(feature: Feature, rows: int) -> Problem | None:
    name = feature.name
    if feature.kind is Kind.UNSUPPORTED:
        message, hint = f"{name!r} has the unsupported type {feature.dtype}", way_out(feature.dtype)
    elif feature.missing == rows:
        message, hint = f"{name!r} has no value in any of the {rows} rows", "leave it out of feature_columns"
    elif feature.low is not None and max(-feature.low, feature.high or 0.0) > MAX_NUMBER:
        value = feature.low if -feature.low > MAX_NUMBER else feature.high
        message, hint = f"{name!r} has infinite or huge values, such as {value!r}", "replace them, or leave it out"
    elif feature.distinct > MAX_DISTINCT:
        message = f"{name!r} is text with {feature.distinct} distinct values, too many to encode (limit {MAX_DISTINCT})"
        hint = _stray(feature) or "group rare values, or leave it out of feature_columns"
    else:
        return None
    return Problem("feature_columns", message, hint)


def warnings(features: list[Feature], rows: int) -> list[str]:
    """What is allowed but probably not meant."""
    constant = [repr(f.name) for f in features if f.is_constant and f.missing < rows]
    found = [f"{name!r} is read as text: {why}" for name, why in _almost_numbers(features)]
    if constant:
        more = f" and {len(constant) - MAX_TOLD} more" if len(constant) > MAX_TOLD else ""
        found.append(f"always the same value, nothing to learn from: {', '.join(constant[:MAX_TOLD])}{more}")
    return found


def _almost_numbers(features: list[Feature]) -> list[tuple[str, str]]:
    """Text columns in which most values are numbers: a stray word made them text."""
    return [(f.name, why) for f in features if f.distinct <= MAX_DISTINCT and (why := _stray(f))][:MAX_TOLD]


def _stray(feature: Feature) -> str:
    if feature.stray is None or feature.numbers == 0:
        return ""
    return f"{feature.numbers} of its values are numbers, but {feature.stray!r} is not; should it be empty?"
