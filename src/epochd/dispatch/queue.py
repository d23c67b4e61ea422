"""The queue of one server: it reads pending and running jobs, applies the policy (``placement``), and tells those who
wait why they wait, and until when.

Where any free slot will do, the first pending job is claimed without another query. Otherwise the queue is read in
pages that grow only while no job of them can start.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from epochd.core.events import FINAL_TYPES, Event, Type
from epochd.core.jobs import AttemptKey, Command, Job, JobKind, State
from epochd.core.settings import Settings
from epochd.dispatch import estimates, placement
from epochd.dispatch.estimates import Durations
from epochd.dispatch.placement import Place, Round, Running, Start, Wait, Waiting
from epochd.store import attempts, jobs, queue
from epochd.store.db import Database
from epochd.store.queue import Completed, QueuedJob

logger = logging.getLogger(__name__)

PAGES = 16, 64, 256
"""How many jobs are looked at for one decision; more only while none of them can start."""
TRIES = 3
"""How often another job is chosen, if the one that was chosen is not pending any more."""
FORESEEN = 200
"""For how many jobs, from the next one on, it is told why they wait, and when they are expected to start."""
FORECAST_SECONDS = 1.0
"""How long a forecast is used, unless a job has changed its state before."""
TURN = "waits for its turn in the queue"

Held = tuple[str | None, int]
"""Where an attempt runs, and the number of GPUs that it has there."""


class Claim(NamedTuple):
    """An attempt that was started, its token, and its place; with the ``others`` of one on several machines."""

    job: Job
    token: str
    place: str | None
    others: tuple[str | None, ...] = ()


class _SeveralMachines(Exception):
    """The next job needs more than one place."""


class Standing(NamedTuple):
    """What a pending job waits for. ``queue_position`` counts from 1; ``expected_start`` is in seconds since the Unix
    epoch, None if it cannot be estimated; ``waiting_for`` is a message, None for a job that is about to start."""

    queue_position: int | None = None
    expected_start: float | None = None
    waiting_for: str | None = None


NOT_WAITING = Standing()
Forecast = dict[str, tuple[float | None, str | None]]
BEYOND: tuple[float | None, str | None] = None, TURN
"""What is told of jobs behind those that are foreseen."""


class JobQueue:
    """``places`` are those that can run jobs now; ``held`` tells where an attempt runs, which may be several places."""

    def __init__(
        self,
        db: Database,
        settings: Settings,
        places: Callable[[], Sequence[Place]],
        held: Callable[[AttemptKey], Sequence[Held]],
    ) -> None:
        self._db = db
        self._settings = settings
        self._places = places
        self._held = held
        self._durations: Durations | None = None
        self._reserved: dict[str, str | None] = {}
        self._forecast: tuple[float, Forecast] | None = None

    async def claim_next(self, now: float) -> Claim | None:
        """Start the next job; None if none can start now. With ``preempt``, running jobs of lower priority are then
        asked to make room."""
        places = self._places()
        is_open = any(place.free_slots > 0 for place in places)
        if not is_open and not self._settings.preempt:
            return None
        if is_open and self._is_plain(places):
            lease, choose = self._settings.lease_seconds, partial(_preferred, places)
            with suppress(_SeveralMachines):
                claimed = await attempts.claim(self._db, lease_seconds=lease, agent_for=choose, now=now)
                return claimed and Claim(*claimed, claimed[0].agent)
        for _ in range(TRIES):
            start = await self._next(places, now)
            if start is None:
                return None
            lease, task_id, name = self._settings.lease_seconds, start.job.id, start.place.name
            chosen = partial(_named, name)
            claimed = await attempts.claim(self._db, lease_seconds=lease, task_id=task_id, agent_for=chosen, now=now)
            if claimed is not None:
                return Claim(*claimed, name, tuple(place.name for place in start.others))
        return None

    def _is_plain(self, places: Sequence[Place]) -> bool:
        """Whether the first pending job can start on this machine, the only one, as soon as a slot is free."""
        is_alone = all(place.name is None and place.gpus == 0 for place in places)
        return self._settings.user_slots is None and is_alone

    async def _next(self, places: Sequence[Place], now: float) -> Start | None:
        """The next job to start. What runs is read only if the first job that may start cannot."""
        used, limit = await self._used(), self._settings.user_slots
        first = Round(places, used=used, user_slots=limit)
        page = await self._page(first, PAGES[0])
        start = first.choose(page)
        if not page or (first.is_over and not self._settings.preempt):
            return None
        if start is not None and first.reservation is None:
            return start
        running = await self._running(now)
        round = Round(places, running, used=used, user_slots=limit, reserved=self._reserved, now=now)
        start = await self._choose(round)
        self._reserved = round.reserved
        if start is None and self._settings.preempt:
            await self._make_room(round, places, running)
        return start

    async def _choose(self, round: Round) -> Start | None:
        for size in PAGES:
            page = await self._page(round, size)
            start = round.choose(page)
            if start is not None or len(page) < size or round.is_over:
                return start
        return None

    async def _make_room(self, round: Round, places: Sequence[Place], running: placement.RunningAt) -> None:
        """Ask running jobs of lower priority to return to the queue, unless enough of them end already."""
        found = placement.victims(round, places, running)
        for victim in found[1] if found else ():
            claimant = found[0].id if found else ""
            if await attempts.request_room(self._db, victim.id, victim.attempt, claimant):
                logger.info("task %s makes room for task %s of higher priority", victim.id, claimant)

    async def _page(self, round: Round, size: int) -> list[Waiting]:
        skip, owned = round.skip, max((place.gpus for place in self._places()), default=0)
        found = await queue.pending(self._db, limit=size, without=skip.owners, gpus=skip.gpus, owned=owned)
        return list(map(self._waiting, found))

    def _waiting(self, job: QueuedJob) -> Waiting:
        seconds = None if self._durations is None else self._durations.remaining(job)
        nodes = job.nodes or 1
        return Waiting(job.id, job.priority, job.owner, job.gpu_request, seconds, job.framework, nodes)

    async def _used(self) -> dict[str, int]:
        return {} if self._settings.user_slots is None else await queue.used(self._db)

    async def _running(self, now: float) -> placement.RunningAt:
        """The running attempts by their place, with the time at which each is expected to end."""
        durations = await self._known_durations()
        found: dict[str | None, list[Running]] = defaultdict(list)
        for job in await queue.running(self._db):
            started, ends = job.started_at or now, durations.ends_at(job, now)
            is_ending = job.command is not Command.CONTINUE
            for place, gpus in self._held((job.id, job.attempt)):
                known = job.id, job.attempt, job.priority, job.owner
                found[place].append(Running(*known, gpus, started, ends, is_ending))
        return found

    async def _known_durations(self) -> Durations:
        """What earlier jobs took, read once; ``on_events`` adds those that complete later."""
        if self._durations is None:
            durations = Durations()
            for kind in JobKind:
                for done in reversed(await queue.completed(self._db, kind=kind, limit=4 * estimates.KEPT)):
                    durations.add(done)
            self._durations = durations
        return self._durations

    def on_events(self, events: Sequence[Event]) -> None:
        """Note what has changed; call it with the events of each commit."""
        for event in events:
            if event.type is Type.STATE or event.type in FINAL_TYPES:
                self._forecast = None
            done = _completed(event.job) if event.type is Type.COMPLETE and event.job is not None else None
            if done is not None and self._durations is not None:
                self._durations.add(done)

    async def standings(self, task_ids: Collection[str]) -> dict[str, Standing]:
        """What these pending jobs wait for; those that are not pending any more are left out."""
        positions = await self._positions(task_ids)
        if not positions:
            return {}
        forecast = await self.foreseen()
        return {task_id: Standing(position, *forecast.get(task_id, BEYOND)) for task_id, position in positions.items()}

    async def standing(self, job: Job) -> Standing:
        """What one job waits for; nothing if it is not pending."""
        found = await self.standings([job.id]) if job.state is State.PENDING else {}
        return found.get(job.id, NOT_WAITING)

    async def _positions(self, task_ids: Collection[str]) -> dict[str, int]:
        if len(task_ids) != 1:
            return await jobs.positions(self._db, task_ids)
        [task_id] = task_ids
        position = await jobs.position(self._db, task_id)
        return {} if position is None else {task_id: position}

    async def foreseen(self) -> Forecast:
        """What is known of the first jobs in the queue."""
        if self._forecast is None or time.monotonic() - self._forecast[0] > FORECAST_SECONDS:
            at, now, places = time.monotonic(), time.time(), self._places()
            running = await self._running(now)
            waiting = list(map(self._waiting, await queue.pending(self._db, limit=FORESEEN)))
            limit, used = self._settings.user_slots, await self._used()
            starts = estimates.expected_starts(waiting, places, running, user_slots=limit, now=now)
            round = Round(places, running, used=used, user_slots=limit, now=now)
            for job in waiting:
                round.choose([job])
            self._forecast = at, {job.id: (starts[job.id], reason(round, places, job, limit)) for job in waiting}
        return self._forecast[1]


def reason(round: Round, places: Sequence[Place], job: Waiting, user_slots: int | None) -> str | None:
    """Why a job waits that was offered in a round; None if it can start."""
    needed = round.needed(job)
    match round.why(job):
        case Wait.SLOT:
            return f"waits for a free slot: all {sum(place.slots for place in places)} are in use"
        case Wait.GPUS:
            free, owned = max((place.free_gpus, place.gpus) for place in places)
            return f"waits for GPUs: it needs {needed}, and {free} of {owned} are free"
        case Wait.ENGINE:
            return f"waits for a machine that has {job.engine}"
        case Wait.NODES:
            free, known = round.machines(job)
            if known < job.nodes:
                return f"waits for {job.nodes} machines: {known} that could take part are connected"
            return f"waits for {job.nodes} machines at the same time: {free} of {known} have room for it"
        case Wait.USER:
            return f"waits until a task of {job.owner} ends: {user_slots} run at the same time (EPOCHD_USER_SLOTS)"
        case Wait.RESERVATION if round.reservation is not None:
            first = round.reservation
            if (nodes := first.job.nodes) > 1:
                return f"waits behind task {first.job.id}, which needs {nodes} machines and must not be delayed"
            return f"waits behind task {first.job.id}, which needs {first.gpus} GPUs and must not be delayed"
    return None


def _named(name: str | None, job: Job) -> str | None:
    return name


def _preferred(places: Sequence[Place], job: Job) -> str | None:
    """The name of the free place for a job where any will do. Raises _SeveralMachines."""
    if job.kind is JobKind.TRAINING and job.training.nodes > 1:
        raise _SeveralMachines
    engine = job.training.framework if job.kind is JobKind.TRAINING else None
    return min((p for p in places if p.free_slots > 0), key=lambda place: placement.preference(place, engine)).name


def _completed(job: Job) -> Completed | None:
    """How long a completed job took."""
    framework = job.training.framework if job.kind is JobKind.TRAINING else None
    seconds = queue.worked(job.kind, job.summary.get("timings"), job.started_at, job.finished_at)
    if seconds is None:
        return None
    return Completed(job.kind, framework, job.spec.dataset, job.current_epoch, seconds)
