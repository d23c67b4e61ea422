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
from epochd.core.columns import ColumnType
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataError, Problem
from epochd.core.specs import Split, Task, TrainingSpec
from epochd.data.checks import report
from epochd.data.columns.detection import Decision
from epochd.data.columns.reading import Reading
from epochd.data.encoding import values
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.fit import EncoderFit, longest_list
from epochd.data.encoding.labels import Label, encode_labels
from epochd.data.encoding.sequence import LONGER
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.schema import feature_columns, kinds_of, missing_columns, required_columns
from epochd.data.splitting import sliding_windows, sort_keys
from epochd.data.splitting.folds import Folds, folds, weight_problem
from epochd.data.splitting.gaps import Holes, segments_or_groups
from epochd.data.splitting.naive_forecasts import Series, step_keys
from epochd.data.splitting.row_contents import content_groups
from epochd.data.splitting.sliding_windows import Examples, target_rows
from epochd.data.splitting.split import SIDES, VALIDATION, Splits, is_by_content, split, split_kind
from epochd.data.storage.materialize import Layout, StoragePolicy, Targets, Weights, materialize
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import BATCH_ROWS, ColumnReader, Table, rows_in_batch, select_rows

EXAMPLE_ROWS = 20
"""Rows that are searched for a value of each column."""
Classes = Sequence[Label] | None
Types = Mapping[str, ColumnType]
RowLabels = dict[str, npt.NDArray[Any]]
"""The data of each row besides its features, (rows,): ``targets``, its class number (uint8 or uint16) or its value in a
regression (float64); ``weights`` (float64) if there are any; ``times`` and ``groups`` where the split or windows need
them, ``positions`` in time where holes are left out."""
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
    ``first_rows`` are the first ones of the dataset, as examples. ``folds`` divides the training rows, if the spec asks
    for a cross-validation; the encoder is then fitted on all of them.
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
    folds: Folds | None = None


@dataclass(frozen=True, slots=True)
class Arranged:
    """The examples of each side with their encoded targets, weights and naive forecasts; ``season`` and ``folds`` as in
    ``Prepared``."""

    layout: Layout
    y: Targets
    weights: Weights
    naive: Naive
    season: int | None
    folds: Folds | None = None


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
    source = pictures.opened(catalog, spec, spec.dataset, encoder.feature_names if encoder else ())
    if encoder is not None:
        source = source.following(encoder.readings, encoder.kinds)
    elif checked is not None and checked.readings is not None:
        source = source.following({name: Reading.from_json(one) for name, one in checked.readings.items()})
    preparation = Preparation(spec, catalog, policy, encoder, checked)
    return source.apply_decided(lambda lazy, decisions: preparation.prepared(source, lazy, decisions))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checks have found in a dataset: the columns to learn from, their types, the task and its classes."""

    features: Sequence[str]
    task: Task
    classes: Classes
    types: Types


@dataclass(frozen=True, slots=True)
class Preparation:
    """The preparation of one spec's tables; fields as the parameters of ``prepare``."""

    spec: TrainingSpec
    catalog: Catalog
    policy: StoragePolicy | None
    encoder: Encoder | None
    checked: CheckedDataset | None

    def prepared(self, source: Source, lazy: pl.LazyFrame, decisions: Mapping[str, Decision]) -> Prepared:
        """The dataset, and the validation dataset if there is one, as arrays; ``decisions`` say how it was read."""
        schema = lazy.collect_schema()
        table = self._table(lazy, self._columns(schema), source)
        facts = self._facts(table, schema, source)
        used = required_columns(self.spec, schema, facts.features)
        readings = {name: one.reading for name, one in decisions.items() if name in used}
        with ThreadPoolExecutor(1, thread_name_prefix="hash") as pool:
            hashed = pool.submit(source.fingerprint)
            encoder, found = self._encoded(table, facts, readings)
        fingerprint = hashed.result()
        key = source.content_key(fingerprint)
        parts = materialize(table, found.layout, encoder, found.y, self.policy, key, found.weights)
        sides, naive, season = found.layout.sides, found.naive, found.season
        if self.spec.validation_dataset is not None:
            opened = pictures.opened(self.catalog, self.spec, self.spec.validation_dataset)
            other = opened.following(readings, kinds_of(schema))
            other_fingerprint = other.fingerprint()
            other_parts, other_sides, other_naive = self._validation(other, other_fingerprint, encoder, season)
            parts, sides, naive = parts | other_parts, {**sides, **other_sides}, naive | other_naive
            fingerprint = hashlib.sha256(f"{fingerprint} {other_fingerprint}".encode()).hexdigest()
        rows = {name: side.rows for name, side in sides.items()}
        train, validation, test = parts["train"], parts.get("validation"), parts.get("test")
        first_rows = table.lazy.select(cs.by_name(used)).head(EXAMPLE_ROWS).collect()
        described = encoder.task, fingerprint, rows, naive, season, first_rows, found.folds
        return Prepared(train, validation, test, encoder, *described)

    def _columns(self, schema: pl.Schema) -> list[str]:
        """The columns to read, without checks all that may be used; raise DataError if the dataset lacks one that the
        given encoder or the server's checks need."""
        if self.encoder is not None:
            features = self.encoder.feature_names
        elif self.checked is not None:
            features = self.checked.features
        else:
            features = feature_columns(self.spec, schema)
        if missing := [name for name in features if name not in schema]:
            raise DataError(missing_columns(missing, "feature_columns", schema, "the changed dataset"))
        return required_columns(self.spec, schema, features)

    def _table(self, lazy: pl.LazyFrame, columns: Sequence[str], source: Source) -> Table:
        chosen = lazy.select(cs.by_name(list(dict.fromkeys(columns))))
        return Table.of(chosen, self.policy.limit if self.policy else None, pictures.of(source))

    def _facts(self, table: Table, schema: pl.Schema, source: Source) -> Facts:
        """What was found in the dataset. Raise DataError for one that has not been checked and has problems."""
        spec = self.spec
        if self.encoder is not None:  # it may have learned from columns that the checks of today leave out
            spec = spec.model_copy(update={"feature_columns": self.encoder.feature_names, "exclude_columns": None})
        found: CheckedDataset | report.DatasetReport | None = self.checked
        if found is None:
            if spec.validation_dataset is None:
                found = report.check_table(table.lazy, schema, spec, source)[0]
            else:
                found = report.check_dataset(spec, self.catalog, source)
            if found.problems:
                raise DataError(found.problems)
        if self.encoder is not None:
            return Facts(self.encoder.feature_names, self.encoder.task, self.encoder.classes, {})
        assert found.task is not None  # a dataset without problems has a task
        return Facts(found.features, found.task, found.classes, found.types or {})

    def _encoded(self, table: Table, facts: Facts, readings: Mapping[str, Reading]) -> tuple[Encoder, Arranged]:
        """The encoder and the examples of each side."""
        task, classes = facts.task, facts.classes
        labels = self._row_labels(table, task, classes, split_kind(self.spec, classes is not None))
        codes = None if task == "regression" else labels["targets"]
        groups = content_groups(table, facts.features) if is_by_content(self.spec) else labels.get("groups")
        splits = split(self.spec, table.rows, codes=codes, times=labels.get("times"), groups=groups)
        encoder = self.encoder or self._fit_encoder(table, facts, splits.train, readings)
        found = self._arrange(encoder, labels, splits)
        if self.spec.folds is None:
            return encoder, found
        rows = splits.train
        of_rows = (None if part is None else part[rows] for part in (codes, groups))
        number = folds(self.spec, len(rows), **dict(zip(("codes", "groups"), of_rows, strict=True)))
        if problem := weight_problem(self.spec.weight_column, found.weights.get("train"), number):
            raise DataError([problem])
        return encoder, replace(found, folds=Folds(number, labels["targets"][rows], self.spec.folds))

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
        if spec.weight_column is not None:
            readers["weights"] = spec.weight_column, values.bounded_numbers
        if spec.time_column is not None and windows and (holes := Holes.of(spec)) is not None:
            readers["positions"] = spec.time_column, holes.positions
        return table.read(readers)

    def _fit_encoder(self, table: Table, facts: Facts, train: IntArray, readings: Mapping[str, Reading]) -> Encoder:
        """An encoder fitted on these rows only; the steps of list columns are those of the longest list in the dataset,
        and in the validation dataset if longer lists are read."""
        spec, schema, features = self.spec, table.lazy.collect_schema(), facts.features
        steps = longest_list(table.lazy, features)
        if steps is not None and spec.validation_dataset is not None and LONGER[spec.model_type] == "read":
            other = self.catalog.validation_of(spec)
            steps = max(steps, other.apply(lambda lazy: longest_list(lazy, features)) or 0)
        task, classes, types = facts.task, facts.classes, facts.types
        fit = EncoderFit(spec, schema, features, task, classes, len(train), steps, types, readings)
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
            holes, positions = Holes.of(self.spec), labels.get("positions")
            groups = segments_or_groups(holes, order, positions, groups)
            clock = None if holes is None or positions is None else holes.clock(positions)
            keys = None if clock is None else step_keys(order, groups, clock, self.spec.furthest)
            windows = sliding_windows.windows(self.spec, order, splits, groups)
            layout = Layout(windows, steps, sliding_windows.inverse_order(order))
            series = Series(self.spec, order, groups, keys)
            season = series.season(windows["train"], targets) if "train" in windows else season
            for name, side in windows.items():
                rows = series.rows(side, season)
                naive[name] = {forecast: _targets(encoder, targets, source) for forecast, source in rows.items()}
        rows_of = {name: side.rows for name, side in layout.sides.items()}
        if steps is not None and times is not None:
            rows_of = {name: target_rows(self.spec, order, side.first) for name, side in layout.sides.items()}
        y = {name: _targets(encoder, targets, rows) for name, rows in rows_of.items()}
        return Arranged(layout, y, _weights(self.spec, labels, layout), naive, season)

    def _validation(self, other: Source, fingerprint: str, encoder: Encoder, season: int | None) -> Materialized:
        """All rows of the validation dataset, encoded like the training rows."""
        order = [self.spec.time_column, self.spec.group_column] if self.spec.sequence_length else []
        order.append(self.spec.weight_column)
        columns = [*encoder.feature_names, *(name for name in order if name), encoder.target_column]

        def read(lazy: pl.LazyFrame) -> Materialized:
            table = self._table(lazy, columns, other)
            labels = self._row_labels(table, encoder.task, encoder.classes)
            found = self._arrange(encoder, labels, Splits.of(np.full(table.rows, VALIDATION, np.uint8)), season)
            key = other.content_key(fingerprint)
            parts = materialize(table, found.layout, encoder, found.y, self.policy, key, found.weights)
            return parts, found.layout.sides, found.naive

        try:
            return other.apply(read)
        except DataError as error:
            prefix = f"in the validation dataset {other.name!r}: "
            raise DataError([replace(found, message=prefix + found.message) for found in error.problems]) from None


def _weights(spec: TrainingSpec, labels: RowLabels, layout: Layout) -> Weights:
    """The weights of the examples of each side, divided by their mean. Raise DataError for a side on which all are
    0."""
    found: dict[str, FloatArray] = {}
    for name, side in layout.sides.items() if "weights" in labels else ():
        of_side = labels["weights"][side.rows]
        largest = of_side.max()
        if not largest > 0:
            message = f"all weights in {spec.weight_column!r} are 0 for {sliding_windows.SIDE_NAMES[name]}"
            hint = "give some of these rows a weight above 0, change the split, or omit weight_column"
            raise DataError([Problem("weight_column", message, hint)])
        of_side = of_side / largest
        found[name] = (of_side / of_side.mean()).astype(np.float32)
    return found


def _targets(encoder: Encoder, targets: npt.NDArray[Any], rows: IntArray) -> FloatArray | IntArray:
    """The targets of these rows, (rows,) or (rows, horizons), as in ``InMemoryDataset``."""
    if encoder.task != "regression":
        return targets[rows].astype(np.float32) if encoder.task == "binary" else targets[rows].astype(np.int64)
    y: FloatArray = np.empty(rows.size, np.float32)
    flat = rows.reshape(-1)
    for first in range(0, len(flat), BATCH_ROWS):
        piece = targets[flat[first : first + BATCH_ROWS]]
        y[first : first + len(piece)] = encoder.target(pl.DataFrame({encoder.target_column: piece}))
    return y.reshape(rows.shape)
