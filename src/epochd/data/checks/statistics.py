"""What the checks know of a table: one value, collected in at most two passes over the rows.

The first pass takes all figures that need no other. The second, which most tables do not need, takes exact counts of
values that were only estimated, and answers the questions of single checks. The beginning of the table is read before
both. A small table is read once and kept, which takes milliseconds.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from epochd.core.columns import ColumnType
from epochd.core.specs import TrainingSpec
from epochd.data.checks.identifier_names import is_identifier_name
from epochd.data.encoding.categorical import MAX_CODES
from epochd.data.schema import Kind, can_embed, col, kind_of
from epochd.data.tables.table import select

DATE_WIDTHS: dict[type[pl.DataType], int] = {pl.Date: 5, pl.Time: 3, pl.Datetime: 7}
"""Encoded columns of a date of which every part varies."""
EXACT = MAX_CODES * 6 // 5
"""Distinct texts of a large table are counted exactly up to about this many; an estimate may be off by a tenth."""
COUNTED_BYTES = 128 << 20
"""In texts up to this size all distinct values are counted in the first pass; that takes some times this memory."""
WORD, OUTSIDE = r"[\p{L}\p{M}]{2,}", r"[^\p{L}\p{M}\p{N}]"
UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
WORDY = rf"(?s)(?:^|{OUTSIDE}){WORD}(?:{OUTSIDE}.*)?\s(?:.*{OUTSIDE})?{WORD}(?:{OUTSIDE}|$)|(?:{UNSPACED}\P{{L}}?){{6}}"
"""Two words of at least two letters, with space between them and no digits in them; or six characters of a script that
writes no spaces between words."""
BEGINNING = 100
"""Characters of a text that are searched for words."""
MAX_CLASSES = 1_000
COUNTED_LABELS = 2 * MAX_CLASSES
"""The values of a target are counted one by one up to this many distinct values."""
ROUNDING = 1e-4
"""The least variance, relative to the mean square, that sums of powers determine well enough for a skewness."""
LAST_TEXTS, LAST_NUMBERS = 3, 8
"""Columns of which the last value is looked at."""
MIN_HEAD, SMALL_ROWS, SMALL_CELLS = 100, 20_000, 2_000_000
"""A table with more rows or cells than SMALL is streamed, unless it has at most MIN_HEAD rows."""


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """Figures of one feature column. ``low`` and ``high`` for all but text (of lists: their elements; of dates: in
    their own units), ``mean`` and ``deviation`` for numbers, ``shortest`` and ``longest`` for lists, the rest for text.
    ``distinct`` is an estimate where ``is_estimate``; with ``whole``, whether all are integers, it is known of numbers
    with a name of identifiers, too. ``numbers`` counts the texts that can be read as a number, ``stray`` is the first
    one that cannot, if any can; ``wordy`` counts those with several words (``WORDY``). For lists of
    texts ``elements`` and ``numbers`` count elements."""

    name: str
    dtype: pl.DataType
    missing: int
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    deviation: float | None = None
    whole: bool = False
    distinct: int = 0
    is_estimate: bool = False
    numbers: int = 0
    elements: int = 0
    stray: str | None = None
    wordy: int = 0
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

    def width(self, embedded: bool, categories: int) -> int:
        """Columns after encoding, at most: the training rows decide whether a flag is needed, and how many of the
        ``categories`` of a text column there are."""
        if embedded or self.kind is Kind.LIST:
            return 1
        values = categories + 1 if self.kind is Kind.CATEGORY else 1
        return (DATE_WIDTHS[self.dtype.base_type()] if self.kind is Kind.DATE else values) + (self.missing > 0)


@dataclass(frozen=True, slots=True)
class TargetStatistics:
    """Figures of a target column. ``low`` and ``high`` are None for text, ``numbers`` counts the texts that can be read
    as a number, ``whole`` says that all numbers are integers, whatever their type. ``counts`` has each distinct
    ``value`` and how many ``rows`` have it, sorted; None where there are far too many for classes, and ``distinct`` may
    then be an estimate. ``mean`` and ``skewness`` are those of numbers, ``log_skewness`` that of their log1p; None
    where they are not defined."""

    name: str
    dtype: pl.DataType
    rows: int
    missing: int
    low: float | None
    high: float | None
    distinct: int
    counts: pl.DataFrame | None
    numbers: int = 0
    whole: bool = False
    skewness: float | None = None
    log_skewness: float | None = None
    mean: float | None = None

    @property
    def present(self) -> int:
        return self.rows - self.missing


@dataclass(frozen=True, slots=True)
class Statistics:
    """What is known of some columns of a table with ``rows`` rows. ``table`` has these columns, ``head`` their first
    rows: all of them if ``is_whole``, and the table is then in memory. If ``is_counted``, no number of distinct values
    is an estimate. ``uneven`` names the first list column whose lists are not as long as those of the first list
    column. ``varied`` is about the share of distinct values in a column of a large table whose first values are nearly
    all distinct numbers; None if it has none. ``last`` are the values of some columns in the last row."""

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
    varied: float | None = None
    weight: ColumnStatistics | None = None
    last: Mapping[str, Any] = field(default_factory=dict)

    def refined(self, questions: Iterable[pl.Expr] = ()) -> tuple["Statistics", dict[str, Any]]:
        """The second pass: exact counts in the place of estimates, and the answers to the ``questions`` by their
        names. Without anything to ask the table is not read."""
        estimated = [f for f in self.features if f.kind is Kind.CATEGORY and f.is_estimate and f.distinct <= EXACT]
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
    weight: str | None = None,
) -> Statistics:
    """The first pass. ``by_row`` columns are kept row by row, such as times and groups; ``weight`` is the column of
    weights. Small tables are read as a whole at once; where an uncompressed text of moderate size, ``text_bytes``, is
    read, distinct values are counted exactly at once."""
    names = list(dict.fromkeys([*features, *by_row, *filter(None, (target, weight))]))
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
    of_weight = {} if weight is None else dict(_figures(weight, found))
    of_target = {} if target is None else dict(_target_figures(target, found))
    lists = [name for name in features if kind_of(schema[name]) is Kind.LIST]
    questions = [pl.len().alias("rows"), *(col(name).implode().alias(f"row {name}") for name in by_row)]
    questions += [value.alias(f"{n} {key}") for n, of in enumerate(of_features) for key, value in of.items()]
    questions += [value.alias(f"target {key}") for key, value in of_target.items()]
    questions += [value.alias(f"weight {key}") for key, value in of_weight.items()]
    questions += [
        (length(lists[0], schema[lists[0]]) != length(name, schema[name])).any().alias(f"uneven {name}")
        for name in lists[1:]
    ]
    varied = None if is_whole else _varied_column(head, features)
    if varied is not None:
        questions.append(col(varied).approx_n_unique().alias("varied") / col(varied).len())
    ends = _last_columns(schema, features, target)
    questions += [col(name).last().alias(f"last {name}") for name in ends]
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
        weight=None
        if weight is None
        else _column(weight, found, rows, {key: answers[f"weight {key}"] for key in of_weight}),
        uneven=next((name for name in lists[1:] if answers[f"uneven {name}"]), None),
        varied=answers.get("varied"),
        last={name: answers[f"last {name}"] for name in ends},
    )


def _last_columns(schema: pl.Schema, features: Sequence[str], target: str | None) -> list[str]:
    """The columns of which the last value is looked at: the first ones of text and of numbers, and the target."""
    names = [name for name in features if name != target]
    texts = [name for name in names if schema[name] == pl.String][:LAST_TEXTS]
    numbers = [name for name in names if schema[name].is_numeric()][:LAST_NUMBERS]
    return [*texts, *numbers, *([target] if target is not None and not schema[target].is_nested() else [])]


def _varied_column(head: pl.DataFrame, features: Sequence[str]) -> str | None:
    """The first column of numbers with decimals that are nearly all different in the first rows: of repeated rows, the
    values are repeated, too."""
    names = [name for name in features if head.schema[name].is_float()]
    return next((name for name in names if head.select(col(name).n_unique()).item() >= 0.98 * head.height), None)


def _column(name: str, found: Statistics, rows: int, figures: dict[str, Any]) -> ColumnStatistics:
    stray = figures.pop("stray", None)
    column = ColumnStatistics(name, found.schema[name], **figures, stray=stray if figures.get("numbers") else None)
    if "distinct" in figures and not _is_countable(found, name):
        return replace(column, distinct=min(column.distinct, rows - column.missing), is_estimate=True)
    return column


def _figures(name: str, found: Statistics) -> Iterator[tuple[str, pl.Expr]]:
    this, dtype = col(name), found.schema[name]
    yield "missing", this.null_count()
    match kind_of(dtype):
        case Kind.NUMBER | Kind.BOOLEAN | Kind.DATE:
            plain = this if isinstance(dtype, pl.Decimal) else this.to_physical()  # a Decimal's is without its point
            yield "low", plain.min().cast(pl.Float64)
            yield "high", plain.max().cast(pl.Float64)
            if kind_of(dtype) is Kind.NUMBER and dtype != pl.Null:
                yield "mean", number(name, dtype).mean()
                yield "deviation", number(name, dtype).std(ddof=0)
                yield from _identifier_figures(name, found)
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
                parsed = this.cast(pl.Float64, strict=False)
                yield "numbers", parsed.count()
                if not _repeats(found, name):
                    yield "wordy", this.str.slice(0, BEGINNING).str.contains(WORDY).sum()
                yield "stray", this.filter(parsed.is_null() & this.is_not_null()).first()
        case _ if dtype == pl.List(pl.String):
            yield "elements", this.explode().count()
            yield "numbers", this.explode().cast(pl.Float64, strict=False).count()


def _identifier_figures(name: str, found: Statistics) -> Iterator[tuple[str, pl.Expr]]:
    """What tells whether numbers are identifiers, where their name says so."""
    if is_identifier_name(name):
        present, dtype = number(name, found.schema[name]).drop_nulls(), found.schema[name]
        yield "whole", pl.lit(True) if dtype.is_integer() else (present == present.floor()).all()
        yield "distinct", present.n_unique() if _is_countable(found, name) else present.approx_n_unique()


def _is_countable(found: Statistics, name: str) -> bool:
    """Whether counting distinct values takes little memory."""
    return found.is_counted or _repeats(found, name)


def _repeats(found: Statistics, name: str) -> bool:
    """Whether the first rows repeat their values ten times on average."""
    return found.head.get_column(name).n_unique() * 10 <= found.head.height


def _target_figures(name: str, found: Statistics) -> Iterator[tuple[str, pl.Expr]]:
    dtype, value = found.schema[name], plain_column(name, found.schema[name])
    yield "missing", col(name).null_count()
    if kind_of(dtype) in (Kind.LIST, Kind.UNSUPPORTED, Kind.DATE):
        return
    if kind_of(dtype) is not Kind.CATEGORY:
        yield "low", value.min().cast(pl.Float64)
        yield "high", value.max().cast(pl.Float64)
        if kind_of(dtype) is Kind.NUMBER:
            number = value.cast(pl.Float64)
            if found.head.get_column(name).drop_nulls().n_unique() > 2:  # two classes have no skewness
                yield from _powers("", number)
                yield from _powers("log ", number.filter(number > -1).log1p())
            else:
                yield from _powers("", number, most=1)
            if not dtype.is_integer():
                yield "whole", (number == number.floor()).all()
    elif dtype == pl.String:
        yield "numbers", value.cast(pl.Float64, strict=False).count()
    if _is_countable(found, name):
        yield "counts", _counted(value)
    else:
        yield "distinct", value.drop_nulls().approx_n_unique()


def _powers(prefix: str, value: pl.Expr, most: int = 3) -> Iterator[tuple[str, pl.Expr]]:
    """Sums of a column from which its skewness follows; unlike ``skew`` they are streamed."""
    yield f"{prefix}rows", value.count()
    for power in range(1, most + 1):
        yield f"{prefix}power {power}", value.pow(power).sum()


def _skewness(of: Mapping[str, Any], prefix: str) -> float | None:
    """The third central moment in units of the deviation; None for two values, and if rounding hides it, as for values
    that hardly vary."""
    rows = of.get(f"{prefix}rows", 0)
    if rows < 2 or f"{prefix}power 3" not in of:
        return None
    mean, square, cube = (of[f"{prefix}power {power}"] / rows for power in (1, 2, 3))
    variance = square - mean * mean
    if not math.isfinite(cube) or not variance > ROUNDING * square:
        return None
    return float((cube - 3 * mean * variance - mean**3) / variance**1.5)


def _counted(value: pl.Expr) -> pl.Expr:
    return value.alias("value").drop_nulls().value_counts(name="rows").implode()


def _target(name: str, found: Statistics, rows: int, of: Mapping[str, Any]) -> TargetStatistics:
    distinct = min(of.get("distinct", 0), rows - of["missing"])
    low, high, numbers = of.get("low"), of.get("high"), of.get("numbers", 0)
    whole = bool(of.get("whole", found.schema[name].is_integer()))
    skewness, log_skewness = _skewness(of, ""), _skewness(of, "log ")
    mean = of["power 1"] / of["rows"] if of.get("rows") else None
    known = name, found.schema[name], rows, of["missing"], low, high, distinct
    target = TargetStatistics(*known, None, numbers, whole, skewness, log_skewness, mean)
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


def number(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column's numbers as Float64; durations in their own unit."""
    return (col(name) if isinstance(dtype, pl.Decimal) else col(name).to_physical()).cast(pl.Float64)


def elements(name: str, dtype: pl.DataType) -> pl.Expr:
    """The lists of a column, as lists of Float64 in which NaN counts as missing."""
    return _lists(name, dtype).list.eval(pl.element().to_physical().cast(pl.Float64).fill_nan(None))


def length(name: str, dtype: pl.DataType) -> pl.Expr:
    """How long each list of a column is."""
    return _lists(name, dtype).list.len().cast(pl.Int64)


def _lists(name: str, dtype: pl.DataType) -> pl.Expr:
    return col(name).arr.to_list() if isinstance(dtype, pl.Array) else col(name)


def example_shape(
    statistics: Statistics, spec: TrainingSpec, types: Mapping[str, ColumnType]
) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...], bool]:
    """``shape`` (at most), ``embedded`` and ``masked`` of encoded examples, as in ``encoder.Encoder``; ``types`` are
    those of the features."""
    features, options = statistics.features, spec.feature_options
    lists = [feature for feature in features if feature.kind is Kind.LIST]
    embeds = can_embed(spec, has_lists=bool(lists))
    width, embedded = 0, []
    known = [feature for feature in features if spec.ahead and feature.name in (spec.known_in_advance or ())]
    for feature in [*features, *known * len(spec.ahead)]:
        if types.get(feature.name) == "text":
            width += options.text_width + (feature.missing > 0)
            continue
        categories = options.most_categories(feature.distinct, statistics.rows)
        is_embedded = embeds and feature.kind is Kind.CATEGORY and categories > spec.embedding_threshold
        if is_embedded:
            embedded.append((width, min(categories, MAX_CODES) + 1))
        width += feature.width(is_embedded, categories)
    if lists:
        masked = len({length for feature in lists for length in (feature.shortest, feature.longest)}) > 1
        return (max(feature.longest or 0 for feature in lists), width + masked), (), masked
    return (width,) if spec.sequence_length is None else (spec.sequence_length, width), tuple(embedded), False
