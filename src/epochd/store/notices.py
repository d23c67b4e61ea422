"""What servers that share a PostgreSQL database tell one another, with NOTIFY: which tasks have new events, what
trainings do at this moment, what was removed.

A notice arrives once its transaction has committed, in the order of commits. It says where to look, not what is there:
the log remains the truth, so a connection that was lost misses nothing that cannot be read again.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from epochd.core.errors import EpochdError
from epochd.core.events import FINAL_TYPES, Event, Type

logger = logging.getLogger(__name__)

CHANNEL = "epochd"
MAX_BYTES = 7_900
"""PostgreSQL refuses a payload of 8,000 bytes."""
EVENTS, ACTIVITIES, REMOVED, ALIASES, LEADER = "events", "activities", "removed", "aliases", "leader"
"""Topics. The entries of ``EVENTS`` are [task, first and last number of its new events, whether its state has changed],
those of ``ACTIVITIES`` [task, activity], those of ``REMOVED`` tasks, those of ``ALIASES`` models."""
LOCKS = 1_701_867_363
"""The first key of all advisory locks of sessions."""
LEADS, LISTENS = 1, 2
"""The second key: of the leader, and shared by all servers that listen."""
UNCONNECTED = "no notices of other servers arrive: not connected yet"
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.1, 5.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to all other servers of the database."""

    topic: str
    entries: Sequence[Any]


def of_events(events: Iterable[Event]) -> list[Notice]:
    """Where to look for new events."""
    entries = []
    for task_id, of_task in groupby(events, lambda event: event.task_id):
        own = list(of_task)
        is_state = any(event.type is Type.STATE or event.type in FINAL_TYPES for event in own)
        entries.append([task_id, own[0].seq, own[-1].seq, is_state])
    return [Notice(EVENTS, entries)] if entries else []


async def send(connection: AsyncConnection, server: str, told: Sequence[Notice]) -> None:
    """Send notices with the transaction of a connection."""
    for text in _payloads(server, told):
        await connection.execute(select(func.pg_notify(CHANNEL, text)))


def _payloads(server: str, told: Sequence[Notice]) -> Iterator[str]:
    """Notices as JSON texts of at most MAX_BYTES; an entry that is longer is left out."""
    for notice in told:
        begin, size = f'["{server}","{notice.topic}",[', 0
        texts: list[str] = []
        for text in (json.dumps(entry, separators=(",", ":"), allow_nan=False) for entry in notice.entries):
            if len(begin) + len(text) + 2 > MAX_BYTES:
                logger.warning("a notice about %s is too long for other servers: %d bytes", notice.topic, len(text))
                continue
            if texts and len(begin) + size + len(text) + 2 > MAX_BYTES:
                yield f"{begin}{','.join(texts)}]]"
                texts, size = [], 0
            texts.append(text)
            size += len(text) + 1
        if texts:
            yield f"{begin}{','.join(texts)}]]"


class NoticeListener:
    """Receives the notices of all other servers, in the order of their commits.

    ``receive`` is called with each, ``connected`` after each connection, when notices may have been missed before.
    ``error`` is the reason why none arrive at present.
    """

    def __init__(
        self,
        arguments: dict[str, Any],
        server: str,
        receive: Callable[[Notice], None],
        connected: Callable[[], Awaitable[None]],
    ) -> None:
        self.error: str | None = UNCONNECTED
        self.is_listening = asyncio.Event()
        self._arguments, self._server = arguments, server
        self._receive, self._connected = receive, connected

    async def run(self) -> None:
        """Listen until cancelled; connect again after each loss, with a growing pause."""
        from psycopg import Error  # noqa: PLC0415 - not installed with SQLite

        backoff = FIRST_BACKOFF_SECONDS
        while True:
            try:
                await self._listen()
            except (Error, OSError, EpochdError) as error:
                backoff = FIRST_BACKOFF_SECONDS if self.error is None else backoff
                reason = f"no notices of other servers arrive: {type(error).__name__}"
                self.error = reason
                self.is_listening.clear()
                logger.warning(
                    "the connection for notices was lost (%s); again in %.1f s", type(error).__name__, backoff
                )
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, LAST_BACKOFF_SECONDS)

    async def _listen(self) -> None:
        from psycopg import AsyncConnection  # noqa: PLC0415

        async with await AsyncConnection.connect(**self._arguments, autocommit=True) as connection:
            await connection.execute("SELECT pg_advisory_lock_shared(%s, %s)", (LOCKS, LISTENS))
            await connection.execute(f"LISTEN {CHANNEL}")
            await self._connected()  # reads what was committed before
            self.error = None
            self.is_listening.set()
            async for notification in connection.notifies():
                server, topic, entries = json.loads(notification.payload)
                if server != self._server:
                    self._handle(Notice(topic, entries))

    def _handle(self, notice: Notice) -> None:
        try:
            self._receive(notice)
        except Exception:
            logger.exception("a notice about %s could not be handled", notice.topic)
