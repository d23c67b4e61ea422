"""A saved model at work: raw rows in, labels and probabilities out. No framework is needed."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import load_file

from epochd.artifact import files
from epochd.core import specs
from epochd.core.errors import CorruptFile
from epochd.data import sources
from epochd.data.arrays import FloatArray
from epochd.data.encode import Encoder
from epochd.engines import reference
from epochd.loop.engine import Setup

SCORED_ROWS = 16_384
"""Rows per forward pass; bounds memory."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model read back from its folder. ``about`` is its ``model.json``."""

    setup: Setup
    encoder: Encoder
    weights: dict[str, FloatArray]
    about: dict[str, Any]

    @classmethod
    def load(cls, folder: Path) -> "Model":
        """Read and verify a model folder (``latest`` will do); raise CorruptFile if it is damaged."""
        files.verify(folder)
        about = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if about["format"] != 1:
            raise CorruptFile(f"{folder} has model format {about['format']}; this epochd reads format 1")
        setup = Setup(specs.parse(about["spec"]), about["task"], tuple(about["inputs"]), about["outputs"])
        return cls(setup, Encoder.from_json(about["encoder"]), dict(load_file(folder / "model.safetensors")), about)

    def outputs(self, frame: pl.DataFrame) -> FloatArray:
        """Raw network outputs, float32 (rows, outputs), of raw rows."""
        x = self.encoder.features(frame)
        outputs = [
            reference.forward(self.setup, self.weights, x[i : i + SCORED_ROWS])
            for i in range(0, max(len(x), 1), SCORED_ROWS)
        ]
        return np.concatenate(outputs)

    def predict(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One line per row: ``prediction``, and for classification ``probability_<class>`` for each class."""
        found = self.encoder.decode(self.outputs(frame))
        columns: dict[str, Any] = {"prediction": found.labels}
        if found.probabilities is not None:
            for i, label in enumerate(self.encoder.classes or []):
                columns[f"probability_{label}"] = found.probabilities[:, i]
        return pl.DataFrame(columns)


def predict_file(folder: Path, file: Path) -> pl.DataFrame:
    """Score a CSV, TSV or Parquet file with the model in ``folder``."""
    path = file.resolve()
    return Model.load(folder).predict(sources.open_dataset(str(path), [path.parent]).read())
