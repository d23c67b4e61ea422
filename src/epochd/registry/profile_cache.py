"""The profiles of datasets: computed on the first request, cached until the content changes.

Concurrent requests for the same profile share one computation, which continues if the clients disconnect.
"""

import asyncio
import json
from dataclasses import asdict, replace
from importlib.resources import files
from typing import Any

from epochd.core.datasets import Dataset, DatasetKind, Facts
from epochd.data.tables.catalog import BUILTIN, Catalog
from epochd.data.tables.source import Source
from epochd.readers.pool import ReaderPool
from epochd.registry import operations, staging
from epochd.store import datasets
from epochd.store.db import Database


class ProfileCache:
    """The profiles of one server's datasets, in the database; those of the built-in datasets are in memory."""

    def __init__(self, db: Database, readers: ReaderPool) -> None:
        self._db, self._readers = db, readers
        self._builtin: dict[str, Dataset] = {}
        self._running: dict[str, asyncio.Task[dict[str, Any]]] = {}

    def builtin(self) -> list[Dataset]:
        """The built-in datasets, in the form of registered ones. Their facts were written with them, so that a list
        does not wait for a reader to start."""
        if not self._builtin:
            facts = json.loads((files("epochd.data") / "builtin" / "facts.json").read_bytes())
            self._builtin = {
                name: staging.described(name, DatasetKind.BUILTIN, Facts(**facts[name]), str(Catalog().open(name).path))
                for name in BUILTIN
            }
        return [self._builtin[name] for name in BUILTIN]

    async def refreshed(self, dataset: Dataset, source: Source) -> Dataset:
        """The dataset with the facts and the profile of its present content. Raises DataError if it cannot be read."""
        fingerprint = await self._readers.call(operations.fingerprint, source)
        if fingerprint != dataset.fingerprint:
            facts = await self._readers.call(operations.facts, source)
            await datasets.note(self._db, dataset.name, facts)
            dataset = replace(dataset, **asdict(facts), profile=None)
        if dataset.profile is not None:
            return dataset
        key = f"{dataset.name} {dataset.fingerprint}"
        if key not in self._running:
            task = self._running[key] = asyncio.create_task(self._compute(dataset, source))
            task.add_done_callback(lambda _: self._running.pop(key))
        return replace(dataset, profile=await asyncio.shield(self._running[key]))

    async def _compute(self, dataset: Dataset, source: Source) -> dict[str, Any]:
        computed = await self._readers.call(operations.column_profiles, source)
        if dataset.kind is DatasetKind.BUILTIN:
            self._builtin[dataset.name] = replace(dataset, profile=computed)
        else:
            await datasets.keep_profile(self._db, dataset.name, dataset.fingerprint, computed)
        return computed
