"""The model that a finished training leaves: three readable files in one durable folder.

``model.safetensors`` holds the canonical weights, ``model.json`` everything needed to use and to judge
them, ``history.csv`` the epochs. ``latest`` beside it points at the newest model of the same output path.
"""

import csv
from dataclasses import asdict
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import epochd
from epochd.artifact import files
from epochd.data.encode import Encoder
from epochd.loop.engine import Setup
from epochd.loop.metrics import Scores
from epochd.loop.state import LoopState

FORMAT = 1


def pack(folder: Path, about: dict[str, Any], state: LoopState) -> None:
    """Write the model folder (``about`` is its ``model.json``), then move ``latest`` to it."""
    with files.durable_folder(folder) as path:
        save_file(state.best_weights, path / "model.safetensors")
        files.write_json(path / "model.json", about)
        write_history(path / "history.csv", state.history)
    files.point(folder.parent / "latest", folder)


def describe(
    task_id: str,
    setup: Setup,
    encoder: Encoder,
    state: LoopState,
    scores: dict[str, Scores],
    facts: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``model.json``."""
    return {
        "format": FORMAT,
        "task_id": task_id,
        "spec": setup.spec.model_dump(),
        "task": setup.task,
        "inputs": list(setup.inputs),
        "outputs": setup.outputs,
        "classes": encoder.classes,
        "encoder": encoder.as_json(),
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "stopped_early": state.stopped_early,
        "scores": {part: asdict(found) for part, found in scores.items()},
        "facts": facts,
        "versions": {
            "epochd": epochd.__version__,
            "python": python_version(),
            "numpy": np.__version__,
        },
    }


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """One line per epoch; an absent metric is an empty cell."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(history[0]))
        writer.writeheader()
        writer.writerows(history)
