"""Removal of a task's files, safe against a crash at any moment.

A note of the removal is written first, then the task's row in the database is deleted, then the files. A server that
finds a note when it starts, or later if it has an object store, completes the removal if the row is gone, and deletes
the note otherwise. Files that the database does not know are never deleted without a note. A note is usually an empty
file, which fits on a full disk: its name holds the task's id and, unless that is kept, the model's folder; one too long
for a name is in the file.
"""

import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from epochd.artifact import files
from epochd.core.errors import Busy, OutOfSpace
from epochd.core.jobs import TASK_ID, Job, JobKind
from epochd.core.settings import Settings

logger = logging.getLogger(__name__)

NOTE = ".note"
MODEL_NOTE = ".model"
"""The suffix of a note that only the model of a task is about to be removed; its content is the model's folder."""
MAX_NAME = 255
"""The maximum length of a file name in bytes."""


class Copies(Protocol):
    """Where else the files of tasks are."""

    def remove_task(self, task_id: str, model: str | None) -> None:
        """Delete all of a task, with its model (``<folder>/<id>``) unless that is None."""

    def remove_model(self, model: str) -> None:
        """Delete a model."""


def write_note(settings: Settings, job: Job, *, keep_model: bool) -> Path:
    """Write a durable note that a task is about to be removed; return its path. Raises OutOfSpace."""
    folder = "" if job.kind is JobKind.PREDICTION else job.training.artifact_folder
    name = f"{job.id}{NOTE}" if keep_model or not folder else f"{job.id}.{quote(folder, safe='')}{NOTE}"
    path = settings.removals_dir / (name if len(name) <= MAX_NAME else f"{job.id}.json")
    content = None if path.suffix == NOTE else {"model": f"{folder}/{job.id}"}
    return _written(path, content, f"task {job.id}")


def complete(settings: Settings, noted: Path, copies: Copies | None = None) -> None:
    """Delete the folders of a task whose row is deleted, and their ``copies``, then the note."""
    task_id, _, folder = noted.stem.partition(".")
    model = f"{unquote(folder)}/{task_id}" if folder else None
    if noted.suffix != NOTE:
        model = json.loads(noted.read_text(encoding="utf-8"))["model"]
    checkpoints = settings.checkpoints_dir / task_id
    if model is not None:
        _remove_model(settings.artifacts_dir / model, checkpoints / "model")
    for folder_of_task in (checkpoints, settings.logs_dir / task_id, settings.predictions_dir / task_id):
        _delete(folder_of_task)
    if copies is None or _is_done(noted, lambda: copies.remove_task(task_id, model)):
        noted.unlink()


def write_model_note(settings: Settings, folder: str, task_id: str) -> Path:
    """Write a durable note that only the model of a task, in this folder of the store, is about to be removed; return
    its path. Raises OutOfSpace."""
    path = settings.removals_dir / f"{task_id}{MODEL_NOTE}"
    return _written(path, {"model": f"{folder}/{task_id}"}, f"the model {task_id}")


def is_noted(settings: Settings, task_id: str) -> bool:
    """Whether the model of a task is about to be removed."""
    notes = settings.removals_dir.glob(f"{task_id}.*")
    return any(path.name != f"{task_id}{NOTE}" for path in notes)


def _written(path: Path, content: Mapping[str, str] | None, what: str) -> Path:
    """Write a durable note with this content, None for an empty file; return its path. Raises OutOfSpace."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.touch()
        else:
            files.write_json(path, content)
        for written in (path, path.parent):
            files.flush(written)
    except OSError as error:
        path.unlink(missing_ok=True)
        if not files.is_full(error):
            raise
        message = f"the disk is full: removing {what} cannot be recorded, so nothing was removed; free space"
        raise OutOfSpace(message) from None
    return path


def complete_model(settings: Settings, noted: Path, copies: Copies | None = None) -> None:
    """Delete a model that its task no longer names, and its ``copies``, then the note."""
    name = json.loads(noted.read_text(encoding="utf-8"))["model"]
    model = settings.artifacts_dir / name
    removed = settings.removals_dir / f"{noted.stem}.removed"
    _remove_model(model, removed)
    _delete(removed)
    if copies is None or _is_done(noted, lambda: copies.remove_model(name)):
        noted.unlink()


def _is_done(noted: Path, remove: Callable[[], None]) -> bool:
    """Delete copies; False if that is left to somebody who finds the note later."""
    try:
        remove()
    except Busy as error:
        logger.warning("the removal noted in %s is not complete: %s; it is completed later", noted, error)
        return False
    return True


def complete_interrupted(
    settings: Settings,
    known: Collection[str],
    without_model: Collection[str] = (),
    before: float = math.inf,
    copies: Copies | None = None,
) -> None:
    """Complete the removals that a crash interrupted, also of ``copies``: the notes of tasks that are no longer
    ``known``, and of models whose task is ``without_model`` now. Notes that were written after ``before`` (Unix time)
    stay."""
    for noted in _written_before(settings.removals_dir.glob(f"*{MODEL_NOTE}"), before):
        try:
            if noted.stem in known and noted.stem not in without_model:
                noted.unlink()
            elif TASK_ID.fullmatch(noted.stem):
                logger.info("the removal of the model %s was interrupted; deleting its files now", noted.stem)
                complete_model(settings, noted, copies)
        except (OSError, ValueError, KeyError, TypeError):
            logger.exception("the removal noted in %s failed; delete the note and the model manually", noted)
    notes = [path for path in settings.removals_dir.glob("*") if path.suffix in (NOTE, ".json")]
    for noted in _written_before(notes, before):
        task_id = noted.name.partition(".")[0]
        try:
            if task_id in known:
                noted.unlink()
            elif TASK_ID.fullmatch(task_id):
                logger.info("the removal of task %s was interrupted; deleting its files now", task_id)
                complete(settings, noted, copies)
        except (OSError, ValueError, KeyError, TypeError):  # an incomplete note: the row still exists
            message = "the removal noted in %s failed; delete the note and the folders of its task manually"
            logger.exception(message, noted)


def _written_before(notes: Iterable[Path], before: float) -> Iterator[Path]:
    for noted in list(notes):
        with suppress(FileNotFoundError):  # another server has completed it
            if noted.stat().st_mtime < before:
                yield noted


def repoint_latest(model: Path) -> None:
    """If ``latest`` leads to this model, point it to the newest other one in the same folder, or remove it.

    A worker may add a model and point ``latest`` to it at the same time, hence the second look.
    """
    latest = model.parent / files.LATEST
    if not latest.is_symlink() or latest.readlink() != Path(model.name):
        return
    newest = _newest(model.parent, model)
    while True:
        if newest is None:
            latest.unlink(missing_ok=True)
        else:
            files.replace_link(latest, newest)
        seen, newest = newest, _newest(model.parent, model)
        if newest == seen:
            return


def _newest(folder: Path, without: Path) -> Path | None:
    """The complete model that was finished last; the manifest is the last file of a model."""
    finished: list[tuple[int, Path]] = []
    for path in folder.iterdir():
        if path != without and TASK_ID.fullmatch(path.name):
            with suppress(OSError):
                finished.append(((path / files.MANIFEST).stat().st_mtime_ns, path))
    return max(finished)[1] if finished else None


def _remove_model(model: Path, target: Path) -> None:
    """Remove a model from the store, but only what its manifest names: other things in its folder are kept."""
    if os.path.lexists(model.parent):  # also False if no file could have this name
        repoint_latest(model)
        files.remove_temporary(model.parent, model.name)
    if not os.path.lexists(model):
        return
    try:
        if _move_away(model, target) or files.remove_own(model):
            return
        reason = "it contains more than the files of its model"
    except OSError as error:
        reason = str(error)
    logger.warning("%s could not be deleted completely: %s; delete it manually if it is not needed", model, reason)


def _move_away(model: Path, target: Path) -> bool:
    """Move a model out of the store in one step, so that each model there is complete or absent; False if it cannot be
    moved: it contains other things, the target is on another disk or exists, or the disk is full."""
    if not set(os.listdir(model)) <= files.own_names(model) | {files.FETCHED}:
        return False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        model.rename(target)
        files.flush(model.parent)
    except OSError:
        return False
    return True


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        logger.warning("%s could not be deleted completely; delete it manually", folder)
