"""Saved models run by ONNX Runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl

from epochd.artifact.predict import Model
from epochd.core.arrays import IntArray
from epochd.onnx_graph.feeds import Feeds


def run(file: bytes, feeds: dict[str, Any]) -> dict[str, Any]:
    """The outputs of a graph by name."""
    session = onnxruntime.InferenceSession(file)
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds), strict=True))


def check_file(folder: Path, frame: pl.DataFrame, windows: IntArray | None = None) -> None:
    """``model.onnx`` predicts from raw rows what the model's other files do with NumPy; ``windows`` as in ``Feeds``."""
    model = Model.load(folder)
    feeds = Feeds(model.encoder, model.setup.spec.sequence_length, model.about["onnx"]["starts_at"])
    found = run((folder / model.about["onnx"]["file"]).read_bytes(), feeds(frame, windows))
    expected = model.encoder.decode(model.outputs(frame)[0])
    if expected.probabilities is None:
        np.testing.assert_allclose(found["value"][:, 0], np.array(expected.labels, float), rtol=1e-5, atol=1e-5)
        return
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, rtol=0, atol=1e-5)
    assert (found["label"][:, 0] == expected.labels).mean() > 0.999
