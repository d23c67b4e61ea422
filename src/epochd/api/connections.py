"""Client connections: how long a request's head may take, and how many connections there may be.

A connection takes a file descriptor, and a process has a limited number. When the limit is reached, the connection that
has waited longest for a complete request is closed. If all of them have a request in progress, only workers and health
checks are served on further connections.
"""

import asyncio
import logging
import os
import resource
import time
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from epochd.api.errors import answer
from epochd.api.language import language_of, spoken
from epochd.core.errors import Busy

HEAD_SECONDS = 15.0
"""How long the request line and the headers may take, from the first byte or from the start of the connection."""
DESCRIPTORS_FOR_SLOT, OTHER_DESCRIPTORS = 6, 40
"""What is kept back for the pipes and logs of each worker, and for database, readers, uploads and urgent requests."""
URGENT_CONNECTIONS = 8
"""How many connections may be open beyond the limit: for workers and health checks, and to tell others to wait."""
PATIENCE_SECONDS = 0.5
"""How long a connection may be without a complete request before another one may take its place."""
MAX_DESCRIPTORS = 65_536
RETRY_SECONDS = 5

logger = logging.getLogger(__name__)


def connection_limit(slots: int) -> int:
    """Raise the process's soft limit of descriptors towards the hard one; how many connections that leaves room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    available = MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    return max(8, available - len(os.listdir("/dev/fd")) - OTHER_DESCRIPTORS - slots * DESCRIPTORS_FOR_SLOT)


class ConnectionLimit:
    """The connections of one server that wait for a complete request head, and since when, the longest wait first."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.waiting: dict[Connection, float] = {}

    def make_room(self, number: int) -> bool:
        """Close the connection that has waited longest if there are more than the limit; False if it was kept, because
        it has not waited for long, or if there is none. Beyond ``URGENT_CONNECTIONS`` more it is not kept."""
        oldest, since = next(iter(self.waiting.items()), (None, 0.0))
        if number <= self.most:
            return True
        if oldest is None or (number <= self.most + URGENT_CONNECTIONS and time.monotonic() - since < PATIENCE_SECONDS):
            return False
        oldest.stop_waiting()
        oldest.transport.abort()
        return True


class Connection(H11Protocol):
    """uvicorn's connection with a time limit for each request's head, and a place among the limited connections."""

    def __init__(self, *args: Any, limit: ConnectionLimit, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limit = limit
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._limit.make_room(len(self.connections)):
            self.app = UrgentOnly(self.app)
        self._limit.waiting[self] = time.monotonic()
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.IDLE:
            self._start_timer()
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self.stop_waiting()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self._limit.waiting[self] = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_waiting()
        super().connection_lost(exc)

    def stop_waiting(self) -> None:
        """The head is complete, or the connection at its end."""
        self._limit.waiting.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._close_late)

    def _close_late(self) -> None:
        logger.debug("a connection from %s sent no complete request in %g s and was closed", self.client, HEAD_SECONDS)
        self.stop_waiting()
        self.transport.abort()


class UrgentOnly:
    """Serves workers and health checks, and tells everybody else to try again later."""

    def __init__(self, app: Any) -> None:
        self.app: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not (scope["path"].endswith("/health") or "/internal/" in scope["path"]):
            error = Busy("the server has no room for more connections", RETRY_SECONDS)
            with spoken(language_of(scope)):
                response = answer(error)
            response.headers["connection"] = "close"
            await response(scope, receive, send)
            return
        await self.app(scope, receive, send)
