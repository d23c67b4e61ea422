"""The copies that a server has on its disk of what is in its object store, of which the least recently used go first.

A folder is a copy only if the store has all of it, with the same manifest. It is renamed before it is deleted, so that
it is complete or absent at any moment; whoever asks for it later fetches it again. When a copy was last used is the
time of access of its manifest, or of the file of a dataset that is named by its address.
"""

import os
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from epochd.artifact import files, stored
from epochd.artifact.objects import Objects
from epochd.core.errors import CorruptFile
from epochd.core.settings import Settings
from epochd.data.tables import addresses

FINE_SECONDS = 60.0
"""How exactly the time of a use is noted."""


@dataclass(frozen=True, slots=True)
class Copy:
    """A durable folder, or the file of a dataset; ``mark`` is the file that says when it was used (Unix time): the
    manifest, or the file itself."""

    mark: Path
    bytes: int
    used_at: float

    @property
    def is_folder(self) -> bool:
        return self.mark.name == files.MANIFEST

    @property
    def path(self) -> Path:
        return self.mark.parent if self.is_folder else self.mark


def note_use(mark: Path) -> bool:
    """Note that a copy is used now; whether it is there."""
    try:
        found = mark.stat()
        if time.time() - found.st_atime > FINE_SECONDS:
            os.utime(mark, ns=(time.time_ns(), found.st_mtime_ns))
    except OSError:  # it may be read, but not changed
        return mark.is_file()
    return True


def found(settings: Settings) -> list[Copy]:
    """What may be copies, the least recently used first: folders if there is a store, and datasets with addresses."""
    copies = []
    datasets = addresses.home_of(settings.data_dir).glob("*/data.*")
    for mark in (*(_manifests(settings) if settings.storage is not None else ()), *datasets):
        with suppress(OSError):  # it is removed at this moment
            copy = Copy(mark, mark.stat().st_size, mark.stat().st_atime)
            copies.append(replace(copy, bytes=files.size(copy.path)) if copy.is_folder else copy)
    return sorted(copies, key=lambda copy: copy.used_at)


def _manifests(settings: Settings) -> Iterator[Path]:
    """The manifests of models, checkpoints and predictions."""
    for home in (settings.artifacts_dir, settings.checkpoints_dir, settings.predictions_dir):
        for folder, below, names in os.walk(home):
            below[:] = [name for name in below if not name.startswith(files.TEMPORARY)]
            if files.MANIFEST in names:
                yield Path(folder, files.MANIFEST)


def stored_only(settings: Settings, objects: Objects | None, copies: Sequence[Copy]) -> list[Copy]:
    """The datasets, and the folders whose manifests are in a list of the store's objects. Raises Busy."""
    keys: set[str] = set()
    if objects is not None:
        keys.update(*(objects.sizes(kind) for kind in ("artifacts", "checkpoints", "predictions")))
    home = settings.data_dir
    return [copy for copy in copies if not copy.is_folder or copy.mark.relative_to(home).as_posix() in keys]


def delete(settings: Settings, objects: Objects | None, copy: Copy, is_used: Callable[[], bool]) -> bool:
    """Delete a copy; False if it ``is_used`` in the meantime, contains something else, or the store does not have the
    same. Raises Busy, OSError."""
    if copy.is_folder and (objects is None or not _is_stored(settings, objects, copy)):
        return False
    if copy.is_folder and not set(os.listdir(copy.path)) <= files.own_names(copy.path) | {files.FETCHED}:
        return False
    if is_used():
        return False
    away = copy.path.with_name(f"{files.TEMPORARY}{copy.path.name}-{secrets.token_hex(4)}")
    copy.path.rename(away)
    if copy.is_folder:
        files.delete(away)
    else:
        away.unlink()
    return True


def _is_stored(settings: Settings, objects: Objects, copy: Copy) -> bool:
    """Whether the store has the same folder, completely."""
    try:
        known = stored.manifest(objects, copy.path.relative_to(settings.data_dir).as_posix())
        if known is None or known.content != copy.mark.read_bytes():
            return False
        stored.check_complete(objects, known)
    except CorruptFile:
        return False
    return True
