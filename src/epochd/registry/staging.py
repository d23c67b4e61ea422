"""Datasets on their way in: a name is reserved, a folder holds what has come so far, then it is put into place.

Everything that arrives lies below ``.uploads`` until it is whole, flushed and found readable; it is then renamed
in the same transaction that writes its row. What does not come that far leaves nothing: the folder goes with
the request, or with the next start of the server.
"""

import asyncio
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from epochd.artifact import files
from epochd.core.datasets import Dataset, DatasetKind
from epochd.core.errors import DataError, NameTaken, Problem
from epochd.data.tables.source import Source
from epochd.registry import profile
from epochd.store import datasets
from epochd.store.db import Database

Stage = Literal["uploading", "querying", "checking"]

PENDING = ".uploads"
"""Below the server's dataset folder."""


@dataclass
class Arrival:
    """One dataset that is coming in. ``total`` is None where nobody has said how many bytes it will be."""

    name: str
    kind: DatasetKind
    stage: Stage
    folder: Path
    received: int = 0
    total: int | None = None


class Arrivals:
    """All datasets that are coming in, by name. ``home`` is the server's own dataset folder."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._by_name: dict[str, Arrival] = {}

    def get(self, name: str) -> Arrival | None:
        return self._by_name.get(name)

    def sweep(self) -> None:
        """Remove what a former server left unfinished."""
        shutil.rmtree(self.home / PENDING, ignore_errors=True)

    @contextmanager
    def receiving(self, name: str, kind: DatasetKind, total: int | None = None) -> Iterator[Arrival]:
        """Reserve the name and make a folder for the block, removed at its end. Raises NameTaken."""
        if name in self._by_name:
            raise NameTaken(f"the dataset {name!r} is just coming in by another request: wait until that is done")
        folder = self.home / PENDING / secrets.token_hex(8)
        stage: Stage = "querying" if kind is DatasetKind.QUERY else "uploading"
        self._by_name[name] = arrival = Arrival(name, kind, stage, folder, total=total)
        try:
            folder.mkdir(parents=True)
            yield arrival
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            del self._by_name[name]


async def settle(
    db: Database,
    home: Path,
    arrival: Arrival,
    file: Path,
    *,
    replace: bool,
    connection: str | None = None,
    query: str | None = None,
) -> Dataset:
    """Check a file that has arrived whole, put it into place and register it.

    Raises DataError if it cannot be read; NameTaken, DatasetInUse.
    """
    arrival.stage = "checking"
    dataset = await examined(arrival.name, arrival.kind, Source(arrival.name, file), file.name, connection, query)
    await asyncio.to_thread(files.flush, file)
    async with datasets.registering(db, dataset, replace=replace) as old:
        await asyncio.to_thread(_place, file, home / file.name, replace)
    await discard(home, old, but=home / dataset.path)
    return dataset


def _place(file: Path, place: Path, replace: bool) -> None:
    if place.exists() and not replace:
        raise NameTaken(
            f"a file {file.name!r} lies in the server's dataset folder already, under no name: "
            "choose another name, or add ?replace=true to replace it"
        )
    file.rename(place)
    files.flush(place.parent)


async def examined(
    name: str, kind: DatasetKind, source: Source, path: str, connection: str | None = None, query: str | None = None
) -> Dataset:
    """The dataset that a source is, as it will be registered. Raises DataError."""
    facts = await asyncio.to_thread(profile.facts, source)
    if not facts.rows:
        raise DataError([Problem("dataset", f"{name!r} has no rows", "give at least one row below the header")])
    now = time.time()
    return Dataset(
        name,
        kind,
        path,
        facts.rows,
        facts.bytes,
        facts.schema,
        facts.fingerprint,
        created_at=now,
        updated_at=now,
        connection=connection,
        query=query,
    )


async def discard(home: Path, old: Dataset | None, but: Path | None = None) -> None:
    """Remove the file of a dataset that is registered no more, if the server keeps it, ``but`` not this one."""
    if old is not None and old.is_kept and home / old.path != but:
        await asyncio.to_thread((home / old.path).unlink, missing_ok=True)
