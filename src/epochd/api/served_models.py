"""Which folder a model's name and version lead to, and the predictor of that folder.

A name is a folder of the artifact store, such as ``models/churn``, or the id of a task. A version is the id of the task
that trained it, ``latest`` (the default), or an alias. What exists is decided by the store on disk, which also has the
models of removed tasks; aliases are in the database, and in memory. Another server that changes one says so.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from epochd.api.storage import Storage
from epochd.artifact import files, removal
from epochd.core.errors import InvalidRequest, ModelInUse, NotFound, OutOfSpace, Problem, similar_names
from epochd.core.jobs import TASK_ID, JobKind
from epochd.core.names import NAME_RULE, composed, defect
from epochd.core.settings import Settings
from epochd.core.spec_checks import MAX_PATH_BYTES, MAX_PATH_PART_BYTES
from epochd.core.text import cut
from epochd.serving.cache import BoundedThreads, PredictorCache
from epochd.serving.predictor import Predictor
from epochd.store import jobs, models
from epochd.store.db import Database

P = ParamSpec("P")
T = TypeVar("T")

THREADS, WAITING = 2, 64


@dataclass(frozen=True, slots=True)
class Version:
    """A version that exists: the name of its model, the id of the task that trained it, and its folder."""

    model: str
    id: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Served:
    """A loaded version."""

    version: Version
    predictor: Predictor


class ServedModels:
    """The models of one server."""

    def __init__(self, db: Database, settings: Settings, storage: Storage) -> None:
        self._db, self._settings, self._store = db, settings, settings.artifacts_dir
        self._storage = storage
        self._threads = BoundedThreads(THREADS, WAITING)
        self.cache = PredictorCache(settings.served_models, settings.served_mb << 20, self._threads)
        self._aliases: dict[str, dict[str, str]] = {}
        self._folders: dict[str, str] = {}

    async def reload(self) -> None:
        """Read the aliases: at the start, and when another server has changed one."""
        self._aliases = await models.aliases(self._db)

    def close(self) -> None:
        self._threads.close()

    def aliases(self, model: str) -> dict[str, str]:
        """Alias → version of one model."""
        return dict(self._aliases.get(model, {}))

    async def find(self, model: str, version: str | None = None) -> Version:
        """The version that these names lead to. Raises NotFound."""
        if TASK_ID.fullmatch(model) and model not in self._folders:
            self._folders[model] = await self._folder_of_task(model)
        found = self._known(model, version)
        if self._storage.is_on:
            found = await self._fetched(model, version, found)
        if found is None or not await asyncio.to_thread((found.folder / files.MANIFEST).is_file):
            raise await self._unknown(self._name_of(model), version)
        return found

    async def _fetched(self, model: str, version: str | None, found: Version | None) -> Version | None:
        """The version, with its files here, if it is in the object store."""
        name = folder_name(model) if found is None else found.model
        is_missing = await self._storage.refresh_model(name, None if found is None else found.folder)
        if found is not None and is_missing and await self._is_removed(found):
            self.cache.evict(found.folder)
            await asyncio.to_thread(files.remove_own, found.folder)
        found = self._known(model, version)
        if found is not None:
            await self._storage.folder(found.folder)
        return found

    async def _is_removed(self, version: Version) -> bool:
        """Whether a version that the object store does not have was removed: its model or its task, by another server.
        One of a task that is not known either, and which did not come from the store, is kept."""
        try:
            return "model_removed_at" in (await jobs.get(self._db, version.id)).summary
        except NotFound:
            return await asyncio.to_thread((version.folder / files.FETCHED).is_file)

    async def predictor(self, model: str, version: str | None = None) -> Served:
        """The predictor of the version that these names lead to, loaded if it was not. Raises NotFound, CorruptFile if
        its files are damaged, Busy if too many requests wait."""
        found = await self.find(model, version)
        try:
            return Served(found, await self.cache.get(found.folder))
        except FileNotFoundError:  # removed in the meantime
            raise await self._unknown(found.model, version) from None

    def loaded(self, model: str, version: str | None = None) -> Served | None:
        """``predictor`` if that is loaded, and the names can be resolved without the database. Raises NotFound."""
        found = self._known(model, version)
        if found is not None and not self._storage.is_fresh(found.folder):
            return None
        try:
            predictor = None if found is None else self.cache.loaded(found.folder)
        except OSError:
            return None
        if found is None or predictor is None:
            return None
        if self._storage.is_on:
            self._storage.note_use(found.folder / files.MANIFEST)
        return Served(found, predictor)

    def _known(self, model: str, version: str | None) -> Version | None:
        """The version that these names lead to, if the model of a task was looked up before; it need not exist. Raises
        NotFound for a name that cannot be one."""
        if TASK_ID.fullmatch(model):
            folder = self._folders.get(model)
            is_that = version in (None, files.LATEST, model)
            return Version(folder, model, self._store / folder / model) if folder is not None and is_that else None
        name, version = folder_name(model), composed(version)
        found = (
            self.latest(name) if version in (None, files.LATEST) else self._aliases.get(name, {}).get(version, version)
        )
        if found is None or not TASK_ID.fullmatch(found):
            return None
        return Version(name, found, self._store / name / found)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of ``work`` in a thread of those for predictions. Raises Busy if too many calls wait."""
        return await self._threads.run(work, *args, **kwargs)

    async def set_alias(self, model: str, alias: str, version: str) -> Version:
        """Make an alias lead to a version. Raises NotFound, and InvalidRequest for a name that cannot be an alias."""
        alias = composed(alias)
        if defect(alias) or len(alias.split()) > 1 or alias == files.LATEST or TASK_ID.fullmatch(alias):
            message = f"{cut(repr(alias))} cannot be an alias"
            hint = f"{NAME_RULE}, without spaces; {files.LATEST!r} and ids of tasks are versions already"
            raise InvalidRequest(f"{message}: {hint}", [Problem("alias", message, hint)])
        found = await self.find(model, version)
        await models.set_alias(self._db, found.model, alias, found.id)
        self._aliases.setdefault(found.model, {})[alias] = found.id
        return found

    async def remove_alias(self, model: str, alias: str) -> str:
        """Remove an alias; the name of its model. Raises NotFound."""
        alias = composed(alias)
        name = self._name_of((await self.find(model)).model if TASK_ID.fullmatch(model) else model)
        if "\0" in alias or not await models.remove_alias(self._db, name, alias):
            known = ", ".join(map(repr, self._aliases.get(name, {}))) or "none"
            raise NotFound(f"the model {cut(name)!r} has no alias {cut(alias)!r}; its aliases: {known}")
        self._aliases[name].pop(alias, None)
        return name

    async def remove(self, version: Version) -> None:
        """Delete the files of a version; its task remains. Raises ModelInUse if an alias leads to it, OutOfSpace."""
        note = await asyncio.to_thread(removal.write_model_note, self._settings, version.model, version.id)
        try:
            await models.forget(self._db, version.id)
        except (ModelInUse, OutOfSpace):  # the task still names it
            note.unlink()
            raise
        self.cache.evict(version.folder)
        await asyncio.to_thread(removal.complete_model, self._settings, note, self._storage)

    async def _folder_of_task(self, task_id: str) -> str:
        """The folder of the model that a task has trained. Raises NotFound."""
        job = await jobs.get(self._db, task_id)
        if job.kind is JobKind.PREDICTION:
            raise NotFound(f"task {task_id} is a batch prediction, which has no model of its own")
        if job.artifact is None:
            state = "its model was deleted" if "model_removed_at" in job.summary else f"it is {job.state}"
            raise NotFound(f"task {task_id} has no model: {state}")
        return job.training.artifact_folder

    def _name_of(self, model: str) -> str:
        """The name of a model that may be given by a task that was looked up before."""
        return self._folders.get(model) or folder_name(model)

    def latest(self, name: str) -> str | None:
        """The version that the link ``latest`` leads to."""
        try:
            return os.readlink(f"{self._store}/{name}/{files.LATEST}")
        except OSError:
            return None

    async def _unknown(self, name: str, version: str | None) -> NotFound:
        known = await models.names(self._db)
        if version is not None and (name in known or self.latest(name)):
            names = ", ".join(map(repr, self._aliases.get(name, {}))) or "none"
            hint = f"a version is the id of a task, 'latest' or an alias; its aliases: {names}"
            return NotFound(f"the model {cut(name)!r} has no version {cut(version)!r}; {hint}")
        nearest = similar_names(name, known, 3)
        hint = f"did you mean {' or '.join(map(repr, nearest))}?" if nearest else "GET /api/v1/models lists all models"
        return NotFound(f"there is no model {cut(name)!r}; {hint}")


def folder_name(model: str) -> str:
    """The folder of the artifact store that a name in a URL means. Raises NotFound for one that leads out of it."""
    parts = [part for part in composed(model).split("/") if part]
    too_long = len(model) > MAX_PATH_BYTES or any(len(os.fsencode(part)) > MAX_PATH_PART_BYTES for part in parts)
    if not parts or too_long or "\0" in model or not {".", ".."}.isdisjoint(parts):
        raise NotFound(f"there is no model {cut(model)!r}; GET /api/v1/models lists all models")
    return "/".join(parts)
