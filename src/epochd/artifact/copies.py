"""The copies that a server has on its disk of what is in its object store, of which the least recently used go first.

A folder is deleted only if the store has the same manifest, and nothing else lies in it. It is moved away in one step,
so that it is complete or absent at any moment; whoever asks for it later fetches it again. When a copy was last used is
the time of access of its manifest, or of the file of a dataset that is named by its address.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from epochd.artifact import checkpoint, files, removal
from epochd.artifact.objects import Objects
from epochd.core.settings import Settings
from epochd.data.tables import addresses


@dataclass(frozen=True, slots=True)
class Copy:
    """A durable folder, or the file of a dataset; ``mark`` is the file that says when it was used (Unix time)."""

    path: Path
    mark: Path
    bytes: int
    used_at: float


def note_use(mark: Path) -> bool:
    """Note that a copy is used now; whether it is there."""
    try:
        os.utime(mark, ns=(time.time_ns(), mark.stat().st_mtime_ns))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def found(settings: Settings) -> list[Copy]:
    """The copies on the disk, the least recently used first."""
    folders = _folders(settings) if settings.storage is not None else ()
    return sorted((*folders, *_datasets(settings)), key=lambda copy: copy.used_at)


def _folders(settings: Settings) -> Iterator[Copy]:
    manifests = (
        *settings.artifacts_dir.rglob(files.MANIFEST),
        *settings.checkpoints_dir.glob(f"*/*/{files.MANIFEST}"),
        *settings.predictions_dir.glob(f"*/{files.MANIFEST}"),
    )
    passing = files.TEMPORARY, checkpoint.DAMAGED
    for mark in manifests:
        if not mark.parent.name.startswith(passing) and not mark.parent.is_symlink():
            with suppress(FileNotFoundError):  # its task is removed at this moment
                yield Copy(mark.parent, mark, files.size(mark.parent), mark.stat().st_atime)


def _datasets(settings: Settings) -> Iterator[Copy]:
    for mark in addresses.home_of(settings.data_dir).glob("*/data.*"):
        with suppress(FileNotFoundError):
            yield Copy(mark, mark, mark.stat().st_size, mark.stat().st_atime)


def delete(settings: Settings, objects: Objects | None, copy: Copy) -> bool:
    """Delete a copy unless it was used in the meantime, or the store does not have the same. Raises Busy."""
    away = settings.bodies_dir / secrets.token_hex(8)
    try:
        if copy.mark.stat().st_atime != copy.used_at:
            return False
        if copy.path == copy.mark:
            copy.mark.unlink()
            return True
        name = copy.mark.relative_to(settings.data_dir).as_posix()
        known = None if objects is None else objects.read(name)
        is_same = known is not None and known.content == copy.mark.read_bytes()
        return is_same and removal.move_away(copy.path, away / copy.path.name)
    except FileNotFoundError:  # its task was removed
        return False
    finally:
        files.delete(away)
