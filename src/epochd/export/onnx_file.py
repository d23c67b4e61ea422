"""The ONNX graph of a model: from raw columns to labels, probabilities or values."""

import shutil
from pathlib import Path

from epochd.core.errors import InvalidSpec, Problem
from epochd.export.saved_model import SavedModel
from epochd.onnx_graph import model as onnx_model
from epochd.onnx_graph.inputs import ONNX


def write(saved: SavedModel, path: Path) -> None:
    """Copy the graph of the model folder, or build it for a model that was saved without one. Raises InvalidSpec if the
    model cannot be expressed."""
    if (saved.folder / ONNX).is_file():
        shutil.copyfile(saved.folder / ONNX, path)
    else:
        path.write_bytes(build(saved))


def build(saved: SavedModel) -> bytes:
    """The graph of a model folder without one, serialized. Raises InvalidSpec with the reason if there can be none."""
    model = saved.model
    exported = onnx_model.export(model.setup, model.encoder, model.weights, model.threshold)
    if exported.file is None:
        reason = f"this model has no form in ONNX: {exported.about['reason']}"
        raise InvalidSpec([Problem("--to", reason, "export it to torch or keras")])
    return exported.file
