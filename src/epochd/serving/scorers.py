"""What computes the scores of rows: ONNX Runtime where a model has a graph for it, the NumPy reference otherwise.

Scores are float64: (rows, classes) probabilities for classification, (rows, 1) values in the unit of the target for
regression. A score is NaN in no row: values that cannot be encoded raise DataError, as ``Encoder.features`` does.
"""

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
from safetensors.numpy import load_file

from epochd.artifact.predict import BATCH_ROWS, BATCH_VALUES
from epochd.core.arrays import FloatArray, IntArray
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.values import Float64
from epochd.engines import reference
from epochd.loop.engine import Setup
from epochd.serving.feeds import Feeds, PlainFeeds
from epochd.serving.plain import PlainEncoder
from epochd.serving.rows import Columns

GRAPH, OUTPUTS = "model.onnx", ("probabilities", "value")
"""The file of a graph, and its decoded outputs."""
Feeding = Mapping[str, npt.NDArray[Any]]


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
        """The scores of windows of rows, whose row numbers are ``index`` (windows, steps)."""

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
        self._encoder.features(frame)

    def score(self, frame: pl.DataFrame) -> Float64:
        return self._forward(self._encoder.features(frame))

    def score_windows(self, frame: pl.DataFrame, index: IntArray) -> Float64:
        encoded = self._encoder.features(frame)
        return np.concatenate([self._forward(encoded[index[part]]) for part in slices(len(index), self._setup.inputs)])

    def score_plain(self, columns: Columns) -> Float64 | None:
        encoded = None if self._plain is None else self._plain.features(columns)
        return None if encoded is None else self._forward(encoded)

    def _forward(self, encoded: FloatArray) -> Float64:
        x = encoded.reshape(len(encoded), *self._setup.inputs)
        found = [reference.forward(self._setup, self._weights, x[part]) for part in slices(len(x), self._setup.inputs)]
        return decoded(self._encoder, found[0] if len(found) == 1 else np.concatenate(found))


class OnnxScorer:
    """Scores by ONNX Runtime. The graph reads the raw columns, or encoded rows where that is not possible."""

    engine = "onnxruntime"

    def __init__(self, session: Any, setup: Setup, encoder: Encoder, about: Mapping[str, Any], nbytes: int) -> None:
        self._session, self._setup, self._encoder, self.nbytes = session, setup, encoder, nbytes
        outputs = [found.name for found in session.get_outputs()]
        self._output = next((name for name in OUTPUTS if name in outputs), outputs[0])
        self._feeds = Feeds(encoder, setup.spec.sequence_length, about["starts_at"])
        is_plain = about["starts_at"] == "columns" and setup.spec.sequence_length is None
        self._plain = PlainFeeds.of(encoder, about.get("inputs", ())) if is_plain else None

    @classmethod
    def load(cls, folder: Path, about: Mapping[str, Any], setup: Setup, encoder: Encoder) -> "OnnxScorer":
        """A session on one thread: a small network is fastest so, and requests are answered side by side."""
        import onnxruntime  # noqa: PLC0415 - 0.2 s that only the first such model needs

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = folder / GRAPH
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return cls(session, setup, encoder, about["onnx"], 2 * path.stat().st_size)

    def check(self, frame: pl.DataFrame) -> None:
        self._encoder.features(frame)

    def score(self, frame: pl.DataFrame) -> Float64:
        return self._run_all(self._feeds(frame), frame.height)

    def score_windows(self, frame: pl.DataFrame, index: IntArray) -> Float64:
        parts = slices(len(index), self._setup.inputs)
        return np.concatenate([self._run(self._feeds(frame, index[part])) for part in parts])

    def score_plain(self, columns: Columns) -> Float64 | None:
        feeds = None if self._plain is None else self._plain(columns)
        return None if feeds is None else self._run_all(feeds, len(next(iter(feeds.values()))))

    def _run_all(self, feeds: Feeding, rows: int) -> Float64:
        parts = list(slices(rows, self._setup.inputs))
        if len(parts) == 1:
            return self._run(feeds)
        return np.concatenate([self._run({name: tensor[part] for name, tensor in feeds.items()}) for part in parts])

    def _run(self, feeds: Feeding) -> Float64:
        [found] = self._session.run([self._output], feeds)
        if self._output not in OUTPUTS:
            return decoded(self._encoder, found)
        wide = np.asarray(found, np.float64)
        return wide.reshape(len(wide), -1)


def decoded(encoder: Encoder, outputs: FloatArray) -> Float64:
    """Probabilities, or values in the unit of the target, of raw network outputs (rows, outputs)."""
    if encoder.classes is None:
        return outputs.astype(np.float64) * encoder.target_scale + encoder.target_mean
    found = encoder.decode(outputs).probabilities
    assert found is not None
    return found


def slices(rows: int, shape: tuple[int, ...]) -> Iterator[slice]:
    """Ranges of rows that are computed together; at least one, which is empty without rows."""
    size = max(1, min(BATCH_ROWS, BATCH_VALUES // max(1, prod(shape))))
    return (slice(first, first + size) for first in range(0, max(1, rows), size))
