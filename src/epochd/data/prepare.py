"""From a spec to arrays: read, split, fit the encoder on the training rows alone, encode.

Data are read in batches: for what the split needs, to fit, to encode. Small tables are read once and kept in memory,
larger ones are streamed anew each time; and examples above the limit are encoded into a memory-mapped file. The numbers
are the same to the last bit.
"""

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
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataError
from epochd.core.specs import Split, Task, TrainingSpec
from epochd.data.checks import report
from epochd.data.encoding import values
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.fit import Fitting, longest
from epochd.data.encoding.labels import Label, encode_labels
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.schema import absent_columns, feature_columns, kinds_of, required_columns
from epochd.data.splitting import sliding_windows, sort_keys
from epochd.data.splitting.sliding_windows import Examples
from epochd.data.splitting.split import SIDES, VALIDATION, Integers, Splits, kind, split
from epochd.data.storage.materialize import Layout, Targets, materialize
from epochd.data.storage.materialize import StoragePolicy as StoragePolicy
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import BATCH_ROWS, Reading, Table, select_rows, within

Classes = Sequence[Label] | None
Made = tuple[dict[str, InMemoryDataset | MemmapDataset], dict[str, IntArray]]


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


def prepare(
    spec: TrainingSpec,
    catalog: Catalog,
    policy: StoragePolicy | None = None,
    encoder: Encoder | None = None,
    checked: CheckedDataset | None = None,
) -> Prepared:
    """The spec's dataset as arrays. Without a ``policy`` everything is held in memory.

    ``checked`` is what the server found in this very content; without it the dataset is checked first, and DataError
    raised with every problem of ``report.check_dataset``. An ``encoder``, that of a training that is resumed, is used
    as it is, and the data are read as what it was fitted on. The fingerprint of two datasets is the SHA-256 of both of
    theirs.
    """
    source = catalog.open(spec.dataset).like(encoder.kinds if encoder else {})
    preparation = Preparation(spec, catalog, policy, encoder, checked)
    return source.apply(lambda lazy: preparation.prepared(source, lazy))


@dataclass(frozen=True, slots=True)
class RowLabels:
    """What is known of each row besides its features, (rows,): its class number (uint8 or uint16) or its value in a
    regression (float64); its time and group where the split or windows ask for them."""

    targets: npt.NDArray[Any]
    times: npt.NDArray[Any] | None = None
    groups: npt.NDArray[Any] | None = None

    @property
    def codes(self) -> Integers | None:
        """Class numbers; None for a regression."""
        return None if self.targets.dtype == np.float64 else self.targets


@dataclass(frozen=True, slots=True)
class Preparation:
    """How one spec's tables become arrays; parameters as in ``prepare``."""

    spec: TrainingSpec
    catalog: Catalog
    policy: StoragePolicy | None
    encoder: Encoder | None
    checked: CheckedDataset | None

    def prepared(self, source: Source, lazy: pl.LazyFrame) -> Prepared:
        """The dataset, and the validation dataset if there is one, as arrays."""
        schema = lazy.collect_schema()
        table = self._table(lazy, self._columns(schema))
        task, classes = self._task(table, schema, source)
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
            hashed = pool.submit(source.fingerprint)
            encoder, layout, y = self._encoded(table, task, classes)
        fingerprint = hashed.result()
        parts, rows = self._materialized(table, fingerprint, encoder, layout, y)
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
        )

    def _encoded(self, table: Table, task: Task, classes: Classes) -> tuple[Encoder, Layout, Targets]:
        """How rows are encoded, which examples each side has, and their encoded targets."""
        labels = self._labels(table, task, classes, kind(self.spec, classes is not None))
        splits = split(self.spec, table.rows, codes=labels.codes, times=labels.times, groups=labels.groups)
        encoder = self.encoder or self._fitted(table, task, classes, splits.train)
        return encoder, *self._arranged(encoder, labels, splits)

    def _task(self, table: Table, schema: pl.Schema, source: Source) -> tuple[Task, Classes]:
        """The task and its classes. Raise DataError for a dataset that has not been checked and has problems."""
        found: CheckedDataset | report.DatasetReport | None = self.checked
        if found is None:
            found = self._report(table, schema, source)
            if found.problems:
                raise DataError(found.problems)
        if self.encoder is not None:
            return self.encoder.task, self.encoder.classes
        assert found.task is not None  # a dataset without problems has one
        return found.task, found.classes

    def _report(self, table: Table, schema: pl.Schema, source: Source) -> report.DatasetReport:
        if self.spec.validation_dataset is not None:
            return report.check_dataset(self.spec, self.catalog, source.expected)
        return report.check_table(table.lazy, schema, self.spec, source).report

    @property
    def other(self) -> Source | None:
        """The validation dataset."""
        name = self.spec.validation_dataset
        return None if name is None else self.catalog.open(name)

    def _table(self, lazy: pl.LazyFrame, columns: Sequence[str]) -> Table:
        return Table.of(lazy.select(cs.by_name(columns)), self.policy.limit if self.policy else None)

    def _columns(self, schema: pl.Schema) -> list[str]:
        """All that is read of the dataset; raise DataError if it lacks what the given encoder needs."""
        found = required_columns(self.spec, schema)
        if self.encoder is None:
            return found
        lacking = [name for name in self.encoder.feature_names if name not in schema]
        if lacking:
            raise DataError(absent_columns(lacking, "feature_columns", schema, "the changed dataset"))
        return list(dict.fromkeys([*self.encoder.feature_names, *found]))

    def _labels(self, table: Table, task: Task, classes: Classes, way: Split | None = None) -> RowLabels:
        """Read from the table what targets, windows and this way to split need."""
        spec, windows = self.spec, self.spec.sequence_length is not None
        readings: dict[str, tuple[str, Reading]] = {}
        readings["targets"] = spec.target_column, lambda series: _read_targets(series, task, classes)
        if spec.time_column is not None and (windows or way == "time"):
            readings["times"] = spec.time_column, sort_keys.moments
        if spec.group_column is not None and (windows or way == "group"):
            readings["groups"] = spec.group_column, sort_keys.Groups()
        return RowLabels(**table.read(readings))

    def _fitted(self, table: Table, task: Task, classes: Classes, train: IntArray) -> Encoder:
        """An encoder fitted on these rows alone; list columns are as long as their longest list anywhere."""
        spec, schema = self.spec, table.lazy.collect_schema()
        features = feature_columns(spec, schema)
        steps = longest(table.lazy, features)
        if steps is not None and (other := self.other) is not None:
            steps = max(steps, other.apply(lambda lazy: longest(lazy, features)) or 0)
        fitting = Fitting(spec, schema, features, task, classes, len(train), steps)
        for first, frame in table.batches([*features, spec.target_column]):
            chosen = train[within(train, first, frame.height)] - first
            if len(chosen):
                fitting.partial_fit(select_rows(frame, chosen))
        return fitting.encoder()

    def _arranged(self, encoder: Encoder, labels: RowLabels, splits: Splits) -> tuple[Layout, Targets]:
        """Which examples each side has, and their encoded targets."""
        layout = self._layout(labels, splits)
        return layout, {name: _targets(encoder, labels.targets, side.rows) for name, side in layout.sides.items()}

    def _materialized(self, table: Table, fingerprint: str, encoder: Encoder, layout: Layout, y: Targets) -> Made:
        """The examples of each side that has some, and the row numbers of their targets."""
        parts = materialize(table, layout, encoder, y, self.policy, fingerprint)
        return parts, {name: side.rows for name, side in layout.sides.items()}

    def _layout(self, labels: RowLabels, splits: Splits) -> Layout:
        if self.spec.sequence_length is None or labels.times is None:
            found = {name: getattr(splits, name) for name in SIDES}
            return Layout({name: Examples(rows, rows) for name, rows in found.items() if len(rows)})
        order = sliding_windows.order(labels.times, labels.groups)
        windows = sliding_windows.windows(self.spec, order, splits, labels.groups)
        return Layout(windows, self.spec.sequence_length, sliding_windows.places(order))

    def _validation(self, other: Source, fingerprint: str, encoder: Encoder) -> Made:
        """All rows of the validation dataset, encoded like those that are trained on."""
        order = [self.spec.time_column, self.spec.group_column] if self.spec.sequence_length else []
        columns = [*encoder.feature_names, *(name for name in order if name), encoder.target_column]

        def read(lazy: pl.LazyFrame) -> Made:
            table = self._table(lazy, list(dict.fromkeys(columns)))
            labels = self._labels(table, encoder.task, encoder.classes)
            splits = Splits.of(np.full(table.rows, VALIDATION, np.uint8))
            return self._materialized(table, fingerprint, encoder, *self._arranged(encoder, labels, splits))

        try:
            return other.apply(read)
        except DataError as error:
            prefix = f"in the validation dataset {other.name!r}: "
            raise DataError(
                [replace(problem, message=prefix + problem.message) for problem in error.problems]
            ) from None


def _read_targets(series: pl.Series, task: Task, classes: Classes) -> npt.NDArray[Any]:
    """A target in few bytes: class numbers, or float64."""
    if task == "regression":
        return values.numbers(series)
    return encode_labels(series, classes or ()).astype(np.uint8 if len(classes or ()) <= 256 else np.uint16)


def _targets(encoder: Encoder, targets: npt.NDArray[Any], rows: IntArray) -> FloatArray | IntArray:
    """The targets of these rows as in ``arrays.InMemoryDataset``."""
    if encoder.task != "regression":
        return targets[rows].astype(np.float32) if encoder.task == "binary" else targets[rows].astype(np.int64)
    y: FloatArray = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), BATCH_ROWS):
        piece = targets[rows[first : first + BATCH_ROWS]]
        y[first : first + len(piece)] = encoder.target(pl.DataFrame({encoder.target_column: piece}))
    return y
