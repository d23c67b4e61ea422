"""From a spec to arrays: read, judge, split, fit on the training rows alone, encode.

Data are gone through in batches: for what the split needs, to fit, to encode. Small ones are read once and held
meanwhile, larger ones are streamed anew each time; and examples above the limit are encoded into a mapped file. The
numbers are the same to the last bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError
from epochd.core.specs import Split, Task, TrainingSpec
from epochd.data import schema as selection
from epochd.data.checks import report
from epochd.data.checks.report import Inspection
from epochd.data.encoding import values
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.fit import Fitting, longest
from epochd.data.encoding.labels import Label, encode_labels
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.schema import kinds_of
from epochd.data.splitting import sliding_windows, sort_keys
from epochd.data.splitting.sliding_windows import Examples
from epochd.data.splitting.split import SIDES, VALIDATION, Integers, Splits, kind, split
from epochd.data.storage import materialize
from epochd.data.storage.materialize import Layout, Targets
from epochd.data.storage.materialize import StoragePolicy as StoragePolicy
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import BATCH_ROWS, Reading, Table, taken, within

Classes = Sequence[Label] | None
Made = tuple[dict[str, InMemoryDataset | MemmapDataset], dict[str, IntArray]]


def prepare(
    spec: TrainingSpec, catalog: Catalog, policy: StoragePolicy | None = None, encoder: Encoder | None = None
) -> Prepared:
    """The spec's dataset as arrays. Raise DataError with every problem that ``inspect`` would list.

    Without a ``policy`` everything is held in memory. An ``encoder``, that of a training which goes on with changed
    data, is used as it is, and the data are read as what it was fitted on. The fingerprint of two datasets is the
    SHA-256 of both of theirs.
    """
    source = catalog.open(spec.dataset).like(encoder.kinds if encoder else {})
    preparation = Preparation(spec, catalog, policy, encoder)
    return source.apply(lambda lazy: preparation.prepared(source, lazy))


@dataclass(frozen=True, slots=True)
class RowLabels:
    """What is known of each row besides its features, (rows,): its class number (uint8 or uint16) or its value in a
    regression (float64); its time and group where the split or windows ask for them."""

    outcomes: npt.NDArray[Any]
    times: npt.NDArray[Any] | None = None
    groups: npt.NDArray[Any] | None = None

    @property
    def codes(self) -> Integers | None:
        """Class numbers; None for a regression."""
        return None if self.outcomes.dtype == np.float64 else self.outcomes


@dataclass(frozen=True, slots=True)
class Preparation:
    """One spec's way from tables to arrays; ``encoder`` is one that is given."""

    spec: TrainingSpec
    catalog: Catalog
    policy: StoragePolicy | None
    encoder: Encoder | None

    def prepared(self, source: Source, lazy: pl.LazyFrame) -> Prepared:
        """The dataset, and the validation dataset if there is one, as arrays."""
        schema = lazy.collect_schema()
        table = self._table(lazy, self._columns(schema))
        inspection = self._inspected(table, schema, source)
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as aside:
            hashed = aside.submit(source.fingerprint)
            encoder, layout, y = self._learned(table, inspection)
        fingerprint = hashed.result()
        parts, rows = self._made(table, fingerprint, encoder, layout, y)
        if (other := self.other) is not None:
            of_other = other.fingerprint()
            parts_of_other, rows_of_other = self._validation(other.like(kinds_of(schema)), of_other, encoder)
            parts, rows = parts | parts_of_other, rows | rows_of_other
            fingerprint = hashlib.sha256(f"{fingerprint} {of_other}".encode()).hexdigest()
        return Prepared(
            parts["train"],
            parts.get("validation"),
            parts.get("test"),
            encoder,
            encoder.task,
            fingerprint,
            rows,
            inspection.warnings,
        )

    def _learned(self, table: Table, inspection: Inspection) -> tuple[Encoder, Layout, Targets]:
        """How rows are encoded, which examples each side has, and their encoded targets."""
        task, classes = (self.encoder.task, self.encoder.classes) if self.encoder else _outcome(inspection)
        keys = self._keys(table, task, classes, kind(self.spec, classes is not None))
        splits = split(self.spec, table.rows, codes=keys.codes, times=keys.times, groups=keys.groups)
        encoder = self.encoder or self._fitted(table, inspection, splits.train)
        return encoder, *self._laid_out(encoder, keys, splits)

    def _inspected(self, table: Table, schema: pl.Schema, source: Source) -> Inspection:
        if self.spec.validation_dataset is None:
            found = report.examine(table.lazy, schema, self.spec, source.name, held=table.frame is not None)
        else:
            found = report.inspect(self.spec, self.catalog, source.expected)
        if found.problems:
            raise DataError(found.problems)
        return found

    @property
    def other(self) -> Source | None:
        """The validation dataset."""
        name = self.spec.validation_dataset
        return None if name is None else self.catalog.open(name)

    def _table(self, lazy: pl.LazyFrame, columns: Sequence[str]) -> Table:
        return Table.of(lazy.select(cs.by_name(columns)), self.policy.limit if self.policy else None)

    def _columns(self, schema: pl.Schema) -> list[str]:
        """All that is read of the dataset; raise DataError if it lacks what the given encoder needs."""
        found = report.needed(self.spec, schema)
        if self.encoder is None:
            return found
        lacking = [name for name in self.encoder.feature_names if name not in schema]
        if lacking:
            raise DataError(selection.absent(lacking, "feature_columns", schema, "the changed dataset"))
        return list(dict.fromkeys([*self.encoder.feature_names, *found]))

    def _keys(self, table: Table, task: Task, classes: Classes, way: Split | None = None) -> RowLabels:
        """Read from the table what targets, windows and this way to split need."""
        spec, windows = self.spec, self.spec.sequence_length is not None
        readings: dict[str, tuple[str, Reading]] = {}
        readings["outcomes"] = spec.target_column, lambda series: _outcomes(series, task, classes)
        if spec.time_column is not None and (windows or way == "time"):
            readings["times"] = spec.time_column, sort_keys.moments
        if spec.group_column is not None and (windows or way == "group"):
            readings["groups"] = spec.group_column, sort_keys.Groups()
        return RowLabels(**table.read(readings))

    def _fitted(self, table: Table, inspection: Inspection, train: IntArray) -> Encoder:
        """An encoder that has seen these rows alone; list columns are as long as their longest list anywhere."""
        spec, features, (task, classes) = self.spec, inspection.features, _outcome(inspection)
        steps = longest(table.lazy, features)
        if steps is not None and (other := self.other) is not None:
            steps = max(steps, other.apply(lambda lazy: longest(lazy, features)) or 0)
        fitting = Fitting(spec, table.lazy.collect_schema(), features, task, classes, len(train), steps)
        for first, frame in table.batches([*features, spec.target_column]):
            chosen = train[within(train, first, frame.height)] - first
            if len(chosen):
                fitting.take(taken(frame, chosen))
        return fitting.encoder()

    def _laid_out(self, encoder: Encoder, keys: RowLabels, splits: Splits) -> tuple[Layout, Targets]:
        """Which examples each side has, and their encoded targets."""
        layout = self._layout(keys, splits)
        return layout, {name: _targets(encoder, keys.outcomes, side.rows) for name, side in layout.sides.items()}

    def _made(self, table: Table, fingerprint: str, encoder: Encoder, layout: Layout, y: Targets) -> Made:
        """The examples of each side that has some, and the row numbers of their targets."""
        parts = materialize.made(table, layout, encoder, y, self.policy, fingerprint)
        return parts, {name: side.rows for name, side in layout.sides.items()}

    def _layout(self, keys: RowLabels, splits: Splits) -> Layout:
        if self.spec.sequence_length is None or keys.times is None:
            found = {name: getattr(splits, name) for name in SIDES}
            return Layout({name: Examples(rows, rows) for name, rows in found.items() if len(rows)})
        order = sliding_windows.order(keys.times, keys.groups)
        windows = sliding_windows.windows(self.spec, order, splits, keys.groups)
        return Layout(windows, self.spec.sequence_length, sliding_windows.places(order))

    def _validation(self, other: Source, fingerprint: str, encoder: Encoder) -> Made:
        """All rows of the validation dataset, encoded like those that are trained on."""
        order = [self.spec.time_column, self.spec.group_column] if self.spec.sequence_length else []
        columns = [*encoder.feature_names, *(name for name in order if name), encoder.target_column]

        def read(lazy: pl.LazyFrame) -> Made:
            table = self._table(lazy, list(dict.fromkeys(columns)))
            keys = self._keys(table, encoder.task, encoder.classes)
            splits = Splits.of(np.full(table.rows, VALIDATION, np.uint8))
            return self._made(table, fingerprint, encoder, *self._laid_out(encoder, keys, splits))

        try:
            return other.apply(read)
        except DataError as error:
            told = f"in the validation dataset {other.name!r}: "
            raise DataError([replace(problem, message=told + problem.message) for problem in error.problems]) from None


def _outcome(inspection: Inspection) -> tuple[Task, Classes]:
    assert inspection.task is not None  # nothing is prepared without one
    return inspection.task, inspection.classes


def _outcomes(series: pl.Series, task: Task, classes: Classes) -> npt.NDArray[Any]:
    """A target in few bytes: class numbers, or float64."""
    if task == "regression":
        return values.numbers(series)
    return encode_labels(series, classes or ()).astype(np.uint8 if len(classes or ()) <= 256 else np.uint16)


def _targets(encoder: Encoder, outcomes: npt.NDArray[Any], rows: IntArray) -> FloatArray | IntArray:
    """The outcomes of these rows as in ``arrays.InMemoryDataset``."""
    if encoder.task != "regression":
        return outcomes[rows].astype(np.float32) if encoder.task == "binary" else outcomes[rows].astype(np.int64)
    y: FloatArray = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), BATCH_ROWS):
        piece = outcomes[rows[first : first + BATCH_ROWS]]
        y[first : first + len(piece)] = encoder.target(pl.DataFrame({encoder.target_column: piece}))
    return y


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset made ready for one spec: split, encoded, and fingerprinted.

    ``fingerprint`` is the SHA-256 of the dataset's content; a resumed attempt must see the same one. ``rows`` are
    the dataset's row numbers (from 0, int64) behind each part's examples, in their order, by ``train``,
    ``validation`` and ``test``; a window has that of its target. Rows of a validation dataset are counted in that one.
    """

    train: InMemoryDataset | MemmapDataset
    validation: InMemoryDataset | MemmapDataset | None
    test: InMemoryDataset | MemmapDataset | None
    encoder: Encoder
    task: Task
    fingerprint: str
    rows: dict[str, IntArray]
    warnings: list[str]
