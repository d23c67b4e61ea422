"""What the server learns from users' files and queries.

These functions run in readers (``readers.pool``), never in the server's own process: a file may crash the library that
reads it, or need more memory or time than there is.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl
import polars.selectors as cs

from epochd.artifact import prediction_columns
from epochd.core.columns import ReadOptions
from epochd.core.datasets import CheckedDataset, Facts
from epochd.core.errors import DataError, EpochdError, InvalidSpec, Problem
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.specs import TrainingSpec
from epochd.data.checks import report
from epochd.data.checks.report import DatasetReport
from epochd.data.encoding import image
from epochd.data.encoding.encoder import Encoder
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.pictures import Pictures
from epochd.data.tables.source import Source
from epochd.registry import profile
from epochd.registry.sql_snapshot import Snapshot
from epochd.serving import rows

MAX_PICTURE_BATCHES = 8
"""The pixels of a prediction request take at most so many times ``pictures.BATCH_BYTES``."""
FIRST_ROWS = 1_000
"""Rows that are read before a batch prediction is queued."""


def check(spec: TrainingSpec, catalog: Catalog) -> tuple[DatasetReport, CheckedDataset]:
    """The report on a config's data, and the facts that identify them. Problems are in the report, not raised.

    The fingerprints are computed first, so that the worker notices every later change.
    """
    train = _quick_fingerprint(catalog, spec, spec.dataset)
    other = spec.validation_dataset
    validation = None if other is None else _quick_fingerprint(catalog, spec, other)
    found = report.check_dataset(spec, catalog)
    return found, found.checked(train, validation)


def check_prediction(spec: PredictionSpec, folder: Path, catalog: Catalog) -> list[str]:
    """The columns of the file of predictions by the model in ``folder``. Only the first rows of the dataset are read.

    Raises InvalidSpec if the model cannot be read, DataError if the dataset cannot be predicted.
    """
    encoder, training = _model(folder)

    def check_table(lazy: pl.LazyFrame) -> list[str]:
        columns = prediction_columns.select(encoder, training, spec, lazy.collect_schema())
        first = lazy.select(cs.by_name(columns.read)).head(FIRST_ROWS).collect()
        if first.is_empty():
            raise DataError([Problem("dataset", "the dataset has no rows", "choose another one")])
        encoder.features(first.clear())  # a column whose type the model cannot read; values are the worker's concern
        return [*columns.passed, *prediction_columns.predicted(encoder, spec)]

    source = image.opened(catalog, encoder.image, spec).expecting(encoder.expected, encoder.readings)
    return source.apply(check_table)


def prediction_changed(spec: PredictionSpec, folder: Path, catalog: Catalog, known: str) -> bool:
    """Whether the rows of a batch prediction no longer have the known fingerprint. Raises InvalidSpec and DataError."""
    encoder, _ = _model(folder)
    return image.opened(catalog, encoder.image, spec).fingerprint() != known


def _model(folder: Path) -> tuple[Encoder, TrainingSpec]:
    """The encoder and the config of the model in a folder. Raises InvalidSpec."""
    try:
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        return Encoder.from_json(about["encoder"]), TrainingSpec.model_construct(**about["spec"])
    except (OSError, ValueError, KeyError, EpochdError) as error:
        message = f"the model {folder.name} cannot be read: {getattr(error, 'strerror', None) or error}"
        raise InvalidSpec([Problem("model", message, "use another model, or train it again")]) from None


def _quick_fingerprint(catalog: Catalog, spec: TrainingSpec, name: str | None) -> str | None:
    """A fingerprint that is fast to compute; None if the dataset cannot be read, which the report then contains."""
    try:
        return pictures.opened(catalog, spec, name).quick_fingerprint()
    except DataError:
        return None


def changed(catalog: Catalog, spec: TrainingSpec, known: dict[str, str]) -> str | None:
    """The first of these datasets of a training whose content no longer has the known fingerprint; None if all have.
    Raises DataError if one cannot be read."""
    sources = {name: pictures.opened(catalog, spec, name) for name in known}
    return next((name for name, source in sources.items() if not source.is_unchanged(known[name])), None)


def describe(catalog: Catalog, name: str, options: ReadOptions) -> tuple[Path, Facts]:
    """The path of a dataset, and facts about it from reading all of it so. Raises DataError."""
    source = catalog.open(name).reading(options)
    return source.path, profile.read_facts(source)


def fingerprint(source: Source) -> str:
    """SHA-256 of the content, in hexadecimal. Raises DataError."""
    return source.fingerprint()


def facts(source: Source) -> Facts:
    """Facts about a dataset, from reading all of it. Raises DataError."""
    return profile.read_facts(source)


def column_profiles(source: Source) -> dict[str, Any]:
    """``profile.profile``. Raises DataError."""
    return profile.profile(source)


def run_query(url: str, connection: str, query: str, file: Path, limit: int, seconds: float) -> None:
    """Write the rows of a query, at most ``limit`` bytes, as a Parquet file. Raises DataError or TooLarge."""
    Snapshot(connection, url, query).write(file, limit, seconds)


def save_rows(source: Source, pictures: Pictures | None, file: Path, most: int) -> int:
    """Write the rows of a prediction request, at most ``most``, as an Arrow file that can be mapped, with the pixels of
    its ``pictures``; their number. Raises DataError, InvalidRequest or TooLarge."""
    frame = rows.read(source, most)
    if pictures is not None:
        if frame.height > pictures.batch_rows * MAX_PICTURE_BATCHES:
            raise rows.too_many(f"{frame.height:,}", pictures.batch_rows * MAX_PICTURE_BATCHES)
        frame = pictures.decoded(frame)
    frame.write_ipc(file, compression="uncompressed")
    return frame.height
