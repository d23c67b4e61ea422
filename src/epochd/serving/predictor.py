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
from epochd.artifact.predict import setup_of, windows_of
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
        outputs, operations = outputs_of(encoder), network.flops_per_row(setup) / BACKWARD
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
        kinds = self.encoder.kinds
        return {name: kinds[name] for name in self.encoder.feature_names}

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
        takes; None if a value has to be converted, a column is missing, or the model forecasts."""
        scores = None if self.forecasts else self.scorer.score_plain(columns)
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
        """The predictions for windows of these rows, whose numbers are ``index`` (windows, steps). Raises DataError."""
        return self._predictions(self.scorer.score_windows(frame, index))

    def _forecast(self, frame: pl.DataFrame, on_error: OnError, every_row: bool) -> Predictions:
        windows = windows_of(self.setup.spec, self.encoder, frame)
        order, problems = windows.order, list[RowProblem]()
        first, whole = windows.first, windows.whole
        if every_row:
            first, whole = first[whole], whole[whole]
        else:
            last = _last_of_groups(first, order, windows.groups)
            first, whole = first[last], whole[last]
        index = order[first[:, None] + np.arange(self.setup.spec.sequence_length or 1)]
        if not whole.all():
            problems = self._holes(frame, index[~whole])
            if on_error == "refuse":
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
            all_scores[index[:, -1]] = scores
            return replace(self._predictions(all_scores), problems=problems)
        times = self._times(frame, index)
        return replace(self._predictions(scores), problems=problems, rows=index[:, -1], times=times)

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
        times = frame.get_column(spec.time_column)
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
