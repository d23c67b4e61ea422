"""A look at the data before any work starts: everything wrong with a config's dataset, all at once.

The server does this on the road of every submitted config, so it takes milliseconds on small tables and
one streaming pass on large ones. Preparation asks the same questions again, so that nothing is trained
on that would be refused here.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task, TrainingSpec
from epochd.data import columns, targets
from epochd.data.kinds import column
from epochd.data.sources import open_dataset
from epochd.data.split import validation_rows
from epochd.data.targets import Label, Target

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
    order; ``classes`` are sorted labels (None for regression); ``width`` is the number of encoded columns,
    the most it can be (a value that falls only into the validation rows has none).
    """

    dataset: str
    rows: int = 0
    columns: list[Column] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    task: Task | None = None
    classes: list[Label] | None = None
    width: int = 0
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def inspect(spec: TrainingSpec, roots: Sequence[Path], default_dataset: str) -> Inspection:
    """Read the spec's dataset and judge the spec by it. Mistakes become problems, never exceptions."""
    name = spec.dataset or default_dataset
    try:
        source = open_dataset(name, roots)
        return source.apply(lambda table: examine(table, table.collect_schema(), spec, name))
    except DataError as error:
        return Inspection(name, problems=error.problems, warnings=_default_used(spec, name))


def needed(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The columns that the spec uses and the table has, the target last."""
    return [*_features(spec, schema), *([spec.target_column] if spec.target_column in schema else [])]


def examine(table: pl.LazyFrame, schema: pl.Schema, spec: TrainingSpec, name: str) -> Inspection:
    """Judge a spec by its table; ``schema`` is the whole dataset's, ``table`` need only hold the needed columns."""
    names = _features(spec, schema)
    figures = table.select(pl.len().alias("rows"), *columns.figures(schema, names))
    values = table.select(column(spec.target_column)) if spec.target_column in schema else table.select()
    row_frame, target_frame = pl.collect_all([figures, values], engine="streaming")
    row = row_frame.row(0, named=True)
    rows = row.pop("rows")
    features = columns.read(schema, names, row)
    target = _target(target_frame, spec) if rows else Target(spec.task)
    return Inspection(
        dataset=name,
        rows=rows,
        columns=[Column(column_name, str(dtype)) for column_name, dtype in schema.items()],
        features=names,
        task=target.task,
        classes=target.classes,
        width=sum(feature.width for feature in features),
        problems=[
            *_table_problems(spec, schema, names, rows),
            *(columns.problems(features, rows) if rows else ()),
            *target.problems,
            *_monitor_problems(spec, target.task),
        ],
        warnings=[*_default_used(spec, name), *columns.warnings(features, rows), *_batch_warnings(spec, rows)],
    )


def _features(spec: TrainingSpec, schema: pl.Schema) -> list[str]:
    """The feature columns that exist: the spec's, or all but the target."""
    asked = spec.feature_columns if spec.feature_columns is not None else list(schema)
    return [name for name in asked if name in schema and name != spec.target_column]


def _target(frame: pl.DataFrame, spec: TrainingSpec) -> Target:
    return targets.examine(frame.to_series(), spec) if frame.width else Target(spec.task)


def _table_problems(spec: TrainingSpec, schema: pl.Schema, names: list[str], rows: int) -> list[Problem]:
    problems = columns.absent(spec.feature_columns or [], "feature_columns", schema)
    problems += columns.absent([spec.target_column], "target_column", schema)
    if spec.feature_columns is None and not names:
        message = "the dataset has no column besides the target to learn from"
        problems.append(Problem("dataset", message, "add columns that say something about the target"))
    if rows < MIN_ROWS:
        count = "1 row" if rows == 1 else f"{rows} rows"
        problems.append(Problem("dataset", f"the dataset has only {count}", f"at least {MIN_ROWS} are needed"))
    return problems


def _monitor_problems(spec: TrainingSpec, task: Task | None) -> list[Problem]:
    if task != "regression" or not spec.monitor.endswith("accuracy"):
        return []
    message = f"{spec.monitor} does not exist for regression, which is the task that {spec.target_column!r} suggests"
    return [Problem("monitor", message, "use val_loss or train_loss, or set task if its values are classes")]


def _batch_warnings(spec: TrainingSpec, rows: int) -> list[str]:
    train = rows - validation_rows(rows, spec.validation_split)
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
