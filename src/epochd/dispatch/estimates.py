"""How long jobs take, and when those that wait are expected to start. All of it is an estimate, and None if there is
nothing to go by.

A running training needs its remaining epochs times the seconds of its last one; a running prediction its remaining rows
at its present speed. For one that has not begun, the seconds per epoch of earlier trainings with the same framework on
the same dataset count (the median), or else the median of what recent jobs of its kind took as a whole. A training that
stops early ends before that.
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from math import inf
from statistics import median

from epochd.core.jobs import JobKind, gpus_needed
from epochd.dispatch.placement import Place, RunningAt, Waiting
from epochd.store.queue import Completed, QueuedJob

KEPT = 50
"""How many completed jobs are remembered, of each kind and of each framework and dataset."""
FEWEST = 3
"""From so many jobs on, recent ones that are not similar are taken for typical."""
KINDS = 1_000
"""Of how many frameworks and datasets jobs are remembered."""

Similar = tuple[JobKind, str | None, str | None]


class Durations:
    """What completed jobs took."""

    def __init__(self) -> None:
        self._recent: dict[JobKind, deque[float]] = {kind: deque(maxlen=KEPT) for kind in JobKind}
        self._similar: dict[Similar, deque[float]] = {}
        self._medians: dict[Similar | JobKind, float] = {}

    def add(self, job: Completed) -> None:
        """Remember a completed job; the newest must be added last."""
        key: Similar = job.kind, job.framework, job.dataset
        if key not in self._similar and len(self._similar) >= KINDS:
            self._similar.pop(next(iter(self._similar)))
        self._recent[job.kind].append(job.seconds)
        self._similar.setdefault(key, deque(maxlen=KEPT)).append(job.seconds / max(1, job.epochs))
        self._medians.clear()

    def expected(self, job: QueuedJob) -> float | None:
        """How many seconds a job is expected to take from its beginning to its end."""
        key: Similar = job.kind, job.framework, job.dataset
        if key in self._similar:
            return self._median(key, self._similar[key]) * (job.epochs or 1)
        recent = self._recent[job.kind]
        return self._median(job.kind, recent) if len(recent) >= FEWEST else None

    def remaining(self, job: QueuedJob) -> float | None:
        """How many seconds a waiting job is expected to take, which may have been interrupted."""
        whole = self.expected(job)
        if whole is None or not job.epochs:
            return whole
        return whole * max(0.0, 1 - job.current_epoch / job.epochs)

    def ends_at(self, job: QueuedJob, now: float) -> float | None:
        """When a running job is expected to end; None also for one that takes longer than expected."""
        seconds = _measured(job)
        if seconds is not None:
            return now + seconds
        whole = self.expected(job)
        if whole is None or job.started_at is None or job.attempt != 1 or job.started_at + whole <= now:
            return None
        return job.started_at + whole

    def _median(self, key: Similar | JobKind, values: Sequence[float]) -> float:
        if key not in self._medians:
            self._medians[key] = median(values)
        return self._medians[key]


def _measured(job: QueuedJob) -> float | None:
    """The seconds that are left, by what the worker has measured."""
    metrics = job.latest_metrics or {}
    if job.kind is JobKind.TRAINING:
        seconds = metrics.get("time_per_epoch")
        return None if seconds is None or job.epochs is None else seconds * max(0, job.epochs - job.current_epoch)
    total, speed = metrics.get("rows_total"), metrics.get("rows_per_second")
    return max(0, total - metrics.get("rows_done", 0)) / speed if total is not None and speed else None


@dataclass
class _Timeline:
    """When each slot and each GPU of a place is free, in ascending order; infinity if that is not known."""

    place: Place
    slots: list[float] = field(default_factory=list)
    gpus: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, place: Place, running: Iterable[tuple[float, int]], now: float) -> "_Timeline":
        """``running`` are the expected end and the number of GPUs of each running job. What holds a slot or a GPU and
        is not among them is on its way out."""
        slots, gpus = [], []
        for end, count in running:
            slots.append(end)
            gpus += [end] * count
        slots += [now] * (place.slots - len(slots))
        gpus += [now] * (place.gpus - len(gpus))
        return cls(place, sorted(slots[: place.slots]), sorted(gpus[: place.gpus]))

    def start(self, needed: int) -> float:
        """The earliest time at which a slot and so many GPUs are free."""
        if not self.slots or needed > len(self.gpus):
            return inf
        return max(self.slots[0], self.gpus[needed - 1]) if needed else self.slots[0]

    def take(self, at: float, needed: int, until: float) -> None:
        """Use a slot, the one that is free for the shortest time then, and so many GPUs."""
        del self.slots[bisect_right(self.slots, at) - 1]
        del self.gpus[:needed]
        insort(self.slots, until)
        for _ in range(needed):
            insort(self.gpus, until)


def expected_starts(
    waiting: Iterable[Waiting],
    places: Sequence[Place],
    running: RunningAt,
    *,
    user_slots: int | None = None,
    now: float,
) -> dict[str, float | None]:
    """When each waiting job is expected to start (seconds since the Unix epoch), by id: each takes the slot and the
    GPUs that are free first, in the order of the queue. None where that depends on a job whose end is not known."""
    most = max((place.gpus for place in places), default=0)
    ends = {
        place.name: [(inf if one.ends_at is None else one.ends_at, one.gpus) for one in running.get(place.name, ())]
        for place in places
    }
    timelines = [_Timeline.of(place, ends[place.name], now) for place in places]
    users = _user_slots(running, user_slots, now)
    starts: dict[str, float | None] = {}
    for job in waiting:
        needed = gpus_needed(job.gpus, most)
        needed = needed if needed <= most else 0
        own = users.setdefault(job.owner, [now] * user_slots) if job.owner is not None and user_slots else None
        able = timelines if job.nodes == 1 else [one for one in timelines if one.place.name is not None]
        best = nsmallest(job.nodes, able, key=lambda timeline: timeline.start(needed))
        at = inf if len(best) < job.nodes else max(best[-1].start(needed), own[0] if own else now)
        starts[job.id] = None if at == inf else at
        if at == inf:
            continue
        until = inf if job.seconds is None else at + job.seconds
        for timeline in best:
            timeline.take(at, needed, until)
        if own:
            del own[0]
            insort(own, until)
    return starts


def _user_slots(running: RunningAt, user_slots: int | None, now: float) -> dict[str | None, list[float]]:
    """When each slot of each user with running jobs is free."""
    ends: dict[str | None, list[float]] = {}
    for one in (one for group in running.values() for one in group if one.owner is not None):
        ends.setdefault(one.owner, []).append(inf if one.ends_at is None else one.ends_at)
    limit = user_slots or 0
    return {owner: sorted(found + [now] * (limit - len(found))) for owner, found in ends.items()}
