"""The columns of a file of predictions, and those of the dataset that it needs.

The server checks them before a batch prediction is queued, and its worker again when it reads the dataset.
"""

from dataclasses import dataclass

import polars as pl

from epochd.core.errors import DataError, Problem
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.specs import TrainingSpec
from epochd.data.encoding.encoder import Encoder
from epochd.data.schema import missing_columns


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a dataset: ``needed`` by the model, ``passed`` through to the file of predictions, ``read``: both."""

    needed: list[str]
    passed: list[str]

    @property
    def read(self) -> list[str]:
        return list(dict.fromkeys([*self.passed, *self.needed]))


def select(encoder: Encoder, training: TrainingSpec, spec: PredictionSpec, schema: pl.Schema) -> Columns:
    """The columns of the dataset that are read and passed through, for a model with this encoder and training config.
    Raise DataError with every problem."""
    order = [] if training.sequence_length is None else [training.time_column, training.group_column]
    needed = list(dict.fromkeys(name for name in [*encoder.feature_names, *order] if name))
    requested = schema.names() if spec.echo else spec.id_columns
    passed = list(dict.fromkeys(name for name in [*order, *requested] if name))
    found = []
    for names, field in ((needed, "dataset"), (spec.id_columns, "id_columns")):
        found += missing_columns([name for name in names if name not in schema], field, schema, "the dataset")
    option = "echo" if spec.echo else "id_columns"
    for name in (name for name in passed if name in {*encoder.prediction_names, *probability_names(encoder)}):
        message = f"column {name!r} of the dataset has the name of a column of predictions"
        found.append(Problem(option, message, "rename it in the dataset, or do not pass it through"))
    if spec.output_format == "csv":
        for name in (name for name in passed if name in schema and not _is_plain(schema[name])):
            message = f"column {name!r} has the type {schema[name]}, which a CSV file cannot hold"
            found.append(Problem(option, message, "use output_format 'parquet', or do not pass it through"))
    if found:
        raise DataError(found)
    return Columns(needed, passed)


def predicted(encoder: Encoder, spec: PredictionSpec) -> list[str]:
    """The columns of predictions, which follow those that are passed through."""
    return [*encoder.prediction_names, *(probability_names(encoder) if spec.probabilities else [])]


def probability_names(encoder: Encoder) -> list[str]:
    """The columns of probabilities, in the order of the classes; none for a regression."""
    return [f"probability_{label}" for label in encoder.classes or ()]


def _is_plain(dtype: pl.DataType) -> bool:
    return not dtype.is_nested() and dtype not in (pl.Binary, pl.Object)
