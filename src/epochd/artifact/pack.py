"""The model of a finished training: readable files in one durable folder.

``model.safetensors`` holds the canonical weights, ``model.json`` all that is needed to use and to evaluate them,
``model.onnx`` the same as a graph from raw columns to predictions, ``history.csv`` the epochs, ``splits.parquet`` the
split of each row of the dataset, ``report.json`` has the values of the report's figures, and ``page.json`` all from
which ``report.html``, the report for people, is drawn afterwards.
``out_of_fold.parquet`` has the predictions of a cross-validation: ``row``, ``fold``, ``target``, ``prediction`` and
``probability_<class>``, each predicted by the network that was not trained on its fold.
"""

import csv
import json
import os
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from itertools import chain, takewhile
from pathlib import Path
from platform import machine, python_version
from typing import Any

import numpy as np
import polars as pl
from safetensors.numpy import save_file

import epochd
from epochd.artifact import files
from epochd.core.arrays import IntArray
from epochd.core.errors import EpochdError, InvalidSpec, ModelNotSaved, Problem
from epochd.data.encoding.encoder import Encoder
from epochd.data.tables.table import json_values
from epochd.loop.engine import Setup
from epochd.loop.state import LoopState

SPLITS = ("train", "validation", "test")
OUT_OF_FOLD = "out_of_fold.parquet"
MAX_EXAMPLE = 20_000
"""Characters of an example in JSON; an image of 28 x 28 has some thousands."""
LONGEST_NAME = f"{files.TEMPORARY}epoch_training_20260101_000000_abcdef-01234567/model.safetensors"
"""The longest path of a model's file below its output path: that of one that is being written."""


def place_problem(store: Path, folder: str) -> Problem | None:
    """Why no model can be saved in this folder (``spec.artifact_folder``) of the artifact store; None if one can.

    A training checks this before it starts. Nothing is created.
    """
    try:
        reason, hint = _place_defect(store, folder) if store.is_dir() else ("", "")
    except (OSError, UnicodeError) as error:
        reason, hint = f"cannot be used: {getattr(error, 'strerror', error)}", "use another output_path"
    return Problem("output_path", f"the folder {folder!r} {reason}", hint) if reason else None


def reserve_place(store: Path, folder: str) -> None:
    """Create the folder for a training that is about to be queued, so that every later one finds it. Raises InvalidSpec
    with ``place_problem``, or if it cannot be created."""
    problem = place_problem(store, folder)
    if problem is None:
        try:
            (store / folder).mkdir(parents=True, exist_ok=True)
            return
        except OSError as error:
            message = f"the folder {folder!r} cannot be created: {error.strerror}"
            problem = Problem("output_path", message, "use another output_path")
    raise InvalidSpec([problem])


def _place_defect(store: Path, folder: str) -> tuple[str, str]:
    """What prevents that models are saved in the folder, and what to do; two empty texts if nothing does."""
    place, size = store, len(os.fsencode(store.absolute() / folder / LONGEST_NAME))
    most, longest = os.pathconf(store, "PC_PATH_MAX"), os.pathconf(store, "PC_NAME_MAX")
    if size >= most:
        return f"is too long: its models have paths of {size:,} bytes, the limit is {most - 1:,}", "use shorter names"
    if any(len(os.fsencode(part)) > longest for part in Path(folder).parts):
        return f"has a part of more than {longest} bytes, the limit of the file system", "use shorter names"
    for part in Path(folder).parts:
        if not os.path.lexists(place / part):
            twins = [name for name in os.listdir(place) if _folded(name) == _folded(part)]
            if twins:
                return f"differs from the existing folder {twins[0]!r} only in case or accents", f"use {twins[0]!r}"
            break
        place /= part
        if not place.is_dir():
            return f"cannot be created: {part!r} is a file", "use another name"
    if not os.access(place, os.W_OK | os.X_OK):
        return "is not writable for the server", "use another output_path, or let the server's user write there"
    latest = place / files.LATEST
    if place == store / folder and os.path.lexists(latest) and not latest.is_symlink():
        return f"contains {files.LATEST!r}, which is not a link", f"rename {files.LATEST!r}, or use another output_path"
    return "", ""


def _folded(name: str) -> str:
    """What file systems that ignore case, or the form of Unicode, take for the same name."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def pack(
    folder: Path,
    about: dict[str, Any],
    state: LoopState,
    rows: Mapping[str, IntArray],
    *,
    shared: Path | None = None,
    others: Mapping[str, bytes | str | None] | None = None,
) -> None:
    """Write the model folder (``about`` is its ``model.json``), then point ``latest`` to it; see ``saving`` and
    ``write``."""
    contents = {name: content for name, content in (others or {}).items() if content is not None}
    needed = sum(weights.nbytes for weights in state.best_weights.values()) + sum(map(len, contents.values()))
    with saving(folder, shared=shared, needed=needed) as path:
        write(path, about, state, rows, contents)


@contextmanager
def saving(folder: Path, *, shared: Path | None = None, needed: int = 0) -> Iterator[Path]:
    """Yield a folder for the files of a model, which becomes ``folder`` at the end of the block; then point ``latest``
    to it. Nothing is left after an exception.

    ``shared`` is the artifact store if its group may read the model; ``needed`` is about how many bytes the model has.
    Raises OutOfSpace when the disk is full, and
    ModelNotSaved if the model cannot be saved for another reason, but the errors of epochd itself unchanged.
    """
    try:
        with files.durable_folder(folder, mode=0o750 if shared else 0o700) as path:
            yield path
        _show(folder, shared)
    except EpochdError:
        raise
    except Exception as error:
        if files.is_full(error):
            raise files.out_of_space("the model", needed, folder.parent) from None
        reason = str(error) or type(error).__name__
        raise ModelNotSaved(
            f"all epochs are trained, but the model could not be saved in {folder}: {reason}. The checkpoint with its "
            "weights is kept: remove the cause, then retry the task, which saves the model without training again; "
            'with {"output_path": "..."} the retry saves it in another folder'
        ) from error


def publish(temporary: Path, folder: Path, *, shared: Path | None = None) -> None:
    """Make a complete folder with a manifest the model ``folder``; then point ``latest`` to it."""
    files.publish(temporary, folder, mode=0o750 if shared else 0o700)
    _show(folder, shared)


def _show(folder: Path, shared: Path | None) -> None:
    """Let the group of the store reach a model that it may read, and point ``latest`` to the model."""
    for above in takewhile(lambda above: above != shared, folder.parents if shared else ()):
        with suppress(OSError):  # another account has made it, or the file system has no modes
            above.chmod(stat.S_IMODE(above.stat().st_mode) | 0o050)
    files.replace_link(folder.parent / files.LATEST, folder)


def write(
    path: Path,
    about: dict[str, Any],
    state: LoopState,
    rows: Mapping[str, IntArray],
    others: Mapping[str, bytes | str | None],
) -> None:
    """Write the files of a model: ``about`` is its ``model.json``, ``rows`` are the dataset's row numbers (from 0) by
    split, ``others`` are further files by name, without those that are None."""
    save_file(state.best_weights, path / "model.safetensors")
    files.write_json(path / "model.json", about)
    with (path / "history.csv").open("w", newline="", encoding="utf-8") as file:
        # rows that an older version wrote before a pause have fewer fields
        writer = csv.DictWriter(file, fieldnames=list(dict.fromkeys(chain.from_iterable(state.history))))
        writer.writeheader()
        writer.writerows(state.history)
    write_splits(path / "splits.parquet", rows)
    for name, content in others.items():
        if content is not None:
            (path / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def describe(
    task_id: str, setup: Setup, encoder: Encoder, state: LoopState, metrics: dict[str, Any], facts: dict[str, Any]
) -> dict[str, Any]:
    """The content of ``model.json``; ``metrics`` are the final ones, with the decision threshold of a binary model."""
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
        "decision_threshold": metrics.get("decision_threshold"),
        "metrics": metrics,
        "facts": facts,
        "versions": {
            "epochd": epochd.__version__,
            "python": python_version(),
            "numpy": np.__version__,
            "cpu": cpu_name(),
        },
    }


def cpu_name() -> str:
    """The type of the CPU, which decides in which order its kernels add numbers up."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return machine()


def examples(rows: pl.DataFrame) -> dict[str, Any]:
    """A value of each column as JSON, the first that is not missing, for ``model.json``. Long ones are left out."""
    found = {}
    for series in rows:
        value = next((value for value in json_values(series) if value is not None), None)
        if len(json.dumps(value)) <= MAX_EXAMPLE:
            found[series.name] = value
    return found


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
