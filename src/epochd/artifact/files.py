"""Durable folders: complete or absent, even if the process or the machine dies while one is written.

A folder is written under a temporary name with a manifest of sizes and SHA-256 sums, its files are flushed, and only
then is it renamed; the parent folder is flushed last. Readers check the manifest.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from epochd.core.errors import CorruptFile, OutOfSpace

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
SPARE_BYTES = 16 * 2**20
"""Disk space for small files, logs and the database."""
MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
LATEST = "latest"
"""The link to the newest model of an output path, in the same folder as the models."""


@contextmanager
def durable_folder(final: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``final`` at the end of the block, or is removed after an exception."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{TEMPORARY}{final.name}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        yield temporary
        about = {f.name: {"bytes": f.stat().st_size, "sha256": sha256(f)} for f in sorted(temporary.iterdir())}
        write_json(temporary / MANIFEST, {"files": about})
        for path in temporary.iterdir():
            flush(path)
        flush(temporary)
        if final.exists():
            shutil.rmtree(final)
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush(final.parent)


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


def verify(folder: Path) -> None:
    """Raise CorruptFile unless every file of the manifest exists with its size and SHA-256 sum."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = [(folder / name, about["bytes"], about["sha256"]) for name, about in manifest["files"].items()]
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
