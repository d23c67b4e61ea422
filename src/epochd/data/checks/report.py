"""Everything that is wrong with a config's dataset, found before any work starts and reported all at once.

The server does this for every submitted config. It reads a large table at most twice (``statistics``), and once more if
a message quotes a row. The worker does not repeat the checks while the dataset's fingerprint is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from epochd.core.columns import ColumnOptions, ColumnType
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.core.text import shown
from epochd.data import schema as schemas
from epochd.data.checks import (
    features,
    images,
    leakage,
    outliers,
    repeated_rows,
    selection,
    split_coverage,
    target,
    time_and_group,
    totals,
    validation_set,
    variants,
    weights,
    zones,
)
from epochd.data.checks.column_types import column_types
from epochd.data.checks.issue import Issue, problem, resolve, warning
from epochd.data.checks.selection import LeftOut, Selection
from epochd.data.checks.statistics import collect, example_shape
from epochd.data.checks.target import Target
from epochd.data.checks.validation_set import Trained
from epochd.data.columns.detection import Decision
from epochd.data.encoding.labels import Label
from epochd.data.encoding.sequence import LONGER
from epochd.data.splitting.folds import too_few_rows
from epochd.data.splitting.split import validation_rows
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source

MIN_ROWS = 10


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the dataset and its type, in Polars' words (``Float64``, ``String``, …). ``notation`` says how its
    text is read; empty for text and for columns that are not written as text."""

    name: str
    dtype: str
    notation: str = ""


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a config finds in its dataset. Without ``problems`` it can be trained.

    ``dataset`` is the resolved name; ``columns`` are all of the table, ``features`` those to learn from, in
    order, ``left_out`` those that the config selects besides; ``classes`` are sorted labels (None for regression).
    ``shape`` is that of an encoded example, (width,), (sequence_length, width) or (steps, channels), with ``width``
    columns at most (a value that only held-out rows have gets none), or (height, width, channels) of pictures;
    ``embedded`` and ``masked`` are as in ``encoder.Encoder``. ``readings`` are those of the used columns, ``types`` say
    what each feature is.
    """

    dataset: str
    rows: int = 0
    columns: list[Column] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    task: Task | None = None
    classes: list[Label] | None = None
    width: int = 0
    shape: tuple[int, ...] = ()
    embedded: tuple[tuple[int, int], ...] = ()
    masked: bool = False
    readings: dict[str, dict[str, Any]] = field(default_factory=dict)
    types: dict[str, ColumnType] = field(default_factory=dict)
    image_column: str | None = None
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def checked(self, fingerprint: str | None = None, validation_fingerprint: str | None = None) -> CheckedDataset:
        """What a training needs to know of it, with the fingerprints of the content that was checked."""
        left_out = [asdict(column) for column in self.left_out]
        known = self.dataset, self.rows, self.features, self.task, self.classes
        return CheckedDataset(
            *known, fingerprint, validation_fingerprint, left_out, readings=self.readings, types=self.types
        )


def check_dataset(spec: TrainingSpec, catalog: Catalog, opened: Source | None = None) -> DatasetReport:
    """Read the spec's dataset, or the one that is ``opened``, and check the spec against it. Mistakes become problems,
    never exceptions."""
    name = spec.dataset or catalog.default
    if unknown := zones.problems(spec.read_options.columns):
        return DatasetReport(name, problems=unknown, warnings=_default_used(spec, name))
    try:
        named = spec.image_column is not None
        spec = pictures.resolved(spec, catalog.open(name))
        source = opened or pictures.opened(catalog, spec, name)

        def check(table: pl.LazyFrame, decisions: dict[str, Decision]) -> tuple[DatasetReport, Trained]:
            return check_table(table, table.collect_schema(), spec, source, decisions)

        report, trained = source.apply_decided(check)
    except DataError as error:
        return DatasetReport(name, problems=error.problems, warnings=_default_used(spec, name))
    if not named:
        report = replace(report, problems=[*images.option_problems(spec), *report.problems])
    if spec.validation_dataset is None:
        return report
    found = validation_set.check(spec, catalog, trained)
    report = replace(report, problems=report.problems + found.problems)
    if report.problems:
        return report
    return replace(_padded(report, spec, found.longest), warnings=report.warnings + found.warnings)


def _padded(report: DatasetReport, spec: TrainingSpec, longest: int) -> DatasetReport:
    """The report, with the shape of rows whose lists are padded to the longest one of the validation dataset."""
    if LONGER[spec.model_type] != "read" or longest <= report.shape[0] or len(report.shape) < 2:
        return report
    return replace(report, shape=(longest, report.width + 1), masked=True)


def check_table(
    table: pl.LazyFrame,
    schema: pl.Schema,
    spec: TrainingSpec,
    source: Source,
    decisions: Mapping[str, Decision] | None = None,
) -> tuple[DatasetReport, Trained]:
    """Check a spec against the table of ``source``, and keep what a validation dataset is compared with. ``schema`` is
    the whole dataset's, ``table`` need only have the columns that the spec uses; ``decisions`` say how its columns of
    text are read."""
    columns = {**source.options.columns, **spec.read_options.columns}
    chosen, checked, issues, hashes = _checked(table, schema, spec, columns, source)
    statistics = chosen.statistics
    learned = [feature.name for feature in statistics.features]
    if spec.image_column in schemas.feature_columns(spec, schema):
        learned = [spec.image_column, *learned]
    used = schemas.required_columns(spec, schema, learned)
    decided = decisions or {}
    issues += totals.check(statistics, decided)
    readings = {name: one.reading for name, one in decided.items() if name in used}
    issues += zones.check(statistics, columns, readings)
    problems, warnings = resolve(issues, statistics.table)
    problems += _reading_problems(decided, columns)
    problems += images.problems(table, schema, spec, source)
    warnings += images.warnings(spec, schema, statistics.rows)
    types = column_types(statistics, columns) if statistics.rows else {}
    types |= {name: "duration" for name, one in readings.items() if name in types and one.read_as == "duration"}
    shape, embedded, masked = example_shape(statistics, spec, types)
    if spec.image_column is not None:
        shape = images.shape(spec)
    report = DatasetReport(
        dataset=source.name,
        rows=statistics.rows,
        columns=[_column(name, dtype, decided.get(name)) for name, dtype in schema.items()],
        readings={name: reading.as_json() for name, reading in readings.items()},
        features=learned,
        left_out=chosen.left_out,
        task=checked.task,
        classes=checked.classes,
        width=shape[-1] - masked,
        shape=shape,
        embedded=embedded,
        masked=masked,
        types=types,
        image_column=spec.image_column,
        problems=[*schemas.selection_problems(spec, schema, source.schema_caveat()), *problems],
        warnings=[
            *_default_used(spec, source.name),
            *source.notes(),
            *_reading_warnings(spec, schema, decided, used),
            *warnings,
        ],
    )
    return report, Trained(source, schema, statistics, checked, hashes, readings)


def _checked(
    table: pl.LazyFrame,
    schema: pl.Schema,
    spec: TrainingSpec,
    columns: Mapping[str, ColumnOptions],
    source: Source,
) -> tuple[Selection, Target, list[Issue], pl.Series | None]:
    """Both passes over the table, what the checks find in them, and the hashes of its rows."""
    name = spec.target_column if spec.target_column in schema else None
    by_row = time_and_group.columns_by_row(spec, schema)
    weight = spec.weight_column if spec.weight_column in schema else None
    others = [column for column in schemas.feature_columns(spec, schema) if column != spec.image_column]
    collected = collect(table, others, name, by_row, source.text_bytes(), weight)
    chosen = selection.select(collected, spec, columns)
    first = chosen.statistics
    in_order, splits = time_and_group.check(first, schema, spec)
    early = target.preliminary(first.target, spec, first.head) if first.target and first.rows else Target(spec.task)
    leaks = leakage.candidates(first, early, spec)
    questions = [*leaks.questions(first, spec.target_column), *split_coverage.questions(first, splits)]
    questions += repeated_rows.questions(first, spec)
    if name is not None:
        questions += validation_set.questions(first, spec)
    statistics, answers = first.refined(questions)
    rows = statistics.rows
    refused, contents = repeated_rows.content_sides(statistics, spec, answers)
    if contents is not None:
        splits, targets = contents, answers["row targets"].alias(spec.target_column)
        statistics = replace(statistics, by_row={**statistics.by_row, spec.target_column: targets})
    checked = target.check(statistics.target, spec) if statistics.target and rows else Target(spec.task)
    issues = [
        *chosen.issues,
        *(
            features.check(statistics, spec, column_types(statistics, columns), columns, source.uncalculated())
            if rows
            else ()
        ),
        *outliers.check(statistics, spec),
        *leakage.check(leaks.confirmed(answers), statistics, checked, spec),
        *checked.issues,
        *variants.check(statistics, checked.task),
        *(weights.check(statistics.weight, rows) if statistics.weight and rows else ()),
        *in_order,
        *refused,
        *repeated_rows.check(statistics, spec, checked, splits, answers),
        *split_coverage.check(statistics, spec, checked, splits, answers),
        *_spec_issues(spec, rows),
    ]
    if rows < MIN_ROWS:
        message = f"the dataset has only {'1 row' if rows == 1 else f'{rows} rows'}"
        issues.insert(0, problem("dataset", message, f"at least {MIN_ROWS} are needed"))
    return replace(chosen, statistics=statistics), checked, issues, answers.get("row hashes")


def _spec_issues(spec: TrainingSpec, rows: int) -> Iterator[Issue]:
    """Options that do not suit the number of rows."""
    train = rows - validation_rows(rows, spec.test_split) - validation_rows(rows, spec.validation_share)
    if spec.folds is not None and 0 < train < spec.folds:
        fault = too_few_rows(spec, train)
        yield problem(fault.field, fault.message, fault.hint)
    if spec.batch_size > train and rows:
        yield warning(f"batch_size {spec.batch_size} is more than the {train} training rows: each epoch is one step")


def _column(name: str, dtype: pl.DataType, decision: Decision | None) -> Column:
    return Column(name, str(dtype), decision.reading.describe() if decision else "")


def _reading_warnings(
    spec: TrainingSpec, schema: pl.Schema, decisions: Mapping[str, Decision], used: Sequence[str]
) -> list[str]:
    """What is doubtful in how the used columns are read, and the options of columns that do not exist."""
    unknown = [name for name in spec.columns if name not in schema]
    found = [f"columns: the dataset has no column {name!r}, so its options have no effect" for name in unknown]
    by_column = [decisions[name].warnings(name) for name in used if name in decisions]
    told = [warnings for warnings in by_column if warnings]
    found += [warning for warnings in told[: schemas.MAX_LISTED] for warning in warnings]
    if len(told) > schemas.MAX_LISTED:
        found.append(f"{len(told) - schemas.MAX_LISTED} more columns are read with such doubts")
    return found


def _reading_problems(decisions: Mapping[str, Decision], columns: Mapping[str, ColumnOptions]) -> list[Problem]:
    """The columns of which no value can be read as declared."""
    found = []
    for name, one in decisions.items():
        if one.fits_none and name in columns:
            row, value = one.examples[0]
            declared = columns[name].format or columns[name].type
            message = f"no value of {name!r} can be read as {declared}, such as {shown(value)} in row {row + 1}"
            hint = "correct the options of this column, such as format or decimal, or leave them out"
            found.append(Problem("columns", message, hint))
    return found


def _default_used(spec: TrainingSpec, name: str) -> list[str]:
    if spec.dataset is not None:
        return []
    return [
        f"no dataset was given, so the server's default {name!r} is used; "
        "set dataset to a built-in name or to a file in a dataset folder"
    ]
