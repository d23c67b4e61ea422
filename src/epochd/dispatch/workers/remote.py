"""What executors on other machines have in common: they know of attempts whose workers they have not started.

An attempt belongs to its executor from ``launch`` until that hears of its end. If the machine is lost, its attempts are
judged by their leases: their workers report to the server themselves, and may still do so.
"""

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from epochd.core.agents import AgentState
from epochd.core.errors import AgentLost, EpochdError
from epochd.core.jobs import AttemptKey
from epochd.core.tickets import AttemptTicket
from epochd.dispatch.workers.executor import Exit, OnExit

logger = logging.getLogger(__name__)


class RemoteExecutor(ABC):
    """Implements ``Executor`` for the machine ``name``, except ``installed``, ``frameworks`` and what is abstract here.
    ``state`` is what is known of it, None before the first word."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.joined_at = self.seen_at = time.time()
        self.state: AgentState | None = None
        self.is_draining = False
        self._is_closed = False
        self._attempts: dict[AttemptKey, asyncio.Future[None] | None] = {}
        self._tickets: dict[AttemptKey, AttemptTicket] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._on_exit: OnExit

    async def start(self, on_exit: OnExit, *, has_gpus: bool = False) -> None:
        self._on_exit = on_exit

    @property
    @abstractmethod
    def is_connected(self) -> bool:
        """Whether anything was heard of the machine lately."""

    @property
    def is_lost(self) -> bool:
        """Whether it can be taken for gone, with all that runs there."""
        return not self.is_connected

    @property
    def slots(self) -> int:
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
        """The attempts that the machine has, or will get."""
        return list(self._attempts)

    async def launch(self, ticket: AttemptTicket) -> None:
        """Hand a ticket over; returns once a worker has it. Raises AgentLost if the machine is lost before, and
        EpochdError as every executor."""
        if self._is_closed:
            raise EpochdError("the server shuts down; the ticket was not launched")
        if not self.is_connected:
            raise self._loss()
        launched: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._attempts[ticket.key], self._tickets[ticket.key] = launched, ticket
        self._submit(ticket)
        await launched

    @abstractmethod
    def _submit(self, ticket: AttemptTicket) -> None:
        """Have the ticket taken to the machine."""

    async def kill(self, key: AttemptKey) -> None:
        if key not in self._attempts:
            return
        if self._has_no_worker(key):
            self._reject(key, EpochdError("the task was stopped before a worker was ready for it"))
        elif not self.is_connected:
            self._end(Exit(*key, -9, [], lost=self._loss().message))
            return
        self._kill(key)

    @abstractmethod
    def _kill(self, key: AttemptKey) -> None:
        """Have the worker of an attempt killed, if it has one."""

    async def close(self) -> None:
        """Forget all attempts, which go on: the next server gets to know them from their machine."""
        self._is_closed = True
        for key in list(self._attempts):
            if self._has_no_worker(key):
                self._reject(key, EpochdError("the server shut down before a worker was ready"))
        self._attempts.clear()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def detach(self) -> None:
        await self.close()

    def pids(self) -> list[int]:
        return []

    def health(self) -> dict[str, Any]:
        error = (self.state.error if self.state else None) if self.is_connected else self._loss().message
        return {"error": error, "memory": None}

    def adopt(self, key: AttemptKey) -> None:
        """Take over an attempt that an earlier server has launched here."""
        self._attempts[key] = None

    def drain(self) -> None:
        """Launch nothing more."""
        self.is_draining = True

    @abstractmethod
    def check(self) -> None:
        """Give the machine up if nothing was heard of it for too long."""

    @property
    @abstractmethod
    def has_left(self) -> bool:
        """Whether it has said that it does not come back, and has no attempts."""

    def give_up(self, keys: Iterable[AttemptKey] = ()) -> None:
        """Give up these attempts, and those that no worker has."""
        for key in [*self._attempts]:
            if key in keys or self._has_no_worker(key):
                self._lose(key, self._loss().message)

    def _has_no_worker(self, key: AttemptKey) -> bool:
        launched = self._attempts.get(key)
        return launched is not None and not launched.done()

    def _note_launch(self, key: AttemptKey) -> None:
        """Note that a worker has the ticket."""
        launched = self._attempts.get(key)
        if launched is not None and not launched.done():
            launched.set_result(None)

    def _reject(self, key: AttemptKey, error: EpochdError) -> None:
        """Take a ticket back that no worker has."""
        launched = self._attempts.pop(key)
        self._tickets.pop(key, None)
        if launched is not None:
            launched.set_exception(error)

    def _lose(self, key: AttemptKey, why: str) -> None:
        if self._has_no_worker(key):
            self._reject(key, AgentLost(why))
        else:
            self._end(Exit(*key, -9, [], lost=why))

    @abstractmethod
    def _loss(self) -> AgentLost:
        """That the machine is not connected any more."""

    def _end(self, end: Exit) -> None:
        """Report the end of an attempt, in a task: that may have to wait for the database."""
        self._note_launch(end.key)  # it may have ended before anybody told of its worker
        del self._attempts[end.key]
        self._tickets.pop(end.key, None)
        task = asyncio.create_task(self._report(end))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _report(self, end: Exit) -> None:
        try:
            await self._on_exit(end)
        except Exception:
            logger.exception("failed to handle the end of task %s on %s", end.task_id, self.name)
