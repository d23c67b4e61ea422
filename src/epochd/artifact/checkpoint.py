"""Checkpoints: the complete state of a training in one durable folder.

``state.json`` (the loop's state), ``encoder.json`` (how rows are encoded), ``weights``, ``optimizer`` and ``best`` as
safetensors. The newest two are kept, so that a training survives a damaged one. A damaged checkpoint is not counted and
is deleted at the next save. A folder's name is ``<attempt>-<number>``, so that a stale attempt never conflicts with a
newer one.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from epochd.artifact import files
from epochd.core.errors import CorruptFile, Diverged
from epochd.data.encoding.encoder import Encoder
from epochd.loop.engine import Arrays, Engine
from epochd.loop.state import LoopState

KEEP = 2
DAMAGED = "damaged-"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint: ``weights`` and ``optimizer`` are for the engine, ``state`` is for the loop.

    ``facts`` describe the training at the time of saving: data fingerprint, framework, threads.
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
class CheckpointFacts:
    """What a checkpoint says about its data, needed to prepare the data. ``encoder`` is None in checkpoints of older
    versions."""

    facts: dict[str, Any]
    encoder: Encoder | None


def save(
    folder: Path, attempt: int, engine: Engine, state: LoopState, facts: dict[str, Any], encoder: Encoder | None = None
) -> Path:
    """Save an attempt's next checkpoint in its task's folder and delete all but the newest two; return its path.

    Raises OutOfSpace when the disk is full; the incomplete checkpoint is removed.
    """
    existing = numbered(folder)
    mine = [path for path in existing if path.name.startswith(f"{attempt:04d}-")]
    final = folder / f"{attempt:04d}-{int(mine[-1].name[5:]) + 1 if mine else 1:06d}"
    try:
        with files.durable_folder(final) as path:
            save_file(_finite(engine.weights()), path / "weights.safetensors")
            save_file(engine.optimizer_state(), path / "optimizer.safetensors")
            save_file(state.best_weights, path / "best.safetensors")
            files.write_json(path / "state.json", {"loop": state.as_json(), "facts": facts})
            if encoder is not None:
                files.write_json(path / "encoder.json", encoder.as_json())
    except (OSError, SafetensorError) as error:
        if files.is_full(error):
            needed = 5 * sum(weights.nbytes for weights in state.best_weights.values())
            raise files.out_of_space("a checkpoint", needed, folder) from None
        raise
    for old in [*existing[: 1 - KEEP], *folder.glob(f"{DAMAGED}*")]:
        shutil.rmtree(old, ignore_errors=True)  # a stale attempt may move it at the same time
    return final


def _finite(weights: Arrays) -> Arrays:
    """The weights; raises Diverged if they are not finite."""
    if all(np.isfinite(values).all() for values in weights.values()):
        return weights
    raise Diverged(
        "the weights became infinite or NaN. Use a lower learning rate, or check the features for extreme values"
    )


def newest(folder: Path, *, set_aside: bool = True) -> tuple[Path | None, list[str]]:
    """The newest valid checkpoint of a task, and what is wrong with each newer one.

    With ``set_aside``, damaged checkpoints are renamed, so that they are not counted among those to keep.
    """
    faults: list[str] = []
    for path in reversed(numbered(folder)):
        try:
            files.verify(path)
            return path, faults
        except CorruptFile as error:
            faults.append(f"checkpoint {path.name} cannot be used: {error}{_set_aside(path) if set_aside else ''}")
    return None, faults


def _set_aside(path: Path) -> str:
    """Rename a damaged checkpoint; return the addition to the message."""
    target = path.with_name(f"{DAMAGED}{path.name}")
    try:
        shutil.rmtree(target, ignore_errors=True)
        path.rename(target)
    except OSError:  # it stays and will be found damaged again
        return ""
    return f" (set aside as {target.name} until the next checkpoint is saved)"


def copy(source: Path, folder: Path) -> Path | None:
    """Copy a checkpoint into another task's folder, as its first; None if it no longer exists.

    Raises CorruptFile if the copy does not match the manifest; the copy is removed.
    """
    final = folder / f"{0:04d}-{1:06d}"
    try:
        names = [file.name for file in source.iterdir()]
        with files.durable_folder(final) as path:
            for name in names:
                shutil.copy2(source / name, path / name)
            files.verify(path)
            (path / files.MANIFEST).unlink()  # durable_folder writes it again, with the same sums
    except FileNotFoundError:  # its task may be removed at the same time
        return None
    return final


def position(path: Path) -> tuple[int, int]:
    """The position of a verified checkpoint: complete epochs, and steps of the next one."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))["loop"]
        return int(state["epoch"]), int(state["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise _incompatible(path, error) from None


def load(path: Path) -> Checkpoint:
    """Load a verified checkpoint; raises CorruptFile if it was written by an incompatible version."""
    try:
        saved = json.loads((path / "state.json").read_text(encoding="utf-8"))
        state = LoopState.from_json(saved["loop"], dict(load_file(path / "best.safetensors")))
    except (KeyError, TypeError, ValueError) as error:
        raise _incompatible(path, error) from None
    return Checkpoint(
        state,
        dict(load_file(path / "weights.safetensors")),
        dict(load_file(path / "optimizer.safetensors")),
        saved["facts"],
    )


def read_facts(path: Path) -> CheckpointFacts:
    """Read what a checkpoint says about its data; raises CorruptFile if that cannot be read."""
    try:
        facts = json.loads((path / "state.json").read_text(encoding="utf-8"))["facts"]
        encoder = path / "encoder.json"
        state = json.loads(encoder.read_text(encoding="utf-8")) if encoder.exists() else None
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise _incompatible(path, error) from None
    return CheckpointFacts(facts, Encoder.from_json(state) if state else None)


def _incompatible(path: Path, error: Exception) -> CorruptFile:
    return CorruptFile(f"{path} was written by another version of epochd: {error!r}")


def numbered(folder: Path) -> list[Path]:
    """A task's checkpoints, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*-[0-9]*") if path.is_dir()) if folder.is_dir() else []
