"""The staging area: datasets that are being received, and how a complete one becomes a registered dataset.

A folder below ``.uploads`` receives the file. Once it is complete, readable and flushed to disk, it is moved into place
in the transaction that writes its database row. An incomplete file never becomes visible: its folder is deleted when
the request ends, or when the server next starts.
"""

import asyncio
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol

from epochd.artifact import files
from epochd.core.columns import ReadOptions
from epochd.core.datasets import Dataset, DatasetKind, Facts
from epochd.core.errors import DataError, NameTaken, Problem
from epochd.data.tables.source import Source
from epochd.readers.pool import ReaderPool
from epochd.registry import operations
from epochd.store import datasets
from epochd.store.db import Database

Stage = Literal["uploading", "querying", "checking"]
STAGING_FOLDER = ".uploads"
"""Below the server's dataset folder."""


@dataclass(slots=True)
class StagedDataset:
    """A dataset that is being received. ``total`` is its size in bytes if the client has announced it."""

    name: str
    kind: DatasetKind
    stage: Stage
    folder: Path
    received: int = 0
    total: int | None = None

    def received_bytes(self) -> int:
        """Bytes of the upload so far, or of the files that a query has written."""
        return self.received or sum(file.stat().st_size for file in self.folder.glob("*"))


class KeptFiles(Protocol):
    """Where the files of datasets are kept, beside the dataset folder."""

    async def put_dataset(self, file: Path, name: str, fingerprint: str) -> None:
        """Keep a file that is to have this name, beside other contents of it."""

    async def note_dataset(self, file: Path) -> None:
        """Note that the file of a registered dataset is in the dataset folder, too."""

    async def noted_datasets(self) -> list[Path]:
        """The files that were noted, and that nobody has changed since."""

    async def drop_dataset(self, name: str, fingerprint: str | None = None) -> None:
        """Delete one content of the file of this name, or all."""


class StagingArea:
    """All datasets that are being received, by name. ``home`` is the server's dataset folder; the files are ``kept``
    elsewhere, too."""

    def __init__(self, db: Database, home: Path, readers: ReaderPool, kept: KeptFiles) -> None:
        self.home = home
        self._kept = kept
        self._db, self._readers = db, readers
        self._by_name: dict[str, StagedDataset] = {}

    def get(self, name: str) -> StagedDataset | None:
        return self._by_name.get(name)

    def clear(self, before: float) -> None:
        """Delete what server processes have left incomplete before this moment, in Unix time."""
        files.delete_older(self.home / STAGING_FOLDER, before)

    @contextmanager
    def stage(self, name: str, kind: DatasetKind, total: int | None = None) -> Iterator[StagedDataset]:
        """Reserve the name and create a folder, which is deleted when the context ends. Raises NameTaken."""
        if name in self._by_name:
            raise NameTaken(f"another request is creating the dataset {name!r}: wait until it has finished")
        folder = self.home / STAGING_FOLDER / secrets.token_hex(8)
        stage: Stage = "querying" if kind is DatasetKind.QUERY else "uploading"
        self._by_name[name] = staged = StagedDataset(name, kind, stage, folder, total=total)
        try:
            folder.mkdir(parents=True)
            yield staged
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            del self._by_name[name]

    async def commit(
        self,
        staged: StagedDataset,
        file: Path,
        *,
        replace: bool,
        connection: str | None = None,
        query: str | None = None,
        options: ReadOptions | None = None,
    ) -> Dataset:
        """Check a complete file, move it into place and register it.

        Raises DataError if the file cannot be read, NameTaken and DatasetInUse.
        """

        def move_into_place() -> None:
            place = self.home / file.name
            if place.is_dir():
                raise NameTaken(
                    f"the server's dataset folder already contains a folder {file.name!r}: choose another name, or "
                    "rename the folder"
                )
            if place.exists() and not replace:
                raise NameTaken(
                    f"the server's dataset folder already contains a file {file.name!r} that is not registered: "
                    "choose another name, or add ?replace=true to replace the file"
                )
            file.rename(place)
            files.flush(place.parent)

        staged.stage = "checking"
        await self.delete_unregistered()
        facts = await self._readers.call(operations.facts, Source(staged.name, file, options=options or ReadOptions()))
        dataset = described(staged.name, staged.kind, facts, file.name, connection, query, options)
        await asyncio.to_thread(files.flush, file)
        await self._kept.put_dataset(file, file.name, dataset.fingerprint)
        async with datasets.registering(self._db, dataset, replace=replace) as old:
            await asyncio.to_thread(move_into_place)
        await self._kept.note_dataset(self.home / dataset.path)
        if old is not None and old.is_kept and (old.path, old.fingerprint) != (dataset.path, dataset.fingerprint):
            await self._kept.drop_dataset(old.path, old.fingerprint)
        await self.delete_file(old, keep=self.home.resolve() / dataset.path)
        return dataset

    async def delete_unregistered(self) -> None:
        """Delete the files of datasets that another server has deleted, with its own files only."""
        if noted := await self._kept.noted_datasets():
            registered = {*(await datasets.paths(self._db, self.home)).values()}
            for path in [path for path in noted if path not in registered]:
                await asyncio.to_thread(path.unlink, missing_ok=True)

    async def delete_file(self, dataset: Dataset | None, *, keep: Path | None = None) -> None:
        """Delete the file of a dataset that is no longer registered, if the server owns it and it is not ``keep``."""
        if dataset is not None and dataset.is_kept and self.home.resolve() / dataset.path != keep:
            path = self.home / dataset.path
            if path.is_symlink() or not path.is_dir():  # a folder is not what the server has written
                await asyncio.to_thread(path.unlink, missing_ok=True)
                await self._kept.drop_dataset(dataset.path)


def described(
    name: str,
    kind: DatasetKind,
    facts: Facts,
    path: str,
    connection: str | None = None,
    query: str | None = None,
    options: ReadOptions | None = None,
) -> Dataset:
    """The registry entry of a dataset that has been read. Raises DataError if it has no rows."""
    if not facts.rows:
        raise DataError([Problem("dataset", f"{name!r} has no rows", "provide at least one row below the header")])
    now = time.time()
    return Dataset(
        name,
        kind,
        path,
        **asdict(facts),
        created_at=now,
        updated_at=now,
        connection=connection,
        query=query,
        options=(options.as_json() if options else None) or None,
    )
