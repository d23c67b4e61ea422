"""Models: completed jobs whose model is saved, grouped by the folder of the artifact store, and aliases of them.

A model's name is that folder (``models/churn``), a version the id of the task that trained it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Delete, case, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from epochd.core.errors import ModelInUse
from epochd.core.jobs import Job, State
from epochd.store import notices, rows, tables
from epochd.store.db import Database

table, alias_table = tables.jobs, tables.model_aliases
STORE = "artifacts/"
"""What ``artifact`` of a job begins with: the artifact store, in the data folder."""
MAX_LISTED = 100
"""Versions that are listed with a model, the newest first."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model and its newest ``versions``, of ``count`` altogether, each as the task that trained it."""

    name: str
    versions: Sequence[Job]
    count: int


def _name() -> ColumnElement[str]:
    """The name of a job's model in SQL; null if it has none."""
    artifact, ids = table.c.artifact, table.c.id
    length = func.length(artifact) - func.length(ids) - len(STORE) - 1
    name = func.substr(artifact, len(STORE) + 1, length)
    return case((artifact.like(STORE + "%/" + ids), name), else_=None)


async def find(
    db: Database, *, name: str | None = None, dataset: str | None = None, limit: int = 50, offset: int = 0
) -> tuple[list[Model], int]:
    """A page of the models whose name contains ``name``, the one with the newest version first, each with that version
    only; and their total number. With ``dataset`` only versions that were trained on it count."""
    model, ids = _name(), table.c.id
    chosen = [table.c.state == State.COMPLETED, model.is_not(None)]
    if dataset is not None:
        chosen.append(table.c.dataset == rows.storable(dataset))
    if name:
        chosen.append(model.icontains(rows.storable(name), autoescape=True))
    place = func.row_number().over(partition_by=model, order_by=(table.c.finished_at.desc(), ids.desc()))
    count = func.count().over(partition_by=model)
    every = select(ids, model.label("model"), place.label("place"), count.label("count")).where(*chosen).subquery()
    newest = select(every).where(every.c.place == 1).subquery()
    page = select(table, newest.c.model, newest.c.count).join(newest, newest.c.id == ids)
    page = page.order_by(table.c.finished_at.desc(), ids.desc()).limit(limit).offset(offset)
    async with db.read() as connection:
        total = await connection.scalar(select(func.count()).select_from(newest))
        found = (await connection.execute(page)).all()
    return [Model(row.model, [rows.job_of(row)], row._mapping["count"]) for row in found], total or 0


async def get(db: Database, name: str) -> Model:
    """A model with its newest versions; without any if no task has trained it."""
    async with db.read() as connection:
        count = select(func.count()).where(table.c.state == State.COMPLETED, _name() == rows.storable(name))
        return Model(name, await _versions(connection, name, MAX_LISTED), await connection.scalar(count) or 0)


async def _versions(connection: AsyncConnection, name: str, most: int) -> list[Job]:
    query = select(table).where(table.c.state == State.COMPLETED, _name() == rows.storable(name))
    found = await connection.execute(query.order_by(table.c.finished_at.desc(), table.c.id.desc()).limit(most))
    return [rows.job_of(row) for row in found]


async def names(db: Database, most: int = 2_000) -> list[str]:
    """The names of up to ``most`` models."""
    query = select(_name()).where(table.c.state == State.COMPLETED, _name().is_not(None)).distinct().limit(most)
    async with db.read() as connection:
        return list(await connection.scalars(query))


async def without_model(db: Database) -> set[str]:
    """The ids of jobs that have no model, or no longer."""
    async with db.read() as connection:
        return set(await connection.scalars(select(table.c.id).where(table.c.artifact.is_(None))))


async def forget(db: Database, task_id: str, *, now: float | None = None) -> None:
    """Record that the model of a job is deleted; the job keeps everything else. Raises ModelInUse if an alias leads to
    it. Does nothing more if there is no such job: its model was kept."""
    async with db.write() as transaction:
        await check_unused(transaction.connection, task_id)
        row = await rows.locked(transaction, task_id)
        if row is None:
            return
        removed = datetime.fromtimestamp(rows.moment(now), UTC).isoformat(timespec="milliseconds")
        summary = {**rows.job_of(row).summary, "model_removed_at": removed.replace("+00:00", "Z")}
        change = table.update().where(table.c.id == task_id).values(artifact=None, summary=summary)
        await transaction.connection.execute(change)


async def aliases(db: Database) -> dict[str, dict[str, str]]:
    """Model → alias → version, of all models."""
    query = select(alias_table.c.model, alias_table.c.alias, alias_table.c.version).order_by(alias_table.c.alias)
    found: dict[str, dict[str, str]] = {}
    async with db.read() as connection:
        for model, alias, version in await connection.execute(query):
            found.setdefault(model, {})[alias] = version
    return found


async def set_alias(db: Database, model: str, alias: str, version: str, *, now: float | None = None) -> None:
    """Make an alias lead to a version; an existing one is moved."""
    values = {"model": model, "alias": alias, "version": version, "updated_at": now or time.time()}
    async with db.write() as transaction:
        await transaction.connection.execute(_deletion(model, alias))
        await transaction.connection.execute(insert(alias_table).values(values))
        transaction.tell(notices.ALIASES, model)


async def remove_alias(db: Database, model: str, alias: str) -> bool:
    """Delete an alias; whether it existed."""
    async with db.write() as transaction:
        transaction.tell(notices.ALIASES, model)
        return (await transaction.connection.execute(_deletion(model, alias))).rowcount > 0


def _deletion(model: str, alias: str) -> Delete:
    return delete(alias_table).where(alias_table.c.model == model, alias_table.c.alias == alias)


async def check_unused(connection: AsyncConnection, version: str) -> None:
    """Raise ModelInUse if an alias leads to this version."""
    query = select(alias_table.c.model, alias_table.c.alias).where(alias_table.c.version == version)
    found = (await connection.execute(query.order_by(alias_table.c.alias))).all()
    if found:
        names = ", ".join(repr(alias) for _, alias in found)
        raise ModelInUse(
            f"the model {found[0].model}/{version} is in use under the alias {names}: move the alias to another "
            "version or remove it, then repeat the request"
        )
