"""The policy of the queue: which waiting job starts next, and at which place; which running ones make room for it.

Functions of plain values, without input and output: the dispatcher applies them to the database and its machine, and
``benchmarks/scheduling.py`` to a simulated cluster. The rules, in this order:

- Jobs start in the order of the queue: by priority, then by the time at which they were queued. One whose engine is
  not installed where room is waits for another place, and does not hold up the others.
- A job whose user is at the limit is passed over, and does not hold up those of other users.
- The first job that cannot start has a reservation at one place: where enough GPUs are expected to be free first, or
  else where the fewest are lacking. It keeps this place until it starts, there or at another place. Where there are
  many places, the next such jobs have one as well, each at another place. A job behind them starts only if it cannot
  delay them: at a place that is not reserved; with no GPU, because the end of the job that frees the last GPU
  frees a slot as well; or, if the expected end of every job that holds a GPU of the place is known, if it is expected
  to end before the reserved job can start, or uses GPUs that are to spare then (EASY backfilling: Lifka, "The
  ANL/IBM SP scheduling system", 1995).
- A job on several machines starts at as many agents at once, or not at all. The first one that cannot has a reservation
  at as many, where the least is lacking; there it keeps a slot, too, since small jobs would take each as it gets free.

So what is lacking at the reserved place does not grow, but by jobs that are expected to end in time, and one of those
that does not ends the backfilling: a large job cannot wait forever behind smaller ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import cached_property
from math import inf
from typing import Any, NamedTuple, Self

from epochd.core.jobs import gpus_needed


class Waiting(NamedTuple):
    """A pending job. ``gpus`` is its request (``core.jobs.gpu_request``), ``seconds`` its expected duration;
    ``engine`` is what has to be installed where it runs, None if that does not matter. On several machines (``nodes``)
    it needs the GPUs on each of them."""

    id: str
    priority: int = 0
    owner: str | None = None
    gpus: int = 0
    seconds: float | None = None
    engine: str | None = None
    nodes: int = 1


class Running(NamedTuple):
    """A running attempt with its number of GPUs. ``ends_at`` is when it is expected to end, None if that is not known;
    ``is_ending`` that it was asked to end. Times are in seconds since the Unix epoch."""

    id: str
    attempt: int = 1
    priority: int = 0
    owner: str | None = None
    gpus: int = 0
    started_at: float = 0.0
    ends_at: float | None = None
    is_ending: bool = False


class Place(NamedTuple):
    """A machine that runs jobs; the server's own has no name. ``engines`` are those that are installed (None: any),
    ``warm`` those that a process has in memory."""

    name: str | None = None
    free_slots: int = 0
    slots: int = 0
    free_gpus: int = 0
    gpus: int = 0
    engines: frozenset[str] | None = None
    warm: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, Any]:
        engines = None if self.engines is None else sorted(self.engines)
        return self._asdict() | {"engines": engines, "warm": sorted(self.warm)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        engines, warm = values.get("engines"), frozenset(values.get("warm", ()))
        return cls(**{**values, "engines": None if engines is None else frozenset(engines), "warm": warm})


RunningAt = Mapping[str | None, Sequence[Running]]
"""The running attempts by the name of their place."""


class Start(NamedTuple):
    """A job and its place; with the ``others`` of one on several machines."""

    job: Waiting
    place: Place
    others: tuple[Place, ...] = ()


class Reservation(NamedTuple):
    """What the first job that cannot start waits for: ``gpus`` at one place, expected to be free ``at`` a time (None if
    that is not known), with ``spare`` others. That of a job on several machines keeps a slot, and ``spare`` are free
    now."""

    job: Waiting
    place: Place
    gpus: int
    at: float | None
    spare: int


class Wait(Enum):
    """Why a job does not start."""

    SLOT = "slot"
    GPUS = "gpus"
    USER = "user"
    RESERVATION = "reservation"
    ENGINE = "engine"
    NODES = "nodes"


class Skip(NamedTuple):
    """Jobs that are certain not to start now: those of these users, and those that need so many GPUs or more."""

    owners: frozenset[str] = frozenset()
    gpus: int | None = None


class Round:
    """One decision. The waiting jobs are offered in the order of the queue, in as many pages as it takes.

    ``used`` is the number of running jobs of each named user, ``user_slots`` their limit. Without ``running``, nothing
    is known of the jobs that hold GPUs, and no job is started before a reserved one because of its short duration.
    ``reserved`` is the place of each job that the last decision had a reservation for.
    """

    def __init__(
        self,
        places: Sequence[Place],
        running: RunningAt | None = None,
        *,
        used: Mapping[str, int] | None = None,
        user_slots: int | None = None,
        reserved: Mapping[str, str | None] | None = None,
        now: float = 0.0,
    ) -> None:
        self.reservations: dict[str | None, Reservation] = {}
        self.blocked: dict[str, Waiting] = {}
        self._places = places
        self._running = running or {}
        self._by_name = {place.name: place for place in places}
        self._reserved_before = reserved or {}
        self._most_reserved = max(1, min(MAX_RESERVED, len(places) // 4))
        self._now = now
        self._most = max((place.gpus for place in places), default=0)
        self._installed = frozenset[str]().union(*(place.engines or () for place in places))
        self._has_agents = any(place.name is not None for place in places)
        self._open = [place for place in places if place.free_slots > 0]
        self._full = frozenset(name for name, count in (used or {}).items() if user_slots and count >= user_slots)
        self._limit = self._most + 1
        self._largest = max((place.free_gpus for place in self._open), default=-1)
        self._needs: dict[int, int] = {}
        self._best: dict[tuple[int, str | None], Place | None] = {}
        self._lent: dict[tuple[int, str | None], list[Reservation]] = {}

    @property
    def reservation(self) -> Reservation | None:
        """That of the first job that cannot start."""
        return next(iter(self.reservations.values()), None)

    @property
    def reserved(self) -> dict[str, str | None]:
        """The place of each job that has a reservation, for the next decision; with those of earlier decisions at other
        places, since this one may have ended before it came to their jobs."""
        present = {found.job.id: name for name, found in self.reservations.items() if found.job.nodes == 1}
        before = {job: name for job, name in self._reserved_before.items() if name not in self.reservations}
        return before | present

    @property
    def is_over(self) -> bool:
        """Whether no job can start, whatever it needs."""
        return not self._open

    @property
    def skip(self) -> Skip:
        """The jobs that the next page need not have."""
        return Skip(self._full, self._limit if self._limit <= self._most else None)

    def needed(self, job: Waiting) -> int:
        """The number of GPUs that a job needs. What a server without agents does not have is not waited for: its worker
        rejects the job. An agent that has more may come back."""
        if job.gpus not in self._needs:
            needed = gpus_needed(job.gpus, self._most)
            self._needs[job.gpus] = needed if needed <= self._most or self._has_agents else 0
        return self._needs[job.gpus]

    def is_able(self, place: Place, job: Waiting) -> bool:
        """Whether a place has what a job trains with. What a server without agents lacks is not waited for either."""
        if job.engine is None or place.engines is None or job.engine in place.engines:
            return True
        return not self._has_agents and job.engine not in self._installed

    def choose(self, jobs: Iterable[Waiting]) -> Start | None:
        """The first of these jobs that can start, and where; None if none can."""
        for job in jobs if self._places else ():
            if job.owner in self._full:
                continue
            needed = self.needed(job)
            if needed < self._limit and (start := self._start(job, needed)) is not None:
                return start
            if job.nodes > 1:
                self._block_together(job, needed)
            elif needed < self._limit or len(self.reservations) < self._most_reserved:
                self._block(job, needed)
            if len(self.blocked) < MAX_BLOCKED:
                self.blocked[job.id] = job
            if not self._open:
                return None
        return None

    def why(self, job: Waiting) -> Wait | None:
        """Why a job that was offered does not start; None if it could."""
        if job.owner in self._full:
            return Wait.USER
        needed = self.needed(job)
        if self._start(job, needed) is not None:
            return None
        if job.nodes > 1:
            return Wait.NODES
        if all(place.free_slots <= 0 for place in self._places):
            return Wait.SLOT
        able = [place for place in self._places if self.is_able(place, job)]
        if not able:
            return Wait.ENGINE
        fitting = [place for place in able if place.free_gpus >= needed]
        if any(place.free_slots > 0 for place in fitting):
            return Wait.RESERVATION
        return Wait.SLOT if fitting else Wait.GPUS

    def machines(self, job: Waiting) -> tuple[int, int]:
        """How many machines have room for a job on several of them now, and how many could have."""
        needed = self.needed(job)
        agents = [place for place in self._places if place.name is not None and self._can_ever(place, job, needed)]
        return sum(self._has_room(place, job, needed) for place in agents), len(agents)

    def _start(self, job: Waiting, needed: int) -> Start | None:
        if job.nodes == 1:
            place = self._place(job, needed)
            return None if place is None else Start(job, place)
        others = {name for name, found in self.reservations.items() if found.job.id != job.id}
        free = [p for p in self._places if p.name is not None and p.name not in others]
        free = [place for place in free if self._has_room(place, job, needed)]
        free.sort(key=lambda place: (place.free_gpus, *preference(place, job.engine)))
        return Start(job, free[0], tuple(free[1 : job.nodes])) if len(free) >= job.nodes else None

    def _block_together(self, job: Waiting, needed: int) -> None:
        """Reserve places for a job on several machines: a slot at each, and its GPUs."""
        others = [found for found in self.reservations.values() if found.job.nodes > 1]
        if others and len(self.reservations) + job.nodes > self._most_reserved:
            return
        known = [p for p in self._places if p.name is not None and p.name not in self.reservations]
        known = [place for place in known if self._can_ever(place, job, needed)]
        if len(known) < job.nodes:
            return
        chosen = sorted(known, key=lambda place: self._lack(place, needed))[: job.nodes]
        times: list[float | None] = []
        for place in chosen:
            has_room = self._has_room(place, job, needed)
            times.append(self._now if has_room else self._expected(place, needed)[0] if needed else None)
        at = None if None in times else max(time for time in times if time is not None)
        for place in chosen:
            kept = place._replace(free_slots=place.free_slots - 1)
            spare = max(0, place.free_gpus - needed)
            self.reservations[place.name] = Reservation(job, kept, needed, at, spare)
            self._open = [kept if one.name == place.name else one for one in self._open]
        self._open = [place for place in self._open if place.free_slots > 0]
        self._best.clear()
        self._lent.clear()

    def _place(self, job: Waiting, needed: int) -> Place | None:
        """Where a job can start without delaying the reserved one."""
        key = needed, job.engine
        if key not in self._best:
            self._best[key] = self._best_place(job, needed)
        place = self._best[key]
        return self._backfilled(job, needed) if place is None else place

    def _best_place(self, job: Waiting, needed: int) -> Place | None:
        """The place with the fewest free GPUs among those that have enough: large jobs find room at the others. For
        a job without GPUs that with the fewest GPUs, of these one that has its engine in memory, of these the one with
        most free slots."""
        reserved = self.reservations if needed else {}
        fitting = [p for p in self._open if p.name not in reserved and self._has_room(p, job, needed)]
        if needed:
            return min(fitting, key=lambda place: (place.free_gpus, -place.free_slots), default=None)
        return min(fitting, key=lambda place: preference(place, job.engine), default=None)

    def _backfilled(self, job: Waiting, needed: int) -> Place | None:
        """A reserved place, if a job can use its GPUs until the reserved job needs them, or does not need."""
        key = needed, job.engine
        if key not in self._lent:
            self._lent[key] = [
                found
                for found in self.reservations.values()
                if (found.at is not None or found.job.nodes > 1) and self._has_room(found.place, job, needed)
            ]
        for _, place, _, at, spare in self._lent[key]:
            is_short = job.seconds is not None and at is not None and self._now + job.seconds <= at
            if needed <= spare or is_short:
                return place
        return None

    def _block(self, job: Waiting, needed: int) -> None:
        """Note that a job cannot start. The first ones get a reservation, each at another place."""
        if len(self.reservations) < self._most_reserved and (needed or not self.reservations):
            found = self._reserved(job, needed)
            if found is not None:
                self.reservations[found.place.name] = found
                self._best.clear()
                self._lent.clear()
        if not all(self.is_able(place, job) for place in self._open):
            return  # jobs with another engine may find a place
        if needed > self._largest or all(found.at is None for found in self.reservations.values()):
            self._limit = min(self._limit, needed)

    def _reserved(self, job: Waiting, needed: int) -> Reservation | None:
        """The reservation of a job: where room is being made for it, or where it has had it, or where it will be
        first."""
        kept = self._reserved_before.get(job.id, job.id)
        for name in (*self._ending, kept):
            place = self._by_name.get(name)
            if place is None or name in self.reservations or not self._can_ever(place, job, needed):
                continue
            if name == kept or self._lack(place, needed) == NOTHING:
                return Reservation(job, place, needed, *self._expected(place, needed))
        choices = [
            (place, *self._expected(place, needed))
            for place in self._places
            if place.name not in self.reservations and self._can_ever(place, job, needed)
        ]
        if not choices:
            return None
        best, at, spare = min(choices, key=lambda one: (inf if one[1] is None else one[1], self._lack(one[0], needed)))
        return Reservation(job, best, needed, at, spare)

    @cached_property
    def _ending(self) -> dict[str | None, tuple[int, int]]:
        """The GPUs and the slots of the jobs that were asked to end, by place."""
        found: dict[str | None, tuple[int, int]] = {}
        for name, group in self._running.items():
            for running in group:
                if running.is_ending:
                    gpus, slots = found.get(name, (0, 0))
                    found[name] = gpus + running.gpus, slots + 1
        return found

    def _expected(self, place: Place, needed: int) -> tuple[float | None, int]:
        holders = [running for running in self._running.get(place.name, ()) if running.gpus]
        return _expected(place.free_gpus, needed, holders, self._now)

    def _has_room(self, place: Place, job: Waiting, needed: int) -> bool:
        """Whether a place has what a job needs now."""
        return place.free_slots > 0 and place.free_gpus >= needed and self.is_able(place, job)

    def _can_ever(self, place: Place, job: Waiting, needed: int) -> bool:
        """Whether a job could start at a place if nothing else ran there. One on several machines does not wait for an
        agent that is lost or drains."""
        return place.gpus >= needed and self.is_able(place, job) and (place.slots > 0 or job.nodes == 1)

    def _lack(self, place: Place, needed: int) -> tuple[int, bool]:
        """How many GPUs a place lacks, and whether it lacks a slot, once the jobs have ended that are asked to."""
        gpus, slots = self._ending.get(place.name, (0, 0))
        return max(0, needed - place.free_gpus - gpus), place.free_slots + slots <= 0


def preference(place: Place, engine: str | None) -> tuple[int, bool, int]:
    """The smaller, the better is a place for a job without GPUs."""
    return place.gpus, engine not in place.warm, -place.free_slots


MAX_RESERVED = 8
"""How many of the first jobs that cannot start have a reservation, but at most at every fourth place."""
NOTHING = 0, False
"""Neither a GPU nor a slot is lacking."""
MAX_BLOCKED = 8
"""For so many jobs that cannot start room is looked for by ``victims``."""


def _expected(free: int, needed: int, holders: Sequence[Running], now: float) -> tuple[float | None, int]:
    """When so many GPUs are expected to be free, None if that is not known, and how many others are free then."""
    ends = sorted((running.ends_at or 0.0, running.gpus) for running in holders)
    if any(end <= now for end, _ in ends) or any(running.is_ending for running in holders):
        return None, 0
    at: float | None = None
    for end, gpus in ends:
        if at is not None and end > at:
            break
        free += gpus
        at = end if free >= needed else None
    return (None, 0) if at is None else (at, free - needed)


def next_start(
    waiting: Iterable[Waiting],
    places: Sequence[Place],
    running: RunningAt | None = None,
    *,
    used: Mapping[str, int] | None = None,
    user_slots: int | None = None,
    reserved: Mapping[str, str | None] | None = None,
    now: float = 0.0,
) -> Start | None:
    """The next of the waiting jobs, which are in the order of the queue, and its place; None if none can start."""
    round = Round(places, running, used=used, user_slots=user_slots, reserved=reserved, now=now)
    return round.choose(waiting)


def victims(round: Round, places: Sequence[Place], running: RunningAt) -> tuple[Waiting, list[Running]] | None:
    """The first blocked job of a round for which running jobs of lower priority can make room, and these jobs: the
    fewest at one place, of these the ones of the lowest priority, the most recently started first.

    None if there are none, or if enough jobs are ending already for a job: what they free is waited for first.
    """
    for job in round.blocked.values():
        needed = round.needed(job)
        others = {name for name, found in round.reservations.items() if found.job.id != job.id} if needed else set()
        able = [
            place for place in places if place.gpus >= needed and place.name not in others and round.is_able(place, job)
        ]
        able = able if job.nodes == 1 else [place for place in able if place.name is not None and place.slots > 0]
        found = [_victims_at(place, running.get(place.name, ()), job, needed) for place in able]
        possible = sorted(
            (chosen for chosen in found if chosen is not None),
            key=lambda chosen: (len(chosen), [running.priority for running in chosen]),
        )
        if len(possible) >= job.nodes:
            together = {one.id: one for chosen in possible[: job.nodes] for one in chosen}
            return (job, list(together.values())) if together else None
    return None


def _victims_at(place: Place, running: Sequence[Running], job: Waiting, needed: int) -> list[Running] | None:
    """The jobs that make room at a place; none if those suffice that end anyway; None if all together do not."""
    ending = [one for one in running if one.is_ending]
    lack = needed - place.free_gpus - sum(one.gpus for one in ending)
    lacks_slot = place.free_slots + len(ending) <= 0
    if lack <= 0 and not lacks_slot:
        return []
    lower = [one for one in running if one.priority < job.priority and not one.is_ending]
    lower.sort(key=lambda one: (one.priority, -one.started_at))
    return lower[:1] or None if lack <= 0 else _fewest(lower, lack)


def _fewest(candidates: Sequence[Running], lack: int) -> list[Running] | None:
    """The fewest candidates that have so many GPUs together, the first ones where there is a choice."""
    sizes = sorted((one.gpus for one in candidates), reverse=True)
    count = next((n for n in range(1, len(sizes) + 1) if sum(sizes[:n]) >= lack), None)
    if count is None:
        return None
    chosen: list[Running] = []
    for index, one in enumerate(candidates):
        left = count - len(chosen) - 1
        others = sorted((other.gpus for other in candidates[index + 1 :]), reverse=True)
        if one.gpus and lack - one.gpus <= sum(others[:left]):
            chosen.append(one)
            lack -= one.gpus
        if lack <= 0:
            break
    return chosen
