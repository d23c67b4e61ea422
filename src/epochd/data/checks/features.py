"""Feature columns: what rules them out, and what in them is probably not intended."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from epochd.core.columns import ColumnOptions, ColumnType
from epochd.core.feature_options import FeatureOptions
from epochd.core.specs import TrainingSpec
from epochd.data.checks.identifier_names import is_identifier_name
from epochd.data.checks.issue import (
    Issue,
    Lookup,
    Row,
    Text,
    huge_values,
    option,
    problem,
    quoted,
    shown,
    such_as,
    warning,
)
from epochd.data.checks.selection import FEW, FEW_NAMED, is_distinct
from epochd.data.checks.statistics import ColumnStatistics, Statistics, elements, length
from epochd.data.encoding import sequence
from epochd.data.encoding.categorical import MAX_CODES
from epochd.data.encoding.labels import listed
from epochd.data.encoding.values import MAX_NUMBER
from epochd.data.schema import MAX_LISTED, Kind, can_embed, col, reads_columns_as_steps, type_advice

MAX_DISTINCT = 1_000
"""Distinct values of a text column above which one-hot encoding is refused."""
SUGGESTED = 100
"""The ``max_categories`` that is suggested for a column of too many distinct texts."""
FIELD = "feature_columns"
LEAVE_OUT = "leave it out by exclude_columns"
CALCULATE = "its formulas have no values: open the file in Excel or LibreOffice, which calculate them, and save it"


def check(
    statistics: Statistics,
    spec: TrainingSpec,
    types: Mapping[str, ColumnType],
    columns: Mapping[str, ColumnOptions] | None = None,
    uncalculated: Collection[str] = (),
) -> Iterator[Issue]:
    """Problems of single columns, at most MAX_LISTED one by one, then those of list columns together; warnings.
    ``types`` are those of the features; a type in the options of ``columns`` settles what a column is;
    ``uncalculated`` columns are formulas without values."""
    declared = {name for name, options in (columns or {}).items() if options.type is not None}
    features = statistics.features
    has_lists = any(feature.kind is Kind.LIST for feature in features)
    limit = MAX_CODES if can_embed(spec, has_lists=has_lists) else MAX_DISTINCT
    steps = spec.model_type if reads_columns_as_steps(spec, has_lists=has_lists) else None
    encodable = Encodable(spec.feature_options, limit, steps, types, declared, uncalculated)
    by_column = [list(_column_problems(feature, encodable, statistics)) for feature in features]
    flawed = [issues for issues in by_column if issues]
    yield from (issue for issues in flawed[:MAX_LISTED] for issue in issues)
    if len(flawed) > MAX_LISTED:
        message = f"{len(flawed) - MAX_LISTED} more columns have problems"
        yield problem(FIELD, message, "correct the first ones")
    yield from _list_problems(statistics, spec)
    yield from _warnings(statistics, declared)


@dataclass(frozen=True, slots=True)
class Encodable:
    """How many categories of a text column can be encoded, and how many of them the options tell apart; the model that
    reads ``columns_as_steps``, if it does; the types of the features, the columns whose type is ``declared``, and those
    that are ``uncalculated``."""

    options: FeatureOptions
    limit: int
    columns_as_steps: str | None
    types: Mapping[str, ColumnType]
    declared: Collection[str]
    uncalculated: Collection[str]


def _column_problems(feature: ColumnStatistics, encodable: Encodable, statistics: Statistics) -> Iterator[Issue]:
    if feature.kind is Kind.UNSUPPORTED:
        yield _unsupported(feature)
    elif feature.missing == statistics.rows:
        hint = CALCULATE if feature.name in encodable.uncalculated else LEAVE_OUT
        yield problem(FIELD, f"{feature.name!r} has no value in any of the {statistics.rows} rows", hint)
    elif encodable.types.get(feature.name) == "text":
        yield from _text_as_steps(feature, encodable)
    elif feature.kind is Kind.CATEGORY:
        yield from _too_many_texts(feature, encodable, statistics)
    else:
        yield from value_problems(feature, FIELD)


def _unsupported(feature: ColumnStatistics) -> Issue:
    """A column of a type that cannot be encoded. Lists of numbers become lists of texts by a single word."""
    name, dtype = feature.name, feature.dtype
    advice, message = type_advice(dtype), f"{name!r} has the unsupported type {dtype}"
    if 2 * feature.numbers <= feature.elements:
        return Issue(FIELD, lambda row: (message + such_as(row), advice), (Lookup(col(name).is_not_null(), (name,)),))

    def describe(row: Row | None) -> Text:
        if row is None:
            return message, advice
        values = pl.Series(row.values[0], dtype=pl.String).drop_nulls()
        word = values.filter(values.cast(pl.Float64, strict=False).is_null())[0]
        place = f": row {row.number} has the element {shown(word)}, which is not a number"
        return message + place, f"make all elements numbers, or {advice}"

    numbers = col(name).list.eval(pl.element().cast(pl.Float64, strict=False)).list.drop_nulls().list.len()
    return Issue(FIELD, describe, (Lookup(col(name).list.drop_nulls().list.len() > numbers, (name,)),))


def _text_as_steps(feature: ColumnStatistics, encodable: Encodable) -> Iterator[Issue]:
    """Hashed n-grams have no order that a network could read."""
    name, model = feature.name, encodable.columns_as_steps
    if model is None:
        return
    message = f"{name!r} is free text, but {model} reads the feature columns as the steps of a sequence"
    hint = f"use model_type 'mlp' or set sequence_length, or {LEAVE_OUT}"
    yield Issue(FIELD, lambda sample: (message + such_as(sample), hint), (Lookup(col(name).is_not_null(), (name,)),))


def _too_many_texts(feature: ColumnStatistics, encodable: Encodable, statistics: Statistics) -> Iterator[Issue]:
    name, distinct, present = feature.name, feature.distinct, statistics.rows - feature.missing
    limit = encodable.limit
    about = "about " if feature.is_estimate else ""
    if is_distinct(feature, statistics, FEW) and name not in encodable.declared:
        message = f"{name!r} is text with {about}{distinct:,} distinct values in {present:,} rows"
        hint = f"if it names its row, set {option(name, 'identifier')} to leave it out; if not, set another type"
    elif encodable.options.most_categories(distinct, statistics.rows) > limit:
        message = f"{name!r} is text with {about}{distinct:,} distinct values, too many to encode (limit {limit:,})"
        hint = (
            f'set features to {{"max_categories": {SUGGESTED}}}, so that the rarest values count as one; if it names '
            f"its row, set {option(name, 'identifier')}"
        )
    else:
        return
    yield Issue(
        FIELD,
        lambda sample, stray: (message + such_as(sample), _stray_text(feature, present, stray) or hint),
        (Lookup(col(name).is_not_null(), (name,)), _stray(feature)),
    )


def value_problems(feature: ColumnStatistics, field: str, where: str = "") -> Iterator[Issue]:
    """Values that cannot be encoded whatever the model; ``where`` goes after the message, such as `` in 'b.csv'``."""
    name, dtype = feature.name, feature.dtype
    is_list = feature.kind is Kind.LIST
    if is_list and (feature.missing or feature.shortest == 0):

        def describe(row: Row | None) -> Text:
            what = "an empty list" if row and row.values[0] is not None else "no list"
            place = f" in row {row.number}" if row else ""
            return f"{name!r} has {what}{place}{where}", "give at least one number in each row"

        yield Issue(field, describe, (Lookup(col(name).is_null() | (length(name, dtype) == 0), (name,)),))
    if is_list and feature.low is None and feature.shortest:
        yield problem(field, f"{name!r} has no number in any of its lists{where}", LEAVE_OUT)
    if feature.low is not None and feature.kind is not Kind.DATE and is_huge(feature):
        size = col(name).to_physical().cast(pl.Float64).abs()
        if is_list:
            size = elements(name, dtype).list.eval(pl.element().abs()).list.max()
        unknown = f'"columns": {{{quoted(name)}: {{"missing": ["inf"]}}}}'
        hint = f"correct such values; if a word such as inf stands for a missing one, set {unknown}"
        yield huge_values(field, name, size, hint, where)


def is_huge(feature: ColumnStatistics) -> bool:
    """Whether a number is infinite or larger than MAX_NUMBER."""
    return max(-(feature.low or 0.0), feature.high or 0.0) > MAX_NUMBER


def _list_problems(statistics: Statistics, spec: TrainingSpec) -> Iterator[Issue]:
    """What list columns rule out, beside each other and in a spec."""
    lists = [feature for feature in statistics.features if feature.kind is Kind.LIST]
    if not lists:
        return
    name = lists[0].name
    if spec.sequence_length is not None:
        message = f"{name!r} holds lists, each of which is a sequence; windows of rows cannot be made of them"
        yield problem("sequence_length", message, "leave sequence_length out, or the list columns")
    if spec.input_shape is not None:
        message = f"{name!r} holds lists, which are folded into [steps, channels] as they are"
        yield problem("input_shape", message, "leave input_shape out, or the list columns")
    yield from uneven_lists(statistics, FIELD)
    ragged = next((f for f in lists if f.shortest and f.longest and f.shortest < f.longest), None)
    if spec.model_type == "mlp" and ragged:
        sizes = f"{ragged.shortest} to {ragged.longest} elements"
        message = f"mlp needs lists of one length, but those of {ragged.name!r} have {sizes}"
        hint = "use 'cnn', 'lstm' or 'gru', which read sequences of any length"
        yield Issue(
            "model_type",
            lambda row: (message + (f" (row {row.number} has {ragged.shortest})" if row else ""), hint),
            (Lookup(length(ragged.name, ragged.dtype) == ragged.shortest),),
        )


def uneven_lists(statistics: Statistics, field: str, of: str = "") -> Iterator[Issue]:
    """The first row whose lists differ in length; ``of`` says whose row it is."""
    if statistics.uneven is None:
        return
    lists = [feature.name for feature in statistics.features if feature.kind is Kind.LIST]
    names = (lists[0], statistics.uneven)
    one, other = (length(name, statistics.schema[name]) for name in names)

    def describe(row: Row | None) -> Text:
        sizes = {name: len(values) for name, values in zip(names, row.values, strict=True)} if row else {}
        return sequence.uneven_lengths(f"row {row.number}{of}" if row else "a row", sizes)

    yield Issue(field, describe, (Lookup(one != other, names),))


def _warnings(statistics: Statistics, declared: Collection[str]) -> Iterator[Issue]:
    features = statistics.features
    texts = [f for f in features if f.distinct <= MAX_DISTINCT and f.name not in declared]
    for feature in [f for f in texts if _are_mostly_numbers(f, statistics.rows - f.missing)][:MAX_LISTED]:

        def describe(row: Row | None, of: ColumnStatistics = feature) -> Text:
            return f"{of.name!r} is read as text: {_stray_text(of, statistics.rows - of.missing, row)}", ""

        yield Issue("", describe, (_stray(feature),))
    constant = [f.name for f in features if f.is_constant and f.missing < statistics.rows]
    if constant:
        yield warning(f"constant columns, from which a model learns nothing: {listed(constant, MAX_LISTED)}")
    others = [f for f in features if f.whole and not f.is_constant and f.name not in declared]
    ids = [f.name for f in others if is_identifier_name(f.name) and not is_distinct(f, statistics, FEW_NAMED)]
    for name in ids[:MAX_LISTED]:
        yield warning(
            f"the numbers of {name!r} look like identifiers, whose size has no meaning; to encode each of them by "
            f"itself, set {option(name, 'category')}"
        )


def _stray(feature: ColumnStatistics) -> Lookup:
    return Lookup(col(feature.name).cast(pl.String) == feature.stray if feature.stray is not None else pl.lit(False))


def _are_mostly_numbers(feature: ColumnStatistics, present: int) -> bool:
    """Whether at least half of the values of a column of text are numbers."""
    return feature.stray is not None and 2 * feature.numbers >= present


def _stray_text(feature: ColumnStatistics, present: int, row: Row | None) -> str:
    """Why a column of numbers is text, and the option that makes it numbers; empty if it is not one."""
    if not _are_mostly_numbers(feature, present):
        return ""
    place, lost = f" (row {row.number})" if row else "", present - feature.numbers
    return (
        f"{feature.numbers:,} of its values are numbers, but {shown(feature.stray)}{place} is not; to read it as "
        f"numbers, and {lost:,} of {present:,} values as missing, set {option(feature.name, 'number')}"
    )
