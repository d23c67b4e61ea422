"""One worker process as the server sees it: its input, its words, and what it prints.

It sees neither the server's settings nor its secrets, and it leads a process group of its own, so that a
Ctrl-C in the terminal does not reach it and a kill reaches all that it started.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from epochd.core.tickets import Ticket
from epochd.dispatch.host import cgroupfs, cgroups, processes
from epochd.dispatch.host.processes import MARK, mark_of

EXIT_SECONDS = 5.0
"""How long a process may live on after it has closed its pipe."""
DRAIN_SECONDS = 0.1
"""How long its last output may take to arrive after its end."""
DISBAND_TRIES, DISBAND_SECONDS = 10, 0.02
TAIL_LINES = 20
TAIL_BYTES = 16 * 1024


class WorkerProcess:
    """A process that was started to take tickets; ``ticket`` is the one that it works on.

    ``group`` is its control group, if it has one, and ``hold`` what that holds the present training to.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        words: asyncio.StreamReader,
        pipe: asyncio.BaseTransport,
        framework: str,
    ) -> None:
        self.process = process
        self.framework = framework
        self.ticket: Ticket | None = None
        self.group: Path | None = None
        self.hold: cgroups.MemoryCap | None = None
        self.jobs = 0
        self.is_retired = False
        self.is_done = False
        self._words = words
        self._pipe = pipe
        self._output = b""
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def spawn(cls, command: Sequence[str], framework: str, data_dir: Path) -> "WorkerProcess":
        """Start ``command --protocol-fd N`` in a session of its own; it will have warmed up ``framework``."""
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
        words = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(words), os.fdopen(read_end, "rb")
        )
        return cls(process, words, pipe, framework)

    async def hear(self) -> str:
        """The next word of the worker; empty when its pipe is closed."""
        return (await self._words.readline()).decode(errors="replace").strip()

    def hand(self, ticket: Ticket) -> None:
        """Send a ticket down the worker's input."""
        self.ticket = ticket
        self.is_done = False
        self.jobs += 1
        self.hold = cgroups.hold(self.group, ticket.memory_mb)
        sent = ticket.model_copy(update={"is_held": self.hold is not None})
        self._input.write(sent.model_dump_json().encode() + b"\n")

    def let_go(self) -> cgroups.Overrun | None:
        """Lift the limit of a training that is over; why the kernel has ended it, None if it has not."""
        found, self.hold = cgroups.overrun(self.hold), None
        if self.group is not None:
            cgroups.lift(self.group)
        return found

    def identity(self) -> dict[str, Any] | None:
        """Which process it is and what holds it, for a server that comes after this one; None if it is gone."""
        found = processes.identity(self.process.pid)
        if found is not None and self.hold is not None:
            found["hold"] = asdict(self.hold)
        return found

    def holds(self, task_id: str, attempt: str) -> bool:
        return self.ticket is not None and (self.ticket.task_id, str(self.ticket.attempt)) == (task_id, attempt)

    def retire(self) -> None:
        """Close the worker's input, upon which it ends by itself."""
        self.is_retired = True
        self._input.close()

    def kill(self) -> None:
        """End the worker and all that it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    async def ended(self) -> int:
        """Wait for the process to end, a while by itself and then by force; its return code."""
        try:
            returncode = await asyncio.wait_for(self.process.wait(), EXIT_SECONDS)
        except TimeoutError:
            self.kill()
            returncode = await self.process.wait()
        await asyncio.wait({self._listening}, timeout=DRAIN_SECONDS)
        return returncode

    def release(self) -> None:
        """Kill what is left of the process group and close the pipes."""
        self.kill()
        self._input.close()
        self._pipe.close()
        self._listening.cancel()

    async def disband(self) -> None:
        """Remove its group, once all that was killed is gone; what takes longer is left for a sweep."""
        if self.group is not None:
            for _ in range(DISBAND_TRIES):
                if cgroupfs.remove(self.group):
                    return
                await asyncio.sleep(DISBAND_SECONDS)

    def output_tail(self) -> list[str]:
        """The last lines that the process printed while it had no ticket."""
        return _last_lines(self._output)

    @property
    def _input(self) -> asyncio.StreamWriter:
        assert self.process.stdin is not None
        return self.process.stdin

    async def _listen(self) -> None:
        """Keep the end of what the process prints, so that it never blocks on a full pipe."""
        assert self.process.stdout is not None
        while chunk := await self.process.stdout.read(TAIL_BYTES):
            self._output = (self._output + chunk)[-TAIL_BYTES:]


def environment(data_dir: Path) -> dict[str, str]:
    """What a worker sees of the server's environment: its mark, what frameworks read there, nothing of the settings.

    Idle OpenMP threads sleep instead of spinning, which cost up to ten times the step where others want the
    cores. JAX keeps compiled programs, however small, so that a second job of a shape need not compile.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHD_")}
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        MARK: mark_of(data_dir),
        "JAX_COMPILATION_CACHE_DIR": str((data_dir / "cache" / "jax").absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    } | kept


def tail_of(path: Path) -> list[str]:
    """The last lines of an attempt's log; none if there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return _last_lines(log.read())
    except FileNotFoundError:
        return []


def _last_lines(text: bytes) -> list[str]:
    return text.decode(errors="replace").splitlines()[-TAIL_LINES:]
