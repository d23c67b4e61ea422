"""This server among those that share its database: what it hears from the others, and whether it dispatches."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from epochd.api.event_bus import EventBus
from epochd.api.event_relay import EventRelay, Listener
from epochd.api.served_models import ServedModels
from epochd.core.errors import SettingsError
from epochd.core.settings import Settings
from epochd.dispatch.leadership import Leadership
from epochd.store import notices
from epochd.store.db import Database
from epochd.store.leadership import LeaderSession
from epochd.store.notices import Notice, NoticeListener

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0


class Membership:
    """The connections of one server to the others. ``db`` has the id of this server, ``url`` is where they reach it.

    ``listeners`` receive the events of all servers, ``wake`` is called when the state of any task may have changed, and
    ``elected``, ``deposed`` and ``about`` are those of ``Leadership``."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        bus: EventBus,
        models: ServedModels,
        url: str,
        *,
        listeners: Sequence[Listener],
        wake: Callable[[], None],
        elected: Callable[[int], Awaitable[None]],
        deposed: Callable[[], Awaitable[None]],
        about: Callable[[], Mapping[str, Any]],
    ) -> None:
        assert db.server is not None, "a database that is shared knows the id of this server"
        self._db, self._models, self._wake = db, models, wake
        self.relay = EventRelay(db, bus, listeners, wake)
        arguments = db.direct_arguments()
        self.listener = NoticeListener(arguments, db.server, self._received, self._replay)
        session = LeaderSession(arguments, db.server, url)
        self.leadership = Leadership(session, settings.lease_seconds, elected, deposed, about)
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive the notices and the events of all servers. Raises SettingsError if the database refuses that."""
        self._db.listen(self.relay.committed)
        running = [asyncio.create_task(self.listener.run()), asyncio.create_task(self.relay.tell_activities())]
        try:
            try:
                await asyncio.wait_for(self.listener.is_listening.wait(), CONNECT_SECONDS)
            except TimeoutError:
                raise SettingsError(
                    f"cannot use the database for several servers: {self.listener.error}. Check that "
                    "EPOCHD_DATABASE_URL leads to PostgreSQL itself, not to a pool that shares sessions"
                ) from None
            yield
        finally:
            for task in (*running, *self._tasks):
                task.cancel()
            await asyncio.gather(*running, *self._tasks, return_exceptions=True)
            await self.relay.close()

    def _received(self, notice: Notice) -> None:
        if notice.topic == notices.ALIASES:
            self._run(self._models.reload())
        elif notice.topic == notices.LEADER:
            self.leadership.wake()
        else:
            self.relay.received(notice)

    async def _replay(self) -> None:
        await self._models.reload()
        await self.relay.replay()
        self._wake()

    def _run(self, work: Awaitable[None]) -> None:
        """Do what a notice asks for, in a task of its own; a failure is logged."""

        async def logged() -> None:
            try:
                await work
            except Exception:
                logger.exception("what another server has told could not be carried out")

        task = asyncio.create_task(logged())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
