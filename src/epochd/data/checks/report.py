"""Everything that is wrong with a config's dataset, found before any work starts and reported all at once.

The server does this for every submitted config. It reads a large table at most twice (``statistics``), and once more if
a message quotes a row. The worker does not repeat the checks while the dataset's fingerprint is the same.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.data import schema as schemas
from epochd.data.checks import features, images, leakage, split_coverage, target, time_and_group, validation_set
from epochd.data.checks.issue import Issue, problem, resolve, warning
from epochd.data.checks.statistics import Statistics, collect, example_shape
from epochd.data.checks.target import Target
from epochd.data.checks.validation_set import Trained
from epochd.data.encoding.labels import Label
from epochd.data.formats.type_inference import Expected
from epochd.data.splitting.split import validation_rows
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source

MIN_ROWS = 10


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the dataset and its type, in Polars' words (``Float64``, ``String``, …)."""

    name: str
    dtype: str


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a config finds in its dataset. Without ``problems`` it can be trained.

    ``dataset`` is the resolved name; ``columns`` are all of the table, ``features`` those to learn from, in
    order; ``classes`` are sorted labels (None for regression). ``shape`` is that of an encoded example, (width,),
    (sequence_length, width) or (steps, channels), with ``width`` columns at most (a value that only held-out rows have
    gets none), or (height, width, channels) of pictures; ``embedded`` and ``masked`` are as in ``encoder.Encoder``.
    """

    dataset: str
    rows: int = 0
    columns: list[Column] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    task: Task | None = None
    classes: list[Label] | None = None
    width: int = 0
    shape: tuple[int, ...] = ()
    embedded: tuple[tuple[int, int], ...] = ()
    masked: bool = False
    image_column: str | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def check_dataset(spec: TrainingSpec, catalog: Catalog, expected: Expected | None = None) -> DatasetReport:
    """Read the spec's dataset, of which these kinds of columns are expected, and check the spec against it. Mistakes
    become problems, never exceptions."""
    name = spec.dataset or catalog.default
    try:
        named, spec = spec.image_column is not None, pictures.resolved(spec, catalog.open(name))
        source = pictures.opened(catalog, spec, name).expecting(expected or {})
        report, trained = source.apply(lambda table: check_table(table, table.collect_schema(), spec, source))
    except DataError as error:
        return DatasetReport(name, problems=error.problems, warnings=_default_used(spec, name))
    if not named:
        report = replace(report, problems=[*images.option_problems(spec), *report.problems])
    if spec.validation_dataset is None:
        return report
    problems, warnings = validation_set.check(spec, catalog, trained)
    report = replace(report, problems=report.problems + problems)
    return report if report.problems else replace(report, warnings=report.warnings + warnings)


def check_table(
    table: pl.LazyFrame, schema: pl.Schema, spec: TrainingSpec, source: Source
) -> tuple[DatasetReport, Trained]:
    """Check a spec against the table of ``source``, and keep what a validation dataset is compared with. ``schema`` is
    the whole dataset's, ``table`` need only have the columns that the spec uses."""
    statistics, checked, issues, hashes = _checked(table, schema, spec, source.text_bytes())
    problems, warnings = resolve(issues, statistics.table)
    problems += images.problems(table, schema, spec, source)
    warnings += images.warnings(spec, schema, statistics.rows)
    shape, embedded, masked = example_shape(statistics.features, spec)
    if spec.image_column is not None:
        shape = images.shape(spec)
    report = DatasetReport(
        dataset=source.name,
        rows=statistics.rows,
        columns=[Column(column, str(dtype)) for column, dtype in schema.items()],
        features=schemas.feature_columns(spec, schema),
        task=checked.task,
        classes=checked.classes,
        width=shape[-1] - masked,
        shape=shape,
        embedded=embedded,
        masked=masked,
        image_column=spec.image_column,
        problems=[*schemas.selection_problems(spec, schema, source.schema_caveat()), *problems],
        warnings=[*_default_used(spec, source.name), *warnings],
    )
    return report, Trained(source, schema, statistics, checked, hashes)


def _checked(
    table: pl.LazyFrame, schema: pl.Schema, spec: TrainingSpec, text_bytes: int | None
) -> tuple[Statistics, Target, list[Issue], pl.Series | None]:
    """Both passes over the table, what the checks find in them, and the hashes of its rows."""
    name = spec.target_column if spec.target_column in schema else None
    by_row = time_and_group.columns_by_row(spec, schema)
    others = [column for column in schemas.feature_columns(spec, schema) if column != spec.image_column]
    first = collect(table, others, name, by_row, text_bytes)
    in_order, splits = time_and_group.check(first, schema, spec)
    early = target.preliminary(first.target, spec, first.head) if first.target and first.rows else Target(spec.task)
    leaks = leakage.candidates(first, early, spec)
    questions = [*leaks.questions(first, spec.target_column), *split_coverage.questions(first, splits)]
    if name is not None:
        questions += validation_set.questions(first, spec)
    statistics, answers = first.refined(questions)
    rows = statistics.rows
    checked = target.check(statistics.target, spec) if statistics.target and rows else Target(spec.task)
    issues = [
        *(features.check(statistics, spec) if rows else ()),
        *leakage.check(leaks.confirmed(answers), statistics, checked, spec),
        *checked.issues,
        *in_order,
        *split_coverage.check(statistics, spec, checked, splits, answers),
        *_spec_issues(spec, rows),
    ]
    if rows < MIN_ROWS:
        message = f"the dataset has only {'1 row' if rows == 1 else f'{rows} rows'}"
        issues.insert(0, problem("dataset", message, f"at least {MIN_ROWS} are needed"))
    return statistics, checked, issues, answers.get("row hashes")


def _spec_issues(spec: TrainingSpec, rows: int) -> Iterator[Issue]:
    """Options that do not suit the number of rows."""
    train = rows - validation_rows(rows, spec.test_split) - validation_rows(rows, spec.validation_share)
    if spec.batch_size > train and rows:
        yield warning(f"batch_size {spec.batch_size} is more than the {train} training rows: each epoch is one step")


def _default_used(spec: TrainingSpec, name: str) -> list[str]:
    if spec.dataset is not None:
        return []
    return [
        f"no dataset was given, so the server's default {name!r} is used; "
        "set dataset to a built-in name or to a file in a dataset folder"
    ]
