"""The model of a finished training: four readable files in one durable folder.

``model.safetensors`` holds the canonical weights, ``model.json`` all that is needed to use and to evaluate them,
``history.csv`` the epochs, ``splits.parquet`` the split of each row of the dataset.
"""

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import save_file

import epochd
from epochd.artifact import files
from epochd.core.arrays import IntArray
from epochd.data.encoding.encoder import Encoder
from epochd.loop.engine import Setup
from epochd.loop.metrics import Scores
from epochd.loop.state import LoopState

SPLITS = ("train", "validation", "test")


def pack(folder: Path, about: dict[str, Any], state: LoopState, rows: Mapping[str, IntArray]) -> None:
    """Write the model folder (``about`` is its ``model.json``), then point ``latest`` to it.

    ``rows`` are the dataset's row numbers (from 0) by split. Raises OutOfSpace when the disk is full.
    """
    try:
        with files.durable_folder(folder) as path:
            save_file(state.best_weights, path / "model.safetensors")
            files.write_json(path / "model.json", about)
            with (path / "history.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, fieldnames=list(state.history[0]))
                writer.writeheader()
                writer.writerows(state.history)
            write_splits(path / "splits.parquet", rows)
        files.replace_link(folder.parent / files.LATEST, folder)
    except (OSError, SafetensorError, pl.exceptions.ComputeError) as error:
        if files.is_full(error):
            needed = sum(weights.nbytes for weights in state.best_weights.values())
            raise files.out_of_space("the model", needed, folder.parent) from None
        raise


def describe(
    task_id: str, setup: Setup, encoder: Encoder, state: LoopState, scores: dict[str, Scores], facts: dict[str, Any]
) -> dict[str, Any]:
    """The content of ``model.json``."""
    return {
        "format": 1,
        "task_id": task_id,
        "spec": setup.spec.model_dump(),
        "task": setup.task,
        "inputs": list(setup.inputs),
        "outputs": setup.outputs,
        "embeddings": [asdict(embedding) for embedding in setup.embeddings],
        "masked": setup.masked,
        "classes": encoder.classes,
        "encoder": encoder.as_json(),
        "best_epoch": state.best_epoch,
        "epochs": state.epoch,
        "stopped_early": state.stopped_early,
        "scores": {part: asdict(found) for part, found in scores.items()},
        "facts": facts,
        "versions": {"epochd": epochd.__version__, "python": python_version(), "numpy": np.__version__},
    }


def write_splits(path: Path, rows: Mapping[str, IntArray]) -> None:
    """``row`` (from 0, ascending) and ``split``, one line for each row that belongs to a split."""
    size = 1 + max((int(numbers.max()) for numbers in rows.values() if len(numbers)), default=-1)
    codes = np.full(size, len(SPLITS), np.uint8)
    for code, name in enumerate(SPLITS):
        codes[rows.get(name, np.empty(0, np.int64))] = code
    kept = codes < len(SPLITS)
    row = pl.Series("row", np.flatnonzero(kept)).cast(pl.UInt32 if size <= 2**32 else pl.UInt64)
    split = pl.Series("split", SPLITS, dtype=pl.Enum(SPLITS)).gather(codes[kept])
    pl.DataFrame([row, split]).write_parquet(path, compression="zstd")
