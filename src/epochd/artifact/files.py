"""Folders that are either whole or absent, whatever dies while they are written.

A folder is written under a temporary name, its files flushed, a manifest of sizes and SHA-256 sums added,
and only then renamed to its place; the parent is flushed last. Whoever reads it back checks the manifest.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from epochd.core.errors import CorruptFile

MANIFEST = "manifest.json"
TEMPORARY = ".tmp-"


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


def verify(folder: Path) -> None:
    """Raise CorruptFile unless every file of the manifest is there with its size and sum."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptFile(f"{folder} has no readable {MANIFEST}: {error}") from None
    for name, expected in manifest["files"].items():
        path = folder / name
        if not path.is_file():
            raise CorruptFile(f"{path} is missing")
        if path.stat().st_size != expected["bytes"] or sha256(path) != expected["sha256"]:
            raise CorruptFile(f"{path} is damaged: its size or SHA-256 differs from {MANIFEST}")


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
