"""The executors for a Ray cluster, one for each of its nodes; an attempt is a job of Ray, submitted over HTTP.

Ray only starts processes: the queue, retries and leases stay here, because a job of Ray does not survive its node or
the head, and one that waits in Ray cannot be stopped. So what is submitted fits a node as far as is known, and is bound
to that node. Its worker gets the ticket by a code that is valid once (``worker.claim``): a job that Ray starts later
than it should, or that this server has given up, gets none, and exits.

Whether an attempt lives is judged by its lease alone. What Ray says ends an attempt only if it names the exit code of
the worker, or that the worker is gone.
"""

import asyncio
import contextlib
import hmac
import logging
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from epochd.core.agents import AgentState
from epochd.core.errors import AgentLost, EpochdError, NotFound
from epochd.core.jobs import AttemptKey
from epochd.core.settings import Settings
from epochd.core.tickets import CLAIM_REFUSED, NO_FRAMEWORK, AttemptTicket, Claim, Claimed
from epochd.dispatch.workers.executor import Exit
from epochd.dispatch.workers.remote import RemoteExecutor

logger = logging.getLogger(__name__)

PREFIX = "ray:"
"""How the names of Ray nodes begin here; those of agents never do."""
SYNC_SECONDS, REQUEST_SECONDS = 1.0, 10.0
SUBMIT_SECONDS = (0.2, 0.5, 1.0, 2.0)
"""The waits between attempts to submit a job."""
PENDING_SECONDS, SETUP_SECONDS = 60.0, 800.0
"""How long a job may wait in Ray until it is given up: others have taken what it was to have, or its runtime
environment takes too long. Ray gives it up after 900 s."""
BLOCKED_SECONDS, LONGEST_BLOCKED_SECONDS = 30.0, 600.0
"""How long a node then gets nothing more; twice as long after each further failure."""
VANISHED_SECONDS = 30.0
"""How long Ray may take to notice that a node has died: a worker that has vanished from one that is alive has crashed,
for example because Ray has killed it for the node's memory."""
START_SECONDS = 300.0
"""How long a job may run before its worker asks for its ticket."""
MISSING_SECONDS = 15.0
"""How long a job may be unknown to Ray before it has started."""
SETTLED_SECONDS, LATEST_SECONDS = 12.0, 60.0
"""How long after a change of its jobs what Ray says of the use of a node counts, which it says every few seconds; and
how old that may get where its jobs change all the time."""
STRAY_SECONDS = 10.0
"""How long a job without an attempt may go on, and the interval at which a job is stopped again."""
RETURN_SECONDS = 600.0
"""How long a deleted job may come back: Ray watches over a job once a second, and where the job has been deleted before
Ray has seen its end, Ray adds it again, as failed and without its metadata."""
KILL_SECONDS = 60.0
"""How long a job that is to be stopped may go on according to Ray."""
CLEANED_AT_ONCE = 20
ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})
TAIL_LINES = 20


@dataclass(eq=False)
class Job:
    """A job of Ray with so many ``gpus``. ``key`` is its attempt, None if it only examines a node; ``code`` is for its
    claim, by ``session`` once that was made, and empty for a job of an earlier server. Times are monotonic."""

    id: str
    node: "RayExecutor"
    key: AttemptKey | None
    code: str
    ticket: AttemptTicket | None = None
    session: str | None = None
    submitted_at: float = field(default_factory=time.monotonic)
    gpus: int = 0
    killed_at: float | None = None
    stopped_at: float = float("-inf")
    vanished_at: float | None = None

    @property
    def is_unclaimed(self) -> bool:
        return self.session is None and self.code != ""


@dataclass(eq=False)
class Stray:
    """A job of this server that nothing here belongs to, for the node with this id. Times are monotonic."""

    node_id: str
    is_waiting: bool = False
    seen_at: float = field(default_factory=time.monotonic)
    stopped_at: float = float("-inf")


class RayExecutor(RemoteExecutor):
    """Implements ``Executor`` for one node of a cluster. ``held`` are the jobs that it had when this server found it,
    by their attempts."""

    def __init__(self, cluster: "RayCluster", node_id: str) -> None:
        super().__init__(f"{PREFIX}{node_id[:12]}")
        self.node_id = node_id
        self.gpus_of_others = 0
        self.is_alive = True
        self.is_adopted = False
        self._cluster = cluster
        self.held: dict[AttemptKey, Job] = {}
        self._jobs: dict[AttemptKey, Job] = {}
        self._failures = 0
        self._blocked_until = float("-inf")
        self._changed_at = self._measured_at = time.monotonic()
        self._others: dict[str, float] = {}
        self._probe: Job | None = None
        self._claim: Claim | None = None
        self._fault: str | None = None
        self._is_given_up = False

    @property
    def is_connected(self) -> bool:
        return self.is_alive and self._cluster.is_connected

    @property
    def slots(self) -> int:
        return 0 if self._claim is None else super().slots

    @property
    def is_lost(self) -> bool:
        return not self.is_alive

    @property
    def has_left(self) -> bool:
        return not self.is_alive and self._cluster.is_connected and not self._attempts

    def check(self) -> None:
        if self.is_connected:
            self._is_given_up = False
        elif not self._is_given_up:
            self._is_given_up = True
            logger.warning("%s", self._loss().message)
            self.give_up([key for key, job in self._jobs.items() if job.killed_at is not None])

    def adopt(self, key: AttemptKey) -> None:
        super().adopt(key)
        self._jobs[key] = self.held.get(key) or Job(job_id(key), self, key, "")

    def update(self, node: dict[str, Any], used: dict[str, float], waiting: int) -> None:
        """Take over what Ray says of the node: its resources, how much of them is in use, and how many jobs ``waiting``
        for it nothing can stop."""
        self.seen_at = time.time()
        settings, total, now = self._cluster.settings, node["resources_total"], time.monotonic()
        own = {"CPU": len(self._attempts) * settings.ray_cpus, "GPU": sum(job.gpus for job in self._jobs.values())}
        own["memory"] = len(self._attempts) * (settings.ray_memory_mb or 0) * 2**20
        if now - self._changed_at > SETTLED_SECONDS or now - self._measured_at > LATEST_SECONDS:
            self._measured_at = now
            self._others = {name: max(0.0, used.get(name, 0.0) - own[name]) for name in own}
        free = {name: total.get(name, 0.0) - self._others.get(name, 0.0) for name in own}
        self.gpus_of_others = math.ceil(self._others.get("GPU", 0.0))
        slots = math.floor(free["CPU"] / settings.ray_cpus) - waiting
        if settings.ray_memory_mb is not None:
            slots = min(slots, math.floor(free["memory"] / (settings.ray_memory_mb * 2**20)))
        claim = self._claim
        self.state = AgentState.model_construct(
            session="ray",
            version=claim.version if claim else "",
            hostname=str(node.get("node_ip", "")),
            cpus=int(total.get("CPU", 0)),
            memory=int(total.get("memory", 0)),
            slots=max(0, slots) if claim else 0,
            gpus=list(range(int(total.get("GPU", 0)))),
            frameworks=claim.frameworks if claim else [],
            error=self._fault,
        )
        has_room = slots > len(self._attempts)
        if claim is None and self._probe is None and now >= self._blocked_until and has_room:
            self._probe = Job(f"epochd-probe-{self.node_id[:12]}-{secrets.token_hex(4)}", self, None, new_code())
            self._cluster.begin(self._cluster.submit(self._probe))

    def _submit(self, ticket: AttemptTicket) -> None:
        settings = self._cluster.settings
        values = {"threads": settings.ray_cpus, "memory_mb": settings.ray_memory_mb}
        id, local = job_id(ticket.key, ticket.node_rank), ticket.model_copy(update=values)
        job = Job(id, self, ticket.key, new_code(), local, gpus=len(ticket.gpus))
        self._jobs[ticket.key], self._changed_at = job, time.monotonic()
        self._cluster.begin(self._cluster.submit(job))

    def _kill(self, key: AttemptKey) -> None:
        if (job := self._jobs.get(key)) is not None:
            job.killed_at = job.killed_at or time.monotonic()
            self._stop(job)

    def _stop(self, job: Job) -> None:
        """Have a job stopped, unless that has just been asked for."""
        if time.monotonic() - job.stopped_at > STRAY_SECONDS:
            job.stopped_at = time.monotonic()
            self._cluster.begin(self._cluster.stop(job.id))

    def claimed(self, job: Job, claim: Claim) -> None:
        """Note that a worker has the ticket, or what it has found here."""
        if job.key is None:
            self._claim, self._fault = claim, None
        else:
            self._failures = 0
            self._note_launch(job.key)

    def fail(self, job: Job, why: str) -> None:
        """Note that no worker could be started for a job, and give the node nothing until one can. That is no fault of
        the attempt: its worker does not know it yet."""
        self._failures += 1
        wait = min(BLOCKED_SECONDS * 2 ** (self._failures - 1), LONGEST_BLOCKED_SECONDS)
        self._claim, self._fault, self._blocked_until = None, why[:4000], time.monotonic() + wait
        logger.error("%s gets nothing for %.0f s: %s", self.name, wait, self._fault)
        if job is self._probe:
            self._probe = None
        elif job.key is not None and self._has_no_worker(job.key):
            self._reject(job.key, AgentLost(self._fault))

    def see(self, job: Job, seen: dict[str, Any] | None) -> None:
        """Conclude from what Ray says of a job: None if it does not know it."""
        status = None if seen is None else str(seen.get("status"))
        waited = time.monotonic() - job.submitted_at
        if seen is not None and status in ENDED:
            self._see_end(job, seen)
        elif job.is_unclaimed:
            most = self._cluster.pending_seconds
            if status is None and waited > MISSING_SECONDS:
                self.fail(job, f"Ray has lost the job {job.id} before it started")
            elif status == "PENDING" and waited > most:
                said = "" if seen is None else str(seen.get("message") or "")
                self.fail(job, f"Ray has not started the job {job.id} for {most:g} s. {said}".strip())
            elif status == "RUNNING" and waited > START_SECONDS:
                self._stop(job)
                self.fail(
                    job, f"the worker of the Ray job {job.id} has not asked for its ticket for {START_SECONDS:g} s"
                )
        elif job.key is not None and job.killed_at is not None:
            if status in (None, "PENDING") or time.monotonic() - job.killed_at > KILL_SECONDS:
                self._lose(job.key, f"Ray has lost the job {job.id}, or does not end it")
            else:
                self._stop(job)

    def _see_end(self, job: Job, seen: dict[str, Any]) -> None:
        lines = str(seen.get("message") or "").splitlines()[-TAIL_LINES:]
        code, is_stopped = seen.get("driver_exit_code"), seen["status"] == "STOPPED"
        if job.is_unclaimed and not is_stopped:
            self.fail(job, "\n".join([f"no worker can be started on {self.name}:", *lines]))
        elif job.key is None:
            self._probe = None
        elif is_stopped and job.killed_at is None:
            self._lose(job.key, f"the Ray job {job.id} was stopped")
        elif is_stopped:
            self._end(Exit(*job.key, -9, lines))
        elif code == CLAIM_REFUSED:
            self._lose(job.key, f"the worker of the Ray job {job.id} was refused its ticket")
        elif code is not None:
            self._end(Exit(*job.key, 128 - code if code > 128 else code, lines))
        elif job.killed_at is not None or not self.is_alive:
            self._lose(job.key, "\n".join([f"the Ray job {job.id} has ended without its worker", *lines[-1:]]))
        else:
            job.vanished_at = job.vanished_at or time.monotonic()
            if time.monotonic() - job.vanished_at > VANISHED_SECONDS:
                self._end(Exit(*job.key, -9, lines))

    @property
    def jobs(self) -> list[Job]:
        """Those that Ray may have."""
        return [*self._jobs.values(), *([self._probe] if self._probe else [])]

    def _reject(self, key: AttemptKey, error: EpochdError) -> None:
        self._forget(key)
        super()._reject(key, error)

    def _end(self, end: Exit) -> None:
        self._forget(end.key)
        super()._end(end)

    def _forget(self, key: AttemptKey) -> None:
        """Nobody gets the ticket of this attempt any more."""
        self._jobs.pop(key, None)
        self._changed_at = time.monotonic()

    def _loss(self) -> AgentLost:
        where = "the Ray cluster" if self.is_alive else f"{self.name}"
        return AgentLost(f"{where} is not connected any more")


class RayCluster:
    """The cluster at ``ray_address``, whose workers reach the server at ``server_url``.

    ``join`` is awaited for each node that is new, again after it has failed; ``changed`` is called when something may
    have become free."""

    def __init__(
        self,
        settings: Settings,
        server_url: str,
        join: Callable[[RayExecutor], Awaitable[None]],
        changed: Callable[[], None],
        *,
        arguments: str = "-P -m epochd.worker --claim",
    ) -> None:
        self.settings = settings
        self.error: str | None = None
        self._server_url = server_url
        self._join, self._changed = join, changed
        self._entrypoint = f"exec {settings.ray_python} {arguments}"
        self._nodes: dict[str, RayExecutor] = {}
        self._strays: dict[str, Stray] = {}
        self._deleted: dict[str, float] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._synced_at = float("-inf")
        is_set_up = bool(settings.ray_runtime_env.keys() - {"env_vars"})
        self.pending_seconds = SETUP_SECONDS if is_set_up else PENDING_SECONDS
        token = settings.ray_token.get_secret_value() if settings.ray_token else ""
        self._client = httpx.AsyncClient(
            base_url=(settings.ray_address or "").rstrip("/"),
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=REQUEST_SECONDS,
            trust_env=False,
            verify=(settings.ray_address or "").startswith("https:"),
        )

    @property
    def is_connected(self) -> bool:
        """Whether the cluster has answered lately."""
        return time.monotonic() - self._synced_at < self.settings.lease_seconds

    @property
    def strays(self) -> list[str]:
        """Jobs of this server that run although no attempt belongs to them."""
        now = time.monotonic()
        return sorted(id for id, stray in self._strays.items() if now - stray.seen_at > STRAY_SECONDS)

    async def run(self) -> None:
        """Compare with Ray, until cancelled."""
        while True:
            why = None
            try:
                await self.sync()
            except (httpx.HTTPError, ValueError) as error:
                why = f"the Ray cluster does not answer: {str(error) or type(error).__name__}"
            except Exception as error:
                logger.exception("the comparison with the Ray cluster failed")
                why = f"the comparison with the Ray cluster failed: {str(error) or type(error).__name__}"
            self._note(why)
            await asyncio.sleep(SYNC_SECONDS)

    def begin(self, call: Coroutine[Any, Any, Any]) -> None:
        """Have something told to Ray, without waiting for its answer."""
        task = asyncio.create_task(call)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def close(self) -> None:
        """Give up what Ray has not answered, and close the connections. The next server stops what is left."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        await self._client.aclose()

    def _note(self, error: str | None) -> None:
        """Log once when the cluster is lost, and when it is found again."""
        if error is not None and self.error is None:
            logger.warning("%s; trying again", error)
        elif error is None and self.error is not None:
            logger.info("connected to the Ray cluster")
        self.error = error

    async def sync(self) -> None:
        """Read nodes and jobs, and draw the conclusions."""
        nodes, status, jobs = await asyncio.gather(
            self._get("/api/v0/nodes?detail=1&limit=10000"), self._get("/api/cluster_status"), self._get("/api/jobs/")
        )
        wanted = self.settings.ray_labels.items()
        alive = {
            node["node_id"]: node
            for node in nodes["data"]["result"]["result"]
            if node["state"] == "ALIVE" and node.get("resources_total", {}).get("CPU", 0) >= self.settings.ray_cpus
            if wanted <= (node.get("labels") or {}).items()
        }
        used = ((status["data"].get("clusterStatus") or {}).get("loadMetricsReport") or {}).get("usageByNode") or {}
        for id in alive:
            if id not in self._nodes:
                self._nodes[id] = RayExecutor(self, id)
            if not self._nodes[id].is_adopted:
                self._nodes[id].held = _held(self._nodes[id], jobs)
                await self._join(self._nodes[id])
                self._nodes[id].is_adopted = True
        known = {job["submission_id"]: job for job in jobs if job.get("submission_id")}
        self._synced_at = time.monotonic()
        for id, executor in [*self._nodes.items()]:
            executor.is_alive = id in alive
            try:
                for job in executor.jobs:
                    executor.see(job, known.get(job.id))
                if executor.is_alive:
                    waiting = sum(stray.node_id == id and stray.is_waiting for stray in self._strays.values())
                    executor.update(alive[id], _used(alive, id, used), waiting)
            except Exception:  # of one node: the others are looked at
                logger.exception("the comparison with %s failed", executor.name)
            if executor.has_left:
                del self._nodes[id]
        await self._clean(known)
        self._changed()

    async def _clean(self, known: dict[str, dict[str, Any]]) -> None:
        """Stop jobs of this server that nothing here belongs to, and delete those that have ended."""
        expected = {job.id for executor in self._nodes.values() for job in executor.jobs}
        ours = {id: job for id, job in known.items() if (job.get("metadata") or {}).get("epochd") == self._server_url}
        ended = [id for id, job in ours.items() if id not in expected and job.get("status") in ENDED]
        left = ours.keys() - expected - {*ended}
        ended += [id for id in self._deleted if id in known and id not in expected and not known[id].get("metadata")]
        self._strays = {id: self._strays.get(id) or Stray(ours[id]["metadata"].get("node", "")) for id in left}
        for id, stray in self._strays.items():
            stray.is_waiting = ours[id].get("status") == "PENDING"
        now, calls = time.monotonic(), [self._delete(id) for id in ended[:CLEANED_AT_ONCE]]
        self._deleted = {id: at for id, at in self._deleted.items() if now - at < RETURN_SECONDS}
        for id in self.strays[:CLEANED_AT_ONCE]:
            stray = self._strays[id]
            if not stray.is_waiting and now - stray.stopped_at > STRAY_SECONDS:
                logger.warning("the Ray job %s belongs to no running attempt and is stopped", id)
                stray.stopped_at = now
                calls.append(self.stop(id))
        await asyncio.gather(*calls)

    async def submit(self, job: Job) -> None:
        """Submit a job, bound to its node. The same job may be submitted again: Ray knows its id."""
        settings, ticket = self.settings, job.ticket
        environment = dict(settings.ray_runtime_env)
        variables = {**environment.get("env_vars", {}), "EPOCHD_CLAIM": f"{job.code} {self._server_url}"}
        about = {"epochd": self._server_url, "node": job.node.node_id, "gpus": str(job.gpus)}
        body: dict[str, Any] = {
            "submission_id": job.id,
            "entrypoint": f"{self._entrypoint} --framework {NO_FRAMEWORK if ticket is None else ticket.framework}",
            "entrypoint_num_cpus": settings.ray_cpus,
            "entrypoint_label_selector": {"ray.io/node-id": job.node.node_id},
            "metadata": about if job.key is None else about | {"task": job.key[0], "attempt": str(job.key[1])},
            "runtime_env": environment | {"env_vars": variables},
        }
        if job.gpus:
            body["entrypoint_num_gpus"] = job.gpus
        if settings.ray_memory_mb is not None:
            body["entrypoint_memory"] = settings.ray_memory_mb * 2**20
        failure = ""
        for wait in (*SUBMIT_SECONDS, None):
            try:
                answer = await self._client.post("/api/jobs/", json=body)
            except httpx.HTTPError as error:
                failure = str(error) or type(error).__name__
            else:
                if answer.is_success or "already exists" in answer.text:
                    return
                failure = f"{answer.status_code}: {answer.text[-500:]}"
            if wait is None or job not in job.node.jobs:
                break
            await asyncio.sleep(wait)
        job.node.fail(job, f"the job {job.id} could not be submitted to Ray: {failure}")

    async def stop(self, id: str) -> bool:
        """Have Ray stop a job: SIGTERM, and SIGKILL three seconds later; whether it does. One that has not started
        ignores it."""
        try:
            answer = await self._client.post(f"/api/jobs/{id}/stop")
        except httpx.HTTPError as error:
            failure = str(error) or type(error).__name__
        else:
            if answer.is_success:
                return True
            failure = answer.text[-300:]
        logger.warning("Ray did not stop the job %s: %s", id, failure)
        return False

    async def _delete(self, id: str) -> bool:
        """Have Ray forget a job that has ended; otherwise it is tried again."""
        with contextlib.suppress(httpx.HTTPError):
            self._deleted[id] = time.monotonic()
            return (await self._client.delete(f"/api/jobs/{id}")).is_success
        return False

    def knows(self, code: str) -> bool:
        """Whether a job has this code."""
        return self._job(code) is not None

    def claim(self, code: str, claim: Claim) -> Claimed:
        """Give the ticket of a job to its worker, and to no other one. Raises NotFound."""
        job = self._job(code)
        if job is None or job.session not in (None, claim.session):
            raise NotFound("the ticket was given to another worker, or its attempt has ended")
        job.session = claim.session
        job.node.claimed(job, claim)
        return Claimed.model_construct(ticket=job.ticket, now=time.time())  # type: ignore[arg-type]

    def _job(self, code: str) -> Job | None:
        jobs = (job for node in self._nodes.values() for job in node.jobs)
        return next((job for job in jobs if job.code and hmac.compare_digest(job.code.encode(), code.encode())), None)

    async def _get(self, path: str) -> Any:
        answer = await self._client.get(path)
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise ValueError(f"it refuses the token ({answer.status_code}): set EPOCHD_RAY_TOKEN")
        answer.raise_for_status()
        return answer.json()


def job_id(key: AttemptKey, rank: int = 0) -> str:
    """The id of an attempt's job in Ray; of one on several machines each has its own."""
    return f"{key[0]}-{key[1]}" + (f".{rank}" if rank else "")


def _held(node: RayExecutor, jobs: Sequence[dict[str, Any]]) -> dict[AttemptKey, Job]:
    """The jobs of attempts that run on a node, as Ray knows them, by their attempts."""
    held: dict[AttemptKey, Job] = {}
    for job in jobs:
        about = job.get("metadata") or {}
        if job.get("status") not in ENDED and about.get("node") == node.node_id and about.get("task"):
            key = about["task"], int(about["attempt"])
            held[key] = Job(job["submission_id"], node, key, "", gpus=int(about.get("gpus", 0)))
    return held


def _used(alive: dict[str, dict[str, Any]], id: str, usage: dict[str, Any]) -> dict[str, float]:
    """How much of the resources of a node is in use: Ray says it by node, or by the address where its autoscaler knows
    nodes by that."""
    address = alive[id].get("node_ip")
    is_alone = sum(node.get("node_ip") == address for node in alive.values()) == 1
    found = usage.get(id) or (usage.get(str(address)) if is_alone else None) or {}
    return {name: float(amount[0]) for name, amount in found.items()}


def new_code() -> str:
    return secrets.token_urlsafe(32)
