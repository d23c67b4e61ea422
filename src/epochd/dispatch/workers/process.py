"""One worker process: its tickets, its messages, and its output.

It receives neither settings nor secrets of the server, and leads a process group of its own, so that a Ctrl-C in the
terminal does not reach it, and a kill reaches all processes that it has started.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from epochd.core.job_values import MemoryCap, WorkerIdentity
from epochd.core.settings import KEPT_FROM_WORKERS
from epochd.core.tickets import AttemptTicket
from epochd.dispatch.host import cgroupfs, cgroups, memory, processes
from epochd.dispatch.host.processes import MARK, mark_of
from epochd.engines import registry

EXIT_SECONDS = 5.0  # how long a process may take to exit after it has closed its pipe
DRAIN_SECONDS = 0.1  # how long to wait for the last output of a process that has exited
REMOVE_GROUP_TRIES, REMOVE_GROUP_SECONDS = 10, 0.02
TAIL_LINES = 20
TAIL_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Kind:
    """What a process is started with: its framework; an untouched one has taken no step with it, so that its first
    ticket fixes threads and devices."""

    framework: str
    is_untouched: bool = False


@dataclass(eq=False)
class WorkerProcess:
    """A process that runs tickets; ``ticket`` is the present one, ``memory_cap`` the limit of ``group`` for it.

    ``fixed`` are the threads and devices that its framework has fixed, empty for none; ``first_bytes`` is its memory
    when it was first ready, ``memory_before`` that of its group when it got the ticket, if that is measured, and
    ``overrun`` is set once the executor kills it for its memory.
    """

    process: asyncio.subprocess.Process
    framework: str
    messages: asyncio.StreamReader
    pipe: asyncio.BaseTransport
    ticket: AttemptTicket | None = None
    group: Path | None = None
    memory_cap: MemoryCap | None = None
    fixed: str = ""
    is_untouched: bool = False
    first_bytes: int = 0
    memory_before: int | None = None
    overrun: cgroups.Overrun | None = None
    jobs: int = 0
    is_retired: bool = False
    is_done: bool = False
    is_detached: bool = False
    output: bytes = b""

    def __post_init__(self) -> None:
        self._draining = asyncio.create_task(self._drain_output())

    @classmethod
    async def spawn(cls, command: Sequence[str], framework: str, data_dir: Path) -> "WorkerProcess":
        """Start ``command --protocol-fd N``, which imports ``framework``, in a session of its own."""
        read_end, write_end = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                f"--protocol-fd={write_end}",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(write_end,),
                start_new_session=True,
                env=environment(data_dir),
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        messages = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(messages), os.fdopen(read_end, "rb")
        )
        return cls(process, framework, messages, pipe)

    @property
    def kind(self) -> Kind:
        return Kind(self.framework, self.is_untouched)

    def fits(self, ticket: AttemptTicket) -> bool:
        """Whether the process can run a ticket, as far as is known before its data are."""
        return self.framework == ticket.framework and (not self.fixed or ticket.needs in (None, self.fixed))

    async def read_message(self) -> str:
        """The next message of the worker; empty once its pipe is closed."""
        return (await self.messages.readline()).decode(errors="replace").strip()

    def send(self, ticket: AttemptTicket) -> None:
        """Set the memory limit of a ticket and write the ticket to the worker's input."""
        self.ticket = ticket
        self.is_done = False
        self.jobs += 1
        self.memory_cap = cgroups.limit_memory(self.group, ticket.memory_mb)
        if ticket.memory_mb is not None and self.memory_cap is None:
            self.memory_before = memory.used_by_groups([self.process.pid])[self.process.pid]
        sent = ticket.model_copy(update={"is_memory_capped": self.memory_cap is not None})
        self._input.write(sent.model_dump_json().encode() + b"\n")

    def kill_above_limit(self, used: int) -> None:
        """Kill a worker whose group uses more memory than its ticket allows; ``used`` in bytes."""
        limit = ((self.ticket and self.ticket.memory_mb) or 0) * 2**20
        taken = used - (self.memory_before or 0)
        if limit and taken > limit:
            self.overrun = cgroups.Overrun(limit, taken)
            self.kill()

    def remove_memory_cap(self) -> cgroups.Overrun | None:
        """Remove the memory limit after a training; returns the overrun if it was killed for it."""
        overrun = self.overrun or cgroups.find_overrun(self.memory_cap)
        self.memory_cap = self.memory_before = self.overrun = None
        if self.group is not None:
            cgroups.remove_limit(self.group)
        return overrun

    def identity(self) -> WorkerIdentity | None:
        """The process and its memory limit; None if it does not exist any more."""
        found = processes.identify(self.process.pid)
        return found and replace(found, memory_cap=self.memory_cap)

    def is_running(self, task_id: str, attempt: str) -> bool:
        return self.ticket is not None and (self.ticket.task_id, str(self.ticket.attempt)) == (task_id, attempt)

    def retire(self) -> None:
        """Close the worker's input, which makes it exit."""
        self.is_retired = True
        self._input.close()

    def detach(self) -> None:
        """Let the process outlive this one: it exits by itself after its ticket, and nothing here ends it."""
        self.is_detached = True
        self.retire()
        self._transport.get_extra_info("subprocess").returncode = 0  # otherwise ``close`` of asyncio kills it

    def kill(self) -> None:
        """Kill the worker and all processes of its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """Wait for the exit of the process, and kill it after ``EXIT_SECONDS``; its return code."""
        try:
            returncode = await asyncio.wait_for(self.process.wait(), EXIT_SECONDS)
        except TimeoutError:
            self.kill()
            returncode = await self.process.wait()
        await asyncio.wait({self._draining}, timeout=DRAIN_SECONDS)
        return returncode

    def close(self) -> None:
        """Kill the remaining processes of the group, unless it is detached, and close the pipes."""
        if self.is_detached:
            self._transport.close()
        else:
            self.kill()
        self._input.close()
        self.pipe.close()
        self._draining.cancel()

    async def remove_group(self) -> None:
        """Remove its control group once all processes have exited; a later sweep removes one that remains."""
        if self.group is not None:
            for _ in range(REMOVE_GROUP_TRIES):
                if cgroupfs.remove(self.group):
                    return
                await asyncio.sleep(REMOVE_GROUP_SECONDS)

    def output_tail(self) -> list[str]:
        """The last lines that the process printed without a ticket."""
        return _last_lines(self.output)

    @property
    def _transport(self) -> Any:
        return self.process._transport  # type: ignore[attr-defined]

    @property
    def _input(self) -> asyncio.StreamWriter:
        assert self.process.stdin is not None
        return self.process.stdin

    async def _drain_output(self) -> None:
        """Read the output, so that the process never blocks on a full pipe, and keep its end."""
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(TAIL_BYTES):
            self.output = (self.output + chunk)[-TAIL_BYTES:]


def environment(data_dir: Path) -> dict[str, str]:
    """The environment of a worker: that of the server without its settings and the keys of object stores, with ``MARK``
    and options of frameworks."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(KEPT_FROM_WORKERS)}
    return {MARK: mark_of(data_dir)} | registry.environment(data_dir) | kept


def tail_of(path: Path) -> list[str]:
    """The last lines of the log of an attempt; empty if there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return _last_lines(log.read())
    except FileNotFoundError:
        return []


def _last_lines(text: bytes) -> list[str]:
    return text.decode(errors="replace").splitlines()[-TAIL_LINES:]
