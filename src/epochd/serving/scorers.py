"""What computes the scores of rows: ONNX Runtime where a model has a graph for it, the NumPy reference otherwise.

Scores are float64: (rows, classes) probabilities for classification, (rows, horizons) values in the unit of the target
for regression. A score is NaN in no row: values that cannot be encoded raise DataError, as ``Encoder.features`` does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file

from epochd.artifact.predict import BATCH_ROWS, BATCH_VALUES, reading_setup
from epochd.core.arrays import FloatArray, IntArray
from epochd.data.encoding.encoder import EncodedPart, Encoder
from epochd.data.encoding.values import Float64
from epochd.engines import reference
from epochd.loop.engine import Setup
from epochd.onnx_graph.feeds import Feeds
from epochd.onnx_graph.inputs import PROBABILITIES, VALUE
from epochd.serving.plain import PlainEncoder
from epochd.serving.rows import Columns


class Scorer(Protocol):
    """Computes scores; several threads may use it at once."""

    @property
    def engine(self) -> str:
        """``onnxruntime`` or ``numpy``, for display."""

    @property
    def nbytes(self) -> int:
        """About how much memory it takes."""

    def check(self, frame: pl.DataFrame) -> None:
        """Raise the DataErrors of ``score``."""

    def score(self, frame: pl.DataFrame) -> Float64:
        """The scores of these rows."""

    def score_windows(self, frame: pl.DataFrame, index: IntArray) -> Float64:
        """The scores of windows of rows, whose row numbers are ``index`` (windows, steps + ``encoder.reach``): the rows
        of each window, and those after it of which columns are known in advance."""

    def score_plain(self, columns: Columns) -> Float64 | None:
        """The scores of rows whose values are of plain JSON types; None where a value needs conversion."""


class ReferenceScorer:
    """Scores by ``engines.reference``."""

    engine = "numpy"

    def __init__(self, setup: Setup, encoder: Encoder, weights: dict[str, FloatArray]) -> None:
        self._setup, self._encoder, self._weights = setup, encoder, weights
        self._plain = PlainEncoder.of(encoder)
        self.nbytes = sum(array.nbytes for array in weights.values())

    @classmethod
    def load(cls, folder: Path, setup: Setup, encoder: Encoder) -> "ReferenceScorer":
        return cls(setup, encoder, dict(load_file(folder / "model.safetensors")))

    def check(self, frame: pl.DataFrame) -> None:
        self._encoder.check(frame)

    def score(self, frame: pl.DataFrame) -> Float64:
        return joined(self._encoder, frame, lambda part: self._forward(part.encoder.features(part.frame)))

    def score_windows(self, frame: pl.DataFrame, index: IntArray) -> Float64:
        encoded = self._encoder.features(frame)
        parts = [index[part] for part in slices(len(index), self._setup.inputs)]
        return np.concatenate([self._forward(self._encoder.window_steps(encoded, part)) for part in parts])

    def score_plain(self, columns: Columns) -> Float64 | None:
        encoded = None if self._plain is None else self._plain.features(columns)
        return None if encoded is None else self._forward(encoded)

    def _forward(self, encoded: FloatArray) -> Float64:
        setup = reading_setup(self._setup, self._encoder, encoded)
        x = encoded.reshape(len(encoded), *setup.inputs)
        weights, units = self._weights, self._encoder.target_units
        found = [reference.model_outputs(setup, weights, x[part], units) for part in slices(len(x), setup.inputs)]
        return decoded(self._encoder, found[0] if len(found) == 1 else np.concatenate(found))


class OnnxScorer:
    """Scores by ONNX Runtime."""

    engine = "onnxruntime"

    def __init__(self, session: Any, encoder: Encoder, feeds: Feeds, nbytes: int) -> None:
        self._session, self._encoder, self._feeds, self.nbytes = session, encoder, feeds, nbytes
        self._inputs = [found.name for found in session.get_inputs()]
        names = [found.name for found in session.get_outputs()]
        self._output = next(name for name in (PROBABILITIES, VALUE) if name in names)

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], setup: Setup, encoder: Encoder) -> "OnnxScorer":
        """A session on one thread: a small network is fastest so, and requests are answered side by side."""
        import onnxruntime  # noqa: PLC0415 - 0.2 s that only the first such model needs

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # it keeps the memory of the largest request
        path = folder / about["onnx"]["file"]
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feeds = Feeds(encoder, setup.spec.sequence_length, about["onnx"]["starts_at"])
        return cls(session, encoder, feeds, 2 * path.stat().st_size)

    def check(self, frame: pl.DataFrame) -> None:
        self._encoder.check(frame)

    def score(self, frame: pl.DataFrame) -> Float64:
        def scored(part: EncodedPart) -> Float64:
            feeds = self._feeds if part.rows is None else replace(self._feeds, encoder=part.encoder)
            return self._run(feeds(part.frame), part.encoder.shape)

        return joined(self._encoder, frame, scored)

    def score_windows(self, frame: pl.DataFrame, index: IntArray) -> Float64:
        parts = [index[part] for part in slices(len(index), (index.shape[1], len(self._encoder.columns)))]
        return np.concatenate([self._run(feeds) for feeds in self._feeds.of_windows(frame, parts)])

    def score_plain(self, columns: Columns) -> Float64 | None:
        feeds = self._feeds.plain(columns)
        return None if feeds is None else self._run(feeds)

    def _run(self, feeds: Mapping[str, npt.NDArray[Any]], shape: tuple[int, ...] | None = None) -> Float64:
        rows, found = len(next(iter(feeds.values()))), []
        if rows == 0:  # ONNX Runtime ends the process if a recurrent layer gets no rows
            return np.empty((0, len(self._encoder.classes or ()) or self._encoder.outputs))
        for part in slices(rows, shape or self._encoder.shape):
            [scores] = self._session.run([self._output], {name: feeds[name][part] for name in self._inputs})
            found.append(scores.reshape(len(scores), -1))
        return np.asarray(found[0] if len(found) == 1 else np.concatenate(found), np.float64)


def decoded(encoder: Encoder, outputs: FloatArray) -> Float64:
    """Probabilities, or values in the unit of the target, of raw network outputs (rows, outputs)."""
    if encoder.classes is None:
        return encoder.target_units.restored(outputs)
    found = encoder.decode(outputs).probabilities
    assert found is not None
    return found


def joined(encoder: Encoder, frame: pl.DataFrame, score: Callable[[EncodedPart], Float64]) -> Float64:
    """The scores of all rows of a frame, each by its part. Raise DataError."""
    found: Float64 | None = None
    for part in encoder.parts(frame):
        with part.numbered():
            scores = score(part)
        if part.rows is None:
            return scores
        found = np.empty((frame.height, scores.shape[1])) if found is None else found
        found[part.rows] = scores
    assert found is not None  # there is a part
    return found


def slices(rows: int, shape: tuple[int, ...]) -> Iterator[slice]:
    """Ranges of rows that are computed together; at least one, which is empty without rows."""
    size = max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, prod(shape))))
    return (slice(first, first + size) for first in range(0, max(1, rows), size))
