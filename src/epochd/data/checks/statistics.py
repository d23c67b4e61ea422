"""What the feature columns hold: the figures that a config is judged by, taken in one pass over the table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from epochd.core.specs import TrainingSpec
from epochd.data.encoding.labels import MAX_CODES
from epochd.data.schema import Kind, col, kind_of
from epochd.data.tables.table import View

DATE_WIDTHS: dict[type[pl.DataType], int] = {pl.Date: 5, pl.Time: 3, pl.Datetime: 7}
"""Encoded columns of a date that varies in every part."""

COUNTED = MAX_CODES * 6 // 5
"""More distinct values than this are only estimated in a large table; the error may be a tenth."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Figures of one feature column. ``low`` and ``high`` for all but text (of lists: their elements; of dates: in
    their own steps), ``shortest`` and ``longest`` for lists, the rest for text.

    ``numbers`` counts the texts that read as a number, ``stray`` is the first one that does not, if any does.
    """

    name: str
    dtype: pl.DataType
    missing: int
    low: float | None = None
    high: float | None = None
    distinct: int = 0
    numbers: int = 0
    stray: str | None = None
    shortest: int | None = None
    longest: int | None = None

    @property
    def kind(self) -> Kind:
        return kind_of(self.dtype)

    @property
    def is_constant(self) -> bool:
        if self.kind is Kind.CATEGORY:
            return self.distinct == 1
        return self.low is not None and self.low == self.high

    def is_embedded(self, spec: TrainingSpec) -> bool:
        """Whether vectors are learned for its categories, where the network can do that."""
        return self.kind is Kind.CATEGORY and self.distinct > spec.embedding_threshold

    def width(self, embedded: bool) -> int:
        """Columns after encoding, at most: whether a flag is needed, and how many categories there are, is decided by
        the training rows."""
        flag = int(self.missing > 0)
        match self.kind:
            case Kind.CATEGORY:
                return 1 if embedded else self.distinct + 1 + flag
            case Kind.DATE:
                return DATE_WIDTHS[self.dtype.base_type()] + flag
            case Kind.LIST:
                return 1
            case _:
                return 1 + flag


@dataclass(frozen=True, slots=True)
class Encoding:
    """What the encoded examples will look like, at most; in the words of ``encode.Encoder``."""

    shape: tuple[int, ...] = ()
    embedded: tuple[tuple[int, int], ...] = ()
    masked: bool = False


def encoding(features: Sequence[Feature], spec: TrainingSpec) -> Encoding:
    """The shape of an encoded example, and its channels of codes (channel, number of codes)."""
    lists = [feature for feature in features if feature.kind is Kind.LIST]
    embeds = can_embed(spec, features)
    width, embedded = 0, []
    for feature in features:
        is_embedded = embeds and feature.is_embedded(spec)
        if is_embedded:
            embedded.append((width, min(feature.distinct, MAX_CODES) + 1))
        width += feature.width(is_embedded)
    masked = len({length for feature in lists for length in (feature.shortest, feature.longest)}) > 1
    if lists:
        steps = max(feature.longest or 0 for feature in lists)
        return Encoding((steps, width + masked), masked=masked)
    shape = (width,) if spec.sequence_length is None else (spec.sequence_length, width)
    return Encoding(shape, tuple(embedded))


def can_embed(spec: TrainingSpec, features: Sequence[Feature]) -> bool:
    """Whether the network keeps the columns apart, so that one of them can hold codes."""
    has_lists = any(feature.kind is Kind.LIST for feature in features)
    return (spec.model_type == "mlp" or spec.sequence_length is not None) and not has_lists


def examine(view: View, names: Sequence[str]) -> list[Feature]:
    """The figures of these columns.

    Distinct values are estimated first where the table is not in memory: counting needs memory for each of them.
    """
    first = _asked(view, [_figures(name, view) for name in names])
    features = [Feature(name, view.schema[name], **found) for name, found in zip(names, first, strict=True)]
    if not view.is_held:
        features = [replace(f, distinct=min(f.distinct, view.rows - f.missing)) for f in features]
    further = _asked(view, [_further_figures(feature, view) for feature in features])
    return [replace(feature, **found) for feature, found in zip(features, further, strict=True)]


def _asked(view: View, figures: Sequence[Iterator[tuple[str, pl.Expr]]]) -> list[dict[str, Any]]:
    """The figures of each column by their names, all in one pass over the table."""
    answers = view.ask(
        expression.alias(f"{position}.{figure}")
        for position, wanted in enumerate(figures)
        for figure, expression in wanted
    )
    found: list[dict[str, Any]] = [{} for _ in figures]
    for key, value in answers.items():
        position, _, figure = key.partition(".")
        found[int(position)][figure] = value
    return found


def _figures(name: str, view: View) -> Iterator[tuple[str, pl.Expr]]:
    this, dtype = col(name), view.schema[name]
    yield "missing", this.null_count()
    match kind_of(dtype):
        case Kind.NUMBER | Kind.BOOLEAN | Kind.DATE:
            yield "low", this.to_physical().min().cast(pl.Float64)
            yield "high", this.to_physical().max().cast(pl.Float64)
        case Kind.LIST:
            yield "low", elements(name, dtype).list.min().min()
            yield "high", elements(name, dtype).list.max().max()
            yield "shortest", length(name, dtype).min()
            yield "longest", length(name, dtype).max()
        case Kind.CATEGORY:
            present = this.cast(pl.String).drop_nulls()
            present = present.unique() if view.is_held else present
            yield "distinct", present.len() if view.is_held else present.approx_n_unique()
            if dtype == pl.String:
                yield "numbers", present.cast(pl.Float64, strict=False).count()


def _further_figures(feature: Feature, view: View) -> Iterator[tuple[str, pl.Expr]]:
    """What is asked of text once its first figures are known."""
    this = col(feature.name)
    if feature.kind is Kind.CATEGORY and feature.distinct <= COUNTED and not view.is_held:
        yield "distinct", this.drop_nulls().n_unique()
    if feature.numbers:
        number = this.cast(pl.Float64, strict=False)
        yield "numbers", number.count()
        yield "stray", this.filter(number.is_null() & this.is_not_null()).first()


def elements(name: str, dtype: pl.DataType) -> pl.Expr:
    """The lists of a column, as lists of Float64 in which NaN counts as missing."""
    return _lists(name, dtype).list.eval(pl.element().to_physical().cast(pl.Float64).fill_nan(None))


def length(name: str, dtype: pl.DataType) -> pl.Expr:
    """How long each list of a column is."""
    return _lists(name, dtype).list.len().cast(pl.Int64)


def _lists(name: str, dtype: pl.DataType) -> pl.Expr:
    return col(name).arr.to_list() if isinstance(dtype, pl.Array) else col(name)
