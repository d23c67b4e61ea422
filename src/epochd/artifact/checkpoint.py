"""Checkpoints: the whole of a training's memory in one durable folder.

``state.json`` (the loop's state), ``encoder.json`` (how rows are encoded), ``weights``, ``optimizer`` and ``best`` as
safetensors. The newest two are kept, so that a damaged one is not the end of a training; one that was found damaged is
not counted, and goes with the next save. A folder's name is ``<attempt>-<number>``: what a stale attempt may still
write never stands in the way of a newer one.
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


def save(
    folder: Path, attempt: int, engine: Engine, state: LoopState, facts: dict[str, Any], encoder: Encoder | None = None
) -> Path:
    """Write an attempt's next checkpoint into its task's folder and drop all but the newest two; return its path.

    Raise OutOfSpace, with nothing left behind, when the disk is full.
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
            raise files.no_room("a checkpoint", needed, folder) from None
        raise
    for old in [*existing[: 1 - KEEP], *folder.glob(f"{DAMAGED}*")]:
        shutil.rmtree(old, ignore_errors=True)  # a stale attempt may take it for damaged, and move it, at this moment
    return final


def _finite(weights: Arrays) -> Arrays:
    """The weights, if they are worth keeping; raise Diverged."""
    if all(np.isfinite(values).all() for values in weights.values()):
        return weights
    raise Diverged("the weights became infinite or NaN. Lower the learning rate, or look for extreme feature values")


def newest(folder: Path, *, set_aside: bool = True) -> tuple[Path | None, list[str]]:
    """The newest checkpoint of a task that is exactly what was written, and what is wrong with each newer one.

    Those are set aside, so that they are not counted among what is kept.
    """
    faults: list[str] = []
    for path in reversed(numbered(folder)):
        try:
            files.verify(path)
            return path, faults
        except CorruptFile as error:
            faults.append(f"checkpoint {path.name} cannot be used: {error}{_aside(path) if set_aside else ''}")
    return None, faults


def _aside(path: Path) -> str:
    """Take a damaged checkpoint out of the count, until the next is saved; what to say of it."""
    there = path.with_name(f"{DAMAGED}{path.name}")
    try:
        shutil.rmtree(there, ignore_errors=True)
        path.rename(there)
    except OSError:  # then it stays where it is, and is found damaged again
        return ""
    return f" (set aside as {there.name} until the next checkpoint is saved)"


def adopt(source: Path, folder: Path) -> Path | None:
    """Copy a checkpoint into another task's folder, as its first; None if it is not there any more.

    Raise CorruptFile, with nothing left behind, unless the copy is exactly what was written at first.
    """
    final = folder / f"{0:04d}-{1:06d}"
    try:
        names = [file.name for file in source.iterdir()]
        with files.durable_folder(final) as path:
            for name in names:
                shutil.copy2(source / name, path / name)
            files.verify(path)
            (path / files.MANIFEST).unlink()  # the folder gets one of its own, with the same sums
    except FileNotFoundError:  # its task may be removed at this very moment
        return None
    return final


def place(path: Path) -> tuple[int, int]:
    """How far a checkpoint that has been verified is: complete epochs, and steps of the next one."""
    try:
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))["loop"]
        return int(state["epoch"]), int(state["step"])
    except (KeyError, TypeError, ValueError) as error:
        raise _strange(path, error) from None


def load(path: Path) -> Checkpoint:
    """Read back a checkpoint that has been verified; raise CorruptFile if another version has written it."""
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
    """Read what a checkpoint says about its data; raise CorruptFile if that cannot be read."""
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
    return sorted(path for path in folder.glob("[0-9]*-[0-9]*") if path.is_dir()) if folder.is_dir() else []
