"""Registered datasets: their rows, and which trainings use them.

The caller writes a file inside ``registering``, so that row and file change together, and removes it after its row.
"""

import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from epochd.core.columns import ReadOptions
from epochd.core.datasets import Dataset, Facts
from epochd.core.errors import DatasetInUse, NameTaken
from epochd.core.jobs import State
from epochd.store import rows, tables
from epochd.store.db import Database, Transaction

table = tables.datasets
FIELDS = [field.name for field in fields(Dataset)]
NAMED_TASKS = 10  # the maximum number of tasks that an error message names


async def get(db: Database, name: str) -> Dataset | None:
    """The dataset with this name; None if there is none."""
    if "\0" in name:
        return None
    async with db.read() as connection:
        row = (await connection.execute(select(table).where(table.c.name == name))).first()
    return None if row is None else _dataset_of(row)


async def find(db: Database, *, name: str | None = None, limit: int = 50, offset: int = 0) -> tuple[list[Dataset], int]:
    """A page of the datasets whose name contains ``name``, newest first, without profiles; and their total number."""
    chosen = [table.c.name.icontains(rows.storable(name), autoescape=True)] if name else []
    plain = [table.c[field] for field in FIELDS if field != "profile"]
    page = select(*plain).where(*chosen).order_by(table.c.created_at.desc(), table.c.name).limit(limit).offset(offset)
    async with db.read() as connection:
        total = await connection.scalar(select(func.count()).select_from(table).where(*chosen))
        return [_dataset_of(row) for row in await connection.execute(page)], total or 0


async def paths(db: Database, folder: Path, names: Collection[str] | None = None) -> dict[str, Path]:
    """Name → path of all registered datasets, or of ``names``; ``folder`` is where the server stores its own files."""
    chosen = [] if names is None else [table.c.name.in_([name for name in names if "\0" not in name])]
    query = select(table.c.name, table.c.path).where(*chosen)
    async with db.read() as connection:
        return {name: folder / path for name, path in await connection.execute(query)}


async def reading(db: Database, names: Collection[str] | None = None) -> dict[str, ReadOptions]:
    """Name → how the dataset is read, of those registered datasets, or of ``names``, that have options."""
    chosen = [] if names is None else [table.c.name.in_([name for name in names if "\0" not in name])]
    query = select(table.c.name, table.c.options).where(*chosen)
    async with db.read() as connection:
        found = list(await connection.execute(query))
    return {name: ReadOptions.from_json(options) for name, options in found if options}


async def change_options(db: Database, name: str, options: ReadOptions, facts: Facts) -> Dataset | None:
    """Store how a dataset is read, and the facts that it has then; None if it is gone. Raises DatasetInUse."""
    values = asdict(facts) | {"options": options.as_json(), "profile": None, "updated_at": time.time()}
    async with db.write() as transaction:
        dataset = await _locked(transaction, name)
        if dataset is None:
            return None
        await _check_unused(transaction.connection, dataset)
        await transaction.connection.execute(update(table).where(table.c.name == name).values(values))
    return changed(dataset, **values)


async def check_unused(db: Database, dataset: Dataset) -> None:
    """Raise DatasetInUse if a task that is not finished needs the dataset."""
    async with db.read() as connection:
        await _check_unused(connection, dataset)


@asynccontextmanager
async def registering(db: Database, dataset: Dataset, *, replace: bool = False) -> AsyncIterator[Dataset | None]:
    """Write the row of a dataset, unless the block raises, which receives the dataset that it replaces, and writes the
    file. Raises NameTaken, or DatasetInUse if the old dataset is in use."""
    try:
        async with db.write() as transaction:
            old = await _locked(transaction, dataset.name)
            await _check_free(transaction.connection, old, replace)
            await transaction.connection.execute(delete(table).where(table.c.name == dataset.name))
            await transaction.connection.execute(insert(table).values(asdict(dataset)))
            yield old
    except IntegrityError:  # PostgreSQL: another transaction has inserted it in the meantime
        raise taken(dataset.name) from None


async def check_free(db: Database, name: str, *, replace: bool = False) -> None:
    """Raise what ``registering`` would raise, before the dataset is prepared."""
    dataset = await get(db, name)
    async with db.read() as connection:
        await _check_free(connection, dataset, replace)


async def note(db: Database, name: str, facts: Facts, *, now: float | None = None) -> None:
    """Record that the content has changed, and delete the profile of the old content."""
    values = asdict(facts) | {"profile": None, "updated_at": time.time() if now is None else now}
    async with db.write() as transaction:
        await transaction.connection.execute(update(table).where(table.c.name == name).values(values))


async def keep_profile(db: Database, name: str, fingerprint: str, profile: dict[str, Any]) -> None:
    """Store the profile of the content with this fingerprint; does nothing if the content has changed since."""
    query = update(table).where(table.c.name == name, table.c.fingerprint == fingerprint).values(profile=profile)
    async with db.write() as transaction:
        await transaction.connection.execute(query)


async def remove(db: Database, name: str) -> Dataset | None:
    """Delete the row of a dataset and return it; None if there was none. Raises DatasetInUse."""
    async with db.write() as transaction:
        dataset = await _locked(transaction, name)
        if dataset is not None:
            await _check_unused(transaction.connection, dataset)
            await transaction.connection.execute(delete(table).where(table.c.name == name))
    return dataset


def taken(name: str) -> NameTaken:
    return NameTaken(f"a dataset {name!r} exists already: choose another name, or add ?replace=true to replace it")


async def _locked(transaction: Transaction, name: str) -> Dataset | None:
    if "\0" in name:
        return None
    query = select(table).where(table.c.name == name).with_for_update()
    row = (await transaction.connection.execute(query)).first()
    return None if row is None else _dataset_of(row)


async def _check_free(connection: AsyncConnection, dataset: Dataset | None, replace: bool) -> None:
    if dataset is not None and not replace:
        raise taken(dataset.name)
    await _check_unused(connection, dataset)


async def _check_unused(connection: AsyncConnection, dataset: Dataset | None) -> None:
    """Raise DatasetInUse if an unfinished training names the dataset, or the file that the server stores for it."""
    if dataset is None:
        return
    jobs, names = tables.jobs.c, [dataset.name, dataset.path] if dataset.is_kept else [dataset.name]
    uses = or_(*(jobs.spec[field].as_string().in_(names) for field in ("dataset", "validation_dataset")))
    is_unfinished = jobs.state.in_([state for state in State if not state.is_final])
    query = select(jobs.id).where(is_unfinished, uses).order_by(jobs.created_at).limit(NAMED_TASKS + 1)
    users = list(await connection.scalars(query))
    if users:
        more = " and more" if len(users) > NAMED_TASKS else ""
        raise DatasetInUse(
            f"the dataset {dataset.name!r} is used by {', '.join(users[:NAMED_TASKS])}{more}: "
            "wait until these tasks have finished, or stop them"
        )


def _dataset_of(row: Row[Any]) -> Dataset:
    return Dataset(**row._mapping)
