"""What goes from the disk when a task is removed, whatever dies while it goes.

What shall go is written down first, the task's row in the database goes next, the files last. A server that finds
such a note when it starts knows what was begun: it ends it if the row is gone, and forgets it otherwise. Nothing is
deleted without a note, whatever the database does not know. A note is an empty file whose name says it all, which a
full disk has room for. A model is moved among the checkpoints before it is deleted: where models are, each is whole
or absent.
"""

import json
import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote, unquote

from epochd.artifact import files
from epochd.core.errors import OutOfSpace
from epochd.core.jobs import TASK_ID, Job
from epochd.core.settings import Settings

logger = logging.getLogger(__name__)

NOTE = ".note"
MAX_NAME = 255
"""Bytes that a file's name may have."""


def note(settings: Settings, job: Job, *, keep_model: bool) -> Path:
    """Write down that a task is about to be removed; the note, which is on the disk for good. Raises OutOfSpace."""
    path = settings.removals_dir / _name(job, keep_model=keep_model)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, job)
    except OSError as error:
        path.unlink(missing_ok=True)
        if not files.is_full(error):
            raise
        message = f"the disk is full: it cannot be noted that task {job.id} goes, so nothing was removed; free space"
        raise OutOfSpace(message) from None
    return path


def _name(job: Job, *, keep_model: bool) -> str:
    """The task's id and its model's folder, if that goes too; a folder too long for a name stands in the file."""
    folder = quote(job.spec.artifact_folder, safe="")
    name = f"{job.id}{NOTE}" if keep_model else f"{job.id}.{folder}{NOTE}"
    return name if len(name) <= MAX_NAME else f"{job.id}.json"


def _write(path: Path, job: Job) -> None:
    if path.suffix == NOTE:
        path.touch()
    else:
        files.write_json(path, {"model": f"{job.spec.artifact_folder}/{job.id}"})
    for place in (path, path.parent):
        files.flush(place)


def _read(noted: Path) -> tuple[str, str | None]:
    """The task of a note, and which of the models goes with it."""
    if noted.suffix != NOTE:
        return noted.stem, json.loads(noted.read_text(encoding="utf-8"))["model"]
    task_id, _, folder = noted.stem.partition(".")
    return task_id, f"{unquote(folder)}/{task_id}" if folder else None


def carry_out(settings: Settings, noted: Path) -> None:
    """Delete the folders of a task that has no row any more, and then the note."""
    task_id, model = _read(noted)
    checkpoints = settings.checkpoints_dir / task_id
    if model is not None:
        withdraw(settings.artifacts_dir / model)
        _move(settings.artifacts_dir / model, checkpoints / "model")
    for folder in (checkpoints, settings.logs_dir / task_id):
        _delete(folder)
    noted.unlink()


def sweep(settings: Settings, known: Collection[str]) -> None:
    """Carry out what a server that died had begun: the notes on tasks that are not ``known`` any more."""
    for noted in [path for path in settings.removals_dir.glob("*") if path.suffix in (NOTE, ".json")]:
        try:
            _resume(settings, noted, known)
        except (OSError, ValueError, KeyError, TypeError):  # a note that was half-written: its row is still there
            logger.exception(
                "the removal in %s cannot be carried out; delete it, and the task's folders, by hand", noted
            )


def _resume(settings: Settings, noted: Path, known: Collection[str]) -> None:
    task_id = noted.name.partition(".")[0]
    if task_id in known:
        noted.unlink()
    elif TASK_ID.fullmatch(task_id):
        logger.info("the removal of task %s was cut short; its files are deleted now", task_id)
        carry_out(settings, noted)


def withdraw(model: Path) -> None:
    """If ``latest`` leads to this model, let it lead to the newest other one beside it, or remove it.

    A worker may put a model there meanwhile, and point at it before we point elsewhere: hence the second look.
    """
    latest = model.parent / files.LATEST
    if not latest.is_symlink() or latest.readlink() != Path(model.name):
        return
    newest = _newest(model.parent, model)
    while True:
        if newest is None:
            latest.unlink(missing_ok=True)
        else:
            files.point(latest, newest)
        seen, newest = newest, _newest(model.parent, model)
        if newest == seen:
            return


def _newest(folder: Path, but: Path) -> Path | None:
    """The whole model that was finished last; its manifest is the last file that was written."""
    others = (path for path in folder.iterdir() if path != but and TASK_ID.fullmatch(path.name))
    whole = [(at, path) for path in others if (at := _finished_at(path)) is not None]
    return max(whole)[1] if whole else None


def _finished_at(model: Path) -> int | None:
    try:
        return (model / files.MANIFEST).stat().st_mtime_ns
    except OSError:
        return None


def _move(model: Path, place: Path) -> None:
    """Take a model away in one step, and what a worker that died has left half-written of it."""
    files.sweep(model.parent, model.name)
    if not model.is_dir():
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        model.rename(place)
        files.flush(model.parent)
    except OSError:  # the models lie on another disk, the place is taken, or the disk is full
        _delete(model)


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        logger.warning("%s could not be deleted whole; delete it by hand", folder)
