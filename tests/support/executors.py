"""An executor without processes: its workers do what the test says, and nothing else.

It passes the same contract as the real one: ``tests/dispatch/workers/test_executor_contract.py``.
"""

import asyncio
from typing import Any

from epochd.core.errors import EpochdError
from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import AttemptKey
from epochd.core.tickets import AttemptTicket
from epochd.dispatch.workers.executor import Exit, OnExit
from epochd.engines import registry


class FakeExecutor:
    """Takes tickets into ``tickets`` and ``running``; the test ends them with ``end``.

    ``launch_error`` is raised by ``launch``; ``worker`` is what it returns. While ``warm`` is not set, tickets wait for
    a worker. ``error`` and ``memory`` are shown by ``health``.
    """

    def __init__(self, slots: int = 1) -> None:
        self.slots = slots
        self.tickets: asyncio.Queue[AttemptTicket] = asyncio.Queue()
        self.running: dict[AttemptKey, AttemptTicket] = {}
        self.killed: list[AttemptKey] = []
        self.is_closed = False
        self.launch_error: Exception | None = None
        self.worker: WorkerIdentity | None = None
        self.error: str | None = None
        self.memory: str | None = None
        self.warm = asyncio.Event()
        self.warm.set()
        self._waiting: dict[AttemptKey, asyncio.Event] = {}
        self._on_exit: OnExit

    async def start(self, on_exit: OnExit, *, has_gpus: bool = False) -> None:
        self._on_exit = on_exit

    @property
    def free_slots(self) -> int:
        return 0 if self.is_closed else self.slots - len(self.running) - len(self._waiting)

    @property
    def installed(self) -> list[str]:
        return registry.installed() if self.slots else []

    @property
    def frameworks(self) -> frozenset[str]:
        return frozenset({registry.preferred()})

    async def launch(self, ticket: AttemptTicket) -> WorkerIdentity | None:
        if self.launch_error is not None:
            raise self.launch_error
        if self.is_closed:
            raise EpochdError("the executor is closed")
        await self._wait_for_worker(ticket.key)
        self.running[ticket.key] = ticket
        self.tickets.put_nowait(ticket)
        return self.worker

    async def _wait_for_worker(self, key: AttemptKey) -> None:
        """Raise EpochdError if the ticket is taken back before there is a worker."""
        if self.warm.is_set():
            return
        self._waiting[key] = rejected = asyncio.Event()
        waits = [asyncio.ensure_future(event.wait()) for event in (self.warm, rejected)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._waiting[key]
            for wait in waits:
                wait.cancel()
        if rejected.is_set():
            raise EpochdError("the ticket was taken back before a worker was ready")

    async def end(self, ticket: AttemptTicket, returncode: int = 0, *log_tail: str, needs: str | None = None) -> None:
        """End the worker of a ticket, or let it return the ticket."""
        del self.running[ticket.key]
        await self._on_exit(Exit(ticket.task_id, ticket.attempt, returncode, list(log_tail), needs=needs))

    async def kill(self, key: AttemptKey) -> None:
        self.killed.append(key)
        if key in self._waiting:
            self._waiting[key].set()
        elif key in self.running:
            await self.end(self.running[key], -9)

    async def detach(self) -> None:
        self.is_closed = True
        for rejected in self._waiting.values():
            rejected.set()

    async def close(self) -> None:
        self.is_closed = True
        for rejected in self._waiting.values():
            rejected.set()
        for ticket in list(self.running.values()):
            await self.end(ticket, -9)

    def pids(self) -> list[int]:
        return [] if self.worker is None or not self.running else [self.worker.pid]

    def health(self) -> dict[str, Any]:
        return {"error": self.error, "memory": self.memory}
