"""The files of attempts where an object store has them: workers read and write them there.

A worker gets URLs that are signed for one object and a few minutes, never a key of the store. It sends the files of a
folder there and the manifest here: the folder counts once the store has all its files and the attempt is found to be
the running one. Where no URL can or may be signed, and for files that are too large for one request, the server passes
the files on.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from epochd.api.attempt_files import CHECKPOINT, KEPT, PART, AttemptFiles, Sources, target_of
from epochd.api.storage import Storage
from epochd.artifact import files, stored
from epochd.artifact.objects import SIGNED_BYTES, Objects
from epochd.artifact.predictions import HEADER
from epochd.artifact.stored import Manifest
from epochd.core.errors import BadRequest, Busy, CorruptFile, TooLarge
from epochd.core.jobs import Job, JobKind
from epochd.core.settings import Settings
from epochd.core.transfers import Grants, RemoteFile, Wanted
from epochd.data.tables.catalog import Catalog

GRANT_SECONDS = 300.0
"""How long a URL is valid; what has begun by then may go on."""
MAX_MANIFEST_BYTES = 8 << 20
AZURE_HEADERS = {"x-ms-blob-type": "BlockBlob"}

logger = logging.getLogger(__name__)


class StoredFiles(AttemptFiles):
    """The files of attempts in the object store of ``storage``."""

    def __init__(self, settings: Settings, catalog: Callable[..., Awaitable[Catalog]], storage: Storage) -> None:
        super().__init__(settings, catalog)
        self._storage = storage
        self._states: dict[tuple[str, int], dict[str, str]] = {}
        self._stored_models: set[Path] = set()

    @property
    def _objects(self) -> Objects:
        assert self._storage.objects is not None, "the store is opened before requests are taken"
        return self._storage.objects

    async def sources(self, job: Job) -> Sources:
        if job.kind is JobKind.PREDICTION:
            await self._storage.folder(self._settings.data_dir / job.summary["model"]["folder"])
        return await super().sources(job)

    async def state(self, job: Job, damaged: Sequence[str]) -> tuple[list[RemoteFile], list[str]]:
        found, faults = await self._storage.run(_state, self._objects, job, damaged)
        if not found and not faults:  # of the time before the server had a store
            return await super().state(job, damaged)
        self._remember(job, found)
        return [RemoteFile(path=path, bytes=size, modified=0) for path, (_, size) in found.items()], faults

    def _remember(self, job: Job, found: dict[str, tuple[str, int]]) -> None:
        self._states[job.key] = {path: key for path, (key, _) in found.items()}
        while len(self._states) > KEPT:
            self._states.pop(next(iter(self._states)))

    async def find(self, job: Job, kind: str, path: str) -> Path | str:
        """A file of an attempt on this machine, or the URL at which a worker gets it."""
        key = await self._key(job, kind, path)
        if key is not None and self._objects.can_sign:
            [url] = await self._storage.run(self._objects.signed, "GET", [key], GRANT_SECONDS)
            return url
        if key is not None and kind == "state":
            await self._fetch_state(job, path, key)
        return await super().find(job, kind, path)

    async def _key(self, job: Job, kind: str, path: str) -> str | None:
        """The object that has a file of an attempt; None if the store has none. Raises NotFound."""
        if kind == "state":
            if path not in self._states.get(job.key, {}):  # another server has told the worker of it
                found = await self._storage.run(_folder_of, self._objects, job, path)
                self._remember(job, {known: (key, 0) for known, key in self._states.get(job.key, {}).items()} | found)
            return self._states[job.key].get(path)
        file = await super().find(job, kind, path)
        assert isinstance(file, Path)
        if kind == "data":
            known = self._storage.dataset_manifest(file)
            return known.files[file.name].key if known is not None and file.name in known.files else None
        folder = (self._settings.data_dir / job.summary["model"]["folder"]).absolute()
        if folder not in self._stored_models:
            is_there = await self._storage.run(self._objects.about, stored.manifest_key(self._of_model(job)))
            if is_there is None:
                return None
            self._stored_models.add(folder)
        content = await asyncio.to_thread((folder / files.MANIFEST).read_bytes)
        known = stored.parsed(self._of_model(job), content)
        if file.name == files.MANIFEST:
            return known.key
        return known.files[file.name].key if file.name in known.files else None

    def _of_model(self, job: Job) -> str:
        return str(job.summary["model"]["folder"])

    async def _fetch_state(self, job: Job, path: str, key: str) -> None:
        """Fetch the folder that a file is in, for a store whose URLs are not signed."""
        file = self._settings.data_dir / path
        if file.name != HEADER:
            await self._storage.folder(file.parent)
        elif (content := await self._storage.run(self._objects.read, key)) is not None:
            await asyncio.to_thread(file.parent.mkdir, 0o700, parents=True, exist_ok=True)
            await asyncio.to_thread(file.write_bytes, content.content)

    async def grants(self, job: Job, wanted: Wanted) -> Grants:
        """Where the files are to be sent. Raises BadRequest for a path that is not the attempt's."""
        every = {path: _file_key(job, path, sha256) for path, (sha256, _) in wanted.files.items()}
        keys = {path: key for path, key in every.items() if wanted.files[path][1] <= SIGNED_BYTES}
        if not keys or not self._objects.can_sign:
            return Grants(urls=dict.fromkeys(wanted.files))
        urls = await self._storage.run(self._objects.signed, "PUT", [*keys.values()], GRANT_SECONDS)
        headers = AZURE_HEADERS if self._objects.url.startswith("az:") else {}
        return Grants(urls=dict.fromkeys(wanted.files) | dict(zip(keys, urls, strict=True)), headers=headers)

    async def write(self, job: Job, path: str, content: AsyncIterator[bytes], confirm: Callable[[], Any]) -> None:
        relative = target_of(job, path)
        folder = relative.parent.as_posix()
        if relative.name == files.MANIFEST:
            wanted = stored.parsed(folder, await _body(content))
            await self._publish_stored(job, wanted, confirm)
        elif relative.name == HEADER:
            await self._storage.run(_begin_parts, self._objects, folder, await _body(content))
        else:
            await self._pass_on(folder, relative.name, content)

    async def _pass_on(self, folder: str, name: str, content: AsyncIterator[bytes]) -> None:
        """Store a file that is received from a worker."""
        home = self._settings.bodies_dir / secrets.token_hex(8)
        part = home / "file"
        try:
            await asyncio.to_thread(home.mkdir, 0o700, parents=True)
            with part.open("wb") as out:
                async for chunk in content:
                    await asyncio.to_thread(out.write, chunk)
            sha256 = await asyncio.to_thread(files.sha256, part)
            await self._storage.run(self._objects.put, stored.file_key(folder, name, sha256), part)
        except OSError as error:
            if files.is_full(error):
                raise files.out_of_space("a file of a worker", 0, self._settings.data_dir) from None
            raise
        finally:
            await asyncio.to_thread(files.delete, home)

    async def _publish_stored(self, job: Job, wanted: Manifest, confirm: Callable[[], Any]) -> None:
        """Let a folder exist whose files have been sent, if the attempt still is the running one. Who publishes after
        that, though it was the running one earlier, is noticed: the manifest is not the one that was seen before."""
        for _ in range(stored.TRIES):
            publication = await self._storage.run(stored.prepared, self._objects, wanted)
            await confirm()
            if await self._storage.run(stored.publish, self._objects, publication):
                break
        else:
            raise Busy(f"others write {wanted.folder} at the same time", 1)
        above, _, name = wanted.folder.rpartition("/")
        if wanted.folder.startswith("artifacts/"):
            await self._storage.run(stored.point_latest, self._objects, above, name)
            await self._storage.latest(above.removeprefix("artifacts/"))
        elif above == f"checkpoints/{job.id}":
            try:
                await self._storage.run(stored.prune, self._objects, above)
            except Busy as error:
                logger.warning("old checkpoints of %s were not deleted: %s", job.id, error)


def _file_key(job: Job, path: str, sha256: str) -> str:
    relative = target_of(job, path)
    if relative.name in (files.MANIFEST, HEADER) or len(sha256) != 64 or not set(sha256) <= set("0123456789abcdef"):
        raise BadRequest(f"{path[:200]!r} is no file that a folder has under its SHA-256")
    return stored.file_key(relative.parent.as_posix(), relative.name, sha256)


async def _body(content: AsyncIterator[bytes]) -> bytes:
    received = bytearray()
    async for chunk in content:
        received += chunk
        if len(received) > MAX_MANIFEST_BYTES:
            raise TooLarge(f"a manifest has up to {MAX_MANIFEST_BYTES:,} bytes")
    return bytes(received)


def _begin_parts(objects: Objects, folder: str, header: bytes) -> None:
    """Write the header of a prediction's parts; parts of another one are deleted."""
    key = f"{folder}/{HEADER}"
    before = objects.read(key)
    if before is None or before.content != header:
        stored.remove(objects, folder)
        objects.put(key, header)


def _state(objects: Objects, job: Job, damaged: Sequence[str]) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """The files of the newest complete checkpoint of a training, or of all parts of a prediction: path below the data
    folder → key and size; and what is wrong with newer checkpoints."""
    folder = f"checkpoints/{job.id}"
    if job.kind is JobKind.TRAINING:
        known = None if job.checkpoint is None else PurePosixPath(job.checkpoint.path).name
        newest, faults = stored.newest(objects, folder, known, damaged)
        return _listed([] if newest is None else [newest]), faults
    sizes = objects.sizes(f"{folder}/parts")
    header = f"{folder}/parts/{HEADER}"
    if header not in sizes:
        return {}, []
    folders = [key.rpartition("/")[0] for key in sizes if key.endswith(f"/{files.MANIFEST}")]
    with ThreadPoolExecutor(stored.THREADS) as pool:
        parts = [part for part in pool.map(lambda name: _part(objects, name), folders) if part is not None]
    whole = [part for part in parts if all(sizes.get(file.key) == file.bytes for file in part.files.values())]
    return {header: (header, sizes[header])} | _listed(whole), []


def _folder_of(objects: Objects, job: Job, path: str) -> dict[str, tuple[str, int]]:
    """The files of the folder that a file of a checkpoint or of a prediction's parts is in, as ``_state`` has them. The
    path is that of a request. Raises CorruptFile."""
    folder = f"checkpoints/{job.id}"
    if path == f"{folder}/parts/{HEADER}":
        return {path: (path, 0)}
    kind = CHECKPOINT if job.kind is JobKind.TRAINING else PART
    relative = PurePosixPath(path)
    if kind.fullmatch(path) is None or ".." in relative.parts or relative.parts[1] != job.id:
        return {}
    found = stored.manifest(objects, relative.parent.as_posix())
    return {} if found is None else _listed([found])


def _part(objects: Objects, folder: str) -> Manifest | None:
    try:
        return stored.manifest(objects, folder)
    except CorruptFile as error:
        logger.warning("%s: its rows are predicted again", error)
        return None


def _listed(manifests: Iterable[Manifest]) -> dict[str, tuple[str, int]]:
    found: dict[str, tuple[str, int]] = {}
    for one in manifests:
        found |= {f"{one.folder}/{name}": (file.key, file.bytes) for name, file in one.files.items()}
        found[one.key] = one.key, len(one.content)
    return found
