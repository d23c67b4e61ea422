"""The validation dataset beside the one that is trained on: the same columns, known labels, and other rows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.data import schema
from epochd.data.checks import features, images, target, time_and_group
from epochd.data.checks.issue import Issue, Lookup, Row, Text, problem, resolve, shown
from epochd.data.checks.statistics import ColumnStatistics, Statistics, TargetStatistics, collect, length, plain_column
from epochd.data.checks.target import Target
from epochd.data.encoding import dates, numeric
from epochd.data.encoding.labels import Label
from epochd.data.encoding.sequence import counted
from epochd.data.encoding.values import bounded_numbers
from epochd.data.schema import INTERCHANGEABLE, MAX_LISTED, Kind, col, kind_of, kinds_of
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import select

FIELD = "validation_dataset"
READINGS: dict[Kind, Callable[[pl.DataType, pl.Series], object]] = {
    Kind.NUMBER: lambda dtype, series: bounded_numbers(series),
    Kind.BOOLEAN: lambda dtype, series: numeric.boolean_numbers(series),
    Kind.DATE: dates.read_as,
}
"""How the encoder reads values of a column that it was fitted on as of this type."""
STRICT = {Kind.BOOLEAN, Kind.DATE}
"""Kinds that do not take every value of the kinds that are read as theirs."""
MAX_CELLS = 20_000_000
"""Larger training data are not searched for rows of the validation dataset."""
SAMPLED = 10_000
"""Rows of the validation dataset that are searched for, at most."""
MIN_SAMPLED = 10
"""Fewer rows may be equal by chance."""
SHARE = 0.9
"""The share of different rows that the training data need, and the share of known ones from which on it is reported."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What is trained on: the dataset, the types of all its columns, its statistics, its target, and the hashes of its
    rows (None: they are not compared)."""

    source: Source
    schema: pl.Schema
    statistics: Statistics
    target: Target
    hashes: pl.Series | None


def check(spec: TrainingSpec, catalog: Catalog, trained: Trained) -> tuple[list[Problem], list[str]]:
    """Everything that rules out validating on the spec's dataset for that, and warnings."""
    try:
        other = pictures.opened(catalog, spec, spec.validation_dataset).expecting(kinds_of(trained.schema))
        if is_same(trained.source, other):
            message = f"{other.name!r} is the dataset that is trained on: all its rows would be known"
            hint = "give another dataset, or leave it out to hold out validation_split of the rows"
            return [Problem(FIELD, message, hint)], []
        return other.apply(lambda table: _check(table, spec, other, trained))
    except DataError as error:
        return [Problem(FIELD, problem.message, problem.hint) for problem in error.problems], []


def is_same(one: Source, other: Source) -> bool:
    """Whether two datasets have the same content; only those of the same size are read for that."""
    return one.path == other.path or (
        one.size_bytes() == other.size_bytes() and one.fingerprint() == other.fingerprint()
    )


def _check(table: pl.LazyFrame, spec: TrainingSpec, other: Source, trained: Trained) -> tuple[list[Problem], list[str]]:
    name, found = other.name, table.collect_schema()
    where = f" in {name!r}"
    order = [n for n in (spec.time_column, spec.group_column) if n is not None and spec.sequence_length is not None]
    by_name = {feature.name: feature for feature in trained.statistics.features}
    lacking = [n for n in dict.fromkeys([*by_name, *order, spec.target_column]) if n not in found]
    problems = schema.missing_columns(lacking, FIELD, found, f"{name!r}", other.schema_caveat())
    comparable, to_read, different = _compare_columns(spec, other, found, by_name.values(), trained.target.task)
    by_row = [n for n in dict.fromkeys([*order, *to_read]) if n in found]
    target_column = spec.target_column if spec.target_column in found else None
    if spec.image_column is not None:
        problems += images.problems(table, found, spec, other, FIELD)
    statistics, _ = collect(table, comparable, target_column, by_row, other.text_bytes()).refined()
    if not statistics.rows:
        return [*problems, Problem(FIELD, f"{name!r} has no rows", "give a dataset with rows")], []
    issues = []
    for feature, dtype in different[:MAX_LISTED]:
        message = f"{feature.name!r} is {dtype}{where}, but {feature.dtype} in training"
        issues.append(problem(FIELD, message, "give the column the same type in both datasets"))
    issues += _feature_issues(statistics, spec, by_name, name)
    if trained.target.task is not None and statistics.target is not None:
        issues += _target_issues(statistics.target, name, to_read, trained.target)
    problems += resolve(issues, statistics.table)[0]
    for column, dtype in to_read.items():
        try:  # as the encoder will read it; the error is about the first value that cannot be read
            READINGS[kind_of(dtype)](dtype, statistics.by_row[column])
        except DataError as error:
            problems += [Problem(FIELD, f"{fault.message}{where}", fault.hint) for fault in error.problems]
    if not lacking:
        faults = time_and_group.window_problems(statistics, spec)
        problems += [Problem(FIELD, f"{name!r}: {fault.message}", fault.hint) for fault in faults]
    return problems, [] if problems else _overlap(statistics, spec, trained, name)


def _compare_columns(
    spec: TrainingSpec, other: Source, found: pl.Schema, trained: Iterable[ColumnStatistics], task: Task | None
) -> tuple[list[str], dict[str, pl.DataType], list[tuple[ColumnStatistics, pl.DataType]]]:
    """The validation dataset's columns of the same kind; those that may have values that cannot be read, with the type
    to read them as; and those that are trained on as of another type, with their type here."""
    comparable, different = [], []
    texts: dict[str, pl.DataType] = {}
    strict: dict[str, pl.DataType] = {}
    inferred = other.infers_types
    for feature in [feature for feature in trained if feature.name in found]:
        name, dtype = feature.name, found[feature.name]
        kinds = {feature.kind, kind_of(dtype)}
        if len(kinds) == 1 or kinds == INTERCHANGEABLE or pl.Null in (feature.dtype, dtype):
            comparable.append(name)
            if feature.kind in STRICT and feature.dtype != dtype:
                strict[name] = feature.dtype
        elif inferred and dtype == pl.String and feature.kind in READINGS:
            texts[name] = feature.dtype
        else:
            different.append((feature, dtype))
    to_read = texts | strict
    if task == "regression" and inferred and found.get(spec.target_column) == pl.String:
        to_read[spec.target_column] = pl.Float64()
    return comparable, to_read, different


def _feature_issues(
    statistics: Statistics, spec: TrainingSpec, trained: Mapping[str, ColumnStatistics], name: str
) -> Iterator[Issue]:
    """Values that cannot be encoded, and lists of other lengths than those that are trained on."""
    for found in statistics.features:
        if found.kind in (Kind.NUMBER, Kind.LIST):
            yield from features.value_problems(found, FIELD, f" in {name!r}")
    lists = [found for found in statistics.features if found.kind is Kind.LIST]
    if not lists:
        return
    yield from features.uneven_lists(statistics, FIELD, f" of {name!r}")
    known = [trained[found.name] for found in lists]
    longest = max(feature.longest or 0 for feature in known)
    # an mlp cannot distinguish padding
    shortest = min(feature.shortest or 0 for feature in known) if spec.model_type == "mlp" else 0
    for found in lists:
        size = length(found.name, found.dtype)
        if (found.longest or 0) > longest:
            limit, hint = f"{longest} at most", "shorten the list, or train on longer ones"
            yield _length_issue(found.name, name, size > longest, limit, hint)
        if (found.shortest or 0) < shortest and found.longest:
            limit = f"{shortest} at least, and mlp needs lists of one length"
            hint = "make it as long, or use 'cnn', 'lstm' or 'gru', which read sequences of any length"
            yield _length_issue(found.name, name, (size > 0) & (size < shortest), limit, hint)


def _length_issue(column: str, name: str, condition: pl.Expr, limit: str, hint: str) -> Issue:
    def describe(row: Row | None) -> Text:
        place = f"row {row.number} of {column!r} in {name!r} has {counted(len(row.values[0]))}" if row else column
        return f"{place}; in training {limit}", hint

    return Issue(FIELD, describe, (Lookup(condition, (column,)),))


def _target_issues(found: TargetStatistics, source: str, to_read: Collection[str], trained: Target) -> Iterator[Issue]:
    name, where = found.name, f" in {source!r}"
    if target.unusable(found):
        message = f"{name!r} is {found.dtype}{where}, which cannot be predicted"
        yield problem(FIELD, message, "give the column the same type in both datasets")
        return
    yield from target.missing(found, FIELD, where)
    if trained.task != "regression":
        yield from _unknown_label(found, source, trained.classes or [])
    elif name not in to_read:
        if kind_of(found.dtype) is Kind.CATEGORY:
            message = f"{name!r} is text{where}, but a number in training"
            yield problem(FIELD, message, "give the column the same type in both datasets")
        elif fault := target.huge(found, FIELD, where):
            yield fault


def _unknown_label(found: TargetStatistics, name: str, classes: Sequence[Label]) -> Iterator[Issue]:
    """The first row whose label was not among the classes."""
    if not classes:
        return
    if found.counts is None:
        message = f"{found.name!r} has {found.distinct:,} distinct values in {name!r}, but {len(classes)} classes"
        yield problem(FIELD, message, "give the same labels in both datasets")
        return
    known = {*map(str, classes), *classes}
    strange = [label for label in found.counts.to_series(0).to_list() if not {label, str(label)} & known]
    if not strange:
        return
    hint = f"correct it; the classes are {', '.join(map(repr, classes[:10]))}"

    def describe(row: Row | None) -> Text:
        place, label = (row.number, row.values[0]) if row else (1, strange[0])
        return f"row {place} of {name!r} has the label {shown(label)}, which no row in training has", hint

    yield Issue(FIELD, describe, (Lookup(plain_column(found.name, found.dtype).is_in(strange), (found.name,)),))


def _overlap(statistics: Statistics, spec: TrainingSpec, trained: Trained, name: str) -> list[str]:
    """A warning if nearly all rows of the validation dataset are in the training data too: its scores then say nothing
    about new rows. Rows are compared only where hardly any row of the training data is there twice: otherwise a new row
    may well equal a known one by chance."""
    rows, known = statistics.head.head(SAMPLED), trained.hashes
    if known is None:
        return []
    columns = hashed_columns(trained.statistics, spec)
    sample = select(rows.lazy(), [row_hashes(rows.schema, columns).implode().alias("rows")])["rows"]
    if len(sample) < MIN_SAMPLED or len(known) < SHARE * trained.statistics.rows:
        return []
    found = int(sample.is_in(known.implode()).sum())
    if found < SHARE * len(sample):
        return []
    of = f"its {len(sample):,} rows" if len(sample) == statistics.rows else f"its first {len(sample):,} rows"
    return [
        f"validation_dataset {name!r}: {found:,} of {of} are in the training data too, so its scores say nothing about "
        "new rows; leave these rows out of one of the two"
    ]


def hashed_columns(statistics: Statistics, spec: TrainingSpec) -> list[str]:
    """The columns that two equal rows have in common: the features and the target."""
    return list(dict.fromkeys([*(feature.name for feature in statistics.features), spec.target_column]))


def row_hashes(schema: Mapping[str, pl.DataType], names: Sequence[str]) -> pl.Expr:
    """One number for each row, the same in all formats: numbers are rounded to float32."""
    return pl.struct(_plain(name, schema[name]) for name in names).hash()


def questions(statistics: Statistics, spec: TrainingSpec) -> list[pl.Expr]:
    """What the second pass over the training data has to answer: the hashes of its rows, without repetitions."""
    columns = hashed_columns(statistics, spec)
    if spec.validation_dataset is None or statistics.rows * len(columns) > MAX_CELLS:
        return []
    return [row_hashes(statistics.schema, columns).unique().implode().alias("row hashes")]


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column's values in a form that all formats have in common."""
    this, kind = col(name), kind_of(dtype)
    if kind in (Kind.NUMBER, Kind.BOOLEAN):
        return (this.dt.total_microseconds() if dtype == pl.Duration else this).cast(pl.Float32)
    if kind is Kind.LIST:
        return this.cast(pl.List(pl.Float32))
    return this.cast(pl.Datetime("us") if kind is Kind.DATE and dtype != pl.Time else pl.String)
