"""The files of attempts on other machines: what their workers read, and where they write what they make.

A worker gets what its task names, and nothing else: every path is compared with the folders of the task. It writes a
folder file by file under a temporary name, the manifest last; then the folder is verified and renamed, if the attempt
still is the running one. So a folder is complete or absent here, too.
"""

import asyncio
import json
import os
import re
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from epochd.artifact import checkpoint, files, pack
from epochd.artifact.predictions import HEADER
from epochd.core.errors import BadRequest, NotFound
from epochd.core.jobs import Job, JobKind
from epochd.core.names import composed
from epochd.core.settings import Settings
from epochd.core.transfers import Grants, Inputs, RemoteFile, Wanted
from epochd.data.encoding.image import Image
from epochd.data.formats import picture
from epochd.data.tables import catalog
from epochd.data.tables.catalog import Catalog

KEPT = 256
"""Attempts whose files are known without looking them up again."""
CHECKPOINT = re.compile(r"checkpoints/[^/]+/(\d{4})-\d{6}/[^/]+")
PART = re.compile(r"checkpoints/[^/]+/parts/(\d{6}/[^/]+|header\.json)")


@dataclass(frozen=True, slots=True)
class Sources:
    """The folders of the server that an attempt reads: ``folders`` of data by their number, and inside them only what
    is below ``allowed``; ``model`` is the folder of a model."""

    inputs: Inputs
    folders: list[Path] = field(default_factory=list)
    allowed: list[Path] = field(default_factory=list)
    model: Path | None = None


class AttemptFiles:
    """The files of attempts on other machines, with the datasets of ``catalog``."""

    def __init__(self, settings: Settings, catalog: Callable[..., Awaitable[Catalog]]) -> None:
        self._settings = settings
        self._catalog = catalog
        self._known: OrderedDict[tuple[str, int], Sources] = OrderedDict()

    async def sources(self, job: Job) -> Sources:
        """What an attempt reads. Raises DataError or NotFound if it does not exist."""
        if (found := self._known.get(job.key)) is None:
            known = await self._catalog(job.spec.dataset, getattr(job.spec, "validation_dataset", None))
            found = await asyncio.to_thread(_sources, job, known, self._settings.data_dir)
            self._known[job.key] = found
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return found

    async def inputs(self, job: Job, damaged: Sequence[str] = ()) -> Inputs:
        """What an attempt needs at its start; what dead attempts have left unfinished is deleted. ``damaged`` are the
        checkpoints that its worker could not use."""
        self._known.pop(job.key, None)
        found = await self.sources(job)
        await asyncio.to_thread(self._clear, job)
        state, faults = await self.state(job, damaged)
        return found.inputs.model_copy(update={"state": state, "faults": faults})

    async def state(self, job: Job, damaged: Sequence[str]) -> tuple[list[RemoteFile], list[str]]:
        """The files of the newest checkpoint of a training, or of the parts of a prediction, and what is wrong with
        newer checkpoints."""
        state, faults = await asyncio.to_thread(_state, self._settings.checkpoints_dir / job.id, job.kind)
        return list(_described(state, self._settings.data_dir)), faults

    async def grants(self, job: Job, wanted: Wanted) -> Grants:
        """Where an attempt sends files: here. Raises BadRequest for a path that is not the attempt's."""
        for path in wanted.files:
            target_of(job, path)
        return Grants(urls=dict.fromkeys(wanted.files))

    def _clear(self, job: Job) -> None:
        """Delete what dead attempts have left unfinished."""
        settings = self._settings
        files.remove_temporary(settings.checkpoints_dir / job.id)
        if job.kind is JobKind.TRAINING:
            files.remove_temporary(settings.artifacts_dir / job.training.artifact_folder, job.id)
        else:
            files.remove_temporary(settings.checkpoints_dir / job.id / "parts")
            files.remove_temporary(settings.predictions_dir, job.id)

    async def find(self, job: Job, kind: str, path: str) -> Path | str:
        """A file of an attempt, or its URL elsewhere: of its ``data``, ``model`` or ``state``. Raises NotFound for one
        that it does not need."""
        return await asyncio.to_thread(_found, job, await self.sources(job), kind, path, self._settings.data_dir)

    async def write(self, job: Job, path: str, content: AsyncIterator[bytes], confirm: Callable[[], Any]) -> None:
        """Write one file of a folder that the attempt makes, at ``path`` below the data folder. With its manifest the
        folder is complete: it is verified, and gets its name once ``confirm`` has not raised StaleAttempt. Raises
        BadRequest for a path that is not the attempt's, CorruptFile, OutOfSpace."""
        home = self._settings.data_dir
        final = home / target_of(job, path)
        above = final.parent if final.name == HEADER else final.parent.parent
        temporary = above / f"{files.TEMPORARY}{final.parent.name}-{job.attempt}"
        try:
            await asyncio.to_thread(temporary.mkdir, 0o700, parents=True, exist_ok=True)
            await _receive(content, temporary / final.name)
            if final.name == HEADER:
                await asyncio.to_thread((temporary / HEADER).replace, final)
                await asyncio.to_thread(temporary.rmdir)
            elif final.name == files.MANIFEST:
                await asyncio.to_thread(_verify, temporary, final.parent)
                await confirm()
                await asyncio.to_thread(self._publish, job, temporary, final.parent)
        except OSError as error:
            if files.is_full(error):
                raise files.out_of_space("a file of a worker on another machine", 0, home) from None
            raise

    def _publish(self, job: Job, temporary: Path, final: Path) -> None:
        """Give a complete folder its name, as a worker on this machine does."""
        settings = self._settings
        if _is_published(temporary, final):
            shutil.rmtree(temporary, ignore_errors=True)
        elif final.is_relative_to(settings.artifacts_dir):
            pack.publish(temporary, final, shared=settings.artifacts_dir if settings.group_readable else None)
        else:
            files.publish(temporary, final)
            if final.parent == settings.checkpoints_dir / job.id:
                checkpoint.prune(final.parent)

    async def append_log(self, job: Job, offset: int, content: bytes) -> int:
        """Append to the log of an attempt what begins at ``offset``, 0 for a new log; the size that it has, where the
        next piece has to begin."""
        path, limit = self._settings.logs_dir / job.id / f"{job.attempt}.log", self._settings.log_mb << 20
        return await asyncio.to_thread(_append, path, offset, content, limit)


def _sources(job: Job, known: Catalog, home: Path) -> Sources:
    """Look the datasets and the model of a job up."""
    spec = job.spec
    names = [spec.dataset, getattr(spec, "validation_dataset", None)]
    found = {
        name: known.open(name).path for name in names if name is not None and composed(name) not in catalog.BUILTIN
    }
    folders: list[Path] = []
    allowed = [*found.values()]
    listed: dict[str, Path] = {}
    for path in found.values():
        listed |= {_numbered(folders, known, file): file for file in _files(path)}
    root = None
    if spec.image_root is not None:
        pictures = known.folder(spec.image_root, "image_root")
        root = _numbered(folders, known, pictures)
        allowed.append(pictures)
        listed |= {_numbered(folders, known, file): file for file in _files(pictures)}
    elif getattr(spec, "image_column", None) is not None or _predicts_pictures(job, home):
        for path in [path.parent for path in found.values() if path.is_file()]:
            allowed.append(path)
            listed |= {_numbered(folders, known, file): file for file in _files(path) if _is_picture(file)}
    model = home / job.summary["model"]["folder"] if job.kind is JobKind.PREDICTION else None
    if model is not None and not model.is_dir():
        raise NotFound(f"the model {model.name} was removed: predict with another one")
    inputs = Inputs(
        data=[_about(file, name) for name, file in listed.items()],
        registered={composed(name): _numbered(folders, known, path) for name, path in found.items()},
        image_root=root,
        model=[] if model is None else list(_described(_own(model), model.parent)),
    )
    return Sources(inputs, folders, allowed, model)


def _predicts_pictures(job: Job, home: Path) -> bool:
    """Whether the model of a prediction has a column of pictures."""
    if job.kind is not JobKind.PREDICTION:
        return False
    try:
        about = json.loads((home / job.summary["model"]["folder"] / files.MODEL).read_text(encoding="utf-8"))
        return any(column["kind"] == Image.kind for column in about["encoder"]["columns"])
    except (OSError, ValueError, KeyError, TypeError):  # its worker says what is wrong with it
        return False


def _numbered(folders: list[Path], known: Catalog, path: Path) -> str:
    """The path with the number of the folder that it is in, which is a dataset folder of the server if there is one."""
    roots = (root.resolve() for root in known.roots)
    home = next((root for root in roots if path.is_relative_to(root) and path != root), path.parent)
    if home not in folders:
        folders.append(home)
    return f"{folders.index(home)}/{path.relative_to(home).as_posix()}"


def _files(path: Path) -> Iterator[Path]:
    """The file, or all files in a folder without hidden ones and links that lead out of it."""
    if not path.is_dir():
        yield path
        return
    for file in sorted(path.rglob("*")):
        is_hidden = any(part.startswith(".") for part in file.relative_to(path).parts)
        if not is_hidden and file.is_file() and file.resolve().is_relative_to(path):
            yield file


def _is_picture(path: Path) -> bool:
    return path.name.lower().endswith(picture.SUFFIXES)


def _own(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(files.own_names(folder)) if (folder / name).is_file()]


def _state(folder: Path, kind: JobKind) -> tuple[list[Path], list[str]]:
    """The files of the newest valid checkpoint of a training, and what is wrong with newer ones; or all parts of a
    prediction."""
    if kind is JobKind.PREDICTION:
        return list(_files(folder / "parts")) if (folder / "parts").is_dir() else [], []
    newest, faults = checkpoint.newest(folder)
    return [] if newest is None else _own(newest), faults


def _described(paths: Iterable[Path], home: Path) -> Iterator[RemoteFile]:
    for path in paths:
        yield _about(path, path.relative_to(home).as_posix())


def _about(path: Path, name: str) -> RemoteFile:
    found = path.stat()
    return RemoteFile(path=name, bytes=found.st_size, modified=found.st_mtime_ns)


def _found(job: Job, sources: Sources, kind: str, path: str, home: Path) -> Path:
    """The file of this name. Raises NotFound for one that the task does not need."""
    relative = PurePosixPath(path)
    allowed: list[Path] = []
    file = home
    if ".." not in relative.parts and not relative.is_absolute() and "\0" not in path:
        match kind:
            case "data" if relative.parts[0].isdecimal() and int(relative.parts[0]) < len(sources.folders):
                file = sources.folders[int(relative.parts[0])].joinpath(*relative.parts[1:])
                allowed = sources.allowed
            case "model" if sources.model is not None:
                file, allowed = sources.model.parent / relative, [sources.model]
            case "state":
                file, allowed = home / relative, [home / "checkpoints" / job.id]
    resolved = file.resolve()
    if not any(resolved.is_relative_to(folder.resolve()) for folder in allowed) or not resolved.is_file():
        raise NotFound(f"task {job.id} has no file {path[:200]!r}")
    return resolved


def target_of(job: Job, path: str) -> Path:
    """Where a file goes, below the data folder. Raises BadRequest for any place that is not the attempt's."""
    relative = PurePosixPath(path)
    name, folder = relative.name, relative.parent.as_posix()
    is_plain = ".." not in relative.parts and "\0" not in path and not name.startswith(".")
    if job.kind is JobKind.PREDICTION:
        is_own = folder == f"predictions/{job.id}"
        is_own |= PART.fullmatch(path) is not None and relative.parts[1] == job.id
    else:
        found = CHECKPOINT.fullmatch(path)
        is_own = found is not None and relative.parts[1] == job.id and int(found[1]) == job.attempt
        is_own |= folder == f"artifacts/{job.training.artifact_folder}/{job.id}"
    if not is_plain or not is_own:
        raise BadRequest(f"attempt {job.attempt} of task {job.id} may not write {path[:200]!r}")
    return Path(relative)


async def _receive(content: AsyncIterator[bytes], file: Path) -> None:
    """Write a body to a file, which appears once it is complete."""
    part = file.with_name(f"{files.TEMPORARY}{file.name}")
    with part.open("wb") as out:
        async for chunk in content:
            await asyncio.to_thread(out.write, chunk)
    part.replace(file)


def _verify(temporary: Path, final: Path) -> None:
    """Raise CorruptFile if the folder is incomplete, unless it has been published before."""
    if not _is_published(temporary, final):
        for rest in temporary.glob(f"{files.TEMPORARY}*"):
            rest.unlink()
        files.verify(temporary)


def _is_published(temporary: Path, final: Path) -> bool:
    """Whether the answer to an earlier request with this manifest was lost."""
    published = final / files.MANIFEST
    return published.is_file() and published.read_bytes() == (temporary / files.MANIFEST).read_bytes()


def _append(path: Path, offset: int, content: bytes, limit: int) -> int:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        if offset == 0:
            file.truncate(0)
        size = file.seek(0, os.SEEK_END)
        if offset != size or size + len(content) > 2 * limit:
            return size
        file.write(content)
        return size + len(content)
