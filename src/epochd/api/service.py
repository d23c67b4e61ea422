"""The components of a running server in one value: database, event bus, dataset registry, dispatcher."""

import asyncio
import fcntl
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from epochd.api import server_log
from epochd.api.attempt_files import AttemptFiles
from epochd.api.event_bus import EventBus, PastEvents
from epochd.api.served_models import ServedModels
from epochd.api.sessions import Sessions
from epochd.artifact import removal
from epochd.core import language
from epochd.core.errors import Busy, EpochdError, SettingsError
from epochd.core.events import Event, Type
from epochd.core.jobs import State
from epochd.core.settings import DATABASE_FILE, Settings
from epochd.data.tables.catalog import Catalog
from epochd.dispatch.dispatcher import Dispatcher
from epochd.dispatch.host import machine
from epochd.dispatch.host.machine import Machine
from epochd.dispatch.workers.executor import Executor
from epochd.engines import programs
from epochd.engines.registry import CACHED_ON_DISK, Readiness
from epochd.engines.speeds import Sample, Speeds
from epochd.loop.engine import Setup
from epochd.readers.pool import ReaderPool
from epochd.registry import operations
from epochd.registry.profile_cache import ProfileCache
from epochd.registry.staging import StagingArea
from epochd.report import drawing
from epochd.store import datasets, jobs, models
from epochd.store.db import Database

LOCK = ".lock"
RETRY_SECONDS = 5
MEASURED_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Service:
    """The components of one server. ``server_url`` is the URL that its workers report to."""

    def __init__(self, settings: Settings, executor: Executor, server_url: str, speeds: Speeds) -> None:
        self.settings = settings
        self.sessions = Sessions(settings)
        self.executor = executor
        self.db = Database(settings.database)
        self.event_bus, self.past_events = EventBus(), PastEvents(self.db)
        seconds, memory_mb = settings.reader_seconds, settings.reader_mb
        self.checks, self.readers, self.queries, self.bodies = (
            ReaderPool(operations.__name__, size=2, queue=waiting, seconds=seconds, memory_mb=memory_mb)
            for waiting in (64, 32, 8, 32)
        )
        self.reports = ReaderPool(drawing.__name__, size=1, queue=32, seconds=seconds, memory_mb=memory_mb)
        self.models = ServedModels(self.db, settings)
        self.staging = StagingArea(self.db, settings.dataset_roots[0], self.readers)
        self.profiles = ProfileCache(self.db, self.readers)
        self.speeds = speeds
        self.dispatcher = Dispatcher(self.db, executor, settings, server_url, speeds)
        self.attempt_files = AttemptFiles(settings, self.catalog)
        self.removal_lock = asyncio.Lock()
        self._lock: int | None = None
        self._counting: asyncio.Task[dict[State, int]] | None = None
        self._measuring: tuple[float, asyncio.Task[Machine]] | None = None
        self._is_dispatching = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open all components, and close them in reverse order. Raises SettingsError for unusable settings."""
        async with AsyncExitStack() as stack:
            self._lock = stack.enter_context(_exclusive_folders(self.settings))
            self.staging.clear()
            shutil.rmtree(self.bodies_dir, ignore_errors=True)
            await self.db.open()
            stack.push_async_callback(self.db.close)
            known, without_model = await jobs.ids(self.db), await models.without_model(self.db)
            await asyncio.to_thread(removal.complete_interrupted, self.settings, known, without_model)
            await self.models.open()
            stack.callback(self.models.close)
            self.db.listen(self.event_bus.publish)
            self.db.listen(server_log.log_events)
            self.db.listen(self._keep_speeds)
            stack.callback(self.event_bus.close)
            stack.push_async_callback(self.close_readers)
            self.checks.warm()
            if self.settings.language != "en":  # read before a request needs it
                asyncio.get_running_loop().run_in_executor(None, language.chinese)
            await self.dispatcher.start()
            self._is_dispatching = True
            stack.push_async_callback(self.release, 0.0)
            yield

    @property
    def bodies_dir(self) -> Path:
        """The folder for bodies of requests that are too large for memory, or that a reader has to read."""
        return self.settings.cache_dir / "bodies"

    def check_storage(self) -> None:
        """Raise Busy if what is stored now would be lost, because the data folder or the database file is not the one
        that the server has opened."""
        folder = self.settings.data_dir
        try:
            is_same = self._lock is None or os.path.samestat(os.fstat(self._lock), (folder / LOCK).stat())
        except OSError:
            is_same = False
        if not is_same:
            lost = f"the data folder {folder} was deleted or replaced while the server was using it"
            raise Busy(f"{lost}. Put it back, or restore a backup and restart the server", RETRY_SECONDS)
        self.db.check_files()

    @property
    def outage(self) -> EpochdError | None:
        """Why a training cannot be stored at present, as far as it is known without trying."""
        try:
            self.check_storage()
        except Busy as error:
            return error
        return self.db.outage

    def count_jobs(self) -> asyncio.Task[dict[State, int]]:
        """The number of jobs in each state: one query at a time, which several health checks share."""
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(jobs.counts(self.db))
        return self._counting

    async def machine(self) -> tuple[Machine, float]:
        """The machine, and when it was measured: all who ask within ``MEASURED_SECONDS`` share a measurement."""
        if self._measuring is None or self._measuring[0] < time.time() - MEASURED_SECONDS:
            measuring = asyncio.to_thread(machine.measure, self.settings)
            self._measuring = time.time(), asyncio.create_task(measuring)
        at, measured = self._measuring
        return await asyncio.shield(measured), at

    async def catalog(self) -> Catalog:
        """All datasets that a config can use now."""
        registered = await datasets.paths(self.db, self.staging.home)
        reading = await datasets.reading(self.db)
        return Catalog(self.settings.dataset_roots, registered, self.settings.default_dataset, reading)

    def ready(self, waiting: int, engine: str, setup: Setup) -> Readiness:
        """What a training on an engine need not wait for, beside so many tasks."""
        is_warm = engine in self.dispatcher.nodes.warm
        is_kept = is_warm or engine in CACHED_ON_DISK
        return Readiness(is_warm, is_kept and self.speeds.is_compiled(engine, programs.shape_of(setup)), waiting)

    def _keep_speeds(self, events: list[Event]) -> None:
        """Keep what completed trainings have measured of their engines, for ``auto``; a worker of another version may
        have measured something else. Those of agents are of other machines."""
        for event in events:
            is_own = event.job is not None and event.job.agent is None and event.type is Type.COMPLETE
            measured = is_own and event.job and event.job.summary.get("speed")
            if measured:
                with suppress(ValueError, TypeError, KeyError):
                    sample = Sample.from_json(measured)
                    asyncio.get_running_loop().run_in_executor(None, self.speeds.add, sample)

    async def close_readers(self) -> None:
        """End everything that reads data, so that the requests that wait for it end too."""
        pools = self.checks, self.readers, self.queries, self.bodies, self.reports
        await asyncio.gather(*(pool.close() for pool in pools))

    async def release(self, wait: float) -> None:
        """Stop dispatching: running jobs have ``wait`` seconds to save a checkpoint and return to the queue."""
        if self._is_dispatching:
            self._is_dispatching = False
            await self.dispatcher.stop(wait)


@contextmanager
def _exclusive_folders(settings: Settings) -> Iterator[int]:
    """Create the data directory, and lock it against a second server; the end of the process releases the lock.
    The descriptor of the locked file."""
    folders = (
        settings.artifacts_dir,
        settings.checkpoints_dir,
        settings.logs_dir,
        settings.predictions_dir,
        settings.dataset_roots[0],
    )
    for folder in (settings.data_dir, *folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(folder, f"cannot create it: {error.strerror}") from None
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _unusable(folder, "this user cannot write to it")
    try:
        file = (settings.data_dir / LOCK).open("w")
    except OSError as error:
        raise _unusable(settings.data_dir / LOCK, f"cannot open it: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"another epochd server is using {settings.data_dir}. Stop it, or set EPOCHD_DATA_DIR to another folder"
            ) from None
        _restrict_access(settings)
        yield file.fileno()


def _restrict_access(settings: Settings) -> None:
    """Give access to the data folder to its owner only; with ``group_readable``, to the models also to its group."""
    home, group = settings.data_dir, settings.group_readable
    if settings.database_url is None and not (home / DATABASE_FILE).exists():
        (home / DATABASE_FILE).touch(0o600)
    private = (
        settings.checkpoints_dir,
        settings.logs_dir,
        settings.predictions_dir,
        settings.removals_dir,
        settings.cache_dir,
        settings.speeds_dir,
    )
    modes = {home: 0o710 if group else 0o700, settings.artifacts_dir: 0o750 if group else 0o700}
    modes |= dict.fromkeys((*private, settings.dataset_roots[0]), 0o700) | dict.fromkeys(
        home.glob(f"{DATABASE_FILE}*"), 0o600
    )
    for path, mode in modes.items():
        try:
            # What cannot be written is refused when it is opened.
            if os.access(path, os.W_OK) and (path.stat().st_mode & 0o777) != mode:
                path.chmod(mode | (path.stat().st_mode & 0o7000))
        except OSError as error:
            logger.warning(
                "the permissions of %s cannot be set to %03o (%s); set them manually", path, mode, error.strerror
            )


def _unusable(path: Path, why: str) -> SettingsError:
    return SettingsError(f"cannot use {path}: {why}. Set EPOCHD_DATA_DIR to a folder that this user can write to")
