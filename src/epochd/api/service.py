"""What is open while the server runs: database, live feed, dispatcher, in one value.

The app's lifespan opens it, requests reach it through ``deps.service``, and the server's shutdown asks it
to let go of running jobs while the workers can still report.
"""

import asyncio
import fcntl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path

from epochd.api.feed import Feed
from epochd.artifact import removal
from epochd.core.errors import SettingsError
from epochd.core.settings import Settings
from epochd.data.tables.catalog import Catalog
from epochd.dispatch.dispatcher import Dispatcher
from epochd.dispatch.workers.executor import Executor
from epochd.registry.profiles import Profiles
from epochd.registry.staging import Arrivals
from epochd.store import datasets, jobs
from epochd.store.db import Database

LOCK = ".lock"
"""The file in the data directory that a running server holds."""


class Service:
    """The open parts of one server. ``server_url`` is where its workers report to."""

    def __init__(self, settings: Settings, executor: Executor, server_url: str) -> None:
        self.settings = settings
        self.executor = executor
        self.server_url = server_url
        self.db = Database(settings.database)
        self.feed = Feed()
        self.arrivals = Arrivals(settings.dataset_roots[0])
        self.profiles = Profiles(self.db)
        self.dispatcher = Dispatcher(self.db, executor, settings, server_url)
        self.removing = asyncio.Lock()
        self._dispatching = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Service"]:
        """Open everything; close it in the opposite order. Raises SettingsError for unusable settings."""
        make_folders(self.settings)
        async with AsyncExitStack() as stack:
            stack.enter_context(sole_use(self.settings.data_dir))
            self.arrivals.sweep()
            await self.db.open()
            stack.push_async_callback(self.db.close)
            await asyncio.to_thread(removal.complete_interrupted, self.settings, await jobs.ids(self.db))
            self.db.listen(self.feed.publish)
            stack.callback(self.feed.close)
            await self.dispatcher.start()
            self._dispatching = True
            stack.push_async_callback(self.release, 0.0)
            yield self

    async def catalog(self) -> Catalog:
        """Where the datasets of a config may come from at this moment."""
        registered = await datasets.paths(self.db, self.arrivals.home)
        return Catalog(self.settings.dataset_roots, registered, self.settings.default_dataset)

    async def release(self, wait: float) -> None:
        """Stop dispatching: running jobs get ``wait`` seconds to checkpoint and return to the queue."""
        if self._dispatching:
            self._dispatching = False
            await self.dispatcher.stop(wait)


@contextmanager
def sole_use(data_dir: Path) -> Iterator[None]:
    """Keep a second server out of the data directory; the system lifts the lock when the process ends."""
    with (data_dir / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"another epochd server is using {data_dir}. Stop it, or set EPOCHD_DATA_DIR to another folder"
            ) from None
        yield


def make_folders(settings: Settings) -> None:
    """Create the data directory with its folders."""
    folders = (settings.artifacts_dir, settings.checkpoints_dir, settings.logs_dir, settings.dataset_roots[0])
    for folder in folders:
        _make(folder)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"cannot create {folder}: {error.strerror}. Set EPOCHD_DATA_DIR to a folder this user can write to"
        ) from None
