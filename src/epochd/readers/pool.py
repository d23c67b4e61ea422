"""A pool of readers: warm processes in which the server reads files and runs queries.

Each call has a process of its own, with limits of memory and time. A crash, a limit that is exceeded or a caller that
is cancelled ends this process and nothing else. The number of processes and the number of waiting calls are bounded.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from epochd.core.errors import Busy, DataError, InternalError, Problem
from epochd.core.settings import KEPT_FROM_WORKERS
from epochd.readers import protocol

P = ParamSpec("P")
T = TypeVar("T")

INTERRUPT_SECONDS = 1.0
"""How long a reader that was interrupted has to cancel a query on a database server."""
MAX_ANSWER_BYTES = 1 << 28
TAIL_BYTES = 4_096
RETRY_SECONDS = 5

logger = logging.getLogger(__name__)


class ReaderDied(Exception):
    """A reader ended before it answered. ``output`` is the end of its standard error."""

    def __init__(self, status: int, output: str) -> None:
        super().__init__(f"a reader ended with exit status {status}: {output}")
        self.status, self.output = status, output


class Reader:
    """One reader process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.has_answered = False
        self._output = b""
        self._draining = asyncio.create_task(self._drain())

    @classmethod
    async def start(cls, module: str, memory_mb: int) -> "Reader":
        """Start a reader and wait until it has imported its module. Raises ReaderDied."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "epochd.readers", module, f"--memory-mb={memory_mb}"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C in the terminal reaches the server only
            env=_environment(),
            limit=MAX_ANSWER_BYTES,
        )
        reader = cls(process)
        try:
            await reader._line()
        except BaseException:
            await reader.kill()
            raise
        return reader

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    async def call(self, request: bytes) -> bytes:
        """Send a call and return the answer's line. Raises ReaderDied."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(request)
            await self._process.stdin.drain()
        line = await self._line()
        self.has_answered = True
        return line

    async def _line(self) -> bytes:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if line.endswith(b"\n"):
            return line
        status = await self._process.wait()
        await self._draining
        raise ReaderDied(status, self._output.decode(errors="replace"))

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(TAIL_BYTES):
            self._output = (self._output + chunk)[-TAIL_BYTES:]

    async def stop(self) -> None:
        """Interrupt the call, so that a query is cancelled on its database server too, then kill the process."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), INTERRUPT_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """Kill the process and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._draining


class ReaderPool:
    """Up to ``size`` readers for the functions of ``module``; up to ``queue`` more calls wait for one of them.

    A call may take ``seconds`` and its process may allocate ``memory_mb`` MiB.
    """

    def __init__(self, module: str, *, size: int, queue: int, seconds: float, memory_mb: int) -> None:
        self._module, self._memory_mb, self._seconds = module, memory_mb, seconds
        self._most = size + queue
        self._calls = 0
        self._free = asyncio.Semaphore(size)
        self._idle: list[Reader] = []
        self._busy: set[Reader] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def call(self, operation: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        """The result of a function in a reader; its arguments must be positional.

        Raises the function's EpochdErrors, DataError if the reader fails or exceeds a limit, and Busy.
        """
        if self._calls >= self._most:
            raise Busy(f"{self._calls} requests already read data or wait: repeat this one later", RETRY_SECONDS)
        request = protocol.encoded_call(operation, arguments)
        self._calls += 1
        try:
            async with self._free:
                return protocol.decoded_answer(operation, await self._answer(request))  # type: ignore[no-any-return]
        finally:
            self._calls -= 1

    def warm(self) -> None:
        """Start a reader ahead of the first call. A failure is logged; the first call then fails with its cause."""
        self._keep(asyncio.create_task(self._warm()))

    async def _warm(self) -> None:
        async with self._free:
            try:
                await self._start()
            except Busy:
                pass  # closed before the reader was ready
            except (ReaderDied, OSError) as error:
                logger.error("the processes that read data cannot be started: %s", error)

    async def close(self) -> None:
        """Reject all further calls, and end those that are running and their processes."""
        self._is_closed = True
        ending = [reader.kill() for reader in (*self._idle, *self._busy)]
        await asyncio.gather(*ending, *self._tasks, return_exceptions=True)

    async def _answer(self, request: bytes) -> bytes:
        if self._is_closed:
            raise _stopping()
        reader = await self._free_reader()
        self._busy.add(reader)
        try:
            async with asyncio.timeout(self._seconds):
                line = await reader.call(request)
        except TimeoutError:
            self._keep(asyncio.create_task(reader.stop()))
            message = f"reading took longer than {self._seconds:g} seconds"
            raise _error(message, "the operator can raise EPOCHD_READER_SECONDS") from None
        except ReaderDied as died:
            if died.status == 0 and reader.has_answered:  # that was its last call, and it was about to be replaced
                return await self._answer(request)
            raise self._failure(died) from None
        except BaseException:  # the caller was cancelled
            self._keep(asyncio.create_task(reader.stop()))
            raise
        finally:
            self._busy.discard(reader)
        self._idle.append(reader)
        return line

    async def _free_reader(self) -> Reader:
        while True:
            while self._idle:
                if (reader := self._idle.pop()).is_running:
                    return reader
            # A caller that is cancelled leaves the reader to the next one.
            await asyncio.shield(self._keep(asyncio.create_task(self._start())))

    async def _start(self) -> None:
        reader = await Reader.start(self._module, self._memory_mb)
        if self._is_closed:  # meanwhile
            await reader.kill()
            raise _stopping()
        self._idle.append(reader)

    def _keep(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _failure(self, died: ReaderDied) -> Exception:
        if self._is_closed:
            return _stopping()
        logger.warning("%s", died)
        if "memory allocation of" in died.output or "MemoryError" in died.output:
            message = f"reading needs more than {self._memory_mb:,} MiB of memory"
            return _error(message, "the operator can raise EPOCHD_READER_MB")
        if died.status >= 0:
            return InternalError("internal server error: see the server's log for details")
        return _error(
            f"the file is damaged: the process that read it ended with {signal.Signals(-died.status).name}",
            "write the file again with the program that created it, and compare its size with the original",
        )


def _error(message: str, hint: str) -> DataError:
    return DataError([Problem("dataset", message, hint)])


def _stopping() -> Busy:
    return Busy("the server is stopping: repeat the request later", RETRY_SECONDS)


def _environment() -> dict[str, str]:
    """The server's environment without its settings and the keys of object stores, which are secrets."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(KEPT_FROM_WORKERS)}
    return inherited | {"RUST_BACKTRACE": "0", "PYTHONFAULTHANDLER": ""}
