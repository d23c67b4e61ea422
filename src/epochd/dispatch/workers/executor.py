"""Where attempts run: the protocol that a place to run trainings fulfils."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from epochd.core.jobs import AttemptKey
from epochd.core.tickets import Ticket
from epochd.dispatch.host.cgroups import Overrun


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of an attempt's process, or of its work in a process that goes on to the next ticket.

    ``returncode`` is 0 when the worker ended in good order (its last report says how the job went),
    negative for a signal, positive for a crash. ``log_tail`` holds the last lines of the attempt's log.
    ``overrun`` says that the kernel ended it because it wanted more memory than it may have.
    """

    task_id: str
    attempt: int
    returncode: int
    log_tail: list[str]
    overrun: Overrun | None = None


OnExit = Callable[[Exit], Awaitable[None]]


class Executor(Protocol):
    """Runs tickets in worker processes. One ticket takes one slot."""

    async def start(self, on_exit: OnExit) -> None:
        """Make ready (warm workers included); ``on_exit`` is awaited once for each launched ticket."""

    @property
    def free_slots(self) -> int:
        """How many more tickets can be launched right now."""

    async def launch(self, ticket: Ticket) -> dict[str, Any] | None:
        """Hand a ticket to a worker; who it is, None where that cannot be said.

        ``pid`` and ``created`` tell it from all other processes, ``hold`` is there if a control group limits it.
        """

    async def kill(self, key: AttemptKey) -> None:
        """End the worker of this attempt at once, whatever it is doing; unknown ones are ignored."""

    async def close(self) -> None:
        """End every worker; return when no process is left."""

    def pids(self) -> list[int]:
        """The processes that this executor has started and will wait for."""

    def health(self) -> dict[str, Any]:
        """Figures for ``/health``; ``error`` says why nothing can be launched, None when all is well.

        ``memory`` is what limits a training's memory, None where no limit is set.
        """
