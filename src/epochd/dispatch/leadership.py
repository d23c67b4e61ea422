"""The part that this server has of those that share a database: leader or standby.

A leader renews its row several times per lease; without an answer it steps down before another server may take over. A
standby tries to become the leader at the same intervals, and at once when a leader has resigned.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from epochd.core.errors import EpochdError
from epochd.store.leadership import Leader, LeaderSession

logger = logging.getLogger(__name__)

LONGEST_INTERVAL_SECONDS = 1.0
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.2, 2.0


class Leadership:
    """Takes part in the election until it is closed. ``elected`` is awaited with each term that this server leads, and
    ``deposed`` at its end; ``about`` is what the other servers are told of this one while it leads.

    ``leader`` is the newest leader that this server knows, ``term`` its own term, None while another server leads;
    ``error`` is the reason why this is not known at present."""

    def __init__(
        self,
        session: LeaderSession,
        lease_seconds: float,
        elected: Callable[[int], Awaitable[None]],
        deposed: Callable[[], Awaitable[None]],
        about: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.leader: Leader | None = None
        self.term: int | None = None
        self.error: str | None = None
        self._seen_at = 0.0
        self._session, self._lease = session, lease_seconds
        self._elected, self._deposed, self._about = elected, deposed, about
        self._interval = min(LONGEST_INTERVAL_SECONDS, lease_seconds / 4)
        self._wake = asyncio.Event()
        self._is_closing = False
        self._starting: asyncio.Task[None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Take part in the election; return after the first one."""
        first = asyncio.Event()
        self._running = asyncio.create_task(self._run(first), name="leadership")
        with suppress(TimeoutError):
            await asyncio.wait_for(first.wait(), self._lease)

    def wake(self) -> None:
        """Look at once whether this server leads, or may lead."""
        self._wake.set()

    @property
    def age(self) -> float | None:
        """Seconds since the known leader has renewed its row; None if there was none."""
        if self.leader is None:
            return None
        return self.leader.age + asyncio.get_running_loop().time() - self._seen_at

    @property
    def is_led(self) -> bool:
        """Whether some server dispatches, as far as this one knows."""
        age = self.age
        return self.term is not None or (age is not None and age <= self._lease)

    async def others(self) -> int:
        """The number of the other servers; 0 if that is not known."""
        try:
            async with asyncio.timeout(self._lease / 3):
                return await self._session.others()
        except Exception as error:
            logger.warning("the other servers cannot be counted: %s", type(error).__name__)
            return 0

    async def end(self) -> None:
        """Take no part any more, but keep the leadership until ``close``."""
        self._is_closing = True
        self._wake.set()
        if self._running is not None:  # it ends between two queries, so that the connection can be used further
            await asyncio.wait([self._running], timeout=self._lease / 3)
        ending = [task for task in (self._running, self._starting) if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def close(self) -> None:
        """Resign, if this server leads, and close the connection."""
        await self.end()
        term, self.term = self.term, None
        try:
            if term is not None:
                await self._within_lease(self._session.resign(term))
        except Exception as error:  # the end of the connection has the same effect
            logger.warning("the leadership could not be resigned: %s", type(error).__name__)
        finally:
            await self._session.close()

    async def _run(self, first: asyncio.Event) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while not self._is_closing:
            try:
                await self._take_part(first)
            except Exception as error:  # of the database, of the network, of the start of the dispatcher
                backoff = FIRST_BACKOFF_SECONDS if self.error is None else min(2 * backoff, LAST_BACKOFF_SECONDS)
                cause = str(error) if isinstance(error, EpochdError) else type(error).__name__
                reason = f"this server cannot take part in the election of the leader: {cause}"
                self.error = reason
                logger.warning("%s; again in %.1f s", self.error, backoff)
                await self._step_down()
                with suppress(Exception):
                    await self._session.close()
                if not self._is_closing:
                    await asyncio.sleep(backoff)

    async def _take_part(self, first: asyncio.Event) -> None:
        await self._within_lease(self._session.open())
        while not self._is_closing:
            self._wake.clear()
            before = self.term
            if before is None:
                self.term = await self._within_lease(self._session.campaign(self._lease, self._about()))
            elif not await self._within_lease(self._session.renew(before, self._about())):
                logger.warning("another server leads now; this one led in term %d", before)
                await self._step_down()
                return await self._session.close()  # it may still hold the lock
            self.leader = await self._within_lease(self._session.leader())
            self._seen_at, self.error = asyncio.get_running_loop().time(), None
            if before is None and self.term is not None:  # not earlier: whoever sees that it dispatches sees its term
                logger.info("this server leads in term %d", self.term)
                self._starting = asyncio.ensure_future(self._start(self.term))  # it may take longer than the lease
            if self._starting is not None and self._starting.done():
                started, self._starting = self._starting, None
                started.result()
            if self._starting is None:
                first.set()
            if not self._is_closing:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._interval):
                        await self._wake.wait()

    async def _start(self, term: int) -> None:
        try:
            await self._elected(term)
        finally:
            self._wake.set()

    async def _step_down(self) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        if self.term is not None:
            self.term = None
            await self._deposed()

    async def _within_lease(self, work: Awaitable[Any]) -> Any:
        """The result of ``work``, which must not take so long that another server could lead in the meantime."""
        async with asyncio.timeout(self._lease / 3):
            return await work
