"""The queue of a cluster in simulated time, with the policy of the dispatcher; and what a decision costs.

A hundred thousand jobs on a thousand slots, of which some four hundred are on machines with GPUs: waiting times by size
and by priority, utilisation, and the time in the policy, for three policies in one run:

- ``epochd``: ``dispatch.placement``, with pages as the dispatcher reads them.
- ``fifo``: strictly in the order of arrival; a job that does not fit holds up all others.
- ``greedy``: the first job in the order of the queue that fits anywhere, without a reservation for one that does not.

The model of the load, from a seed: arrivals are a Poisson process whose rate follows the time of day; durations are
log-normal with a median of 5 minutes and sigma 1.6 (a mean of 18 minutes), at most a day; 82 % of the jobs need no GPU,
the others 1, 2, 4 or 8; of ten jobs one has priority 10 and one priority -10; twenty users with Zipf's law, each with
at most 300 slots. What a job is expected to take is wrong by a factor that is log-normal with sigma 0.5, and not known
for every fifth.

Then the same decisions on a real SQLite database with a hundred thousand pending jobs: the time of a claim.

Run with ``make bench-queue``; ``--jobs`` and ``--pending`` make it shorter.
"""

import argparse
import asyncio
import heapq
import math
import random
import tempfile
import time
from bisect import insort
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from statistics import median, quantiles

from epochd.core.jobs import State
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.dispatch.placement import Place, Round, Running, Skip, Start, Waiting
from epochd.dispatch.queue import PAGES, JobQueue
from epochd.store import jobs, tables
from epochd.store.db import Database

SEED = 20_26
WITH_GPUS, WITHOUT_GPUS = 50, 10
MACHINES = [(f"gpu-{n:02}", 8, 8) for n in range(WITH_GPUS)] + [(f"cpu-{n:02}", 60, 0) for n in range(WITHOUT_GPUS)]
"""Name, slots and GPUs of each machine: 1,000 slots and 400 GPUs."""
SIZES, SHARES = (0, 1, 2, 4, 8), (0.82, 0.09, 0.04, 0.03, 0.02)
MEDIAN_SECONDS, SIGMA, LONGEST = 300.0, 1.6, 86_400.0
ARRIVALS, RHYTHM, DAY = 48.0 / 60, 0.5, 86_400.0
"""Jobs per second, and by which share that is more by day and less by night: on average 86 % of the slots and 97 % of
the GPUs are asked for, at noon half as much again."""
USERS, USER_SLOTS = 20, 300
WAITS = "median", "p90", "p99", "longest"


@dataclass(frozen=True, slots=True)
class Load:
    """A job of the model: when it arrives, what the queue knows of it, and how long it takes."""

    arrives: float
    job: Waiting
    seconds: float


def load(count: int, seed: int = SEED) -> list[Load]:
    """The jobs in the order of their arrival."""
    chance, now, found = random.Random(seed), 0.0, []
    names = [f"user-{n:02}" for n in range(USERS)]
    weights = [1 / rank for rank in range(1, USERS + 1)]
    for number in range(count):
        now += chance.expovariate(ARRIVALS * (1 + RHYTHM * math.sin(2 * math.pi * now / DAY)))
        seconds = min(LONGEST, MEDIAN_SECONDS * chance.lognormvariate(0.0, SIGMA))
        expected = None if chance.random() < 0.2 else seconds * chance.lognormvariate(0.0, 0.5)
        [gpus], [owner] = chance.choices(SIZES, SHARES), chance.choices(names, weights)
        priority = chance.choices((-10, 0, 10), (1, 8, 1))[0]
        found.append(Load(now, Waiting(f"{number:06}", priority, owner, gpus, expected), seconds))
    return found


Key = tuple[int, str]


@dataclass
class Cluster:
    """The state that a dispatcher has in its database and its machines, kept in memory."""

    places: dict[str | None, Place] = field(default_factory=lambda: {n: Place(n, s, s, g, g) for n, s, g in MACHINES})
    running: dict[str | None, list[Running]] = field(default_factory=lambda: defaultdict(list))
    used: Counter[str] = field(default_factory=Counter)
    pending: dict[tuple[str | None, int], list[tuple[Key, Waiting]]] = field(default_factory=lambda: defaultdict(list))
    reserved: dict[str, str | None] = field(default_factory=dict)
    waiting: int = 0
    now: float = 0.0

    def add(self, job: Waiting, *, by_priority: bool) -> None:
        insort(self.pending[job.owner, job.gpus], ((-job.priority if by_priority else 0, job.id), job))
        self.waiting += 1

    def page(self, skip: Skip) -> Iterator[Waiting]:
        """The pending jobs in their order, as ``store.queue.pending`` lists them."""
        chosen = [
            jobs
            for (owner, gpus), jobs in self.pending.items()
            if jobs and owner not in skip.owners and (skip.gpus is None or gpus < skip.gpus)
        ]
        return (job for _, job in heapq.merge(*chosen))

    def start(self, start: Start) -> None:
        job, place = start.job, start.place
        self.places[place.name] = place._replace(free_slots=place.free_slots - 1, free_gpus=place.free_gpus - job.gpus)
        ends_at = None if job.seconds is None else self.now + job.seconds
        self.running[place.name].append(Running(job.id, 1, job.priority, job.owner, job.gpus, self.now, ends_at))
        self.used[job.owner or ""] += 1
        mine = self.pending[job.owner, job.gpus]
        del mine[next(index for index, (_, one) in enumerate(mine) if one is job)]
        self.waiting -= 1

    def end(self, job: Waiting, name: str | None) -> None:
        place = self.places[name]
        self.places[name] = place._replace(free_slots=place.free_slots + 1, free_gpus=place.free_gpus + job.gpus)
        self.running[name] = [one for one in self.running[name] if one.id != job.id]
        self.used[job.owner or ""] -= 1


Policy = Callable[[Cluster], tuple[Start | None, float]]
"""The next job to start, and the seconds that the policy itself took."""


def epochd(cluster: Cluster) -> tuple[Start | None, float]:
    places, spent, start = list(cluster.places.values()), 0.0, None
    began = time.perf_counter()
    round = Round(
        places,
        cluster.running,
        used=cluster.used,
        user_slots=USER_SLOTS,
        reserved=cluster.reserved,
        now=cluster.now,
    )
    spent += time.perf_counter() - began
    for size in PAGES:
        page = list(islice(cluster.page(round.skip), size))
        began = time.perf_counter()
        start = round.choose(page)
        spent += time.perf_counter() - began
        if start is not None or len(page) < size or round.is_over:
            break
    cluster.reserved = round.reserved
    return start, spent


def greedy(cluster: Cluster) -> tuple[Start | None, float]:
    full = frozenset(name for name, count in cluster.used.items() if count >= USER_SLOTS)
    most = max(place.free_gpus for place in cluster.places.values() if place.free_slots) if free(cluster) else -1
    for job in islice(cluster.page(Skip(full, most + 1)), 1):
        fitting = [one for one in cluster.places.values() if one.free_slots and one.free_gpus >= job.gpus]
        return Start(job, min(fitting, key=lambda place: place.free_gpus if job.gpus else place.gpus)), 0.0
    return None, 0.0


def fifo(cluster: Cluster) -> tuple[Start | None, float]:
    for job in islice(cluster.page(Skip()), 1):
        fitting = [one for one in cluster.places.values() if one.free_slots and one.free_gpus >= job.gpus]
        if fitting:
            return Start(job, min(fitting, key=lambda place: place.free_gpus if job.gpus else place.gpus)), 0.0
    return None, 0.0


def free(cluster: Cluster) -> bool:
    return any(place.free_slots for place in cluster.places.values())


@dataclass
class Result:
    """``waits`` in seconds with each job; ``busy`` are slot and GPU seconds until the last arrival, at ``until``;
    ``decisions`` are the seconds of each decision in the policy."""

    waits: list[tuple[Waiting, float]] = field(default_factory=list)
    busy_slots: float = 0.0
    busy_gpus: float = 0.0
    until: float = 0.0
    decisions: list[float] = field(default_factory=list)
    longest_queue: int = 0


def simulate(loads: list[Load], policy: Policy) -> Result:
    """Every arrival and every end leads to decisions until no job can start, as in the dispatcher."""
    cluster, result = Cluster(), Result(until=loads[-1].arrives)
    known = {one.job.id: one for one in loads}
    ends: list[tuple[float, str, str | None]] = []
    arrivals = iter(loads)
    arriving = next(arrivals, None)
    while arriving is not None or ends:
        if arriving is not None and (not ends or arriving.arrives <= ends[0][0]):
            cluster.now = arriving.arrives
            cluster.add(arriving.job, by_priority=policy is not fifo)
            arriving = next(arrivals, None)
        else:
            cluster.now, task_id, name = heapq.heappop(ends)
            cluster.end(known[task_id].job, name)
        result.longest_queue = max(result.longest_queue, cluster.waiting)
        while cluster.waiting:
            start, seconds = policy(cluster)
            result.decisions.append(seconds)
            if start is None:
                break
            cluster.start(start)
            one = known[start.job.id]
            result.waits.append((one.job, cluster.now - one.arrives))
            heapq.heappush(ends, (cluster.now + one.seconds, one.job.id, start.place.name))
            share = max(0.0, min(cluster.now + one.seconds, result.until) - cluster.now)
            result.busy_slots += share
            result.busy_gpus += share * one.job.gpus
    return result


def shown(name: str, result: Result) -> None:
    """Print waiting times, utilisation and costs."""
    slots, gpus = sum(slots for _, slots, _ in MACHINES), sum(gpus for _, _, gpus in MACHINES)
    used = result.busy_slots / result.until / slots, result.busy_gpus / result.until / gpus
    print(f"\n{name}: {used[0]:.0%} of the slots and {used[1]:.0%} of the GPUs in use until the last arrival, ", end="")
    print(f"longest queue {result.longest_queue:,}")
    for label, jobs_of in (
        *((f"{size} GPUs", [wait for job, wait in result.waits if job.gpus == size]) for size in SIZES),
        *((f"priority {n}", [wait for job, wait in result.waits if job.priority == n]) for n in (10, 0, -10)),
        ("all", [wait for _, wait in result.waits]),
    ):
        parts = quantiles(jobs_of, n=100)
        minutes = [part / 60 for part in (parts[49], parts[89], parts[98], max(jobs_of))]
        waits = "  ".join(f"{name} {one:8.1f}" for name, one in zip(WAITS, minutes, strict=True))
        print(f"  {label:12} {len(jobs_of):7,} jobs  wait (min): {waits}")
    if any(result.decisions):
        each, total = result.decisions, sum(result.decisions)
        jobs_started = len(result.waits)
        print(
            f"  policy: {total / jobs_started * 1e6:.0f} µs per job, {len(each) / jobs_started:.1f} decisions per job, "
            f"median {median(each) * 1e6:.0f} µs, p99 {quantiles(each, n=100)[98] * 1e6:.0f} µs"
        )


async def claims(pending: int) -> None:
    """Print the time of a claim, with so many pending jobs in SQLite."""
    with tempfile.TemporaryDirectory() as folder:
        db = Database(Path(folder) / "epochd.db")
        await db.open()
        await _fill(db, pending)
        settings = Settings(data_dir=Path(folder))
        machine = [Place(None, 1_000, 1_000)]
        gpus = [Place(None, 1_000, 1_000, 4, 8)]
        limited = settings.model_copy(update={"user_slots": 100})
        for name, places, options in (
            ("any slot will do", machine, settings),
            ("a machine with GPUs", gpus, settings),
            ("with a limit for users", gpus, limited),
        ):
            chosen = JobQueue(db, options, lambda places=places: places, lambda key: [(None, 0)])
            seconds = []
            for _ in range(200):
                began = time.perf_counter()
                assert await chosen.claim_next(time.time()) is not None
                seconds.append(time.perf_counter() - began)
            times = f"median {median(seconds) * 1e3:.2f} ms, p90 {quantiles(seconds, n=10)[8] * 1e3:.2f} ms"
            print(f"  claim, {name}: {times}")
        chosen = JobQueue(db, settings, lambda: machine, lambda key: [(None, 0)])
        last = (await jobs.waiting(db, limit=1, offset=pending // 2))[0][0]
        for name in ("first time", "again"):
            began = time.perf_counter()
            await chosen.standing(last)
            print(
                f"  position and reason of the job in the middle, {name}: {(time.perf_counter() - began) * 1e3:.1f} ms"
            )
        await db.close()


async def _fill(db: Database, pending: int) -> None:
    """Insert copies of one pending job."""
    await jobs.submit(db, TrainingSpec(target_column="target", framework="pytorch", dataset="iris"))
    async with db.write() as transaction:
        row = (await transaction.connection.execute(tables.jobs.select())).one()._mapping
        others = [f"epoch_training_20260101_{n // 4096:06}_{n % 4096:06x}" for n in range(pending)]
        copies = [
            {**row, "id": other, "state": State.PENDING, "queued_at": float(n), "owner": f"user-{n % USERS}"}
            for n, other in enumerate(others)
        ]
        await transaction.connection.execute(tables.jobs.insert(), copies)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--pending", type=int, default=100_000)
    options = parser.parse_args()
    loads = load(options.jobs)
    print(f"{options.jobs:,} jobs over {loads[-1].arrives / 3600:.0f} h of simulated time, seed {SEED}")
    for policy in (epochd, greedy, fifo):
        shown(policy.__name__, simulate(loads, policy))
    print(f"\n{options.pending:,} pending jobs in SQLite")
    asyncio.run(claims(options.pending))


if __name__ == "__main__":
    main()
