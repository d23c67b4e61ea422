"""A loaded model: what it reads, what it returns, and its predictions for rows, of which some may be unusable."""

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl
import polars.selectors as cs

from epochd.artifact import files
from epochd.artifact.predict import Windows, setup_of, windows_of
from epochd.core.arrays import IntArray
from epochd.core.durations import Duration
from epochd.core.errors import DataError, Problem
from epochd.core.specs import Task
from epochd.core.text import shown
from epochd.data.encoding import dates
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.labels import Label
from epochd.data.encoding.values import Float64
from epochd.data.schema import Kind, kind_of
from epochd.data.splitting.gaps import Holes
from epochd.engines import network
from epochd.loop.engine import Setup
from epochd.serving.inputs import Input, Output, inputs_of, outputs_of
from epochd.serving.predictions import FORECAST_TIME, Predictions, RowProblem
from epochd.serving.rows import Columns
from epochd.serving.scorers import OnnxScorer, ReferenceScorer, Scorer

OnError = Literal["refuse", "skip"]
MAX_UNUSABLE = 1_000
"""Rows that are skipped; with more of them, the columns are probably not those of the model, and all are refused."""
MOST_INPUTS = 500
"""With more columns the NumPy reference is faster: ONNX Runtime searches the list of inputs for each of them."""
BACKWARD = 3
"""Training takes three times the operations of a prediction."""
OVERHEAD_BYTES = 1 << 20
"""About how much memory a loaded model takes besides its weights."""
FIRST_ROW = re.compile(r"\brow 1\b")

Marks = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Predictor:
    """One model, loaded from its folder. Several threads may use it at once.

    ``about`` is its ``model.json``. ``threshold`` is the probability above which a binary model predicts its second
    class. ``nbytes`` is about how much memory it takes, ``operations`` how many floating-point operations a row takes.
    """

    folder: Path
    about: Mapping[str, Any]
    setup: Setup
    encoder: Encoder
    inputs: Sequence[Input]
    outputs: Sequence[Output]
    threshold: float
    scorer: Scorer
    nbytes: int
    operations: float

    @classmethod
    def load(cls, folder: Path, *, verify: bool = True) -> "Predictor":
        """Load a model folder. Raises CorruptFile if it does not match its manifest, FileNotReadable; with ``verify``
        False the folder, which is being written, needs none."""
        if verify:
            files.verify(folder)
        text = (folder / "model.json").read_text(encoding="utf-8")
        about = json.loads(text)
        setup, encoder = setup_of(folder, about), Encoder.from_json(about["encoder"])
        scorer: Scorer
        described = about.get("onnx") or {}
        if described.get("file") and (folder / described["file"]).is_file() and len(encoder.columns) <= MOST_INPUTS:
            scorer = OnnxScorer.load(folder, about, setup, encoder)
        else:
            scorer = ReferenceScorer.load(folder, setup, encoder)
        inputs = inputs_of(setup.spec, encoder, about.get("examples", {}))
        threshold, nbytes = about.get("decision_threshold"), OVERHEAD_BYTES + 4 * len(text) + scorer.nbytes
        threshold = 0.5 if threshold is None else float(threshold)
        outputs, operations = outputs_of(encoder), setup.spec.members * network.flops_per_row(setup) / BACKWARD
        return cls(folder, about, setup, encoder, inputs, outputs, threshold, scorer, nbytes, operations)

    @property
    def task(self) -> Task:
        return self.setup.task

    @property
    def classes(self) -> Sequence[Label] | None:
        return self.encoder.classes

    @property
    def expected(self) -> dict[str, Kind]:
        """The kinds of the columns that it reads, for formats that leave types open."""
        kinds = self.encoder.expected
        names = dict.fromkeys([*self.encoder.feature_names, *self.ordering])
        return {name: kinds[name] for name in names if name in kinds}

    @property
    def forecasts(self) -> bool:
        """Whether it predicts from windows of rows."""
        return self.setup.spec.sequence_length is not None

    @property
    def ordering(self) -> list[str]:
        """The columns of time and group that it needs besides the features, or as one of them."""
        spec = self.setup.spec
        return [name for name in (spec.time_column, spec.group_column) if name is not None] if self.forecasts else []

    def predict_plain(self, columns: Columns) -> Predictions | None:
        """``predict`` for rows whose values are numbers, text, booleans or None, without the time that making a table
        takes; None if a value has to be converted or a number may stand for a missing value, if a column is missing, or
        if the model forecasts."""
        scores = None if self.forecasts or self.encoder.has_missing_numbers else self.scorer.score_plain(columns)
        return None if scores is None else self._predictions(scores)

    def predict(self, frame: pl.DataFrame, *, on_error: OnError = "refuse", every_row: bool = False) -> Predictions:
        """The predictions for these rows. Columns may be in any order, with others among them.

        A model that forecasts returns one prediction for each group, from its last complete window; with ``every_row``
        one for each row, from the window that ends there, without a label where none does.

        Raises DataError for missing columns and columns of wrong types, and for rows that cannot be scored, with a
        problem for each. With ``on_error="skip"`` such rows get no label, nor do windows that contain one; they are the
        ``problems``. More than MAX_UNUSABLE of them are refused.
        """
        if self.forecasts:
            return self._forecast(frame, on_error, every_row)
        try:
            found = self._predictions(self.scorer.score(frame))
            return replace(found, warnings=self._warnings(frame))
        except DataError as error:
            problems = self._unusable(frame, error, on_error)
        bad = _marks(problems, frame.height)
        scores = np.full((frame.height, len(self.classes or ()) or self.encoder.outputs), np.nan)
        if not bad.all():
            scores[~bad] = self.scorer.score(frame.filter(pl.Series(~bad)))
        usable = frame.filter(pl.Series(~bad))
        return replace(self._predictions(scores), problems=problems, warnings=self._warnings(usable))

    def _warnings(self, frame: pl.DataFrame) -> list[str]:
        """What to say about values of these rows, all of which can be scored, that are not read as they are."""
        warning = self.encoder.cut_warning(frame)
        return [] if warning is None else [warning]

    def predict_windows(self, frame: pl.DataFrame, index: IntArray) -> Predictions:
        """The predictions for windows of these rows; ``index`` is as in ``Scorer.score_windows``. Raises DataError."""
        return self._predictions(self.scorer.score_windows(frame, index))

    def _forecast(self, frame: pl.DataFrame, on_error: OnError, every_row: bool) -> Predictions:
        windows = windows_of(self.setup.spec, self.encoder, frame)
        order, first, whole = windows.order, windows.first, windows.whole
        problems: list[RowProblem] = []
        if every_row:
            first, whole = first[whole], whole[whole]
        else:
            chosen, problems = self._last_windows(frame, windows)
            first, whole = first[chosen], whole[chosen]
        steps = self.setup.spec.sequence_length or 1
        index = order[first[:, None] + np.arange(steps + self.encoder.reach)]
        ends = index[:, steps - 1]
        problems += self._holes(frame, index[~whole]) if not whole.all() else []
        if problems and on_error == "refuse":
            raise DataError([Problem(one.column, one.message, one.hint) for one in problems])
        try:
            scores = self.scorer.score_windows(frame, index)
        except DataError as error:
            problems += self._unusable(frame, error, on_error)
            bad = _marks(problems, frame.height)
            features = cs.by_name(self.encoder.feature_names)
            scores = self.scorer.score_windows(frame.with_columns(pl.when(pl.Series(~bad)).then(features)), index)
            scores[bad[index].any(axis=1)] = np.nan
        scores[~whole] = np.nan
        if every_row:
            all_scores = np.full((frame.height, scores.shape[1]), np.nan)
            all_scores[ends] = scores
            return replace(self._predictions(all_scores), problems=problems)
        times = self._times(frame, index[:, :steps])
        return replace(self._predictions(scores), problems=problems, rows=ends, times=times)

    def _last_windows(self, frame: pl.DataFrame, windows: Windows) -> tuple[IntArray, list[RowProblem]]:
        """The last window of each group, by its number. Where columns are known in advance and the rows have the
        target, a window ends at the last row of the group with a target: later rows are the future, and a group without
        enough of them is a problem of that row."""
        order, name, steps = windows.order, self.encoder.target_column, self.setup.spec.sequence_length or 1
        if not self.encoder.reach or name not in frame.columns:
            return _last_of_groups(windows.first, order, windows.groups), []
        target = frame.get_column(name)
        is_known = (target.fill_nan(None) if target.dtype.is_float() else target).is_not_null()[order]
        of = np.zeros(len(order), np.int64) if windows.groups is None else windows.groups[order]
        known = np.flatnonzero(is_known.to_numpy())
        last = known[np.append(of[known][1:] != of[known][:-1], True)[: len(known)]]
        ends = windows.first + steps - 1
        begins = last - steps + 1
        has_window = (begins >= 0) & (of[np.maximum(begins, 0)] == of[last])
        short = last[has_window & ~np.isin(last, ends)].tolist()
        problems = []
        for end in short:
            row, column = int(order[end]) + 1, self.encoder.known[0]
            follow = int(np.searchsorted(of, of[end], side="right")) - 1 - end
            message = (
                f"row {row} is the last one with a value of {name!r}, and {follow} rows follow; the model needs the "
                f"{self.encoder.reach} rows after it with {', '.join(map(repr, self.encoder.known))}, known in advance"
            )
            hint = f"add the rows to predict, with an empty {name!r}"
            problems.append(RowProblem(row, column, shown(frame[column][row - 1], 80), message, hint))
        return np.flatnonzero(np.isin(ends, last)), problems

    def _holes(self, frame: pl.DataFrame, index: IntArray) -> list[RowProblem]:
        """What is wrong with the last rows of these windows, each of which crosses a hole in time."""
        spec, holes = self.setup.spec, Holes.of(self.setup.spec)
        assert spec.time_column is not None
        assert holes is not None
        times = frame.get_column(spec.time_column)
        steps = np.diff(holes.positions(times)[index], axis=1)
        found = []
        for rows, after, step in zip(index, steps.argmax(axis=1) + 1, steps.max(axis=1), strict=True):
            last, length = int(rows[-1]), Duration(float(step), holes.limit.unit).shown()
            message = (
                f"row {last + 1}: the last {spec.sequence_length} rows have a hole: row {rows[after] + 1} "
                f"({shown(str(times[int(rows[after])]), 80)}) is {length} after the row before it, which is more than "
                "the frequency and max_gap of the model allow"
            )
            hint = "add the missing rows, or predict when enough rows have followed the hole"
            found.append(RowProblem(last + 1, spec.time_column, shown(str(times[last]), 80), message, hint))
        return found

    def _times(self, frame: pl.DataFrame, index: IntArray) -> pl.DataFrame | None:
        """The times that the forecasts of these windows are for, a column for each horizon: so many steps after the
        last row, null where the rows of a window are not evenly spaced; None for windows of one row."""
        spec = self.setup.spec
        if index.shape[1] < 2 or spec.time_column is None:
            return None
        times = self.encoder.column(frame, spec.time_column)
        if kind_of(times.dtype) is Kind.CATEGORY:
            times = dates.local(times, clock=False, zone="UTC")
            if (times.dt.time() == datetime.time()).all():
                times = times.cast(pl.Date)
        physical = times.to_physical().to_numpy()
        steps = np.diff(physical[index], axis=1)
        even = (steps == steps[:, :1]).all(axis=1)
        horizons = self.encoder.horizons
        names = [f"{FORECAST_TIME}_{horizon}" for horizon in horizons] or [FORECAST_TIME]
        found = [physical[index[:, -1]] + horizon * steps[:, 0] for horizon in horizons or spec.horizons]
        columns = [pl.Series(name, one).cast(times.dtype) for name, one in zip(names, found, strict=True)]
        return pl.DataFrame([column.set(pl.Series(~even), None) for column in columns])

    def _predictions(self, scores: Float64) -> Predictions:
        labels: list[Label | None]
        if self.classes is None:
            labels = scores[:, 0].tolist()
        elif self.task == "binary":
            labels = [self.classes[code] for code in (scores[:, 1] > self.threshold).tolist()]
        else:
            labels = [self.classes[code] for code in scores.argmax(axis=1).tolist()]
        missing = np.isnan(scores[:, 0])
        if missing.any():
            for row in np.flatnonzero(missing).tolist():
                labels[row] = None
        if self.encoder.horizons:
            return Predictions(labels, None, None, values=scores, names=self.encoder.prediction_names)
        return Predictions(labels, None if self.classes is None else scores, self.classes)

    def _unusable(self, frame: pl.DataFrame, error: DataError, on_error: OnError) -> list[RowProblem]:
        """What is wrong with each row that cannot be scored. Raises DataError unless they may be skipped, for columns
        that are missing or of a wrong type, and for too many rows."""
        try:
            self.scorer.check(frame.clear())
        except DataError:
            raise error from None
        most = MAX_UNUSABLE if on_error == "skip" else 100
        problems = list(_row_problems(self.scorer, frame, 0, most))
        if on_error == "refuse":
            raise DataError([Problem(one.column, one.message, one.hint) for one in problems]) from None
        if len({one.row for one in problems}) >= most:
            message = f"more than {MAX_UNUSABLE:,} rows cannot be scored; the first: {problems[0].message}"
            raise DataError([Problem(problems[0].column, message, problems[0].hint)]) from None
        return problems


def _row_problems(scorer: Scorer, frame: pl.DataFrame, first: int, most: int) -> list[RowProblem]:
    """The problems of the first ``most`` rows that cannot be encoded, found by halving: the encoder names only the
    first such row of each column. ``first`` is the number of the frame's first row, from 0."""
    try:
        scorer.check(frame)
        return []
    except DataError as error:
        if frame.height == 1:
            return [_row_problem(problem, frame, first + 1) for problem in error.problems]
    half = frame.height // 2
    found = _row_problems(scorer, frame.head(half), first, most)
    if rest := most - len({one.row for one in found}):
        found += _row_problems(scorer, frame.slice(half), first + half, rest)
    return found


def _row_problem(problem: Problem, frame: pl.DataFrame, row: int) -> RowProblem:
    value = frame[problem.field][0] if problem.field in frame.columns else None
    message = FIRST_ROW.sub(f"row {row}", problem.message, count=1)
    value = value.to_list() if isinstance(value, pl.Series) else value
    return RowProblem(row, problem.field, shown(value, 80), message, problem.hint)


def _marks(problems: Sequence[RowProblem], rows: int) -> Marks:
    found = np.zeros(rows, np.bool_)
    found[[one.row - 1 for one in problems]] = True
    return found


def _last_of_groups(first: IntArray, order: IntArray, groups: npt.NDArray[np.int32] | None) -> IntArray:
    """Which windows are the last ones of their groups, by their numbers; ``first`` is where they begin."""
    if groups is None or not len(first):
        return np.arange(len(first))[-1:]
    of_window = groups[order[first]]
    return np.flatnonzero(np.append(of_window[1:] != of_window[:-1], True))
