"""Durable folders in an object store: complete or absent, as on a disk.

A folder has the same path as in the data folder. Its files are written first, each under its name and SHA-256, so that
a file never replaces another one; then its manifest, on the condition that nobody has written another one since the
writer was found to be the running attempt. A folder exists once its manifest does. A reader compares what it gets with
the manifest. Which model of an output path is the newest is an object of its own, ``latest``.
"""

import hashlib
import json
import logging
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from epochd.artifact import checkpoint, files
from epochd.artifact.objects import STALE_SECONDS, Objects, Stored
from epochd.core.errors import Busy, CorruptFile
from epochd.core.jobs import TASK_ID

logger = logging.getLogger(__name__)

THREADS = 8
TRIES = 5
"""How often a condition is met anew before somebody else is told to try."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a folder. ``modified`` is in nanoseconds since the Unix epoch, for the file of a dataset."""

    key: str
    bytes: int
    sha256: str
    modified: int | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest of a folder, with its files by name."""

    folder: str
    content: bytes
    files: Mapping[str, StoredFile]

    @property
    def key(self) -> str:
        return manifest_key(self.folder)


def manifest_key(folder: str) -> str:
    return f"{folder}/{files.MANIFEST}"


def file_key(folder: str, name: str, sha256: str) -> str:
    """Where a file is; its content decides."""
    return f"{folder}/{name}.{sha256}"


def parsed(folder: str, content: bytes) -> Manifest:
    """A manifest. Raises CorruptFile."""
    try:
        found = {
            name: StoredFile(
                file_key(folder, name, _hexadecimal(about["sha256"])),
                int(about["bytes"]),
                about["sha256"],
                about.get("modified"),
            )
            for name, about in json.loads(content)["files"].items()
        }
        if any(Path(name).name != name or name.startswith(".") or "\0" in name for name in found):
            raise ValueError("a name leads out of the folder")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFile(f"{manifest_key(folder)} is damaged: {error!r}") from None
    return Manifest(folder, content, found)


def _hexadecimal(text: str) -> str:
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("not a SHA-256")
    return text


def manifest(objects: Objects, folder: str, *, must_exist: bool = False) -> Manifest | None:
    """The manifest of a folder; None if there is no such folder. Raises CorruptFile."""
    found = objects.read(manifest_key(folder), must_exist=must_exist)
    return None if found is None else parsed(folder, found.content)


def check_complete(objects: Objects, wanted: Manifest) -> None:
    """Raise CorruptFile unless all files of a folder have their sizes. What has just been written is waited for."""
    until = time.monotonic() + STALE_SECONDS
    while True:
        sizes = objects.sizes(wanted.folder)
        wrong = [name for name, file in wanted.files.items() if sizes.get(file.key) != file.bytes]
        if not wrong:
            return
        if time.monotonic() > until:
            raise CorruptFile(f"{wanted.folder} in {objects.url} is incomplete: {', '.join(sorted(wrong))}")
        time.sleep(0.2)


@dataclass(frozen=True, slots=True)
class Publication:
    """A folder whose files are complete, and the manifest that it has so far."""

    manifest: Manifest
    before: Stored | None

    @property
    def is_done(self) -> bool:
        """Whether the answer to an earlier request with this manifest was lost."""
        return self.before is not None and self.before.content == self.manifest.content


def prepared(objects: Objects, wanted: Manifest) -> Publication:
    """See that a folder is complete, before its manifest is written. Raises CorruptFile."""
    check_complete(objects, wanted)
    return Publication(wanted, objects.read(wanted.key))


def publish(objects: Objects, publication: Publication) -> bool:
    """Write the manifest; False if somebody else has written another one in the meantime."""
    wanted, before = publication.manifest, publication.before
    if publication.is_done:
        return True
    if before is None:
        return objects.create(wanted.key, wanted.content)
    return objects.replace(wanted.key, wanted.content, before)


def put_files(objects: Objects, place: Path, wanted: Manifest) -> None:
    """Write the files of a folder on the disk."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda name: objects.put(wanted.files[name].key, place / name), wanted.files))


def put_folder(objects: Objects, place: Path, folder: str) -> None:
    """Write a durable folder of this server, the manifest last, which replaces what is there."""
    wanted = parsed(folder, (place / files.MANIFEST).read_bytes())
    put_files(objects, place, wanted)
    for _ in range(TRIES):
        if publish(objects, prepared(objects, wanted)):
            return
    raise Busy(f"others write {folder} at the same time", 1)


def get_folder(objects: Objects, wanted: Manifest, final: Path, *, mode: int = 0o700, mark: bool = False) -> None:
    """Make a folder on the disk what it is in the store, with a ``mark`` that it is a copy. Raises CorruptFile; nothing
    incomplete is left."""
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.parent / f"{files.TEMPORARY}{final.name}-{secrets.token_hex(4)}"
    temporary.mkdir(0o700)
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(partial(_get, objects, temporary), wanted.files.items()))
        (temporary / files.MANIFEST).write_bytes(wanted.content)
        if mark:
            (temporary / files.FETCHED).touch()
        files.publish(temporary, final, mode=mode)
    except FileNotFoundError as error:
        raise CorruptFile(str(error)) from None
    except OSError as error:
        if files.is_full(error):
            raise files.out_of_space("a folder of the object store", 0, final.parent) from None
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _get(objects: Objects, folder: Path, named: tuple[str, StoredFile]) -> None:
    name, file = named
    objects.fetch(file.key, folder / name, file.bytes, file.sha256)


def remove(objects: Objects, folder: str) -> None:
    """Delete a folder and all below it, the manifests first."""
    _remove(objects, [*objects.sizes(folder)])


def _remove(objects: Objects, keys: Sequence[str]) -> None:
    manifests = [key for key in keys if key.endswith(f"/{files.MANIFEST}")]
    objects.delete(manifests)
    objects.delete(key for key in keys if key not in manifests)


def numbered(objects: Objects, folder: str) -> list[str]:
    """The names of a task's checkpoints that have a manifest, oldest first."""
    return _published(objects.sizes(folder), folder)


def _published(keys: Iterable[str], folder: str) -> list[str]:
    manifests = (key for key in keys if key.endswith(f"/{files.MANIFEST}"))
    return sorted(name for key in manifests if (name := _checkpoint_of(key, folder)))


def _checkpoint_of(key: str, folder: str) -> str | None:
    """The name of the checkpoint that an object in a task's folder belongs to."""
    name = key.removeprefix(f"{folder}/").partition("/")[0]
    return name if checkpoint.NUMBERED.fullmatch(name) else None


def newest(
    objects: Objects, folder: str, known: str | None = None, damaged: Collection[str] = ()
) -> tuple[Manifest | None, list[str]]:
    """The newest complete checkpoint of a task, and what is wrong with each newer one; ``known`` is the name of one
    that has been there, and ``damaged`` are those that a reader has found to be."""
    faults: list[str] = []
    names = {*numbered(objects, folder), *([known] if known else [])}
    for name in sorted(names, reverse=True):
        try:
            found = manifest(objects, f"{folder}/{name}", must_exist=name == known)
            if found is None:
                continue
            if name in damaged:
                raise CorruptFile(f"a file in {objects.url} is damaged")
            check_complete(objects, found)
            return found, faults
        except CorruptFile as error:
            faults.append(f"checkpoint {name} cannot be used: {error}")
    return None, faults


def prune(objects: Objects, folder: str) -> None:
    """Delete the checkpoints of a task that are older than the newest complete ones that are kept."""
    keys = objects.sizes(folder)
    oldest = _published(keys, folder)[-checkpoint.KEEP :][:1]
    old = [key for key in keys if (name := _checkpoint_of(key, folder)) and oldest and name < oldest[0]]
    _remove(objects, old)


def latest(objects: Objects, folder: str) -> tuple[str | None, float, Stored | None]:
    """The newest model in a folder, when it was saved (Unix time), and the object that says so."""
    found = objects.read(f"{folder}/{files.LATEST}")
    if found is None:
        return None, 0.0, None
    try:
        about = json.loads(found.content)
        return about["version"] and str(about["version"]), float(about["saved_at"]), found
    except (ValueError, KeyError, TypeError):
        return None, 0.0, found


def point_latest(objects: Objects, folder: str, version: str) -> None:
    """Let ``latest`` lead to a model, unless it leads to one that was saved later."""
    saved = objects.read(manifest_key(f"{folder}/{version}"), must_exist=True)
    if saved is None:  # removed in the meantime
        return
    for _ in range(TRIES):
        present, saved_at, seen = latest(objects, folder)
        if present == version or saved_at > saved.modified:
            return
        if _write_latest(objects, folder, version, saved.modified, seen):
            return
    raise Busy(f"others write {folder}/{files.LATEST} at the same time", 1)


def repoint_latest(objects: Objects, folder: str, removed: str) -> None:
    """If ``latest`` leads to a model that is about to be removed, let it lead to the newest other one, or to none. The
    object stays: nothing could be deleted on the condition that no other model was published in the meantime."""
    for _ in range(TRIES):
        present, _, seen = latest(objects, folder)
        if present != removed:
            return
        others = [name for name in objects.folders(folder) if TASK_ID.fullmatch(name) and name != removed]
        found = [(saved.modified, name) for name in others if (saved := objects.read(manifest_key(f"{folder}/{name}")))]
        saved_at, version = max(found) if found else (0.0, None)
        if _write_latest(objects, folder, version, saved_at, seen):
            return
    raise Busy(f"others write {folder}/{files.LATEST} at the same time", 1)


def _write_latest(objects: Objects, folder: str, version: str | None, saved_at: float, seen: Stored | None) -> bool:
    content = json.dumps({"version": version, "saved_at": saved_at}).encode()
    key = f"{folder}/{files.LATEST}"
    return objects.create(key, content) if seen is None else objects.replace(key, content, seen)


def dataset_folder(name: str, fingerprint: str) -> str:
    """The folder of one content of a dataset's file, so that the row of the dataset decides which one counts."""
    return f"datasets/{name}/{hashlib.sha256(fingerprint.encode()).hexdigest()[:32]}"


def put_dataset(objects: Objects, file: Path, folder: str, name: str) -> Manifest:
    """Write the file of a dataset, of which ``name`` is the name that it will have, and its manifest."""
    found = file.stat()
    about: dict[str, Any] = {"bytes": found.st_size, "sha256": files.sha256(file), "modified": found.st_mtime_ns}
    wanted = parsed(folder, json.dumps({"files": {name: about}}, ensure_ascii=False).encode())
    objects.put(wanted.files[name].key, file)
    objects.put(wanted.key, wanted.content)
    return wanted
