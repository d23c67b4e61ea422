"""What is known of a dataset's content, kept true: found when somebody asks, kept until the content changes.

Two requests for the same profile share one computation, which goes on if they leave.
"""

import asyncio
from dataclasses import asdict, replace
from typing import Any

from epochd.core.datasets import Dataset, DatasetKind
from epochd.data.tables.catalog import BUILTIN, Catalog
from epochd.data.tables.source import Source
from epochd.registry import profile, staging
from epochd.store import datasets
from epochd.store.db import Database

Profile = dict[str, Any]


class Profiles:
    """The profiles of one server's datasets; those of the built-in ones stay in memory."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._builtin: dict[str, Dataset] = {}
        self._running: dict[str, asyncio.Task[Profile]] = {}

    async def builtin(self) -> list[Dataset]:
        """The built-in datasets, as if they were registered."""
        for name in BUILTIN:
            if name not in self._builtin:
                source = Catalog().open(name)
                self._builtin[name] = await staging.examined(name, DatasetKind.BUILTIN, source, str(source.path))
        return [self._builtin[name] for name in BUILTIN]

    async def current(self, dataset: Dataset, source: Source) -> Dataset:
        """The dataset with what its content is now, its profile included. Raises DataError if it cannot be read."""
        fingerprint = await asyncio.to_thread(source.fingerprint)
        if fingerprint != dataset.fingerprint:
            facts = await asyncio.to_thread(profile.facts, source)
            await datasets.note(self._db, dataset.name, facts)
            dataset = replace(dataset, **asdict(facts), profile=None)
        if dataset.profile is None:
            dataset = replace(dataset, profile=await self._profile(dataset, source))
        return dataset

    async def _profile(self, dataset: Dataset, source: Source) -> Profile:
        key = f"{dataset.name} {dataset.fingerprint}"
        if key not in self._running:
            task = self._running[key] = asyncio.create_task(self._computed(dataset, source))
            task.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(self._running[key])

    async def _computed(self, dataset: Dataset, source: Source) -> Profile:
        found = await asyncio.to_thread(profile.profile, source)
        if dataset.kind is DatasetKind.BUILTIN:
            self._builtin[dataset.name] = replace(dataset, profile=found)
        else:
            await datasets.keep_profile(self._db, dataset.name, dataset.fingerprint, found)
        return found
