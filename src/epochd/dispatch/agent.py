"""``epochd agent``: runs attempts of a server on this machine.

It is the local executor of a server (``workers.pool``) with a loop around it that polls the server for orders. Its
workers report to the server themselves; so they go on while the agent or the server restarts, and the agent's polls
only say what it holds. Each file that a training needs or makes goes through the server (``worker.transfer``), so that
an agent shares no folder with it.
"""

import asyncio
import contextlib
import logging
import os
import platform
import secrets
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx
from pydantic import ValidationError

import epochd
from epochd.artifact import files
from epochd.core.agents import AgentExit, AgentOrders, AgentState
from epochd.core.errors import AgentNameTaken, EpochdError, SettingsError, Unauthorized
from epochd.core.jobs import AttemptKey
from epochd.core.settings import Settings
from epochd.core.tickets import AttemptTicket, Ticket, moved
from epochd.dispatch.host import gpus, memory, orphans, processes
from epochd.dispatch.workers.executor import Executor, Exit
from epochd.engines.speeds import Speeds

logger = logging.getLogger(__name__)

POLL_SECONDS = 20.0
"""How long the server may wait for orders; less if its leases are short."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 2.0
LEAVE_SECONDS = 5.0
"""How long an agent that has nothing to run tries to say so to the server."""
CLEAR_SECONDS = 10.0
"""How long workers of an earlier agent may take to save a checkpoint."""
FATAL = {401, 403, 404, 422}
"""Answers that do not get better by waiting."""


class Agent:
    """Runs attempts of the server at ``server_url`` with ``executor``, as the agent ``name``."""

    def __init__(
        self,
        settings: Settings,
        executor: Executor,
        server_url: str,
        token: str,
        name: str,
        *,
        address: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """``address`` is where other machines reach this one, for a training on several; None: where the server is
        reached from."""
        self.name = name
        self._address = address
        self.error: str | None = None
        self._settings = settings
        self._executor = executor
        self._server_url = server_url.rstrip("/")
        self._client = httpx.AsyncClient(
            base_url=self._server_url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            transport=transport,
            trust_env=False,
        )
        self._session = secrets.token_hex(8)
        self._speeds = Speeds(settings.speeds_dir)
        self._gpus: list[int] = []
        self._held: dict[AttemptKey, AttemptTicket] = {}
        self._launched: set[AttemptKey] = set()
        self._exits: dict[AttemptKey, AgentExit] = {}
        self._lease_seconds = 15.0
        self._is_draining = False
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Run attempts until a drain is complete. Raises EpochdError if the server refuses the agent."""
        self._settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        await clear(self._settings.data_dir)
        self._gpus = await asyncio.to_thread(gpus.detect, self._settings.gpus)
        await self._executor.start(self._on_exit, has_gpus=bool(self._gpus))
        sweeper = orphans.Sweeper(self._settings.data_dir, lambda: {*self._executor.pids()}, self._executor.pids)
        sweeping = asyncio.create_task(_sweep(sweeper))
        logger.info("agent %s runs up to %d trainings of %s", self.name, self._settings.slots, self._server_url)
        try:
            while not (self._is_draining and not self._held):
                await self._exchange()
            await self._leave()
        finally:
            sweeping.cancel()
            await self._executor.close()
            await asyncio.gather(sweeping, *self._tasks, return_exceptions=True)
            await self._client.aclose()

    def drain(self) -> None:
        """Take no more attempts, have the server release those that run, and end after that."""
        self._is_draining = True
        self._changed.set()

    async def _exchange(self) -> None:
        """One poll, which is given up and repeated as soon as something changes here."""
        self._changed.clear()
        poll = asyncio.create_task(self._poll(self._state()))
        change = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({poll, change}, return_when=asyncio.FIRST_COMPLETED)
            if not poll.done():
                await asyncio.wait({poll}, timeout=0.05)  # an answer may be on its way
            if poll.done():
                self._follow(poll.result())
        finally:
            for task in (poll, change):
                task.cancel()
            await asyncio.gather(poll, change, return_exceptions=True)

    async def _poll(self, state: AgentState) -> AgentOrders:
        """The server's orders. While it cannot be reached, try again. Raises EpochdError if it refuses the agent."""
        delay = FIRST_RETRY_SECONDS
        while True:
            began = time.monotonic()
            try:
                orders = await self._post(state)
            except (httpx.TransportError, ValidationError, AgentNameTaken, _Unavailable) as error:
                self._note(str(error) or type(error).__name__)
            else:
                self._note(None)
                return orders
            if time.monotonic() - began > self._lease_seconds:
                delay = FIRST_RETRY_SECONDS
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_RETRY_SECONDS)

    async def _post(self, state: AgentState) -> AgentOrders:
        answer = await self._client.post(
            f"/internal/agents/{self.name}/poll", content=state.model_dump_json(), timeout=state.wait + 10.0
        )
        if answer.status_code == 200:
            return AgentOrders.model_validate_json(answer.content)
        reason = _message(answer)
        if answer.status_code == 409:
            raise AgentNameTaken(reason)
        if answer.status_code in FATAL:
            kind = Unauthorized if answer.status_code == 401 else EpochdError
            raise kind(f"{self._server_url} refuses the agent: {reason}")
        raise _Unavailable(f"it answered {answer.status_code}: {reason}")

    def _note(self, error: str | None) -> None:
        """Log once when the server is lost, and when it is found again."""
        if error is not None and self.error is None:
            logger.warning("no orders from %s: %s; trying again", self._server_url, error)
        elif error is None and self.error is not None:
            logger.info("connected to %s", self._server_url)
        self.error = error

    def _state(self) -> AgentState:
        health = self._executor.health()
        return AgentState(
            session=self._session,
            version=epochd.__version__,
            hostname=platform.node()[:255],
            cpus=os.cpu_count() or 1,
            memory=memory.total_bytes(),
            slots=self._settings.slots,
            gpus=self._gpus,
            frameworks=list(self._executor.installed),
            warm=sorted(self._executor.frameworks),
            held=[*self._held],
            held_gpus=[ticket.gpus for ticket in self._held.values()],
            launched=[*self._launched],
            exits=[*self._exits.values()],
            is_draining=self._is_draining,
            error=(health.get("error") or "")[:4000] or None,
            wait=min(POLL_SECONDS, self._lease_seconds / 3),
        )

    def _follow(self, orders: AgentOrders) -> None:
        """Carry out orders. What is told for the second time changes nothing."""
        self._lease_seconds = orders.lease_seconds
        for key in orders.acknowledged:
            if self._exits.pop(key, None) is not None:
                for log in (self._settings.logs_dir / key[0]).glob(f"{key[1]}.*"):  # the server has it
                    log.unlink(missing_ok=True)
        if orders.drain and not self._is_draining:
            logger.info("the server drains this agent")
            self._is_draining = True
        for ticket in orders.tickets:
            if ticket.key not in self._held and ticket.key not in self._exits:
                self._start(ticket, orders.now)
        for key in orders.kill:
            if key in self._held:
                self._begin(self._executor.kill(key))

    def _start(self, ticket: AttemptTicket, now: float | None = None) -> None:
        local = ticket if now is None else self._localised(ticket, now)
        self._held[ticket.key] = local
        self._begin(self._launch(local))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _localised(self, ticket: AttemptTicket, now: float) -> AttemptTicket:
        """The ticket with the folders, the limits and the clock of this machine."""
        settings = self._settings
        values: dict[str, object] = {
            "server_url": self._server_url,
            "node_address": self._address,
            "threads": max(1, (os.cpu_count() or 1) // settings.slots),
            "memory_mb": settings.memory_mb,
            "log_mb": settings.log_mb,
        }
        if isinstance(ticket, Ticket):
            values |= {"resident_mb": settings.resident_mb, "cache_mb": settings.cache_mb}
            values["many_threads"] = self._speeds.table.threads_of(ticket.framework)
        return moved(ticket, settings.data_dir.absolute(), now, **values)

    async def _launch(self, ticket: AttemptTicket) -> None:
        try:
            await self._executor.launch(ticket)
        except Exception as error:
            if not isinstance(error, EpochdError):
                logger.exception("failed to launch task %s", ticket.task_id)
            self._end(AgentExit(key=ticket.key, error=str(error) or type(error).__name__))
        else:
            self._launched.add(ticket.key)
            self._changed.set()

    async def _on_exit(self, end: Exit) -> None:
        ticket = self._held.get(end.key)
        if ticket is not None and end.needs is not None:  # another process of this machine takes it
            self._launched.discard(end.key)
            self._start(ticket.model_copy(update={"needs": end.needs}))
            return
        limit, peak = (end.overrun.limit, end.overrun.peak) if end.overrun else (None, None)
        self._end(AgentExit(key=end.key, returncode=end.returncode, log_tail=end.log_tail, limit=limit, peak=peak))

    def _end(self, end: AgentExit) -> None:
        self._held.pop(end.key, None)
        self._launched.discard(end.key)
        self._exits[end.key] = end
        self._changed.set()

    async def _leave(self) -> None:
        """Tell the server that this agent has nothing left, and ends."""
        with contextlib.suppress(TimeoutError, EpochdError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._poll(self._state().model_copy(update={"is_leaving": True, "wait": 0.0}))


class _Unavailable(Exception):
    """The server cannot take a poll at present."""


def _message(answer: httpx.Response) -> str:
    """What the server says about an error."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    return str(body.get("message")) if isinstance(body, dict) and "message" in body else answer.text[:200]


async def clear(data_dir: Path) -> None:
    """End the workers of an earlier agent in this folder, which save a checkpoint before, and delete what they have
    left. A server gives their tasks to agents again."""
    for process in await asyncio.to_thread(processes.find_marked, data_dir):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process.pid, signal.SIGTERM)
    until = time.monotonic() + CLEAR_SECONDS
    while (left := await asyncio.to_thread(processes.find_marked, data_dir)) and time.monotonic() < until:  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # other processes set no events
    for process in left:
        orphans.kill(process)
    await asyncio.to_thread(files.remove_unsent, data_dir)


async def _sweep(sweeper: orphans.Sweeper) -> None:
    while True:
        await asyncio.sleep(orphans.SWEEP_SECONDS)
        try:
            await sweeper.sweep()
        except Exception:
            logger.exception("the search for lost processes failed")


def check(settings: Settings, server_url: str) -> None:
    """Raise SettingsError for settings with which no agent can run."""
    if settings.slots < 1:
        raise SettingsError("invalid settings: EPOCHD_SLOTS=0: an agent needs at least one slot")
    if not server_url.startswith(("http://", "https://")):
        raise SettingsError(f"invalid settings: --server {server_url[:200]!r}: give the URL of the server, http(s)://…")


def run(
    settings: Settings, executor: Executor, server_url: str, token: str, name: str, address: str | None = None
) -> None:
    """Run an agent until SIGTERM or SIGINT has drained it; a second signal ends it at once."""
    check(settings, server_url)
    os.umask(0o077)
    processes.become_subreaper()

    async def serve() -> None:
        agent, loop = Agent(settings, executor, server_url, token, name, address=address), asyncio.get_running_loop()
        running = asyncio.create_task(agent.run())

        def on_signal() -> None:
            if agent._is_draining:
                running.cancel()
            agent.drain()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        with contextlib.suppress(asyncio.CancelledError):
            await running

    asyncio.run(serve())
