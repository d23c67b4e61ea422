"""What a server has in its object store, and the copies of it in the data folder.

With EPOCHD_STORAGE the store has every durable folder, and the data folder is a cache: what is asked for is fetched
when it is not there. Without it, nothing here does anything. Folders have the same paths in both.
"""

import asyncio
import logging
import math
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from epochd.artifact import checkpoint, copies, files, removal, stored
from epochd.artifact.objects import WAIT_SECONDS, About, Objects
from epochd.artifact.stored import Manifest
from epochd.core.errors import Busy, CorruptFile, DataError, EpochdError, NotFound, Problem
from epochd.core.events import Event, Type
from epochd.core.jobs import Job, JobKind, State
from epochd.core.settings import Settings
from epochd.core.text import shown
from epochd.data.tables import addresses

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8
LAST_WORDS_SECONDS, CLOSE_SECONDS = 1.0, 3.0
"""How long the log of an attempt that has ended may grow, and how long a server that ends stores logs."""
FRESH_SECONDS, KEPT = 5.0, 10_000
"""How long what another server may have changed is not looked up again."""

NOTES_FOLDER = ".stored"
"""Below the server's dataset folder: which of its files the object store has, too."""

logger = logging.getLogger(__name__)


class Storage:
    """The object store of a server, if it has one, and the stores of datasets."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.data_dir
        self.objects: Objects | None = None
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage")
        self._locks: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
        self._fresh_until: dict[Path, float] = {}
        self._failed_at: dict[Path, float] = {}
        self._datasets: dict[str, Manifest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._others: dict[str, Objects] = {}
        self._used_at: dict[Path, float] = {}
        self._closing = asyncio.Event()

    @property
    def is_on(self) -> bool:
        return self._settings.storage is not None

    def _lock(self, path: Path) -> asyncio.Lock:
        """A lock for who fetches this."""
        return self._locks.setdefault(path, asyncio.Lock())

    def _options(self) -> dict[str, str]:
        return {name: value.get_secret_value() for name, value in self._settings.storage_options.items()}

    async def open(self) -> None:
        """Connect to the store. Raises SettingsError if it cannot be written to."""
        if self._settings.storage is not None:
            self.objects = Objects.opened(self._settings.storage, self._options())
            self.objects.can_sign &= self._settings.signed_urls
            await self.run(self.objects.probe)

    async def close(self) -> None:
        """Finish what was begun."""
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_SECONDS)
        for objects in (self.objects, *self._others.values()):
            if objects is not None:
                objects.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of ``work`` in a thread: a slow store holds up nothing else."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, partial(work, *args, **kwargs))

    def name(self, path: Path) -> str:
        """The name of a folder or file of the data folder in the store."""
        return path.relative_to(self._home).as_posix()

    async def folder(self, path: Path, *, must_exist: bool = False) -> None:
        """Fetch a folder, unless it is here or does not exist; one that ``must_exist`` is waited for a moment. Raises
        CorruptFile, Busy, OutOfSpace."""
        if self.objects is None or await asyncio.to_thread(self.note_use, path / files.MANIFEST):
            return
        is_model = path.is_relative_to(self._settings.artifacts_dir)
        if is_model and await asyncio.to_thread(removal.is_noted, self._settings, path.name):
            return
        async with self._lock(path):
            if (path / files.MANIFEST).is_file():
                return
            found = await self.run(stored.manifest, self.objects, self.name(path), must_exist=must_exist)
            if found is not None:
                began = time.monotonic()
                mode = 0o750 if self._settings.group_readable and is_model else 0o700
                await self.run(stored.get_folder, self.objects, found, path, mode=mode, mark=is_model)
                if await self.run(self.objects.about, found.key, must_exist=True) is None:  # removed in the meantime
                    await asyncio.to_thread(files.remove_own, path)
                logger.info("fetched %s from the object store in %.1f s", found.folder, time.monotonic() - began)

    def note_use(self, mark: Path) -> bool:
        """Note that a copy is used now; whether it is there. ``mark`` is its manifest, or the file of a dataset."""
        self._used_at[mark] = time.monotonic()
        return copies.note_use(mark)

    async def trim(self, unused_seconds: float, kept: Callable[[], Awaitable[Callable[[Path], bool]]]) -> None:
        """Delete copies that were not used for so long, and that nobody wants to be ``kept``, the least recently used
        first, until the rest is no larger than allowed. Raises Busy."""
        began, limit = time.monotonic(), self._settings.storage_cache_mb << 20
        self._used_at = {mark: at for mark, at in self._used_at.items() if began - at < unused_seconds}
        found = await asyncio.to_thread(copies.found, self._settings)
        if sum(copy.bytes for copy in found) <= limit:
            return
        found = await self.run(copies.stored_only, self._settings, self.objects, found)
        excess, deleted, is_kept = sum(copy.bytes for copy in found) - limit, 0, await kept()
        unused_since = time.time() - unused_seconds
        for copy in found:
            if excess <= 0 or copy.used_at > unused_since:
                break
            if is_kept(copy.path):
                continue
            try:
                async with self._lock(copy.path):
                    is_used = partial(self._is_used, copy.mark, began)
                    if await self.run(copies.delete, self._settings, self.objects, copy, is_used):
                        excess, deleted = excess - copy.bytes, deleted + 1
            except OSError as error:
                logger.warning("a copy of what the object store has was not deleted: %s", error)
        if deleted:
            logger.info("deleted %d copies of what the object store has", deleted)

    def _is_used(self, mark: Path, since: float) -> bool:
        return self._used_at.get(mark, -math.inf) >= since

    async def put_folder(self, path: Path) -> None:
        """Store a durable folder that this server has written. Raises Busy."""
        if self.objects is not None:
            await self.run(stored.put_folder, self.objects, path, self.name(path))

    async def checkpoints(self, job: Job) -> list[str]:
        """Fetch the checkpoints of a task that are kept; what is wrong with those that cannot be used."""
        if self.objects is None:
            return []
        home, faults = self._settings.checkpoints_dir / job.id, []
        known = None if job.checkpoint is None else Path(job.checkpoint.path).name
        kept = (await self.run(stored.numbered, self.objects, self.name(home)))[-checkpoint.KEEP :]
        for name in sorted({*kept, *([known] if known else [])}):
            try:
                await self.folder(home / name, must_exist=name == known)
            except CorruptFile as error:
                faults.append(f"checkpoint {name} cannot be used: {error}")
        return faults

    async def latest(self, model: str) -> None:
        """Let the link ``latest`` of a model lead where it does in the store."""
        if self.objects is None:
            return
        home = self._settings.artifacts_dir / model
        version, _, _ = await self.run(stored.latest, self.objects, self.name(home))
        await asyncio.to_thread(_link, home, version)

    async def refresh_model(self, model: str, version: Path | None) -> bool:
        """See where ``latest`` of a model leads, which another server may have changed. Whether this version is missing
        in the store: it was removed, or is of the time before the server had a store. Raises Busy if the store does
        not say which version there is (None)."""
        place, asked_at = version or self._settings.artifacts_dir / model, time.monotonic()
        if self.is_fresh(place):
            return False
        async with self._lock(place):
            if self.is_fresh(place):
                return False
            if self._failed_at.get(place, 0.0) > asked_at:
                raise Busy(f"the object store does not answer for the model {model}", WAIT_SECONDS)
            for known in (self._fresh_until, self._failed_at):
                if len(known) >= KEPT:
                    known.clear()
            try:
                is_missing = await self._looked_up(model, version)
            except Busy as error:
                if version is None:
                    self._failed_at[place] = time.monotonic()
                    raise
                logger.warning("%s: the model %s is used as it is here", error, model)
                self._fresh_until[place] = time.monotonic() + FRESH_SECONDS
                return False
            self._fresh_until[place] = time.monotonic() + FRESH_SECONDS if self._settings.shared else math.inf
            return is_missing

    async def _looked_up(self, model: str, version: Path | None) -> bool:
        await self.latest(model)
        if self.objects is None or version is None or not self._settings.shared:
            return False
        key = stored.manifest_key(self.name(version))
        return await self.run(self.objects.about, key, must_exist=True) is None

    def is_fresh(self, place: Path) -> bool:
        """Whether nothing of a version need be looked up: no other server changes it, or it was a moment ago."""
        return self.objects is None or time.monotonic() < self._fresh_until.get(place, 0.0)

    def on_events(self, events: list[Event]) -> None:
        """Follow what trainings have made, whoever has taken their reports."""
        if self.objects is None:
            return
        for event in events:
            if event.job is None or event.type not in (Type.COMPLETE, Type.STATE, Type.FAILED, Type.CANCELLED):
                continue
            job = event.job
            if job.kind is JobKind.TRAINING and event.type is Type.COMPLETE:
                self._start(self.latest(job.training.artifact_folder))
            if job.kind is JobKind.PREDICTION and event.type in (Type.COMPLETE, Type.CANCELLED):
                self._start(self.remove([f"checkpoints/{job.id}"]))
            if job.state is not State.RUNNING and job.attempt:
                self._start(self._keep_log(self._settings.logs_dir / job.id / f"{job.attempt}.log"))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        async def logged() -> None:
            try:
                await work
            except (EpochdError, OSError) as error:
                logger.warning("the object store: %s", error)

        task = asyncio.create_task(logged())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_log(self, path: Path) -> None:
        """Store the log of an attempt that has ended, unless a longer one is there. Its worker has some last words."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), LAST_WORDS_SECONDS)
        if self.objects is not None:
            await self.run(_put_longer, self.objects, self.name(path), path)

    async def logs(self, job: Job) -> None:
        """Fetch the logs of a task that are not here, or not completely. A store that does not answer has none."""
        if self.objects is None:
            return
        with suppress(Busy):
            await self._fetch_logs(self.objects, job)

    async def _fetch_logs(self, objects: Objects, job: Job) -> None:
        home = self._settings.logs_dir / job.id
        for key, size in (await self.run(objects.sizes, self.name(home))).items():
            path = home / key.rpartition("/")[2]
            is_written = job.state is State.RUNNING and path.name == f"{job.attempt}.log"
            here = await asyncio.to_thread(_size, path)
            if here is None or (here < size and not is_written):
                await self.run(_get_file, objects, key, path, About(size, None, time.time_ns()), None)

    async def remove(self, folders: Iterable[str]) -> None:
        """Delete folders of the store. Raises Busy."""
        if self.objects is not None:
            for folder in folders:
                await self.run(stored.remove, self.objects, folder)

    def remove_task(self, task_id: str, model: str | None) -> None:
        """Delete what the store has of a task; ``model`` is the path of its model below the artifact store, None to
        keep that. For a thread. Raises Busy."""
        if self.objects is not None:
            if model is not None:
                self.remove_model(model)
            for kind in ("checkpoints", "predictions", "logs"):
                stored.remove(self.objects, f"{kind}/{task_id}")

    def remove_model(self, model: str) -> None:
        """Delete a model, given by its path below the artifact store; ``latest`` then leads to the newest one that the
        store has, of which there need not be a copy here. For a thread. Raises Busy."""
        if self.objects is not None:
            folder, _, version = f"artifacts/{model}".rpartition("/")
            stored.repoint_latest(self.objects, folder, version)
            stored.remove(self.objects, f"{folder}/{version}")
            _link(self._home / folder, stored.latest(self.objects, folder)[0])

    # Datasets

    def dataset_manifest(self, path: Path) -> Manifest | None:
        """What the store has of the file of a dataset, as far as this server has looked at it."""
        return self._datasets.get(path.name) if path.parent == self._settings.dataset_roots[0].resolve() else None

    async def put_dataset(self, file: Path, name: str, fingerprint: str) -> None:
        """Store the file of a dataset, which is to have this name. Raises Busy."""
        if self.objects is not None:
            await self.run(stored.put_dataset, self.objects, file, stored.dataset_folder(name, fingerprint), name)

    async def note_dataset(self, file: Path) -> None:
        """Note that the file of a registered dataset is here, too."""
        if self.objects is not None:
            await asyncio.to_thread(_write_note, file)

    async def noted_datasets(self) -> list[Path]:
        """The files of datasets that are here and were registered once; nobody has changed them since."""
        return [] if self.objects is None else await asyncio.to_thread(_noted, self._settings.dataset_roots[0])

    async def drop_dataset(self, name: str, fingerprint: str | None = None) -> None:
        """Delete the file of a dataset that is not registered any more: one content, or all."""
        if self.objects is not None:
            if fingerprint is None:
                note = self._settings.dataset_roots[0] / NOTES_FOLDER / name
                await asyncio.to_thread(note.unlink, missing_ok=True)
            folder = f"datasets/{name}" if fingerprint is None else stored.dataset_folder(name, fingerprint)
            try:
                await self.run(stored.remove, self.objects, folder)
            except Busy as error:
                logger.warning("%s was not deleted: %s; delete it manually", folder, error)

    async def dataset(self, path: Path, fingerprint: str) -> None:
        """Fetch the file of a dataset that the server keeps, unless the one here is that of the store. Raises Busy,
        CorruptFile."""
        if self.objects is None:
            return
        folder = stored.dataset_folder(path.name, fingerprint)
        async with self._lock(path):
            found = self._datasets.get(path.name)
            if found is None or found.folder != folder:
                found = await self.run(stored.manifest, self.objects, folder)
            if found is None:  # of the time before the server had a store
                return
            self._datasets[path.name] = found
            file = found.files[path.name]
            if not await asyncio.to_thread(_is_same, path, file.bytes, file.modified):
                about = About(file.bytes, None, file.modified or 0)
                await self.run(_get_file, self.objects, file.key, path, about, file.sha256)
                await self.note_dataset(path)

    async def address(self, url: str) -> Path:
        """The copy of a dataset that a config names by its URL, fetched if it has changed. Raises DataError."""
        problem = addresses.problem(url, self._settings.dataset_urls)
        if problem is not None:
            raise DataError([problem])
        path = addresses.cached(self._home, url)
        prefix = addresses.prefix_of(url, self._settings.dataset_urls)
        async with self._lock(path):
            try:
                if prefix not in self._others:
                    self._others[prefix] = Objects.opened(prefix, self._options())
                objects, key = self._others[prefix], url.removeprefix(prefix)
                found = await self.run(objects.about, key)
                if found is None:
                    raise NotFound(f"there is no object {shown(url)}")
                if not await asyncio.to_thread(_is_same, path, found.bytes, found.modified):
                    await self.run(_get_file, objects, key, path, found, None)
            except (EpochdError, FileNotFoundError) as error:
                message = f"{shown(url)} cannot be read: {error}"
                raise DataError([Problem("dataset", message, "check the address and the object store")]) from None
            await asyncio.to_thread(self.note_use, path)
        return path


def _write_note(file: Path) -> None:
    """Note what the file of a dataset is, beside the file."""
    note, found = file.parent / NOTES_FOLDER / file.name, file.stat()
    note.parent.mkdir(0o700, exist_ok=True)
    note.write_text(f"{found.st_size} {found.st_mtime_ns}", encoding="ascii")


def _noted(home: Path) -> list[Path]:
    """The files of datasets that are what their notes say; other notes are deleted."""
    found = []
    for note in (home / NOTES_FOLDER).glob("*"):
        with suppress(FileNotFoundError):  # another request deletes it
            size, _, modified = note.read_text(encoding="ascii").partition(" ")
            if size.isdecimal() and modified.isdecimal() and _is_same(home / note.name, int(size), int(modified)):
                found.append(home / note.name)
            else:
                note.unlink()
    return found


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _is_same(path: Path, size: int, modified: int | None) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return found.st_size == size and modified in (None, found.st_mtime_ns)


def _get_file(objects: Objects, key: str, path: Path, about: About, sha256: str | None) -> None:
    """Write a file of the store to its place, with its time of modification."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{files.TEMPORARY}{secrets.token_hex(4)}-{path.name}"[-200:])
    try:
        objects.fetch(key, part, about.bytes, sha256, about.e_tag)
        os.utime(part, ns=(about.modified, about.modified))
        part.replace(path)
        files.flush(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _put_longer(objects: Objects, key: str, path: Path) -> None:
    """Store a file if there is one, unless what the store has is as long. One that this server removes meanwhile does
    not come back."""
    if path.is_file():
        known = objects.about(key)
        if known is None or known.bytes < path.stat().st_size:
            objects.put(key, path)
            if not path.is_file():
                objects.delete([key])


def _target(home: Path) -> str | None:
    with suppress(OSError):
        return str((home / files.LATEST).readlink())
    return None


def _link(home: Path, version: str | None) -> None:
    """Let the link ``latest`` lead to a version, which need not be here. None if the store knows of none: the link
    stays if it leads to a model of the time before the server had a store."""
    link = home / files.LATEST
    if version is None:
        if link.is_symlink() and not link.exists():
            link.unlink(missing_ok=True)
    elif _target(home) != version:
        home.mkdir(parents=True, exist_ok=True)
        files.replace_link(link, home / version)
