"""Durable folders: complete or absent, even if the process or the machine dies while one is written.

A folder is written under a temporary name with a manifest of sizes and SHA-256 sums, its files are flushed, and only
then is it renamed; the parent folder is flushed last. Readers check the manifest. Only what the manifest names belongs
to a folder, and a report that was drawn from it: whatever else lies in it is left there when the folder is replaced or
removed.
"""

import errno
import hashlib
import json
import math
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from epochd.core.errors import CorruptFile, FileNotReadable, OutOfSpace

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
SPARE_BYTES = 16 * 2**20
"""Disk space for small files, logs and the database."""
UNSENT_SECONDS = 86_400.0
MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
MODEL = "model.json"
DERIVED = "report.html"
"""The file that is made from the others when there is time for it, or when it is asked for; no manifest names it."""
FETCHED = ".fetched"
"""An empty file that no manifest names: the folder is a copy of one in the object store."""
LATEST = "latest"
"""The link to the newest model of an output path, in the same folder as the models."""


@contextmanager
def durable_folder(final: Path, *, mode: int = 0o700) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``final`` at the end of the block, or is removed after an exception.

    ``mode`` is that of the folder; its files have the same one without the permission to execute.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{TEMPORARY}{final.name}-{secrets.token_hex(4)}"
    temporary.mkdir(0o700)
    try:
        yield temporary
        about = {f.name: {"bytes": f.stat().st_size, "sha256": sha256(f)} for f in sorted(temporary.iterdir())}
        write_json(temporary / MANIFEST, {"files": about})
        publish(temporary, final, mode=mode)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def publish(temporary: Path, final: Path, *, mode: int = 0o700) -> None:
    """Flush the files of a folder with a manifest, and rename it to ``final``, which it replaces."""
    for path in temporary.iterdir():
        _set_mode(path, mode & 0o666)
        flush(path)
    _set_mode(temporary, mode)
    flush(temporary)
    _replace(final, temporary)
    flush(final.parent)


def delete_older(folder: Path, before: float) -> None:
    """Delete the folders in a folder in which nothing has changed since this moment, in Unix time; infinity: all."""
    if before == math.inf:
        return shutil.rmtree(folder, ignore_errors=True)
    for path in folder.glob("*"):
        with suppress(FileNotFoundError):  # its request has ended
            if max(inner.stat().st_mtime for inner in (path, *path.rglob("*"))) < before:
                shutil.rmtree(path, ignore_errors=True)


def delete(folder: Path) -> None:
    """Delete a folder with all in it, as far as possible."""
    shutil.rmtree(folder, ignore_errors=True)


def _set_mode(path: Path, mode: int) -> None:
    with suppress(OSError):  # some file systems have no modes
        path.chmod(mode)


def _replace(final: Path, temporary: Path) -> None:
    """Rename a complete folder to ``final``, or move its files there, the manifest last, if other things are in it."""
    remove_own(final)
    if not final.is_dir():
        temporary.rename(final)
        return
    for path in sorted(temporary.iterdir(), key=lambda path: path.name == MANIFEST):
        path.rename(final / path.name)
    temporary.rmdir()
    flush(final)


def own_names(folder: Path) -> set[str]:
    """The names of the files that belong to a folder: its manifest, what this names, and ``DERIVED`` if it is there.
    Without a manifest, or in one that is damaged, nothing is named. Raises OSError."""
    try:
        names = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        derived = [DERIVED] if (folder / DERIVED).is_file() else []
        return {MANIFEST, *derived, *(name for name in names if Path(name).name == name)}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except (KeyError, TypeError, ValueError):
        return {MANIFEST}


def add_derived(folder: Path, name: str, text: str) -> None:
    """Write a file that is derived from the others of a folder, with their mode. Raises OSError."""
    temporary = folder / f"{TEMPORARY}{name}-{secrets.token_hex(4)}"
    try:
        temporary.write_text(text, encoding="utf-8")
        _set_mode(temporary, (folder / MANIFEST).stat().st_mode & 0o666)
        temporary.rename(folder / name)
    finally:
        temporary.unlink(missing_ok=True)


def remove_own(folder: Path) -> bool:
    """Delete what belongs to a folder, the manifest last, and the folder if nothing else is in it; whether it is gone.
    Raises OSError."""
    for name in sorted(own_names(folder) | {FETCHED}, key=lambda name: name == MANIFEST):
        (folder / name).unlink(missing_ok=True)
    with suppress(FileNotFoundError, NotADirectoryError):
        if any(folder.iterdir()):
            return False
        folder.rmdir()
    return True


def is_full(error: BaseException) -> bool:
    """Whether the error means that the disk is full; safetensors gives the error number in its message only."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"code: {number}," in str(error) or f"os error {number})" in str(error) for number in FULL)


def out_of_space(what: str, needed: int, folder: Path) -> OutOfSpace:
    """The error for ``what`` of ``needed`` bytes that did not fit on the disk."""
    needed, free = needed + SPARE_BYTES, shutil.disk_usage(folder).free
    message = (
        f"the disk is full: {what} needs about {needed / 2**20:,.0f} MiB in {folder}, where {free / 2**20:,.0f} MiB "
        "are free. The training resumes from its last checkpoint when there is enough space"
    )
    return OutOfSpace(message, needed)


def remove_temporary(folder: Path, name: str = "") -> None:
    """Remove the temporary folders that a dead process left in ``folder``: those of ``name``, or all."""
    for path in folder.glob(f"{TEMPORARY}{name}*") if folder.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True)


def remove_unsent(data_dir: Path) -> None:
    """Remove what attempts on another machine than the server could not send to it, once nobody has touched it for
    ``UNSENT_SECONDS``. Others may do the same at this moment."""
    for kind in ("checkpoints", "logs", "predictions"):
        for folder in (data_dir / kind).glob("*"):
            with suppress(OSError):
                if max(path.stat().st_mtime for path in (folder, *folder.rglob("*"))) < time.time() - UNSENT_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)


def verify(folder: Path) -> None:
    """Raise CorruptFile unless every file of the manifest exists with its size and SHA-256 sum; FileNotReadable if this
    user may not read them."""
    try:
        _verify(folder)
    except PermissionError as error:
        reason = f"{error.filename or folder} cannot be read: this user has no permission"
        raise FileNotReadable(
            f"{reason}. Use the account of the epochd server, or set EPOCHD_GROUP_READABLE there, so that the group of "
            "its folders may read the models that it saves from then on"
        ) from None


def _verify(folder: Path) -> None:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = [(folder / name, about["bytes"], about["sha256"]) for name, about in manifest["files"].items()]
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{folder} has no readable {MANIFEST}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{folder / MANIFEST} is damaged: {error!r}") from None
    for path, size, total in files:
        if not path.is_file():
            raise CorruptFile(f"{path} is missing")
        if path.stat().st_size != size or sha256(path) != total:
            raise CorruptFile(f"{path} is damaged: its size or SHA-256 differs from {MANIFEST}")


def size(folder: Path) -> int:
    """Bytes of all files directly in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def replace_link(link: Path, target: Path) -> None:
    """Make ``link`` a relative symbolic link to ``target``; an existing link is replaced atomically."""
    temporary = link.parent / f"{TEMPORARY}{link.name}-{secrets.token_hex(4)}"
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)
    flush(link.parent)


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON; raises ValueError for NaN and infinities."""
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def flush(path: Path) -> None:
    """Write a file or a folder through to the disk (fsync)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
