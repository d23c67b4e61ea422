"""The rows of a dataset, and the predictions for them, in pieces of a fixed number of rows.

Rows that are predicted one by one are streamed from the file, and one piece is held at a time. A window needs earlier
rows of its group, which may be anywhere in the file: the columns that the model needs are held then, and the order of
the rows, about 40 bytes for each; columns that are passed through are streamed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from epochd.artifact import prediction_columns
from epochd.artifact.prediction_columns import Columns
from epochd.artifact.predictions import MAX_NAMED, Part
from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem, RowsNotScored
from epochd.core.prediction_specs import PredictionSpec
from epochd.data.encoding import sequence
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.labels import label_column
from epochd.data.splitting import sliding_windows, sort_keys
from epochd.data.splitting.gaps import Holes
from epochd.data.splitting.split import Integers
from epochd.data.tables.pictures import Pictures
from epochd.data.tables.table import batches
from epochd.engines import network
from epochd.loop.engine import Setup
from epochd.serving.predictor import Predictor

MAX_ROWS, MIN_ROWS = 16_384, 64
PART_OPERATIONS, PART_VALUES = 5e9, 8_000_000
"""Floating-point operations of a part, some seconds, and values that it holds: pauses wait for a part."""
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model, which predicts tables."""

    predictor: Predictor

    @property
    def setup(self) -> Setup:
        return self.predictor.setup

    @property
    def encoder(self) -> Encoder:
        return self.predictor.encoder

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """A line for each row, in order: ``prediction`` and, for a classification, ``probability_<class>`` for each
        class; null where no window ends. Raises DataError for unusable rows."""
        return self.predictor.predict(frame, every_row=True).frame()


@dataclass(frozen=True, slots=True)
class Selection:
    """A table with what is asked for; ``size`` rows become a part. ``pictures`` are those of the table, if any."""

    model: Model
    spec: PredictionSpec
    columns: Columns
    table: pl.LazyFrame
    size: int
    pictures: Pictures | None = None


def rows_per_part(model: Model, columns: int, longest: int = 0) -> int:
    """The rows of a part: fixed for a model and a table, so that parts begin at the same rows in each attempt.
    ``longest`` is the length of the longest list of the table, of which there may be one of each row in memory."""
    longer = max(1.0, min(longest, sequence.MAX_STEPS) / (model.encoder.steps or 1)) if longest else 1.0
    operations = max(1, network.flops_per_row(model.setup)) * longer
    values = columns + prod(model.setup.inputs) * longer + model.setup.outputs
    return int(
        max(MIN_ROWS if longer == 1.0 else 1, min(MAX_ROWS, PART_OPERATIONS // operations, PART_VALUES // values))
    )


def parts(chosen: Selection, done: int) -> Iterator[Part]:
    """The parts of the rows after the first ``done``. Raise RowsNotScored for rows that cannot be scored, unless they
    are skipped."""
    return _row_parts(chosen, done) if chosen.model.setup.spec.sequence_length is None else _window_parts(chosen, done)


def _row_parts(chosen: Selection, done: int) -> Iterator[Part]:
    table = chosen.table.select(cs.by_name(chosen.columns.read)).slice(done)
    for first, frame in batches(table, chosen.size):
        bad: dict[int, Problem] = {}
        if chosen.pictures is not None:
            frame = chosen.pictures.decoded(frame)
        try:
            predicted = chosen.model.predict(frame)
        except DataError as error:
            bad = unusable_rows(chosen, frame, done + first, error)
            good = np.setdiff1d(np.arange(frame.height), list(bad))
            predicted = _scattered(chosen.model.predict(frame[good]), good, frame.height)
        yield _part(chosen, frame, predicted, bad, done + first)


def unusable_rows(chosen: Selection, frame: pl.DataFrame, first: int, error: DataError) -> dict[int, Problem]:
    """Which rows of a frame the model cannot encode, and why: row (from 0) → problem, in which rows are counted in the
    dataset. Raise RowsNotScored with the first of them unless they are skipped, and ``error`` if no row explains it."""
    encode = chosen.model.encoder.check
    encode(frame.clear())  # a column that cannot be read at all is no matter of rows
    is_skipped = chosen.spec.on_error == "skip"
    found: dict[int, Problem] = {}
    waiting = [(0, frame.height)]
    while waiting and (is_skipped or len(found) < MAX_NAMED):
        begin, end = waiting.pop()
        try:
            encode(frame.slice(begin, end - begin))
        except DataError as reason:
            if end - begin > 1:
                middle = (begin + end) // 2
                waiting += [(middle, end), (begin, middle)]
            else:
                problem = reason.problems[0]
                message = problem.message.replace("row 1 ", f"row {first + begin + 1} ", 1)
                found[begin] = Problem(problem.field, message, problem.hint)
    if not found:
        raise error
    if not is_skipped:
        raise RowsNotScored(list(found.values()))
    return found


def _scattered(predicted: pl.DataFrame, rows: IntArray, height: int) -> pl.DataFrame:
    """The lines of ``predicted`` at these rows of a frame of ``height`` rows, null at all others."""
    places = np.full(height, -1, np.int64)
    places[rows] = np.arange(len(rows))
    numbers = pl.Series(places)
    return predicted.select(pl.all().gather(pl.lit(numbers.set(numbers < 0, None))))


def _part(chosen: Selection, frame: pl.DataFrame, predicted: pl.DataFrame, bad: dict[int, Problem], first: int) -> Part:
    """The lines of a frame: columns that are passed through, then predictions. A prediction that is not finite counts
    as one that cannot be made."""
    encoder = chosen.model.encoder
    names = prediction_columns.predicted(encoder, chosen.spec)
    is_finite = predicted.select(pl.all_horizontal(pl.lit(True), cs.float().is_finite().fill_null(True))).to_series()
    if not is_finite.all():
        for row in (~is_finite).arg_true():
            message = f"row {first + row + 1}: the output of the model is not a finite number"
            bad[row] = Problem("prediction", message, "check the row for extreme values")
        if chosen.spec.on_error == "refuse":
            raise RowsNotScored([bad[row] for row in sorted(bad)[:MAX_NAMED]])
        predicted = predicted.with_columns(pl.when(is_finite).then(pl.all()))
    lines = pl.concat(
        [frame.select(cs.by_name(chosen.columns.passed)), predicted.select(cs.by_name(names)).cast(_types(encoder))],
        how="horizontal",
    )
    return Part(lines, frame.height, len(bad), [bad[row] for row in sorted(bad)[:MAX_NAMED]])


def _types(encoder: Encoder) -> dict[Any, Any]:
    """The types of the columns of predictions, which are the same in each part."""
    return dict.fromkeys(encoder.prediction_names, label_column("", [], encoder.classes).dtype)


def _window_parts(chosen: Selection, done: int) -> Iterator[Part]:
    """A line for each row in which a complete window ends, in the order of the rows."""
    windows = _Windows(chosen, chosen.table.select(cs.by_name(chosen.columns.needed)).collect(engine="streaming"))
    passed = chosen.table.select(cs.by_name(chosen.columns.passed)).slice(done)
    for first, frame in batches(passed, chosen.size):
        yield windows.part(done + first, frame)


class _Windows:
    """The windows of a table, of which ``frame`` has the columns that the model needs."""

    def __init__(self, chosen: Selection, frame: pl.DataFrame) -> None:
        self._chosen, self._frame = chosen, frame
        spec = chosen.model.setup.spec
        assert spec.time_column is not None
        assert spec.sequence_length is not None
        self._length = length = spec.sequence_length
        encoder = chosen.model.encoder
        self._reach = reach = encoder.reach
        times = encoder.column(frame, spec.time_column)
        self._bad = self._unusable(times)
        known = times.is_not_null().to_numpy()
        rows = np.flatnonzero(known)
        groups: Integers | None = None
        if spec.group_column is not None:
            groups = sort_keys.GroupNumbers()(encoder.column(frame, spec.group_column))
        keys = sort_keys.time_keys(times.drop_nulls())
        of_rows = None if groups is None else groups[rows]
        order = sliding_windows.order(keys, of_rows)
        self._order = rows[order]
        parts = groups
        if (holes := Holes.of(spec)) is not None:
            parts = np.zeros(frame.height, np.int64)
            parts[rows] = holes.segments(order, holes.positions(times.drop_nulls()), of_rows)
        self._position = np.full(frame.height, -1, np.int64)
        self._position[self._order] = np.arange(len(rows))
        self._ends = np.zeros(len(rows) + 1, np.bool_)  # the last is for rows without a place in the order
        self._ends[sliding_windows.starts(self._order, length - 1 + reach, parts) + length - 1] = True
        unusable = np.zeros(frame.height, np.bool_)
        unusable[list(self._bad)] = True
        before = np.concatenate([[0], np.cumsum(unusable[self._order])])
        self._clean = np.zeros(len(rows) + 1, np.bool_)
        wide = length + reach
        ends = slice(length - 1, max(len(rows) - reach, length - 1))
        self._clean[ends] = before[wide:] == before[: max(len(before) - wide, 0)]

    def _unusable(self, times: pl.Series) -> dict[int, Problem]:
        """Rows that no window can contain, by their number from 0. Raise RowsNotScored unless they are skipped."""
        chosen, found = self._chosen, {}
        for row in times.is_null().arg_true():
            message = f"row {row + 1} has no value of {times.name!r}, so its position in time is unknown"
            found[row] = Problem(times.name, message, "fill it in, or leave the row out")
        if found and chosen.spec.on_error == "refuse":
            raise RowsNotScored(list(found.values())[:MAX_NAMED])
        for first in range(0, self._frame.height, chosen.size):
            piece = self._frame.slice(first, chosen.size)
            try:
                chosen.model.encoder.features(piece)
            except DataError as error:
                rows = unusable_rows(chosen, piece, first, error)
                found |= {first + row: problem for row, problem in rows.items()}
        return found

    def part(self, first: int, passed: pl.DataFrame) -> Part:
        """The part of the rows from ``first`` on, of which ``passed`` has the columns that are passed through."""
        rows = range(first, first + passed.height)
        position = self._position[first : first + passed.height]
        lines = np.flatnonzero(self._ends[position])
        targets = lines[self._clean[position[lines]]]
        history = np.unique(self._order[position[targets][:, None] + np.arange(1 - self._length, 1 + self._reach)])
        predicted = self._chosen.model.predict(self._frame[history])[np.searchsorted(history, first + targets)]
        of_lines = _scattered(predicted, np.searchsorted(lines, targets), len(lines))
        found = {row: self._bad[row] for row in rows if row in self._bad}
        part = _part(self._chosen, passed[lines], of_lines, {}, first)
        elsewhere = sum(not self._ends[self._position[row]] for row in found)  # rows without a line
        skipped = elsewhere + len(lines) - len(targets) + part.skipped
        return Part(part.lines, passed.height, skipped, [*found.values(), *part.problems][:MAX_NAMED])
