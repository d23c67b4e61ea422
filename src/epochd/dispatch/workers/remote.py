"""The executor for another machine: what the server knows of an agent, and has it do.

An agent polls (``core.agents``); the server never connects to it, so that it may be behind a firewall. An attempt
belongs to the agent from ``launch`` until the agent reports its end. If an agent is lost, its attempts are judged by
their leases: their workers report to the server themselves, and may still do so.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any

from epochd.core.agents import AgentExit, AgentOrders, AgentState
from epochd.core.errors import AgentLost, AgentNameTaken, EpochdError
from epochd.core.jobs import AttemptKey
from epochd.core.tickets import AttemptTicket, PredictionTicket, Ticket
from epochd.dispatch.host.cgroups import Overrun
from epochd.dispatch.workers.executor import Exit, OnExit

logger = logging.getLogger(__name__)


class RemoteExecutor:
    """Implements ``Executor`` for the agent ``name``, which is lost after ``lease_seconds`` without a poll."""

    def __init__(self, name: str, lease_seconds: float) -> None:
        self.name = name
        self.joined_at = self.seen_at = time.time()
        self.state: AgentState | None = None
        self.is_draining = False
        self._lease_seconds = lease_seconds
        self._polled_at = float("-inf")
        self._polls = 0
        self._is_lost = False
        self._is_closed = False
        self._attempts: dict[AttemptKey, asyncio.Future[None] | None] = {}
        self._tickets: dict[AttemptKey, AttemptTicket] = {}
        self._killed: set[AttemptKey] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_exit: OnExit

    async def start(self, on_exit: OnExit, *, has_gpus: bool = False) -> None:
        self._on_exit = on_exit

    @property
    def is_connected(self) -> bool:
        """Whether the agent has polled lately."""
        return time.monotonic() - self._polled_at < self._lease_seconds

    @property
    def slots(self) -> int:
        """The number of attempts that it runs at the same time; 0 while it takes none."""
        state = self.state
        if state is None or not self.is_connected or self._is_closed or self.is_draining or state.error:
            return 0
        return state.slots

    @property
    def free_slots(self) -> int:
        return max(0, self.slots - len(self._attempts))

    @property
    def installed(self) -> list[str]:
        return self.state.frameworks if self.state else []

    @property
    def frameworks(self) -> frozenset[str]:
        return frozenset(self.state.warm if self.state and self.is_connected else ())

    @property
    def attempts(self) -> list[AttemptKey]:
        """The attempts that the agent has, or will get with its next poll."""
        return list(self._attempts)

    async def launch(self, ticket: AttemptTicket) -> None:
        """Hand a ticket to the agent; returns once a worker has it. Raises AgentLost if the agent is lost before, and
        EpochdError as every executor."""
        if self._is_closed:
            raise EpochdError("the server shuts down; the ticket was not launched")
        if not self.is_connected:
            raise self._loss()
        launched: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._attempts[ticket.key], self._tickets[ticket.key] = launched, ticket
        self._changed.set()
        await launched

    async def kill(self, key: AttemptKey) -> None:
        if key not in self._attempts:
            return
        if self._has_no_worker(key):
            self._reject(key, EpochdError("the task was stopped before a worker was ready for it"))
        elif self.is_connected:
            self._killed.add(key)
        else:
            self._end(Exit(*key, -9, [], lost=self._loss().message))
        self._changed.set()

    async def close(self) -> None:
        """Forget all attempts, which go on: the next server gets to know them from the agent."""
        self._is_closed = True
        for key in list(self._attempts):
            if self._has_no_worker(key):
                self._reject(key, EpochdError("the server shut down before a worker was ready"))
        self._attempts.clear()
        self._changed.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def detach(self) -> None:
        await self.close()

    def pids(self) -> list[int]:
        return []

    def health(self) -> dict[str, Any]:
        error = (self.state.error if self.state else None) if self.is_connected else self._loss().message
        return {"error": error, "memory": None}

    def adopt(self, key: AttemptKey) -> None:
        """Take over an attempt of the agent that an earlier server has launched."""
        self._attempts[key] = None

    def drain(self) -> None:
        """Launch nothing more, and tell the agent to leave once it has no attempts."""
        self.is_draining = True
        self._changed.set()

    def check(self) -> None:
        """Give up an agent that has not polled for too long."""
        if self.state is None or self.is_connected or self._is_lost:
            return
        self._is_lost = True
        logger.warning("%s", self._loss().message)
        self._give_up(self._killed)

    def check_session(self, state: AgentState) -> None:
        """Raise AgentNameTaken if an agent of this name is connected and this is another one."""
        known = self.state
        if known is not None and known.session != state.session and self.is_connected and not known.is_leaving:
            message = f"an agent named {self.name!r} is connected from {known.hostname}"
            advice = "Start this one with another --name; if that one has just died, this one gets its place soon"
            raise AgentNameTaken(f"{message}. {advice}")

    async def poll(self, state: AgentState) -> AgentOrders:
        """Take the state of the agent, and answer with its orders: at once if there are any, otherwise after up to
        ``state.wait`` seconds. An earlier poll that still waits is answered."""
        self._polls += 1
        number, is_restart = self._polls, self.state is not None and self.state.session != state.session
        self.is_draining = state.is_draining or (self.is_draining and not is_restart)
        self.state, self._polled_at, self.seen_at, self._is_lost = state, time.monotonic(), time.time(), False
        self._changed.set()
        if is_restart:  # an earlier one may have got them, although it has not said so
            self._tickets.clear()
        self._take(state)
        orders = self._orders(state)
        until = time.monotonic() + (0.0 if state.is_leaving else min(state.wait, self._lease_seconds / 3))
        while not _says_something(orders, state) and number == self._polls and not self._is_closed:
            self._changed.clear()
            try:
                async with asyncio.timeout(until - time.monotonic()):
                    await self._changed.wait()
            except TimeoutError:
                break
            orders = self._orders(state)
        if state.is_leaving:
            self._polled_at, self._is_lost = float("-inf"), True
            self._give_up(list(self._attempts))
        elif number == self._polls:
            self._polled_at, self.seen_at = time.monotonic(), time.time()
        return orders

    def _take(self, state: AgentState) -> None:
        """Note what the agent says of its attempts."""
        for key in state.launched:
            launched = self._attempts.get(key)
            if launched is not None and not launched.done():
                launched.set_result(None)
        for end in state.exits:
            self._take_exit(end)
        ended = {end.key for end in state.exits}
        for key in state.held:
            self._tickets.pop(key, None)
        for key in self.attempts:
            if key not in state.held and key not in ended and key not in self._tickets:
                why = f"agent {self.name} was restarted and no longer has the attempt"
                self._lose(key, why)

    def _take_exit(self, end: AgentExit) -> None:
        if end.key not in self._attempts:
            return
        if end.error is not None and self._has_no_worker(end.key):
            self._reject(end.key, EpochdError(end.error))
            return
        overrun = None if end.limit is None or end.peak is None else Overrun(end.limit, end.peak)
        self._end(Exit(*end.key, end.returncode, end.log_tail, overrun))

    def _orders(self, state: AgentState) -> AgentOrders:
        if self._is_closed:  # the attempts go on
            return AgentOrders(now=time.time(), lease_seconds=self._lease_seconds)
        waiting = [ticket for key, ticket in self._tickets.items() if key not in state.held]
        return AgentOrders.model_construct(
            tickets=[ticket for ticket in waiting if isinstance(ticket, Ticket | PredictionTicket)],
            kill=[key for key in state.held if key in self._killed or key not in self._attempts],
            acknowledged=[end.key for end in state.exits],
            drain=self.is_draining,
            now=time.time(),
            lease_seconds=self._lease_seconds,
        )

    def _has_no_worker(self, key: AttemptKey) -> bool:
        launched = self._attempts.get(key)
        return launched is not None and not launched.done()

    def _reject(self, key: AttemptKey, error: EpochdError) -> None:
        """Take a ticket back that no worker has."""
        launched = self._attempts.pop(key)
        self._tickets.pop(key, None)
        if launched is not None:
            launched.set_exception(error)

    def _give_up(self, keys: list[AttemptKey] | set[AttemptKey]) -> None:
        """Give up these attempts, and those that no worker has."""
        for key in [*self._attempts]:
            if key in keys or self._has_no_worker(key):
                self._lose(key, self._loss().message)

    def _lose(self, key: AttemptKey, why: str) -> None:
        if self._has_no_worker(key):
            self._reject(key, AgentLost(why))
        else:
            self._end(Exit(*key, -9, [], lost=why))

    def _loss(self) -> AgentLost:
        return AgentLost(f"agent {self.name} is not connected any more")

    def _end(self, end: Exit) -> None:
        """Report the end of an attempt, in a task: that may have to wait for the database."""
        launched = self._attempts.pop(end.key)
        if launched is not None and not launched.done():  # it ended before the agent told of its worker
            launched.set_result(None)
        self._tickets.pop(end.key, None)
        self._killed.discard(end.key)
        self._start(self._report(end))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, end: Exit) -> None:
        try:
            await self._on_exit(end)
        except Exception:
            logger.exception("failed to handle the end of task %s on agent %s", end.task_id, self.name)


def _says_something(orders: AgentOrders, state: AgentState) -> bool:
    """Whether an answer must not wait."""
    is_news = bool(orders.tickets or orders.kill or orders.acknowledged)
    return is_news or orders.drain != state.is_draining
