"""The executor for another machine: what the server knows of an agent, and has it do.

An agent polls (``core.agents``); the server never connects to it, so that it may be behind a firewall.
"""

import asyncio
import logging
import time

from epochd.core.agents import AgentExit, AgentOrders, AgentState
from epochd.core.errors import AgentLost, AgentNameTaken, EpochdError
from epochd.core.jobs import AttemptKey
from epochd.core.tickets import AttemptTicket, PredictionTicket, Ticket
from epochd.dispatch.host.cgroups import Overrun
from epochd.dispatch.workers.executor import Exit
from epochd.dispatch.workers.remote import RemoteExecutor

logger = logging.getLogger(__name__)


class AgentExecutor(RemoteExecutor):
    """Implements ``Executor`` for the agent ``name``, which is lost after ``lease_seconds`` without a poll."""

    def __init__(self, name: str, lease_seconds: float) -> None:
        super().__init__(name)
        self._lease_seconds = lease_seconds
        self._polled_at = float("-inf")
        self._polls = 0
        self._is_lost = False
        self._killed: set[AttemptKey] = set()
        self._changed = asyncio.Event()

    @property
    def is_connected(self) -> bool:
        return time.monotonic() - self._polled_at < self._lease_seconds

    def _submit(self, ticket: AttemptTicket) -> None:
        self._changed.set()

    def _kill(self, key: AttemptKey) -> None:
        if key in self._attempts:
            self._killed.add(key)
        self._changed.set()

    async def close(self) -> None:
        self._is_closed = True
        self._changed.set()
        await super().close()

    def drain(self) -> None:
        """Launch nothing more, and tell the agent to leave once it has no attempts."""
        super().drain()
        self._changed.set()

    @property
    def has_left(self) -> bool:
        is_leaving = self.state is not None and self.state.is_leaving
        return is_leaving and not self.is_connected and not self._attempts

    def check(self) -> None:
        if self.state is None or self.is_connected or self._is_lost:
            return
        self._is_lost = True
        logger.warning("%s", self._loss().message)
        self.give_up(self._killed)

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
            self.give_up(list(self._attempts))
        elif number == self._polls:
            self._polled_at, self.seen_at = time.monotonic(), time.time()
        return orders

    def _take(self, state: AgentState) -> None:
        """Note what the agent says of its attempts."""
        for key in state.launched:
            self._note_launch(key)
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

    def _loss(self) -> AgentLost:
        return AgentLost(f"agent {self.name} is not connected any more")

    def _end(self, end: Exit) -> None:
        self._killed.discard(end.key)
        super()._end(end)


def _says_something(orders: AgentOrders, state: AgentState) -> bool:
    """Whether an answer must not wait."""
    is_news = bool(orders.tickets or orders.kill or orders.acknowledged)
    return is_news or orders.drain != state.is_draining
