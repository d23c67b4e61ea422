"""Prediction with a saved model: raw rows in, labels and probabilities out, without any framework."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file

from epochd.artifact import files
from epochd.core import specs
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import CorruptFile, DataError
from epochd.core.specs import TrainingSpec
from epochd.data import schema
from epochd.data.encoding.encoder import PREDICTION, Encoder
from epochd.data.encoding.labels import label_column
from epochd.data.feed.dataset import MemmapDataset
from epochd.data.splitting import sliding_windows, sort_keys
from epochd.data.splitting.gaps import Holes
from epochd.data.tables.source import Source
from epochd.engines import reference
from epochd.loop.engine import Embedding, Setup

BATCH_ROWS, BATCH_VALUES = 16_384, 4_000_000
"""The most rows, and feature values, per forward pass; limits memory."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model loaded from its folder. ``about`` is its ``model.json``."""

    setup: Setup
    encoder: Encoder
    weights: dict[str, FloatArray]
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Load and verify a model folder, or the link ``latest``; raises CorruptFile if it is damaged."""
        files.verify(folder)
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        weights = dict(load_file(folder / "model.safetensors"))
        return cls(setup_of(folder, about), Encoder.from_json(about["encoder"]), weights, about)

    @property
    def threshold(self) -> float:
        """The probability of the second of two classes above which it is predicted."""
        return float(self.about.get("decision_threshold") or 0.5)

    def outputs(self, frame: pl.DataFrame) -> tuple[FloatArray, IntArray]:
        """Raw network outputs for raw rows, float32 (n, outputs), and the numbers of the rows that they belong to: all
        rows, or the last row of each sliding window, in the order of the windows.

        Raises DataError with every missing column, or with the first unusable row of each column.
        """
        return self._of_rows(frame) if self.setup.spec.sequence_length is None else self._of_windows(frame)

    def _of_rows(self, frame: pl.DataFrame) -> tuple[FloatArray, IntArray]:
        found = np.empty((frame.height, self.setup.outputs), np.float32)
        for part in self.encoder.parts(frame):
            with part.numbered():
                x = part.encoder.features(part.frame)
            setup = reading_setup(self.setup, self.encoder, x)
            outputs = self._forward(setup, x.reshape(len(x), *setup.inputs))
            found[slice(None) if part.rows is None else part.rows] = outputs
        return found, np.arange(frame.height)

    def _of_windows(self, frame: pl.DataFrame) -> tuple[FloatArray, IntArray]:
        shape, windows = self.setup.inputs, windows_of(self.setup.spec, self.encoder, frame)
        order, first = windows.order, windows.first[windows.whole]
        encoded = self.encoder.with_ahead(self.encoder.features(frame)[order])
        rows = order[first + shape[0] - 1]
        examples = MemmapDataset(encoded, first, shape[0], shape, np.zeros(len(first), np.float32))
        found = [self._forward(self.setup, batch.x) for batch in examples.slices(rows_at_once(shape))]
        return np.concatenate(found) if found else np.empty((0, self.setup.outputs), np.float32), rows

    def _forward(self, setup: Setup, x: FloatArray) -> FloatArray:
        at_once = rows_at_once(setup.inputs)
        parts = (x[start : start + at_once] for start in range(0, len(x), at_once))
        units = self.encoder.target_units
        found = [reference.model_outputs(setup, self.weights, part, units) for part in parts]
        return np.concatenate(found) if found else np.empty((0, setup.outputs), np.float32)

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One line per row, in order: ``prediction`` and, for classification, ``probability_<class>`` for each class;
        ``prediction_<horizon>`` for each of several horizons.

        With sliding windows a row's prediction is that of the window that ends there: the target ``horizon`` rows
        later; null where no complete window of ``sequence_length`` rows ends. Raises what ``outputs`` raises.
        """
        outputs, rows = self.outputs(frame)
        found = self.encoder.decode(outputs, self.threshold)
        columns: dict[str, Any]
        if found.values is None:
            columns = {PREDICTION: label_column(PREDICTION, found.labels, self.encoder.classes)}
        else:
            columns = dict(zip(self.encoder.prediction_names, found.values.T, strict=True))
        if found.probabilities is not None:
            for i, label in enumerate(self.encoder.classes or []):
                columns[f"probability_{label}"] = found.probabilities[:, i]
        predicted = pl.DataFrame(columns)
        if self.setup.spec.sequence_length is None:
            return predicted
        numbered = predicted.with_columns(pl.Series("\0row", rows, pl.Int64))
        every = pl.DataFrame({"\0row": np.arange(frame.height)})
        return every.join(numbered, on="\0row", how="left", maintain_order="left").drop("\0row")


def rows_at_once(shape: tuple[int, ...]) -> int:
    """How many examples of this shape one forward pass computes."""
    return max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, prod(shape))))


def reading_setup(setup: Setup, encoder: Encoder, x: FloatArray) -> Setup:
    """The network for these encoded rows, whose lists may be longer than those in training."""
    return setup if encoder.longer != "read" or x.shape[1:] == setup.inputs else replace(setup, inputs=x.shape[1:])


def setup_of(folder: Path, about: Mapping[str, Any]) -> Setup:
    """The network that ``model.json`` describes; raises CorruptFile for another format."""
    if about["format"] != 1:
        raise CorruptFile(f"{folder} has model format {about['format']}; this epochd reads format 1")
    return Setup(
        specs.parse(about["spec"]),
        about["task"],
        tuple(about["inputs"]),
        about["outputs"],
        embeddings=tuple(Embedding(**embedding) for embedding in about.get("embeddings", ())),
        masked=about.get("masked", False),
    )


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of a table to predict, each followed by the rows for which it needs columns that are known in
    advance: the ``order`` of its rows by group and time, the positions in it where windows
    begin (``first``), whether each is ``whole``, without a hole in time, and the group number of each row (None: one
    group)."""

    order: IntArray
    first: IntArray
    whole: npt.NDArray[np.bool_]
    groups: npt.NDArray[np.int32] | None


def windows_of(spec: TrainingSpec, encoder: Encoder, frame: pl.DataFrame) -> Windows:
    """The windows of a table. Raises DataError for missing columns, and for times that are missing or cannot be
    read."""
    assert spec.sequence_length is not None
    assert spec.time_column is not None
    needed = [*encoder.feature_names, spec.time_column, *filter(None, [spec.group_column])]
    missing = [name for name in dict.fromkeys(needed) if name not in frame.columns]
    if missing:
        raise DataError(schema.missing_columns(missing, "columns", frame.schema, "the table"))
    groups = None if spec.group_column is None else sort_keys.GroupNumbers()(encoder.column(frame, spec.group_column))
    times = encoder.column(frame, spec.time_column)
    order = sliding_windows.order(sort_keys.time_keys(times), groups)
    ahead = spec.sequence_length - 1 + encoder.reach
    first = sliding_windows.starts(order, ahead, groups)
    whole = np.ones(len(first), np.bool_)
    if (holes := Holes.of(spec)) is not None and len(first):
        segments = holes.segments(order, holes.positions(times), groups)[order]
        whole = segments[first] == segments[first + ahead]
    return Windows(order, first, whole, groups)


def predict_file(folder: Path, file: Path) -> pl.DataFrame:
    """Predict the rows of a file, in any format that epochd trains on, with the model in ``folder``.

    Where a format leaves types open, columns have the types of the training: text stays text, even if all digits.
    """
    path, model = file.resolve(), Model.load(folder)
    return model.predict(Source(file.name, path).expecting(model.encoder.expected, model.encoder.readings).read())
