"""An attempt as the server that started it sees it."""

import asyncio
from dataclasses import dataclass
from typing import Any

from epochd.core.tickets import Ticket
from epochd.dispatch.host import cgroups
from epochd.dispatch.outcomes import Outcome
from epochd.dispatch.workers.executor import Executor


@dataclass(eq=False)
class Attempt:
    """An attempt that was given to the executor and has not come back.

    ``worker`` is its process (pid, created), ``memory_before`` what that had when it got the ticket, and
    ``peak`` the most that it has taken since (bytes, known only where a limit is set and not held by the
    kernel). ``verdict`` says why the server itself ends it.
    """

    ticket: Ticket
    launch: asyncio.Task[None] | None = None
    worker: dict[str, Any] | None = None
    memory_before: int = 0
    peak: int = 0
    verdict: Outcome | None = None
    is_withdrawn: bool = False

    @property
    def is_launching(self) -> bool:
        return self.launch is not None and not self.launch.done()

    @property
    def is_held(self) -> bool:
        """Whether the kernel sees to its memory, in a control group."""
        return cgroups.hold_of(self.worker) is not None

    async def withdraw(self, executor: Executor) -> None:
        """Take the ticket back, which no worker has got yet."""
        self.is_withdrawn = True
        await executor.kill(self.ticket.key)

    async def end(self, executor: Executor, verdict: Outcome) -> None:
        """Kill the worker; its job then goes on or ends by the verdict, the first if there are several."""
        self.verdict = self.verdict or verdict
        await executor.kill(self.ticket.key)
