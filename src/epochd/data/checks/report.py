"""A look at the data before any work starts: everything wrong with a config's dataset, all at once.

The server does this on the road of every submitted config, so it takes milliseconds on small tables and
one streaming pass on large ones. Preparation asks the same questions again, so that nothing is trained
on that would be refused here.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.data import schema as selection
from epochd.data.checks import features as flaws
from epochd.data.checks import leakage, split_coverage, statistics, time_and_group, validation_set
from epochd.data.checks import target as targets
from epochd.data.checks.statistics import Feature
from epochd.data.checks.target import Target
from epochd.data.checks.validation_set import warnings
from epochd.data.encoding.labels import Label
from epochd.data.formats.type_inference import Expected
from epochd.data.schema import kinds_of, needed
from epochd.data.splitting.split import validation_rows
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.table import view

__all__ = ["Column", "Inspection", "examine", "inspect", "needed"]

MIN_ROWS = 10


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the dataset and its type, in Polars' words (``Float64``, ``String``, …)."""

    name: str
    dtype: str


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a config meets in its dataset. With no ``problems`` it can be trained.

    ``dataset`` is the resolved name; ``columns`` are all of the table, ``features`` those to learn from, in
    order; ``classes`` are sorted labels (None for regression). ``shape`` is that of an encoded example, (width,),
    (sequence_length, width) or (steps, channels), with ``width`` columns at most (a value that falls only into held
    out rows has none); ``embedded`` and ``masked`` are as in ``encode.Encoder``.
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
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect(spec: TrainingSpec, catalog: Catalog, expected: Expected | None = None) -> Inspection:
    """Read the spec's dataset, of which these kinds of columns are expected, and judge the spec by it. Mistakes become
    problems, never exceptions."""
    name = spec.dataset or catalog.default
    try:
        source = catalog.open(name).like(expected or {})
        unseen = source.unseen()
        kinds, judged = source.apply(
            lambda table: (kinds_of(schema := table.collect_schema()), _judged(table, schema, spec, name, unseen))
        )
    except DataError as error:
        return Inspection(name, problems=error.problems, warnings=_default_used(spec, name))
    if spec.validation_dataset is None:
        return judged[0]
    found, features, target = judged
    found = replace(
        found, problems=found.problems + validation_set.problems(spec, catalog, source, kinds, features, target)
    )
    if found.problems:
        return found
    other = catalog.open(spec.validation_dataset).like(kinds)
    return replace(found, warnings=found.warnings + warnings(spec, source, found.rows, other, found.features))


def examine(table: pl.LazyFrame, schema: pl.Schema, spec: TrainingSpec, name: str, *, held: bool) -> Inspection:
    """Judge a spec by its table; ``schema`` is the whole dataset's, ``table`` need only hold the needed columns, in
    memory if they are ``held``."""
    return _judged(table, schema, spec, name, held=held)[0]


def _judged(
    table: pl.LazyFrame, schema: pl.Schema, spec: TrainingSpec, name: str, unseen: str = "", *, held: bool = False
) -> tuple[Inspection, list[Feature], Target]:
    """The inspection, and the figures behind it."""
    looked = view(table, needed(spec, schema), held=held)
    features = statistics.examine(looked, selection.features(spec, schema)) if looked.rows else []
    is_there = spec.target_column in schema and looked.rows > 0
    target = targets.examine(looked, spec) if is_there else Target(spec.task)
    order = time_and_group.examine(looked, spec, classes=target.task != "regression")
    lack = split_coverage.examine(looked, spec, features, target, order.sides)
    in_features = flaws.problems(features, spec, looked)
    leaking = leakage.examine(looked, features, target, spec)
    expected = statistics.encoding(features, spec)
    inspection = Inspection(
        dataset=name,
        rows=looked.rows,
        columns=[Column(column, str(dtype)) for column, dtype in schema.items()],
        features=selection.features(spec, schema),
        task=target.task,
        classes=target.classes,
        width=expected.shape[-1] - expected.masked,
        shape=expected.shape,
        embedded=expected.embedded,
        masked=expected.masked,
        problems=[
            *selection.problems(spec, schema, unseen),
            *_row_problems(looked.rows),
            *in_features,
            *leaking.problems,
            *target.problems,
            *order.problems,
            *lack.problems,
            *_monitor_problems(spec, target.task),
        ],
        warnings=[
            *_default_used(spec, name),
            *flaws.warnings(features, looked),
            *leaking.warnings,
            *order.warnings,
            *lack.warnings,
            *_batch_warnings(spec, looked.rows),
        ],
    )
    return inspection, features, target


def _row_problems(rows: int) -> list[Problem]:
    if rows >= MIN_ROWS:
        return []
    count = "1 row" if rows == 1 else f"{rows} rows"
    return [Problem("dataset", f"the dataset has only {count}", f"at least {MIN_ROWS} are needed")]


def _monitor_problems(spec: TrainingSpec, task: Task | None) -> list[Problem]:
    if task != "regression" or not spec.monitor.endswith("accuracy"):
        return []
    message = f"{spec.monitor} does not exist for regression, which is the task that {spec.target_column!r} suggests"
    return [Problem("monitor", message, "use val_loss or train_loss, or set task if its values are classes")]


def _batch_warnings(spec: TrainingSpec, rows: int) -> list[str]:
    train = rows - validation_rows(rows, spec.test_split) - validation_rows(rows, spec.validation_share)
    if spec.batch_size <= train or rows == 0:
        return []
    return [f"batch_size {spec.batch_size} is more than the {train} training rows: each epoch is a single step"]


def _default_used(spec: TrainingSpec, name: str) -> list[str]:
    if spec.dataset is not None:
        return []
    return [
        f"no dataset was given, so the server's default {name!r} is used; "
        "set dataset to a built-in name or to a file in a dataset folder"
    ]
