"""The protocol of executors, which run attempts in worker processes."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from epochd.core.job_values import WorkerIdentity
from epochd.core.jobs import AttemptKey
from epochd.core.tickets import AttemptTicket
from epochd.dispatch.host.cgroups import Overrun


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of an attempt, with the exit of its process or before the next ticket. ``returncode`` is 0 after a
    regular end, negative for a signal, positive for a crash; ``overrun`` is set after a kill for the memory limit.

    ``needs`` is set where the ticket has not ended: its worker has returned it, for a process with these threads and
    devices (``AttemptTicket.needs``). ``lost`` is why nobody knows how the attempt ended, if it has."""

    task_id: str
    attempt: int
    returncode: int
    log_tail: list[str]
    overrun: Overrun | None = None
    needs: str | None = None
    lost: str | None = None

    @property
    def key(self) -> AttemptKey:
        return self.task_id, self.attempt


OnExit = Callable[[Exit], Awaitable[None]]


class Executor(Protocol):
    """Runs tickets in worker processes. One ticket occupies one slot."""

    async def start(self, on_exit: OnExit, *, has_gpus: bool) -> None:
        """Prepare warm workers, without waiting for them; ``on_exit`` is awaited once for each launched ticket, and
        ``has_gpus`` says whether tickets may allocate GPUs."""

    @property
    def slots(self) -> int:
        """The number of tickets that can run at the same time; 0 while none can."""

    @property
    def free_slots(self) -> int:
        """The number of tickets that can be launched at present."""

    @property
    def installed(self) -> Collection[str]:
        """The engines whose framework a worker can import."""

    @property
    def frameworks(self) -> frozenset[str]:
        """The frameworks that a process has imported, or imports now, so that a ticket need not wait for that."""

    async def launch(self, ticket: AttemptTicket) -> WorkerIdentity | None:
        """Send a ticket to a worker and return its identity, if that is known. Raises EpochdError if no worker can be
        started, or if ``kill`` or ``close`` was called before one was ready; ``on_exit`` is not called then."""

    async def kill(self, key: AttemptKey) -> None:
        """Kill the worker of this attempt at once; an unknown attempt is ignored."""

    async def close(self) -> None:
        """Kill all workers; return after all processes have exited."""

    async def detach(self) -> None:
        """Launch nothing more, and end all workers but those with a ticket: they continue for another server, and their
        end is not told to ``on_exit``. Tickets that wait are rejected as by ``close``."""

    def pids(self) -> list[int]:
        """The pids of the processes that this executor has started and waits for."""

    def health(self) -> dict[str, Any]:
        """Values for ``/health``: ``error`` is the reason why no ticket can be launched, or None; ``memory`` is the
        mechanism that limits the memory of trainings, None without a limit."""
