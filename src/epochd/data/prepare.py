"""From a spec to arrays: read, judge, split, fit on the training rows alone, encode."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import polars.selectors as cs

from epochd.core.errors import DataError
from epochd.core.specs import TrainingSpec
from epochd.data.arrays import IntArray, Part, Prepared
from epochd.data.encode import Encoder
from epochd.data.inspect import Inspection, examine, needed
from epochd.data.sources import open_dataset
from epochd.data.split import split
from epochd.data.targets import encode_labels


def prepare(spec: TrainingSpec, roots: Sequence[Path], default_dataset: str = "sample") -> Prepared:
    """The spec's dataset as arrays. Raise DataError with every problem that ``inspect`` would list."""
    source = open_dataset(spec.dataset or default_dataset, roots)
    fingerprint = source.fingerprint()
    frame, inspection = source.apply(lambda table: _read(table, spec, source.name))
    if inspection.problems or inspection.task is None:
        raise DataError(inspection.problems)
    train_rows, validation_rows = _split(frame, inspection, spec)
    training = frame[train_rows]
    encoder = Encoder.fit(training, inspection.features, spec.target_column, inspection.task, inspection.classes)
    return Prepared(
        train=_part(encoder, training),
        validation=_part(encoder, frame[validation_rows]) if len(validation_rows) else None,
        encoder=encoder,
        task=inspection.task,
        fingerprint=fingerprint,
        warnings=inspection.warnings,
    )


def _read(table: pl.LazyFrame, spec: TrainingSpec, name: str) -> tuple[pl.DataFrame, Inspection]:
    """The needed columns, and what there is to say about them."""
    schema = table.collect_schema()
    frame = table.select(cs.by_name(needed(spec, schema))).collect()
    return frame, examine(frame.lazy(), schema, spec, name)


def _split(frame: pl.DataFrame, inspection: Inspection, spec: TrainingSpec) -> tuple[IntArray, IntArray]:
    codes = None
    if inspection.classes is not None:
        codes = encode_labels(frame.get_column(spec.target_column), inspection.classes)
    return split(codes, frame.height, spec.validation_split, spec.seed, stratified=codes is not None)


def _part(encoder: Encoder, frame: pl.DataFrame) -> Part:
    return Part(encoder.features(frame), encoder.target(frame))
