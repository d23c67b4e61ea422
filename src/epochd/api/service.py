"""The components of a running server in one value: database, event bus, dataset registry, dispatcher."""

import asyncio
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epochd.api import data_folder, server_log
from epochd.api.attempt_files import AttemptFiles
from epochd.api.data_folder import LOCK
from epochd.api.event_bus import EventBus, PastEvents
from epochd.api.responses import Activity
from epochd.api.served_models import ServedModels
from epochd.api.sessions import Sessions
from epochd.api.storage import Storage
from epochd.artifact import files, removal
from epochd.core import language
from epochd.core.errors import Busy, DataError, EpochdError, Problem
from epochd.core.events import Event, Type
from epochd.core.jobs import JobKind, State
from epochd.core.names import composed
from epochd.core.settings import Settings
from epochd.data.tables import addresses
from epochd.data.tables.catalog import Catalog
from epochd.dispatch.dispatcher import Dispatcher
from epochd.dispatch.host import machine
from epochd.dispatch.host.machine import Machine
from epochd.dispatch.placement import Place
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

if TYPE_CHECKING:  # a server alone needs none of them
    import httpx

    from epochd.api.membership import Membership
    from epochd.store.leadership import Leader

RETRY_SECONDS = 5
INTERRUPTED_SECONDS = 600.0
"""How old the note of a removal has to be, for somebody else to complete it."""
REMOVALS_SECONDS = 60.0
"""How often a server with an object store looks for removals that the store has not carried out."""
TRIM_SECONDS, UNUSED_SECONDS = 300.0, 3600.0
"""How often it looks whether its copies have become too large, and how long one was not used that is deleted."""
MEASURED_SECONDS = 30.0

logger = logging.getLogger(__name__)


class Service:
    """The components of one server, which is reached at ``server_url``. ``make_executor`` is called for each time that
    it dispatches: once, unless it shares its database with others."""

    def __init__(
        self, settings: Settings, make_executor: Callable[[], Executor], server_url: str, speeds: Speeds
    ) -> None:
        self.settings = settings
        self.sessions = Sessions(settings)
        self.executor = make_executor()
        self._make_executor = make_executor
        self.db = Database(settings.database, secrets.token_hex(8) if settings.shared else None)
        self.event_bus, self.past_events = EventBus(), PastEvents(self.db)
        seconds, memory_mb = settings.reader_seconds, settings.reader_mb
        self.checks, self.readers, self.queries, self.bodies = (
            ReaderPool(operations.__name__, size=2, queue=waiting, seconds=seconds, memory_mb=memory_mb)
            for waiting in (64, 32, 8, 32)
        )
        self.reports = ReaderPool(drawing.__name__, size=1, queue=32, seconds=seconds, memory_mb=memory_mb)
        self.storage = Storage(settings)
        self.models = ServedModels(self.db, settings, self.storage)
        self.staging = StagingArea(self.db, settings.dataset_roots[0], self.readers, self.storage)
        self.profiles = ProfileCache(self.db, self.readers)
        self.speeds = speeds
        self.worker_url = settings.public_url or server_url
        offered = self._offered_by_leader
        self.dispatcher = Dispatcher(
            self.db, self.executor, settings, self.worker_url, speeds, offered_elsewhere=offered
        )
        self.membership: Membership | None = None
        if settings.shared:
            self.membership = self._join(settings.advertise_url or server_url)
        self.attempt_files = AttemptFiles(settings, self.catalog)
        if settings.storage is not None:
            from epochd.api.stored_files import StoredFiles  # noqa: PLC0415 - only servers with a store need it

            self.attempt_files = StoredFiles(settings, self.catalog, self.storage)
        self._removal_lock = asyncio.Lock()
        self._http: httpx.AsyncClient | None = None
        self._lock: int | None = None
        self._counting: asyncio.Task[dict[State, int]] | None = None
        self._measuring: tuple[float, asyncio.Task[Machine]] | None = None
        self._is_dispatching = self._has_dispatched = False

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open all components, and close them in reverse order. Raises SettingsError for unusable settings."""
        async with AsyncExitStack() as stack:
            folder = stack.enter_context(data_folder.opened(self.settings))
            self._lock = folder.lock
            self.staging.clear(folder.leftovers_before)
            files.delete_older(self.settings.bodies_dir, folder.leftovers_before)
            await self.db.open()
            stack.push_async_callback(self.db.close)
            stack.push_async_callback(self.storage.close)
            await self.storage.open()
            await self._complete_removals(time.time() - INTERRUPTED_SECONDS if self.settings.shared else inf)
            if self.storage.is_on:
                await stack.enter_async_context(_repeated("removals", self._complete_removals_later, REMOVALS_SECONDS))
            if self.storage.is_on or self.settings.dataset_urls:
                await stack.enter_async_context(_repeated("limit of copies", self._trim_copies, TRIM_SECONDS))
            await self.models.reload()
            stack.callback(self.models.close)
            stack.push_async_callback(self._close_http)
            self.db.listen(server_log.log_events)
            if self.membership is None:
                self.db.listen(self.event_bus.publish)
                self.db.listen(self._keep_speeds)
                self.db.listen(self.storage.on_events)
            else:
                await stack.enter_async_context(self.membership.listening())
                if self.settings.public_url is None:
                    logger.warning("EPOCHD_PUBLIC_URL is not set: trainings end with the server that has started them")
            stack.callback(self.event_bus.close)
            stack.push_async_callback(self.close_readers)
            self.checks.warm()
            if self.settings.language != "en":  # read before a request needs it
                asyncio.get_running_loop().run_in_executor(None, language.chinese)
            stack.push_async_callback(self.release, 0.0)
            if self.membership is None:
                await self.dispatcher.start()
                self._is_dispatching = True
            else:
                await self.membership.leadership.open()
            yield

    async def _complete_removals(self, before: float) -> None:
        """Complete the removals that were noted before this moment, in Unix time."""
        known, without_model = await jobs.ids(self.db), await models.without_model(self.db)
        await asyncio.to_thread(removal.complete_interrupted, self.settings, known, without_model, before, self.storage)

    async def _complete_removals_later(self) -> None:
        """Complete what the object store did not remove when it was asked to."""
        if await asyncio.to_thread(lambda: any(self.settings.removals_dir.glob("*"))):
            await self._complete_removals(time.time() - INTERRUPTED_SECONDS)

    async def _trim_copies(self) -> None:
        """Keep the copies of what the object store has within their limit."""
        await self.storage.trim(UNUSED_SECONDS, self._needed)

    async def _needed(self) -> Callable[[Path], bool]:
        """Which copies have to stay: those of tasks that have not ended, and of models whose tasks are removed."""
        home = self.settings.data_dir
        known, (unfinished, names) = await jobs.ids(self.db), await jobs.unfinished(self.db)
        named = {*names, self.settings.default_dataset}
        wanted = {addresses.cached(home, name) for name in named if addresses.is_address(name)}
        predictions = [job for job in await jobs.running(self.db) if job.kind is JobKind.PREDICTION]
        wanted |= {home / job.summary["model"]["folder"] for job in predictions}

        def is_needed(path: Path) -> bool:
            is_of_task = not unfinished.isdisjoint(path.parts)
            is_removed = path.is_relative_to(self.settings.artifacts_dir) and path.name not in known
            return path in wanted or is_of_task or is_removed

        return is_needed

    def _join(self, url: str) -> "Membership":
        """This server among those that share its database."""
        from epochd.api.membership import Membership  # noqa: PLC0415

        return Membership(
            self.settings,
            self.db,
            self.event_bus,
            self.models,
            url,
            listeners=[self._keep_speeds, self.storage.on_events],
            wake=lambda: self.dispatcher.wake(),
            elected=self._dispatch,
            deposed=self._stop_dispatching,
            about=self._about,
        )

    async def _dispatch(self, term: int) -> None:
        """Dispatch as the leader of this term, with workers of its own."""
        from epochd.store.leadership import FencedDatabase  # noqa: PLC0415

        if self._has_dispatched:
            self.executor = self._make_executor()
        self._has_dispatched = True
        fenced = FencedDatabase(self.db, term, self.settings.lease_seconds)
        wake = self.membership.leadership.wake if self.membership else lambda: None
        self.dispatcher = Dispatcher(fenced, self.executor, self.settings, self.worker_url, self.speeds, wake)
        try:
            await self.dispatcher.start()
        except BaseException:
            await self.executor.close()
            raise
        self._is_dispatching = True

    async def _stop_dispatching(self) -> None:
        """Leave the queue and all running attempts to another server."""
        self._is_dispatching = False
        await self.dispatcher.hand_over()

    def _about(self) -> dict[str, Any]:
        """What other servers have to know of the one that dispatches."""
        health, nodes = self.executor.health(), self.dispatcher.nodes
        return {
            "gpus": nodes.most_gpus,
            "slots": nodes.slots,
            "free_slots": nodes.free_slots if self._is_dispatching else 0,
            "frameworks": sorted(nodes.warm),
            "engines": nodes.engines,
            "places": [node.offer.as_json() for node in nodes],
            "error": self.dispatcher.error or health.get("error"),
        }

    def _offered_by_leader(self) -> list[Place] | None:
        """The machines of the other server that dispatches; None if this one does."""
        return None if self.leader is None else [Place.from_json(one) for one in self.leader.about.get("places", ())]

    @property
    def is_leader(self) -> bool:
        """Whether this server dispatches."""
        return self.membership is None or self._is_dispatching

    @property
    def leader(self) -> "Leader | None":
        """The other server that dispatches, as far as it is known; None if this one does."""
        if self.membership is None or self._is_dispatching or not self.membership.leadership.is_led:
            return None
        found = self.membership.leadership.leader
        return None if found is None or found.server == self.db.server else found

    @property
    def leader_url(self) -> str | None:
        """Where to reach the other server that dispatches."""
        return None if self.leader is None else self.leader.url

    @property
    def gpu_count(self) -> int:
        """The largest number of GPUs that a training can have."""
        return self.dispatcher.nodes.most_gpus if self.leader is None else int(self.leader.about.get("gpus", 0))

    @property
    def engines(self) -> list[str]:
        """The engines that a training may ask for."""
        return self.dispatcher.nodes.engines if self.leader is None else list(self.leader.about.get("engines", ()))

    def http(self) -> "httpx.AsyncClient":
        """The client for requests to other servers."""
        import httpx  # noqa: PLC0415

        if self._http is None:
            limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)  # each stream has one
            self._http = httpx.AsyncClient(trust_env=False, limits=limits)
        return self._http

    async def _close_http(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    def note(self, task_id: str, activity: Activity) -> None:
        """Show what a training does at this moment."""
        (self.event_bus if self.membership is None else self.membership.relay).note(task_id, activity)

    def follow(self, task_id: str, seq: int) -> None:
        """Announce that a subscriber of a task reads its log up to this event by itself."""
        if self.membership is not None:
            self.membership.relay.follow(task_id, seq)

    @asynccontextmanager
    async def removing(self) -> AsyncIterator[None]:
        """Change which models exist, or what leads to them, while nobody else does."""
        async with self._removal_lock, self.db.exclusive("removal"):
            yield

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

    async def catalog(self, *needed: object) -> Catalog:
        """All datasets that a config can use now; of those that are ``needed``, the files are here. Raises Busy,
        CorruptFile."""
        default = self.settings.default_dataset
        await self.staging.delete_unregistered()
        registered = await datasets.paths(self.db, self.staging.home)
        refused: dict[str, Problem] = {}
        for name in {composed(name) for name in (one or default for one in needed) if isinstance(name, str)}:
            if addresses.is_address(name):
                try:
                    registered[name] = await self.storage.address(name)
                except DataError as error:
                    refused[name] = error.problems[0]
            elif self.storage.is_on and (dataset := await datasets.get(self.db, name)) and dataset.is_kept:
                await self.storage.dataset(self.staging.home / dataset.path, dataset.fingerprint)
        reading = await datasets.reading(self.db)
        return Catalog(self.settings.dataset_roots, registered, default, reading, refused)

    def ready(self, waiting: int, engine: str, setup: Setup) -> Readiness:
        """What a training on an engine need not wait for, beside so many tasks."""
        nodes = self.dispatcher.nodes
        frameworks = nodes.warm if self.leader is None else self.leader.about.get("frameworks", ())
        is_warm = engine in frameworks
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
        """Stop dispatching: running jobs have ``wait`` seconds to save a checkpoint and return to the queue. Another
        server takes them over instead if there is one, and workers can reach it."""
        if self.membership is not None:
            await self.membership.leadership.end()
        if self._is_dispatching:
            self._is_dispatching = False
            if await self._can_hand_over():
                await self.dispatcher.hand_over()
            else:
                await self.dispatcher.stop(wait)
        if self.membership is not None:
            await self.membership.leadership.close()

    async def _can_hand_over(self) -> bool:
        has_url = self.membership is not None and self.settings.public_url is not None
        return has_url and self.membership is not None and await self.membership.leadership.others() > 0


@asynccontextmanager
async def _repeated(name: str, work: Callable[[], Awaitable[None]], seconds: float) -> AsyncIterator[None]:
    """Do something in the background, again and again with so many seconds between, also after it has failed."""

    async def repeat() -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except (EpochdError, OSError) as error:
                logger.warning("%s: %s; trying again later", name, error)
            except Exception:
                logger.exception("%s failed; trying again later", name)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
