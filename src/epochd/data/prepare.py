"""From a spec to arrays: read, split, fit the encoder on the training rows only, encode.

Data are read in batches, three times: to split, to fit and to encode. Small tables are kept in memory, larger ones are
streamed from the file each time; the numbers are the same bit for bit.
"""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
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
from epochd.data.encoding.fit import EncoderFit, longest_list
from epochd.data.encoding.labels import Label, encode_labels
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.schema import feature_columns, kinds_of, missing_columns, required_columns
from epochd.data.splitting import sliding_windows, sort_keys
from epochd.data.splitting.naive_forecasts import Series
from epochd.data.splitting.sliding_windows import Examples
from epochd.data.splitting.split import SIDES, VALIDATION, Splits, split, split_kind
from epochd.data.storage.materialize import Layout, StoragePolicy, Targets, materialize
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import BATCH_ROWS, ColumnReader, Table, rows_in_batch, select_rows

EXAMPLE_ROWS = 20
"""Rows that are searched for a value of each column."""
Classes = Sequence[Label] | None
RowLabels = dict[str, npt.NDArray[Any]]
"""The data of each row besides its features, (rows,): ``targets``, its class number (uint8 or uint16) or its value in a
regression (float64); ``times`` and ``groups`` where the split or windows need them."""
Naive = dict[str, Targets]
"""Naive forecasts of windows, as encoded targets: side → name of the forecast → (windows,)."""
Materialized = tuple[dict[str, InMemoryDataset | MemmapDataset], Mapping[str, Examples], Naive]
"""The examples of each side, encoded and as positions, and their naive forecasts."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset prepared for one spec: split, encoded and fingerprinted.

    ``fingerprint`` is the SHA-256 of the dataset's content; a resumed attempt must have the same one. ``rows`` are
    the row numbers (from 0, int64) of the examples of ``train``, ``validation`` and ``test``, in their order; the row
    of a window is that of its target. Rows of a validation dataset are numbered in that dataset. ``naive`` are the
    naive forecasts of windows (``naive_forecasts``) as encoded targets, and ``season`` is the seasonal one's in rows.
    ``first_rows`` are the first ones of the dataset, as examples.
    """

    train: InMemoryDataset | MemmapDataset
    validation: InMemoryDataset | MemmapDataset | None
    test: InMemoryDataset | MemmapDataset | None
    encoder: Encoder
    task: Task
    fingerprint: str
    rows: dict[str, IntArray]
    naive: Naive = field(default_factory=dict)
    season: int | None = None
    first_rows: pl.DataFrame = field(default_factory=pl.DataFrame)


@dataclass(frozen=True, slots=True)
class Arranged:
    """The examples of each side with their encoded targets and naive forecasts; ``season`` as in ``Prepared``."""

    layout: Layout
    y: Targets
    naive: Naive
    season: int | None


def prepare(
    spec: TrainingSpec,
    catalog: Catalog,
    policy: StoragePolicy | None = None,
    encoder: Encoder | None = None,
    checked: CheckedDataset | None = None,
) -> Prepared:
    """The spec's dataset as arrays. Without a ``policy`` everything is kept in memory.

    ``checked`` is the result of the server's checks of the same content. Without it the dataset is checked first, and
    DataError is raised with every problem of ``report.check_dataset``. The ``encoder`` of a resumed training is used
    unchanged, and columns are read as the kinds that it was fitted on. With a validation dataset, the fingerprint is
    the SHA-256 of both fingerprints.
    """
    spec = pictures.resolved(spec, catalog.open(spec.dataset))
    source = pictures.opened(catalog, spec, spec.dataset).expecting(encoder.kinds if encoder else {})
    preparation = Preparation(spec, catalog, policy, encoder, checked)
    return source.apply(lambda lazy: preparation.prepared(source, lazy))


@dataclass(frozen=True, slots=True)
class Preparation:
    """The preparation of one spec's tables; fields as the parameters of ``prepare``."""

    spec: TrainingSpec
    catalog: Catalog
    policy: StoragePolicy | None
    encoder: Encoder | None
    checked: CheckedDataset | None

    def prepared(self, source: Source, lazy: pl.LazyFrame) -> Prepared:
        """The dataset, and the validation dataset if there is one, as arrays."""
        schema = lazy.collect_schema()
        table = self._table(lazy, self._columns(schema), source)
        task, classes = self._task(table, schema, source)
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
            hashed = pool.submit(source.fingerprint)
            encoder, found = self._encoded(table, task, classes)
        fingerprint = hashed.result()
        parts = materialize(table, found.layout, encoder, found.y, self.policy, fingerprint)
        sides, naive, season = found.layout.sides, found.naive, found.season
        if self.spec.validation_dataset is not None:
            other = pictures.opened(self.catalog, self.spec, self.spec.validation_dataset).expecting(kinds_of(schema))
            other_fingerprint = other.fingerprint()
            other_parts, other_sides, other_naive = self._validation(other, other_fingerprint, encoder, season)
            parts, sides, naive = parts | other_parts, {**sides, **other_sides}, naive | other_naive
            fingerprint = hashlib.sha256(f"{fingerprint} {other_fingerprint}".encode()).hexdigest()
        rows = {name: side.rows for name, side in sides.items()}
        train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
        first_rows = table.lazy.head(EXAMPLE_ROWS).collect()
        return Prepared(train, validation, test, encoder, encoder.task, fingerprint, rows, naive, season, first_rows)

    def _columns(self, schema: pl.Schema) -> list[str]:
        """The columns to read; raise DataError if the dataset lacks one that the given encoder needs."""
        found = required_columns(self.spec, schema)
        if self.encoder is None:
            return found
        missing = [name for name in self.encoder.feature_names if name not in schema]
        if missing:
            raise DataError(missing_columns(missing, "feature_columns", schema, "the changed dataset"))
        return [*self.encoder.feature_names, *found]

    def _table(self, lazy: pl.LazyFrame, columns: Sequence[str], source: Source) -> Table:
        chosen = lazy.select(cs.by_name(list(dict.fromkeys(columns))))
        return Table.of(chosen, self.policy.limit if self.policy else None, pictures.of(source))

    def _task(self, table: Table, schema: pl.Schema, source: Source) -> tuple[Task, Classes]:
        """The task and its classes. Raise DataError for a dataset that has not been checked and has problems."""
        found: CheckedDataset | report.DatasetReport | None = self.checked
        if found is None:
            if self.spec.validation_dataset is None:
                found = report.check_table(table.lazy, schema, self.spec, source)[0]
            else:
                found = report.check_dataset(self.spec, self.catalog, source.expected)
            if found.problems:
                raise DataError(found.problems)
        if self.encoder is not None:
            return self.encoder.task, self.encoder.classes
        assert found.task is not None  # a dataset without problems has a task
        return found.task, found.classes

    def _encoded(self, table: Table, task: Task, classes: Classes) -> tuple[Encoder, Arranged]:
        """The encoder and the examples of each side."""
        labels = self._row_labels(table, task, classes, split_kind(self.spec, classes is not None))
        codes = None if task == "regression" else labels["targets"]
        splits = split(self.spec, table.rows, codes=codes, times=labels.get("times"), groups=labels.get("groups"))
        encoder = self.encoder or self._fit_encoder(table, task, classes, splits.train)
        return encoder, self._arrange(encoder, labels, splits)

    def _row_labels(self, table: Table, task: Task, classes: Classes, split_by: Split | None = None) -> RowLabels:
        """Read the columns that targets, windows and this kind of split need."""
        spec, windows, labels = self.spec, self.spec.sequence_length is not None, classes or ()
        dtype = np.uint8 if len(labels) <= 256 else np.uint16

        def targets(series: pl.Series) -> npt.NDArray[Any]:
            return values.numbers(series) if task == "regression" else encode_labels(series, labels).astype(dtype)

        readers: dict[str, tuple[str, ColumnReader]] = {"targets": (spec.target_column, targets)}
        if spec.time_column is not None and (windows or split_by == "time"):
            readers["times"] = spec.time_column, sort_keys.time_keys
        if spec.group_column is not None and (windows or split_by == "group"):
            readers["groups"] = spec.group_column, sort_keys.GroupNumbers()
        return table.read(readers)

    def _fit_encoder(self, table: Table, task: Task, classes: Classes, train: IntArray) -> Encoder:
        """An encoder fitted on these rows only; the steps of list columns are those of the longest list in all data."""
        spec, schema = self.spec, table.lazy.collect_schema()
        features = feature_columns(spec, schema)
        steps = longest_list(table.lazy, features)
        if steps is not None and spec.validation_dataset is not None:
            other = self.catalog.open(spec.validation_dataset)
            steps = max(steps, other.apply(lambda lazy: longest_list(lazy, features)) or 0)
        fit = EncoderFit(spec, schema, features, task, classes, len(train), steps)
        for first, frame in table.batches([*features, spec.target_column]):
            chosen = train[rows_in_batch(train, first, frame.height)] - first
            if len(chosen):
                fit.partial_fit(select_rows(frame, chosen))
        return fit.finalize()

    def _arrange(self, encoder: Encoder, labels: RowLabels, splits: Splits, season: int | None = None) -> Arranged:
        """The examples of each side; ``season`` is that of the training rows, if they are not among these."""
        targets, steps, times, groups = (
            labels["targets"],
            self.spec.sequence_length,
            labels.get("times"),
            labels.get("groups"),
        )
        naive: Naive = {}
        if steps is None or times is None:
            layout = Layout({name: Examples(rows, rows) for name in SIDES if len(rows := getattr(splits, name))})
        else:
            order = sliding_windows.order(times, groups)
            windows = sliding_windows.windows(self.spec, order, splits, groups)
            layout = Layout(windows, steps, sliding_windows.inverse_order(order))
            series = Series(self.spec, order, groups)
            season = series.season(windows["train"], targets) if "train" in windows else season
            for name, side in windows.items():
                rows = series.rows(side, season)
                naive[name] = {forecast: _targets(encoder, targets, source) for forecast, source in rows.items()}
        y = {name: _targets(encoder, targets, side.rows) for name, side in layout.sides.items()}
        return Arranged(layout, y, naive, season)

    def _validation(self, other: Source, fingerprint: str, encoder: Encoder, season: int | None) -> Materialized:
        """All rows of the validation dataset, encoded like the training rows."""
        order = [self.spec.time_column, self.spec.group_column] if self.spec.sequence_length else []
        columns = [*encoder.feature_names, *(name for name in order if name), encoder.target_column]

        def read(lazy: pl.LazyFrame) -> Materialized:
            table = self._table(lazy, columns, other)
            labels = self._row_labels(table, encoder.task, encoder.classes)
            found = self._arrange(encoder, labels, Splits.of(np.full(table.rows, VALIDATION, np.uint8)), season)
            parts = materialize(table, found.layout, encoder, found.y, self.policy, fingerprint)
            return parts, found.layout.sides, found.naive

        try:
            return other.apply(read)
        except DataError as error:
            prefix = f"in the validation dataset {other.name!r}: "
            raise DataError([replace(found, message=prefix + found.message) for found in error.problems]) from None


def _targets(encoder: Encoder, targets: npt.NDArray[Any], rows: IntArray) -> FloatArray | IntArray:
    """The targets of these rows as in ``InMemoryDataset``."""
    if encoder.task != "regression":
        return targets[rows].astype(np.float32) if encoder.task == "binary" else targets[rows].astype(np.int64)
    y: FloatArray = np.empty(len(rows), np.float32)
    for first in range(0, len(rows), BATCH_ROWS):
        piece = targets[rows[first : first + BATCH_ROWS]]
        y[first : first + len(piece)] = encoder.target(pl.DataFrame({encoder.target_column: piece}))
    return y
