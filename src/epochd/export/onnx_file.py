"""The ONNX graph of a model: from raw columns to labels, probabilities or values."""

import shutil
from pathlib import Path

from epochd.core.errors import InvalidSpec, Problem
from epochd.export.saved_model import SavedModel

NAME = "model.onnx"
"""Its name in a model folder."""


def write(saved: SavedModel, path: Path) -> None:
    """Copy the graph of the model folder, or build it for a model that was saved without one. Raises InvalidSpec if the
    model cannot be expressed."""
    if (saved.folder / NAME).is_file():
        shutil.copyfile(saved.folder / NAME, path)
    else:
        path.write_bytes(build(saved))


def build(saved: SavedModel) -> bytes:
    """The graph of a model folder without one, serialized."""
    raise InvalidSpec([Problem("--to", f"{saved.folder} has no {NAME}", "train the model again, or export to torch")])
