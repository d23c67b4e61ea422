"""From a spec to arrays: read, judge, split, fit on the training rows alone, encode.

Data that fit the resident limit are read once and kept in memory. Larger ones are judged as a stream,
fitted some columns at a time, and encoded into mapped files; the numbers are the same to the last bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import polars.selectors as cs

from epochd.core.errors import DataError
from epochd.core.specs import TrainingSpec
from epochd.data import cache
from epochd.data.arrays import IntArray, Part, Prepared
from epochd.data.encode import Encoder, fit_column
from epochd.data.inspect import Inspection, examine, needed
from epochd.data.sources import Source, open_dataset
from epochd.data.split import split
from epochd.data.targets import encode_labels


@dataclass(frozen=True, slots=True)
class Residence:
    """Where encoded rows may live: in memory up to ``limit`` bytes, beyond that in ``folder``."""

    folder: Path
    limit: int


def prepare(
    spec: TrainingSpec,
    roots: Sequence[Path],
    default_dataset: str = "sample",
    residence: Residence | None = None,
) -> Prepared:
    """The spec's dataset as arrays. Raise DataError with every problem that ``inspect`` would list.

    Without a ``residence`` everything is held in memory.
    """
    source = open_dataset(spec.dataset or default_dataset, roots)
    return source.apply(lambda table: _prepare(table, spec, source, residence))


def _prepare(table: pl.LazyFrame, spec: TrainingSpec, source: Source, residence: Residence | None) -> Prepared:
    schema = table.collect_schema()
    used = table.select(cs.by_name(needed(spec, schema)))
    if residence is not None and _size(used) > residence.limit:
        inspection = _judged(examine(used, schema, spec, source.name))
        return _streamed(used, spec, source, inspection, residence)
    frame = used.collect()
    return _resident(frame, spec, source, _judged(examine(frame.lazy(), schema, spec, source.name)))


def _size(table: pl.LazyFrame) -> int:
    """Bytes of the columns as float32: what plain numbers take; one-hot columns take more."""
    rows = table.select(pl.len()).collect(engine="streaming").item()
    return int(rows) * len(table.collect_schema()) * 4


def _judged(inspection: Inspection) -> Inspection:
    if inspection.problems or inspection.task is None:
        raise DataError(inspection.problems)
    return inspection


def _resident(frame: pl.DataFrame, spec: TrainingSpec, source: Source, inspection: Inspection) -> Prepared:
    train_rows, validation_rows = _split(frame.get_column(spec.target_column), inspection, spec)
    training = frame[train_rows]
    assert inspection.task is not None
    encoder = Encoder.fit(training, inspection.features, spec.target_column, inspection.task, inspection.classes)
    train = Part(encoder.features(training), encoder.target(training))
    validation = None
    if len(validation_rows):
        held_out = frame[validation_rows]
        validation = Part(encoder.features(held_out), encoder.target(held_out))
    return Prepared(train, validation, encoder, inspection.task, source.fingerprint(), inspection.warnings)


def _streamed(
    table: pl.LazyFrame, spec: TrainingSpec, source: Source, inspection: Inspection, residence: Residence
) -> Prepared:
    target = table.select(spec.target_column).collect()
    train_rows, validation_rows = _split(target.to_series(), inspection, spec)
    at_once = max(1, residence.limit // (16 * target.height))
    columns = [fit_column(values) for values in _columns(table, inspection.features, train_rows, at_once)]
    assert inspection.task is not None
    encoder = Encoder.of(columns, target[train_rows].to_series(), inspection.task, inspection.classes)
    fingerprint = source.fingerprint()

    def part(rows: IntArray) -> Part:
        folder = residence.folder / cache.key(fingerprint, encoder, rows)
        return cache.part(folder, table, encoder, rows, encoder.target(target[rows]))

    validation = part(validation_rows) if len(validation_rows) else None
    return Prepared(part(train_rows), validation, encoder, inspection.task, fingerprint, inspection.warnings)


def _columns(table: pl.LazyFrame, names: list[str], rows: IntArray, at_once: int) -> Iterator[pl.Series]:
    """These rows of each column, read so many columns at a time."""
    for first in range(0, len(names), at_once):
        frame = table.select(names[first : first + at_once]).collect()
        for name in names[first : first + at_once]:
            yield frame.get_column(name)[rows]


def _split(target: pl.Series, inspection: Inspection, spec: TrainingSpec) -> tuple[IntArray, IntArray]:
    codes = None
    if inspection.classes is not None:
        codes = encode_labels(target, inspection.classes)
    return split(codes, len(target), spec.validation_split, spec.seed, stratified=codes is not None)
