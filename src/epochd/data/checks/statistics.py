"""What the checks know of a table: one value, collected in at most two passes over the rows.

The first pass takes all figures that need no other. The second, which most tables do not need, takes exact counts of
values that were only estimated, and answers the questions of single checks. The beginning of the table is read before
both. A small table is read once and kept, which takes milliseconds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from epochd.core.specs import TrainingSpec
from epochd.data.encoding.categorical import MAX_CODES
from epochd.data.schema import Kind, can_embed, col, kind_of
from epochd.data.tables.table import select

DATE_WIDTHS: dict[type[pl.DataType], int] = {pl.Date: 5, pl.Time: 3, pl.Datetime: 7}
"""Encoded columns of a date of which every part varies."""
EXACT = MAX_CODES * 6 // 5
"""Distinct texts of a large table are counted exactly up to about this many; an estimate may be off by a tenth."""
COUNTED_BYTES = 128 << 20
"""In texts up to this size all distinct values are counted in the first pass; that takes some times this memory."""
MAX_CLASSES = 1_000
COUNTED_LABELS = 2 * MAX_CLASSES
"""The values of a target are counted one by one up to this many distinct values."""
MIN_HEAD, SMALL_ROWS, SMALL_CELLS = 100, 20_000, 2_000_000
"""A table with more rows or cells than SMALL is streamed, unless it has at most MIN_HEAD rows."""


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """Figures of one feature column. ``low`` and ``high`` for all but text (of lists: their elements; of dates: in
    their own units), ``shortest`` and ``longest`` for lists, the rest for text. ``distinct`` is an estimate where
    ``is_estimate``. ``numbers`` counts the texts that can be read as a number, ``stray`` is the first one that cannot,
    if any can. For lists of texts ``elements`` and ``numbers`` count elements."""

    name: str
    dtype: pl.DataType
    missing: int
    low: float | None = None
    high: float | None = None
    distinct: int = 0
    is_estimate: bool = False
    numbers: int = 0
    elements: int = 0
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

    def width(self, embedded: bool) -> int:
        """Columns after encoding, at most: the training rows decide whether a flag is needed, and how many categories
        there are."""
        if embedded or self.kind is Kind.LIST:
            return 1
        values = self.distinct + 1 if self.kind is Kind.CATEGORY else 1
        return (DATE_WIDTHS[self.dtype.base_type()] if self.kind is Kind.DATE else values) + (self.missing > 0)


@dataclass(frozen=True, slots=True)
class TargetStatistics:
    """Figures of a target column. ``low`` and ``high`` are None for text, ``numbers`` counts the texts that can be read
    as a number. ``counts`` has each distinct ``value`` and how many ``rows`` have it, sorted; None where there are far
    too many for classes, and ``distinct`` may then be an estimate."""

    name: str
    dtype: pl.DataType
    rows: int
    missing: int
    low: float | None
    high: float | None
    distinct: int
    counts: pl.DataFrame | None
    numbers: int = 0

    @property
    def present(self) -> int:
        return self.rows - self.missing


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of some columns of a table with ``rows`` rows. ``table`` has these columns, ``head`` their first
    rows: all of them if ``is_whole``, and the table is then in memory. If ``is_counted``, no number of distinct values
    is an estimate. ``uneven`` names the first list column whose lists are not as long as those of the first list
    column."""

    table: pl.LazyFrame
    schema: pl.Schema
    head: pl.DataFrame
    is_whole: bool
    is_counted: bool
    rows: int = 0
    features: Sequence[ColumnStatistics] = ()
    target: TargetStatistics | None = None
    by_row: Mapping[str, pl.Series] = field(default_factory=dict)
    uneven: str | None = None

    def refined(self, questions: Iterable[pl.Expr] = ()) -> tuple["Statistics", dict[str, Any]]:
        """The second pass: exact counts in the place of estimates, and the answers to the ``questions`` by their
        names. Without anything to ask the table is not read."""
        estimated = [f for f in self.features if f.is_estimate and f.distinct <= EXACT]
        exact = [col(f.name).drop_nulls().n_unique().alias(f"distinct {f.name}") for f in estimated]
        target, labels = self.target, []
        if target is not None and target.counts is None and target.distinct <= COUNTED_LABELS:
            labels = [_counted(plain_column(target.name, target.dtype)).alias("labels")]
        answers = select(self.table, [*exact, *labels, *questions])
        found = {f.name: answers[f"distinct {f.name}"] for f in estimated}
        features = [
            replace(f, distinct=found[f.name], is_estimate=False) if f.name in found else f for f in self.features
        ]
        if labels and target is not None:
            target = _with_counts(target, answers["labels"])
        return replace(self, features=features, target=target), answers


def collect(
    table: pl.LazyFrame,
    features: Sequence[str],
    target: str | None = None,
    by_row: Sequence[str] = (),
    text_bytes: int | None = None,
) -> Statistics:
    """The first pass. ``by_row`` columns are kept row by row, such as times and groups. Small tables are read as a
    whole at once; where an uncompressed text of moderate size, ``text_bytes``, is read, distinct values are
    counted exactly at once."""
    names = list(dict.fromkeys([*features, *by_row, *(() if target is None else (target,))]))
    most = max(MIN_HEAD, min(SMALL_ROWS, SMALL_CELLS // max(1, len(names))))
    chosen = table.select(*map(col, names))
    head = chosen.head(most + 1).collect(engine="streaming")
    is_whole = bool(names) and head.height <= most
    schema = head.schema
    is_counted = is_whole or (text_bytes is not None and text_bytes <= COUNTED_BYTES)
    found = Statistics(head.lazy() if is_whole else chosen, schema, head, is_whole, is_counted)
    if not names:
        return replace(found, rows=select(table, [pl.len().alias("rows")])["rows"])
    of_features = [dict(_figures(name, found)) for name in features]
    of_target = {} if target is None else dict(_target_figures(target, found))
    lists = [name for name in features if kind_of(schema[name]) is Kind.LIST]
    questions = [pl.len().alias("rows"), *(col(name).implode().alias(f"row {name}") for name in by_row)]
    questions += [value.alias(f"{n} {key}") for n, of in enumerate(of_features) for key, value in of.items()]
    questions += [value.alias(f"target {key}") for key, value in of_target.items()]
    questions += [
        (length(lists[0], schema[lists[0]]) != length(name, schema[name])).any().alias(f"uneven {name}")
        for name in lists[1:]
    ]
    answers = select(found.table, questions)
    rows = answers["rows"]
    columns = [
        _column(name, found, rows, {key: answers[f"{n} {key}"] for key in of})
        for n, (name, of) in enumerate(zip(features, of_features, strict=True))
    ]
    figures = {key: answers[f"target {key}"] for key in of_target}
    return replace(
        found,
        rows=rows,
        features=columns,
        target=None if target is None else _target(target, found, rows, figures),
        by_row={name: answers[f"row {name}"].alias(name) for name in by_row},
        uneven=next((name for name in lists[1:] if answers[f"uneven {name}"]), None),
    )


def _column(name: str, found: Statistics, rows: int, figures: dict[str, Any]) -> ColumnStatistics:
    stray = figures.pop("stray", None)
    column = ColumnStatistics(name, found.schema[name], **figures, stray=stray if figures.get("numbers") else None)
    if column.kind is Kind.CATEGORY and not _is_countable(found, name):
        return replace(column, distinct=min(column.distinct, rows - column.missing), is_estimate=True)
    return column


def _figures(name: str, found: Statistics) -> Iterator[tuple[str, pl.Expr]]:
    this, dtype = col(name), found.schema[name]
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
            present = this.drop_nulls()
            estimate = present.cast(pl.String).approx_n_unique()
            yield "distinct", present.n_unique() if _is_countable(found, name) else estimate
            if dtype == pl.String:
                number = this.cast(pl.Float64, strict=False)
                yield "numbers", number.count()
                yield "stray", this.filter(number.is_null() & this.is_not_null()).first()
        case _ if dtype == pl.List(pl.String):
            yield "elements", this.explode().count()
            yield "numbers", this.explode().cast(pl.Float64, strict=False).count()


def _is_countable(found: Statistics, name: str) -> bool:
    """Whether counting distinct values takes little memory: the text is not large, or its first rows repeat their
    values ten times on average."""
    return found.is_counted or found.head.get_column(name).n_unique() * 10 <= found.head.height


def _target_figures(name: str, found: Statistics) -> Iterator[tuple[str, pl.Expr]]:
    dtype, value = found.schema[name], plain_column(name, found.schema[name])
    yield "missing", col(name).null_count()
    if kind_of(dtype) in (Kind.LIST, Kind.UNSUPPORTED, Kind.DATE):
        return
    if kind_of(dtype) is not Kind.CATEGORY:
        yield "low", value.min().cast(pl.Float64)
        yield "high", value.max().cast(pl.Float64)
    elif dtype == pl.String:
        yield "numbers", value.cast(pl.Float64, strict=False).count()
    if _is_countable(found, name):
        yield "counts", _counted(value)
    else:
        yield "distinct", value.drop_nulls().approx_n_unique()


def _counted(value: pl.Expr) -> pl.Expr:
    return value.alias("value").drop_nulls().value_counts(name="rows").implode()


def _target(name: str, found: Statistics, rows: int, of: Mapping[str, Any]) -> TargetStatistics:
    distinct = min(of.get("distinct", 0), rows - of["missing"])
    low, high, numbers = of.get("low"), of.get("high"), of.get("numbers", 0)
    target = TargetStatistics(name, found.schema[name], rows, of["missing"], low, high, distinct, None, numbers)
    return target if (counts := of.get("counts")) is None else _with_counts(target, counts)


def _with_counts(target: TargetStatistics, counts: pl.Series) -> TargetStatistics:
    found = counts.struct.unnest().cast({"rows": pl.Int64}).sort("value")
    return replace(target, distinct=found.height, counts=found if found.height <= COUNTED_LABELS else None)


def plain_column(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column's values as ``labels.plain`` gives them; durations as numbers."""
    if isinstance(dtype, pl.Categorical | pl.Enum):
        return col(name).cast(pl.String)
    if isinstance(dtype, pl.Decimal):
        return col(name).cast(pl.Float64)
    return col(name).to_physical().cast(pl.Float64) if dtype == pl.Duration else col(name)


def elements(name: str, dtype: pl.DataType) -> pl.Expr:
    """The lists of a column, as lists of Float64 in which NaN counts as missing."""
    return _lists(name, dtype).list.eval(pl.element().to_physical().cast(pl.Float64).fill_nan(None))


def length(name: str, dtype: pl.DataType) -> pl.Expr:
    """How long each list of a column is."""
    return _lists(name, dtype).list.len().cast(pl.Int64)


def _lists(name: str, dtype: pl.DataType) -> pl.Expr:
    return col(name).arr.to_list() if isinstance(dtype, pl.Array) else col(name)


def example_shape(
    features: Sequence[ColumnStatistics], spec: TrainingSpec
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...], bool]:
    """``shape`` (at most), ``embedded`` and ``masked`` of encoded examples, as in ``encoder.Encoder``."""
    lists = [feature for feature in features if feature.kind is Kind.LIST]
    embeds = can_embed(spec, has_lists=bool(lists))
    width, embedded = 0, []
    known = [feature for feature in features if spec.ahead and feature.name in (spec.known_in_advance or ())]
    for feature in [*features, *known * len(spec.ahead)]:
        is_embedded = embeds and feature.kind is Kind.CATEGORY and feature.distinct > spec.embedding_threshold
        if is_embedded:
            embedded.append((width, min(feature.distinct, MAX_CODES) + 1))
        width += feature.width(is_embedded)
    if lists:
        masked = len({length for feature in lists for length in (feature.shortest, feature.longest)}) > 1
        return (max(feature.longest or 0 for feature in lists), width + masked), (), masked
    return (width,) if spec.sequence_length is None else (spec.sequence_length, width), tuple(embedded), False
