"""The validation dataset beside the one that is trained on: the same columns, known labels, and other rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import TrainingSpec
from epochd.data import schema as selection
from epochd.data.checks import features as flaws
from epochd.data.checks import statistics, time_and_group
from epochd.data.checks import target as targets
from epochd.data.checks.statistics import Feature
from epochd.data.checks.target import Target
from epochd.data.encoding import dates, numeric
from epochd.data.encoding.values import learnable
from epochd.data.formats.type_inference import Expected
from epochd.data.schema import ALIKE, Kind, col, kind_of
from epochd.data.tables import table as tables
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import View, shown, view

FIELD = "validation_dataset"
READINGS: dict[Kind, Callable[[pl.DataType, pl.Series], object]] = {
    Kind.NUMBER: lambda dtype, series: learnable(series),
    Kind.BOOLEAN: lambda dtype, series: numeric.truth(series),
    Kind.DATE: dates.like,
}
"""How the encoder reads values of a column that it was fitted on as of this type."""
STRICT = {Kind.BOOLEAN, Kind.DATE}
"""Kinds of which not every value is taken, though it comes as of a kind that is read as theirs."""


def problems(
    spec: TrainingSpec,
    catalog: Catalog,
    source: Source,
    expected: Expected,
    features: Sequence[Feature],
    target: Target,
) -> list[Problem]:
    """Everything that speaks against validating on the spec's dataset for that, given what is trained on: the kinds of
    all columns, which are expected here, too, the features and the target."""
    try:
        other = catalog.open(spec.validation_dataset).like(expected)
        if is_same(source, other):
            message = f"{other.name!r} is the dataset that is trained on: its rows would all be known"
            return [
                Problem(
                    FIELD, message, "give another dataset, or leave it out to hold out validation_split of the rows"
                )
            ]
        return other.apply(lambda table: list(_judge(table, spec, other, features, target)))
    except DataError as error:
        return [Problem(FIELD, problem.message, problem.hint) for problem in error.problems]


def is_same(one: Source, other: Source) -> bool:
    """Whether two datasets have the same content; only those of the same size are read for that."""
    return one.path == other.path or (_size(one.path) == _size(other.path) and one.fingerprint() == other.fingerprint())


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _judge(
    table: pl.LazyFrame, spec: TrainingSpec, other: Source, features: Sequence[Feature], target: Target
) -> Iterator[Problem]:
    name, schema = other.name, table.collect_schema()
    trained = {feature.name: feature for feature in features}
    order = [n for n in (spec.time_column, spec.group_column) if n is not None and spec.sequence_length is not None]
    wanted = list(dict.fromkeys([*trained, *order, spec.target_column]))
    lacking = [column for column in wanted if column not in schema]
    yield from selection.absent(lacking, FIELD, schema, f"{name!r}", other.unseen())
    looked = view(table, [column for column in wanted if column in schema])
    if not looked.rows:
        yield Problem(FIELD, f"{name!r} has no rows", "give a dataset with rows")
        return
    yield from _feature_problems(looked, other, spec, trained)
    if spec.target_column in schema and target.task is not None:
        yield from _target_problems(looked, other, spec, target)
    if not lacking:
        for problem in time_and_group.room(looked, spec):
            yield Problem(FIELD, f"{name!r}: {problem.message}", problem.hint)


def _feature_problems(
    looked: View, dataset: Source, spec: TrainingSpec, trained: Mapping[str, Feature]
) -> Iterator[Problem]:
    """Types other than those that are trained on, and values that cannot be encoded."""
    name = dataset.name
    present = [feature for feature in trained.values() if feature.name in looked.schema]
    other = [feature for feature in present if not _alike(feature.dtype, looked.schema[feature.name])]
    guessed = [f for f in other if dataset.is_guessed and looked.schema[f.name] == pl.String and f.kind in READINGS]
    for feature in [feature for feature in other if feature not in guessed][: selection.MAX_TOLD]:
        message = f"{feature.name!r} is {looked.schema[feature.name]} in {name!r}, but {feature.dtype} in training"
        yield Problem(FIELD, message, "give the column the same type in both datasets")
    alike = [f for f in present if f not in other and f.kind in STRICT and f.dtype != looked.schema[f.name]]
    yield from _unreadable(looked, name, {feature.name: feature.dtype for feature in guessed + alike})
    figures = statistics.examine(looked, [feature.name for feature in present if feature not in other])
    for found in figures:
        if found.kind in (Kind.NUMBER, Kind.LIST):
            for message, hint in flaws.value_flaws(found, looked):
                yield Problem(FIELD, f"{message} in {name!r}", hint)
    lists = [found for found in figures if found.kind is Kind.LIST]
    if lists:
        known = [trained[found.name] for found in lists]
        yield from (Problem(FIELD, *flaw) for flaw in flaws.uneven(lists, looked, f" of {name!r}"))
        yield from (Problem(FIELD, *flaw) for flaw in _lengths(looked, name, spec, lists, known))


def _lengths(
    looked: View, name: str, spec: TrainingSpec, lists: Sequence[Feature], known: Sequence[Feature]
) -> Iterator[flaws.Flaw]:
    """Lists that are longer than those that are trained on, and for an mlp, which cannot tell what is padding, shorter
    ones."""
    longest = max(feature.longest or 0 for feature in known)
    shortest = min(feature.shortest or 0 for feature in known) if spec.model_type == "mlp" else 0
    for found in lists:
        length = statistics.length(found.name, found.dtype)
        if (found.longest or 0) > longest and (row := looked.first(length > longest, found.name)):
            message = f"row {row[0]} of {found.name!r} in {name!r} has {len(row[1][0])} elements; in training"
            yield f"{message} {longest} at most", "shorten the list, or train on longer ones"
        is_short = (length > 0) & (length < shortest)
        if (found.shortest or 0) < shortest and (row := looked.first(is_short, found.name)):
            message = f"row {row[0]} of {found.name!r} in {name!r} has {flaws.counted(len(row[1][0]))}; in training"
            hint = "make it as long, or use 'cnn', 'lstm' or 'gru', which read sequences of any length"
            yield f"{message} {shortest} at least, and mlp needs lists of one length", hint


def _unreadable(looked: View, name: str, wanted: Mapping[str, pl.DataType]) -> Iterator[Problem]:
    """For each of these columns its first value that cannot be read as of this type, as the encoder will read it."""
    left = dict(wanted)
    for first, frame in looked.batches(*left) if left else ():
        for column, dtype in list(left.items()):
            try:
                with tables.counting_from(first):
                    READINGS[kind_of(dtype)](dtype, frame.get_column(column))
            except DataError as error:
                del left[column]
                yield from (Problem(FIELD, f"{flaw.message} in {name!r}", flaw.hint) for flaw in error.problems)


def _alike(one: pl.DataType, other: pl.DataType) -> bool:
    kinds = {kind_of(one), kind_of(other)}
    return len(kinds) == 1 or kinds == ALIKE or pl.Null in (one, other)


def _target_problems(looked: View, dataset: Source, spec: TrainingSpec, target: Target) -> Iterator[Problem]:
    column, name = spec.target_column, dataset.name
    if targets.unusable(column, looked):
        message = f"{column!r} is {looked.schema[column]} in {name!r}, which cannot be predicted"
        yield Problem(FIELD, message, "give the column the same type in both datasets")
        return
    values = targets.read(column, looked)
    for message, hint in targets.missing(values, looked):
        yield Problem(FIELD, f"{message} in {name!r}", hint)
    if target.task == "regression":
        if values.dtype == pl.String and dataset.is_guessed:
            yield from _unreadable(looked, name, {column: pl.Float64()})
        elif kind_of(values.dtype) is Kind.CATEGORY:
            message = f"{column!r} is text in {name!r}, but a number in training"
            yield Problem(FIELD, message, "give the column the same type in both datasets")
        elif flaw := targets.huge(values, looked):
            yield Problem(FIELD, f"{flaw[0]} in {name!r}", flaw[1])
    elif target.classes:
        yield from _unknown_label(looked, name, column, values, target)


def _unknown_label(looked: View, name: str, column: str, values: targets.Values, target: Target) -> Iterator[Problem]:
    """The first row whose label was not among the classes."""
    if values.counts is None:
        message = (
            f"{column!r} has {values.distinct:,} distinct values in {name!r}, but {len(target.classes or ())} classes"
        )
        yield Problem(FIELD, message, "give the same labels in both datasets")
        return
    known = {*map(str, target.classes or ()), *(target.classes or ())}
    found = values.counts.to_series(0).to_list()
    strange = [label for label in found if label not in known and str(label) not in known]
    if strange:
        row = looked.first(targets.plain_column(column, values.dtype).is_in(strange), column)
        place, label = (row[0], row[1][0]) if row else (1, strange[0])
        message = f"row {place} of {name!r} has the label {shown(label)}, which no row in training has"
        listed = ", ".join(map(repr, (target.classes or [])[:10]))
        yield Problem(FIELD, message, f"correct it, or leave the row out; the classes are {listed}")


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


MAX_CELLS = 20_000_000
"""Larger training data are not gone through again for this."""


SAMPLED = 10_000
"""Rows of the validation dataset that are looked for, at most."""


LEAST = 10
"""Fewer rows may be known by chance."""


SHARE = 0.9
"""The share of different rows that the training data need, and the share of known ones that is told."""


def _hashes(table: pl.LazyFrame, names: Sequence[str]) -> pl.Series:
    """One number for each row."""
    schema = table.collect_schema()
    row = pl.struct(_plain(name, schema[name]) for name in names)
    return table.select(row.hash()).collect(engine="streaming").to_series()


def _plain(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column's values in a form that all formats have in common; numbers are rounded to float32."""
    this, kind = col(name), kind_of(dtype)
    if kind in (Kind.NUMBER, Kind.BOOLEAN):
        return (this.dt.total_microseconds() if dtype == pl.Duration else this).cast(pl.Float32)
    if kind is Kind.LIST:
        return this.cast(pl.List(pl.Float32))
    return this.cast(pl.Datetime("us") if kind is Kind.DATE and dtype != pl.Time else pl.String)
