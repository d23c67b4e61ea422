"""The data folder of a server: created, locked, and readable for its owner only."""

import fcntl
import logging
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from epochd.core.errors import SettingsError
from epochd.core.settings import DATABASE_FILE, Settings

LOCK = ".lock"
LOCK_SECONDS = 5.0
"""How long to wait for another server that starts at the same moment."""
LEFTOVER_SECONDS = 86_400.0
"""How old a file of a request has to be, for another server to delete it as that of a dead one."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataFolder:
    """``lock`` is the descriptor of the locked file. ``leftovers_before``: what requests have left in the folder before
    this moment (Unix time) belongs to no server that runs."""

    lock: int
    leftovers_before: float


@contextmanager
def opened(settings: Settings) -> Iterator[DataFolder]:
    """Create the data folder, and lock it against servers that do not share it; the end of the process releases the
    lock. Raises SettingsError."""
    folders = (
        settings.artifacts_dir,
        settings.checkpoints_dir,
        settings.logs_dir,
        settings.predictions_dir,
        settings.dataset_roots[0],
    )
    for folder in (settings.data_dir, *folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, f"cannot create it: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _unusable(folder, "this user cannot write to it")
    try:
        file = (settings.data_dir / LOCK).open("w")
    except OSError as error:
        raise _unusable(settings.data_dir / LOCK, f"cannot open it: {error.strerror}") from None
    with file:
        is_alone = _lock(file, settings)
        _restrict_access(settings)
        yield DataFolder(file.fileno(), math.inf if is_alone else time.time() - LEFTOVER_SECONDS)


def _lock(file: IO[str], settings: Settings) -> bool:
    """Lock the folder, for this server alone or together with all that share it; whether no other server uses it."""
    end, is_alone = time.monotonic() + LOCK_SECONDS, False
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not settings.shared:
                return True
            is_alone = True
        except BlockingIOError:
            if not settings.shared:
                raise SettingsError(
                    f"another epochd server is using {settings.data_dir}. Stop it, or set EPOCHD_DATA_DIR to another "
                    "folder"
                ) from None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return is_alone
        except BlockingIOError:
            if time.monotonic() > end:
                raise SettingsError(
                    f"another epochd server is using {settings.data_dir} alone. Stop it, set EPOCHD_SHARED=true for "
                    "it, or set EPOCHD_DATA_DIR to another folder"
                ) from None
            is_alone = False
            time.sleep(0.05)


def _restrict_access(settings: Settings) -> None:
    """Give access to the data folder to its owner only; with ``group_readable``, to the models also to its group."""
    home, group = settings.data_dir, settings.group_readable
    if settings.database_url is None and not (home / DATABASE_FILE).exists():
        (home / DATABASE_FILE).touch(0o600)
    private = (
        settings.checkpoints_dir,
        settings.logs_dir,
        settings.predictions_dir,
        settings.removals_dir,
        settings.cache_dir,
        settings.speeds_dir,
    )
    modes = {home: 0o710 if group else 0o700, settings.artifacts_dir: 0o750 if group else 0o700}
    modes |= dict.fromkeys((*private, settings.dataset_roots[0]), 0o700) | dict.fromkeys(
        home.glob(f"{DATABASE_FILE}*"), 0o600
    )
    for path, mode in modes.items():
        try:
            # What cannot be written is refused when it is opened.
            if os.access(path, os.W_OK) and (path.stat().st_mode & 0o777) != mode:
                path.chmod(mode | (path.stat().st_mode & 0o7000))
        except OSError as error:
            logger.warning(
                "the permissions of %s cannot be set to %03o (%s); set them manually", path, mode, error.strerror
            )


def _unusable(path: Path, why: str) -> SettingsError:
    return SettingsError(f"cannot use {path}: {why}. Set EPOCHD_DATA_DIR to a folder that this user can write to")
