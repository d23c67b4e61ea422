"""Folders that are either whole or absent, whatever dies while they are written.

A folder is written under a temporary name, its files flushed, a manifest of sizes and SHA-256 sums added,
and only then renamed to its place; the parent is flushed last. Whoever reads it back checks the manifest.
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
"""For small files, logs and the database."""
MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"
LATEST = "latest"
"""The link, beside the models of one output path, that leads to the newest of them."""


@contextmanager
def durable_folder(final: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``final`` when the block ends well, and vanishes otherwise.

    An existing ``final`` is replaced.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{TEMPORARY}{final.name}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        yield temporary
        write_json(temporary / MANIFEST, _manifest(temporary))
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
    """Whether an error says that the disk is full; safetensors puts the system's number into words."""
    if isinstance(error, OSError):
        return error.errno in FULL
    return any(f"code: {number}," in str(error) or f"os error {number})" in str(error) for number in FULL)


def no_room(what: str, needed: int, folder: Path) -> OutOfSpace:
    """The error for something of so many bytes that did not fit on the disk, besides what is needed anyway."""
    needed, free = needed + SPARE_BYTES, shutil.disk_usage(folder).free
    message = (
        f"the disk is full: {what} needs about {needed / 2**20:,.0f} MiB in {folder}, where {free / 2**20:,.0f} MiB "
        "are free. The training goes on from its last checkpoint as soon as there is room"
    )
    return OutOfSpace(message, needed)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what a process that died has left half-written in a folder: of the folder ``name`` there, or of all."""
    for path in folder.glob(f"{TEMPORARY}{name}*") if folder.is_dir() else ():
        shutil.rmtree(path, ignore_errors=True)


def verify(folder: Path) -> None:
    """Raise CorruptFile unless every file of the manifest is there with its size and sum."""
    for name, size, total in _expected(folder):
        path = folder / name
        if not path.is_file():
            raise CorruptFile(f"{path} is missing")
        if path.stat().st_size != size or sha256(path) != total:
            raise CorruptFile(f"{path} is damaged: its size or SHA-256 differs from {MANIFEST}")


def _expected(folder: Path) -> list[tuple[str, int, str]]:
    """Name, size and sum of each file in the manifest; raise CorruptFile if it is not as it was written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return [(name, about["bytes"], about["sha256"]) for name, about in manifest["files"].items()]
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{folder} has no readable {MANIFEST}: {error}") from None
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{folder / MANIFEST} is damaged: {error!r}") from None


def size(folder: Path) -> int:
    """Bytes of all files directly in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def point(link: Path, target: Path) -> None:
    """Make ``link`` a relative symbolic link to ``target``, replacing an older one in one step."""
    temporary = link.parent / f"{TEMPORARY}{link.name}-{secrets.token_hex(4)}"
    temporary.symlink_to(os.path.relpath(target, link.parent))
    temporary.replace(link)
    flush(link.parent)


def write_json(path: Path, value: Any) -> None:
    """Readable JSON; NaN and infinities are refused."""
    path.write_text(
        json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1, sort_keys=False) + "\n", encoding="utf-8"
    )


def flush(path: Path) -> None:
    """Force a file's or a folder's content to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest(folder: Path) -> dict[str, Any]:
    return {
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in sorted(folder.iterdir())
        }
    }
