"""The validation dataset beside the one that is trained on: the same columns, known labels, and other rows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.data import schema
from epochd.data.checks import features, images, target, time_and_group, weights
from epochd.data.checks.issue import Issue, Lookup, Row, Text, problem, resolve, shown, warning
from epochd.data.checks.statistics import ColumnStatistics, Statistics, TargetStatistics, collect, length, plain_column
from epochd.data.checks.target import Target
from epochd.data.columns.detection import Decision
from epochd.data.columns.reading import Reading
from epochd.data.encoding import dates, numeric, sequence
from epochd.data.encoding.labels import Label
from epochd.data.encoding.sequence import LONGER, counted
from epochd.data.encoding.values import bounded_numbers
from epochd.data.schema import INTERCHANGEABLE, MAX_LISTED, Kind, kind_of, kinds_of
from epochd.data.splitting.row_contents import row_hashes
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import select

FIELD = "validation_dataset"
READINGS: dict[Kind, Callable[[pl.DataType, pl.Series, str | None], object]] = {
    Kind.NUMBER: lambda dtype, series, zone: bounded_numbers(series),
    Kind.BOOLEAN: lambda dtype, series, zone: numeric.boolean_numbers(series),
    Kind.DATE: dates.read_as,
}
"""How the encoder reads values of a column that it was fitted on as of this type; times without an offset are in the
given zone."""
STRICT = {Kind.BOOLEAN, Kind.DATE}
"""Kinds that do not take every value of the kinds that are read as theirs."""
MAX_CELLS = 20_000_000
"""Larger training data are not searched for rows of the validation dataset."""
SAMPLED = 10_000
"""Rows of the validation dataset that are searched for, at most."""
MIN_SAMPLED = 10
"""Fewer rows may be equal by chance."""
PADDED = 2
"""How many times as long as in training lists may be without a warning that training rows are padded."""
SHARE = 0.9
"""The share of different rows that the training data need, and the share of known ones from which on it is reported."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What is trained on: the dataset, the types of all its columns, its statistics, its target, the hashes of its
    rows (None: they are not compared), and how its columns of text are read."""

    source: Source
    schema: pl.Schema
    statistics: Statistics
    target: Target
    hashes: pl.Series | None
    readings: Mapping[str, Reading] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """What rules out validating on a dataset, warnings, and the length of its longest list."""

    problems: list[Problem]
    warnings: list[str] = field(default_factory=list)
    longest: int = 0


def check(spec: TrainingSpec, catalog: Catalog, trained: Trained) -> Found:
    """Check the spec's dataset for validation."""
    try:
        kinds = kinds_of(trained.schema)
        opened = pictures.opened(catalog, spec, spec.validation_dataset)
        other = opened.following(trained.readings, kinds, check=True)
        if is_same(trained.source, other):
            message = f"{other.name!r} is the dataset that is trained on: all its rows would be known"
            hint = "give another dataset, or leave it out to hold out validation_split of the rows"
            return Found([Problem(FIELD, message, hint)])

        def work(table: pl.LazyFrame, decisions: Mapping[str, Decision]) -> Found:
            found = _check(table, spec, other, trained)
            features = [feature.name for feature in trained.statistics.features]
            used = schema.required_columns(spec, trained.schema, features)
            doubts = [doubt for name in used if name in decisions for doubt in decisions[name].warnings(name)]
            told = [f"validation_dataset {other.name!r}: {doubt}" for doubt in doubts]
            return replace(found, warnings=[*other.notes(), *told, *found.warnings])

        return other.apply_decided(work)
    except DataError as error:
        return Found([Problem(FIELD, problem.message, problem.hint) for problem in error.problems])


def is_same(one: Source, other: Source) -> bool:
    """Whether two datasets have the same content; only those of the same size are read for that."""
    return one.path == other.path or (
        one.size_bytes() == other.size_bytes() and one.fingerprint() == other.fingerprint()
    )


def _check(table: pl.LazyFrame, spec: TrainingSpec, other: Source, trained: Trained) -> Found:
    name, found = other.name, table.collect_schema()
    where = f" in {name!r}"
    order = [n for n in (spec.time_column, spec.group_column) if n is not None and spec.sequence_length is not None]
    weight = [] if spec.weight_column is None else [spec.weight_column]
    by_name = {feature.name: feature for feature in trained.statistics.features}
    lacking = [n for n in dict.fromkeys([*by_name, *order, *weight, spec.target_column]) if n not in found]
    problems = schema.missing_columns(lacking, FIELD, found, f"{name!r}", other.schema_caveat())
    comparable, to_read, different = _compare_columns(spec, other, found, by_name.values(), trained.target.task)
    by_row = [n for n in dict.fromkeys([*order, *to_read]) if n in found]
    target_column = spec.target_column if spec.target_column in found else None
    problems += images.problems(table, found, spec, other, FIELD) if spec.image_column is not None else []
    present = next((n for n in weight if n in found), None)
    statistics, _ = collect(table, comparable, target_column, by_row, other.text_bytes(), present).refined()
    if not statistics.rows:
        return Found([*problems, Problem(FIELD, f"{name!r} has no rows", "give a dataset with rows")])
    issues = []
    for feature, dtype in different[:MAX_LISTED]:
        message = f"{feature.name!r} is {dtype}{where}, but {feature.dtype} in training"
        issues.append(problem(FIELD, message, "give the column the same type in both datasets"))
    issues += _feature_issues(statistics, spec, by_name, name)
    if statistics.weight is not None:
        issues += weights.check(statistics.weight, statistics.rows, FIELD, where)
    if trained.target.task is not None and statistics.target is not None:
        issues += _target_issues(statistics.target, name, to_read, trained.target)
        if trained.target.task == "regression":
            issues += target.without_logarithm(statistics.target, spec, FIELD, where)
    found_problems, warnings = resolve(issues, statistics.table)
    problems += found_problems
    for column, dtype in to_read.items():
        problems += _unreadable(statistics.by_row[column], dtype, spec, trained.readings.get(column), where)
    if not lacking:
        faults = time_and_group.window_problems(statistics, spec)
        problems += [Problem(FIELD, f"{name!r}: {fault.message}", fault.hint) for fault in faults]
    longest = max((feature.longest or 0 for feature in statistics.features), default=0)
    return Found(problems, [] if problems else [*warnings, *_overlap(statistics, spec, trained, name)], longest)


def _unreadable(
    series: pl.Series, dtype: pl.DataType, spec: TrainingSpec, reading: Reading | None, where: str
) -> Iterator[Problem]:
    """The first value that the encoder cannot read."""
    try:
        if reading is not None and reading.read_as != "text" and series.dtype == pl.String:
            reading.strictly(series)
        else:
            options = spec.read_options.columns.get(series.name)
            READINGS[kind_of(dtype)](dtype, series, options.timezone if options else None)
    except DataError as error:
        yield from (Problem(FIELD, f"{fault.message}{where}", fault.hint) for fault in error.problems)


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
    longer = LONGER[spec.model_type]
    # an mlp cannot distinguish padding
    shortest = min(feature.shortest or 0 for feature in known) if spec.model_type == "mlp" else 0
    for found in lists:
        size = length(found.name, found.dtype)
        if (found.longest or 0) > longest and longer == "cut":
            yield warning(
                f"{found.name!r} in {name!r} has lists of up to {counted(found.longest or 0)}: a cnn reads the first "
                f"{longest} of each, as many as the longest list in training has; lstm and gru read lists of any length"
            )
        elif (found.longest or 0) > (sequence.MAX_STEPS if longer == "read" else longest):
            limit, hint = f"{longest} at most", "shorten the list, or train a gru or lstm, which reads longer ones"
            yield _length_issue(found.name, name, size > longest, limit, hint)
        elif (found.longest or 0) > PADDED * longest:
            yield warning(
                f"{found.name!r} in {name!r} has lists of up to {counted(found.longest or 0)}, and {longest} at most "
                "in training: training rows are padded to that length too, which makes the training slower"
            )
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


def questions(statistics: Statistics, spec: TrainingSpec) -> list[pl.Expr]:
    """What the second pass over the training data has to answer: the hashes of its rows, without repetitions."""
    columns = hashed_columns(statistics, spec)
    if spec.validation_dataset is None or statistics.rows * len(columns) > MAX_CELLS:
        return []
    return [row_hashes(statistics.schema, columns).unique().implode().alias("row hashes")]
