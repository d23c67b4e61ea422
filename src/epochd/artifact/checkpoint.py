"""Checkpoints: the complete state of a training in one durable folder.

The newest two are kept, so that a training survives a damaged one; damaged ones are not counted and are deleted at the
next save. A folder's name is ``<attempt>-<number>``, so that a stale attempt never conflicts with a newer one.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from epochd.artifact import files
from epochd.core.errors import CorruptFile, Diverged
from epochd.data.encoding.encoder import Encoder
from epochd.loop.averaging import divided, joined
from epochd.loop.engine import Arrays, Engine
from epochd.loop.members import Member, Members
from epochd.loop.state import LoopState

KEEP = 2
DAMAGED = "damaged-"
NUMBERED = re.compile(r"\d{4,}-\d{6,}")
"""The name of a checkpoint."""


@dataclass(frozen=True, slots=True)
class SavedMember:
    """One network of a loaded checkpoint."""

    state: LoopState
    weights: Arrays
    optimizer: Arrays

    def restore(self, engine: Engine) -> LoopState:
        engine.load_weights(self.weights)
        engine.load_optimizer_state(self.optimizer)
        return self.state


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint; ``facts`` describe the training as it was: data fingerprint, framework, threads."""

    members: Sequence[SavedMember]
    facts: dict[str, Any]


def save(folder: Path, attempt: int, members: Members, facts: dict[str, Any], encoder: Encoder | None = None) -> Path:
    """Save an attempt's next checkpoint in its task's folder and delete all but the newest two; return its path.

    Raises Diverged if the weights are not finite, OutOfSpace when the disk is full; nothing incomplete is left.
    """
    existing = numbered(folder)
    mine = [path for path in existing if path.name.startswith(f"{attempt:04d}-")]
    final = folder / f"{attempt:04d}-{int(mine[-1].name[5:]) + 1 if mine else 1:06d}"
    try:
        with files.durable_folder(final) as path:
            save_file(joined([_finite_weights(member) for member in members]), path / "weights.safetensors")
            save_file(joined([member.engine.optimizer_state() for member in members]), path / "optimizer.safetensors")
            save_file(joined([member.state.best_weights for member in members]), path / "best.safetensors")
            files.write_json(path / "state.json", _described(members) | {"facts": facts})
            if encoder is not None:
                files.write_json(path / "encoder.json", encoder.as_json())
    except (OSError, SafetensorError) as error:
        if files.is_full(error):
            needed = 5 * sum(values.nbytes for member in members for values in member.state.best_weights.values())
            raise files.out_of_space("a checkpoint", needed, folder) from None
        raise
    prune(folder)
    return final


def prune(folder: Path) -> None:
    """Delete the checkpoints of a task but the newest two, and damaged ones."""
    for old in [*numbered(folder)[:-KEEP], *folder.glob(f"{DAMAGED}*")]:
        shutil.rmtree(old, ignore_errors=True)  # a stale attempt may move it at the same time


def _described(members: Members) -> dict[str, Any]:
    """The state of a single network, or of each of several with the position of all together."""
    loops = [member.state.as_json() for member in members]
    if len(loops) == 1:
        return {"loop": loops[0]}
    whole = members.state
    return {"loop": loops, "position": {"epoch": whole.epoch, "step": whole.step}}


def _finite_weights(member: Member) -> Arrays:
    """The current weights. Raises Diverged if they are not finite."""
    weights = member.engine.weights()
    if all(np.isfinite(values).all() for values in weights.values()):
        return weights
    cause = "the weights became infinite or NaN"
    if member.name:
        cause = f"the weights of {member.name} became infinite or NaN"
    error = Diverged(f"{cause}. Use a lower learning rate, or check the features for extreme values")
    error.member = member.number
    raise error


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
            aside = ""
            if set_aside:
                target = path.with_name(f"{DAMAGED}{path.name}")
                with suppress(OSError):  # otherwise it stays and will be found damaged again
                    shutil.rmtree(target, ignore_errors=True)
                    path.rename(target)
                    aside = f" (set aside as {target.name} until the next checkpoint is saved)"
            faults.append(f"checkpoint {path.name} cannot be used: {error}{aside}")
    return None, faults


def copy(source: Path, folder: Path, *, same_training: bool = False) -> Path | None:
    """Copy a checkpoint into another task's folder, as its first; None if it no longer exists.

    The other task trains beyond the end of the first one, unless it completes the ``same_training``: then it does not
    train at all if early stopping had ended that. Raises CorruptFile if the copy does not match the manifest; the copy
    is removed.
    """
    final = folder / f"{0:04d}-{1:06d}"
    try:
        names = [file.name for file in source.iterdir()]
        with files.durable_folder(final) as path:
            for name in names:
                shutil.copy2(source / name, path / name)
            files.verify(path)
            (path / files.MANIFEST).unlink()  # durable_folder writes it again
            saved = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if same_training and saved.get("facts", {}).get("task_id") == source.parent.name:
                saved["facts"]["task_id"] = folder.name
                files.write_json(path / "state.json", saved)
    except FileNotFoundError:  # its task may be removed at the same time
        return None
    return final


def position(path: Path) -> tuple[int, int]:
    """The position of a verified checkpoint: complete epochs, and steps of the next one."""
    with _saved(path) as saved:
        at = saved.get("position") or saved["loop"]
        return int(at["epoch"]), int(at["step"])


def load(path: Path) -> Checkpoint:
    """Load a verified checkpoint; raises CorruptFile if it was written by an incompatible version."""
    with _saved(path) as saved:
        loops = _loops(saved)
        names = ("weights", "optimizer", "best")
        parts = [divided(load_file(path / f"{name}.safetensors"), len(loops)) for name in names]
        found = [
            SavedMember(LoopState.from_json(loop, best), weights, optimizer)
            for loop, weights, optimizer, best in zip(loops, *parts, strict=True)
        ]
    return Checkpoint(found, saved["facts"])


def _loops(saved: dict[str, Any]) -> list[dict[str, Any]]:
    """The state of each network in the content of ``state.json``; that of a single one is no list."""
    loop = saved["loop"]
    return loop if isinstance(loop, list) else [loop]


def read_facts(path: Path) -> tuple[dict[str, Any], Encoder | None]:
    """What a checkpoint says about its data, needed to prepare them; the encoder is None in those of older versions.

    Raises CorruptFile if it cannot be read.
    """
    try:
        with _saved(path) as saved:
            facts, encoder = saved["facts"], path / "encoder.json"
            state = json.loads(encoder.read_text(encoding="utf-8")) if encoder.exists() else None
    except OSError as error:
        raise CorruptFile(f"{path} cannot be read: {error}") from None
    return facts, Encoder.from_json(state) if state else None


@contextmanager
def _saved(path: Path) -> Iterator[dict[str, Any]]:
    """The content of ``state.json``; what is missing or unusable in it becomes CorruptFile."""
    try:
        yield json.loads((path / "state.json").read_text(encoding="utf-8"))
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFile(f"{path} was written by another version of epochd: {error!r}") from None


def numbered(folder: Path) -> list[Path]:
    """A task's checkpoints, oldest first."""
    return sorted(path for path in folder.glob("[0-9]*-[0-9]*") if path.is_dir()) if folder.is_dir() else []
