"""What goes from the disk when a task is removed, whatever dies while it goes.

The task's row in the database goes first. A folder of checkpoints or logs without a row is a leftover then, which the
next start sweeps. A model is moved among the checkpoints before it is deleted: where models are, each is whole or
absent, and nothing there is ever swept.
"""

import logging
import os
import shutil
from collections.abc import Collection
from pathlib import Path

from epochd.artifact import files
from epochd.core.jobs import TASK_ID, Job
from epochd.core.settings import Settings

logger = logging.getLogger(__name__)


def remove(settings: Settings, job: Job, *, keep_model: bool) -> Path | None:
    """Delete the folders of a task that has no row any more; the model's, if there is one that is kept."""
    checkpoints = settings.checkpoints_dir / job.id
    model = settings.artifacts_dir / job.spec.artifact_folder / job.id
    if not keep_model:
        withdraw(model)
        _move(model, checkpoints / "model")
    for folder in (checkpoints, settings.logs_dir / job.id):
        _delete(folder)
    return model if model.is_dir() else None


def sweep(settings: Settings, known: Collection[str]) -> None:
    """Delete checkpoints and logs of tasks that are not ``known``, which a server that died was about to delete.

    A database without any task is more likely a new one than one whose last task was just removed: nothing is
    deleted then.
    """
    if not known:
        return
    for room in (settings.checkpoints_dir, settings.logs_dir):
        for folder in room.iterdir():
            if TASK_ID.fullmatch(folder.name) and folder.name not in known:
                logger.info("%s belongs to a task that was removed; it is deleted", folder)
                _delete(folder)


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
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        model.rename(place)
        files.flush(model.parent)
    except OSError:  # the models lie on another disk, or the place is taken
        _delete(model)


def _delete(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if os.path.lexists(folder):
        logger.warning("%s could not be deleted whole; delete it by hand", folder)
