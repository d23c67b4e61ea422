"""Checkpoints: the whole of a training's memory in one durable folder.

``state.json`` (the loop's state), ``encoder.json`` (how rows are encoded), ``weights``, ``optimizer`` and ``best`` as
safetensors. The newest two are kept, so that a damaged one is not the end of a training.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file, save_file

from epochd.artifact import files
from epochd.core.errors import CorruptFile
from epochd.data.encode import Encoder
from epochd.loop.engine import Arrays, Engine
from epochd.loop.state import LoopState

KEEP = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was read back: feed ``weights`` and ``optimizer`` to the engine, ``state`` to the loop.

    ``facts`` are what the training was sure of when it was saved: data fingerprint, framework, threads.
    """

    state: LoopState
    weights: Arrays
    optimizer: Arrays
    facts: dict[str, Any]

    def restore(self, engine: Engine) -> LoopState:
        engine.load_weights(self.weights)
        engine.load_optimizer_state(self.optimizer)
        return self.state


@dataclass(frozen=True, slots=True)
class Premises:
    """What a checkpoint says about its data, to be known before the data are prepared. ``encoder`` is None in
    checkpoints of older versions."""

    facts: dict[str, Any]
    encoder: Encoder | None


def save(folder: Path, engine: Engine, state: LoopState, facts: dict[str, Any], encoder: Encoder | None = None) -> Path:
    """Write the next checkpoint of a task's checkpoint folder and drop all but the newest two; return its path."""
    existing = numbered(folder)
    final = folder / f"{int(existing[-1].name) + 1 if existing else 1:06d}"
    with files.durable_folder(final) as path:
        save_file(engine.weights(), path / "weights.safetensors")
        save_file(engine.optimizer_state(), path / "optimizer.safetensors")
        save_file(state.best_weights, path / "best.safetensors")
        files.write_json(path / "state.json", {"loop": state.as_json(), "facts": facts})
        if encoder is not None:
            files.write_json(path / "encoder.json", encoder.as_json())
    for old in existing[: 1 - KEEP]:
        shutil.rmtree(old)
    return final


def load(path: Path) -> Checkpoint:
    """Read a checkpoint back; raise CorruptFile if it is not exactly what was written."""
    files.verify(path)
    try:
        saved = json.loads((path / "state.json").read_text(encoding="utf-8"))
        state = LoopState.from_json(saved["loop"], dict(load_file(path / "best.safetensors")))
    except (KeyError, TypeError, ValueError) as error:
        raise _strange(path, error) from None
    return Checkpoint(
        state,
        dict(load_file(path / "weights.safetensors")),
        dict(load_file(path / "optimizer.safetensors")),
        saved["facts"],
    )


def premises(path: Path) -> Premises:
    """Read what a checkpoint says about its data; raise CorruptFile if that cannot be read. ``load`` verifies it."""
    try:
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))["facts"]
        encoder = path / "encoder.json"
        state = json.loads(encoder.read_text(encoding="utf-8")) if encoder.exists() else None
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise _strange(path, error) from None
    return Premises(facts, Encoder.from_json(state) if state else None)


def _strange(path: Path, error: Exception) -> CorruptFile:
    return CorruptFile(f"{path} was written by another version of epochd: {error!r}")


def numbered(folder: Path) -> list[Path]:
    """A task's checkpoints, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*") if path.is_dir()) if folder.is_dir() else []
