"""The events of all servers that share a database, each published once and in order, whoever has committed it.

What this server has committed is published at once. Of another server's commits arrive notices; the events are then
read from the log, if somebody here follows their task. The number of the last event that was published of each task
decides what is new, so a notice may come late, twice or, after a lost connection, not at all.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from itertools import groupby

from epochd.api.event_bus import EventBus
from epochd.api.responses import Activity
from epochd.core.errors import EpochdError
from epochd.core.events import FINAL_TYPES, Event
from epochd.store import events, jobs, notices
from epochd.store.db import Database
from epochd.store.notices import Notice

logger = logging.getLogger(__name__)

KEPT_TASKS = 10_000
"""Of how many tasks that nobody follows the last number is kept."""
ACTIVITY_SECONDS = 0.5
"""How often what trainings do at this moment is told to other servers; streams show it once a second."""
CLOCK_SECONDS = 60.0
"""How much the clocks of servers may differ."""
FIRST_BACKOFF_SECONDS, LAST_BACKOFF_SECONDS = 0.2, 5.0

Listener = Callable[[list[Event]], None]


class EventRelay:
    """Publishes to ``bus`` and to ``listeners``. ``wake`` is called when the state of any task may have changed."""

    def __init__(self, db: Database, bus: EventBus, listeners: Sequence[Listener], wake: Callable[[], None]) -> None:
        self._db, self._bus, self._wake = db, bus, wake
        self._listeners: list[Listener] = [bus.publish, *listeners]
        self._last: dict[str, int] = {}
        self._reading: dict[str, asyncio.Task[None]] = {}
        self._wanted: set[str] = set()
        self._activities: dict[str, Activity] = {}
        self._connected_at: float | None = None

    def follow(self, task_id: str, seq: int) -> None:
        """A subscriber of this task reads the log up to ``seq`` by itself, and needs all events beyond."""
        self._last.setdefault(task_id, seq)

    def committed(self, new: Sequence[Event]) -> None:
        """Publish what this server has committed, unless an event of another server is missing before it."""
        for task_id, of_task in groupby(new, lambda event: event.task_id):
            own = list(of_task)
            if own[-1].type in FINAL_TYPES:
                self._activities.pop(task_id, None)
            if own[0].seq > self._last.get(task_id, own[0].seq - 1) + 1:
                self._read(task_id)  # it finds these events, too
            else:
                self._publish(task_id, own)

    def received(self, notice: Notice) -> None:
        """Handle a notice of another server: new events, activities and removals."""
        match notice.topic:
            case notices.EVENTS:
                for task_id, first, last, is_state in notice.entries:
                    self._note(task_id, first, last, is_state)
            case notices.ACTIVITIES:
                for task_id, activity in notice.entries:
                    self._bus.note(task_id, Activity.model_validate(activity))
            case notices.REMOVED:
                for task_id in notice.entries:
                    self._forget(task_id)

    def note(self, task_id: str, activity: Activity) -> None:
        """Show what a training does, here and at the next turn at the other servers."""
        self._bus.note(task_id, activity)
        self._activities[task_id] = activity

    async def tell_activities(self) -> None:
        """Tell other servers what trainings do, until cancelled."""
        while True:
            await asyncio.sleep(ACTIVITY_SECONDS)
            told, self._activities = self._activities, {}
            if told:
                try:
                    async with self._db.write() as transaction:
                        entries = [[task_id, activity.model_dump(mode="json")] for task_id, activity in told.items()]
                        transaction.tell(notices.ACTIVITIES, *entries)
                except EpochdError as error:
                    logger.debug("what trainings do was not told to other servers: %s", error)

    async def replay(self) -> None:
        """Read what was committed while no notices arrived. Raises Busy while the database cannot be read."""
        is_first, since = self._connected_at is None, (self._connected_at or time.time()) - CLOCK_SECONDS
        self._connected_at = time.time()
        newest = await jobs.changed_since(self._db, since)
        if is_first:  # what happened before is no news
            self._last = newest | self._last
        followed = self._bus.followed()
        newest |= await jobs.last_seqs(self._db, list(followed))
        for task_id, last in newest.items():
            self._note(task_id, last, last, True)
        for task_id in followed - newest.keys():
            self._forget(task_id)

    async def close(self) -> None:
        for task in (reading := list(self._reading.values())):
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)

    def _note(self, task_id: str, first: int, last: int, is_state: bool) -> None:
        if is_state:
            self._wake()
        if last <= self._last.setdefault(task_id, first - 1):
            return
        if is_state or task_id in self._reading or self._bus.is_followed(task_id):
            self._read(task_id)
        else:
            self._last[task_id] = last

    def _forget(self, task_id: str) -> None:
        self._last.pop(task_id, None)
        self._bus.close_task(task_id)

    def _read(self, task_id: str) -> None:
        """Publish the events of the log that are new, in a task of its own; one for each job at a time."""
        self._wanted.add(task_id)
        if task_id not in self._reading:
            self._reading[task_id] = asyncio.create_task(self._read_all(task_id))

    async def _read_all(self, task_id: str) -> None:
        try:
            await self._read_wanted(task_id)
        finally:
            del self._reading[task_id]

    async def _read_wanted(self, task_id: str) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while task_id in self._wanted:
            self._wanted.discard(task_id)
            try:
                found = await events.news(self._db, task_id, self._last.get(task_id, 0))
            except EpochdError as error:
                logger.warning(
                    "the new events of task %s cannot be read (%s); again in %.1f s", task_id, error, backoff
                )
                self._wanted.add(task_id)
                await asyncio.sleep(backoff)
                backoff = min(2 * backoff, LAST_BACKOFF_SECONDS)
                continue
            if found:
                self._publish(task_id, found)
                self._wanted.add(task_id)  # until there are no more

    def _publish(self, task_id: str, new: list[Event]) -> None:
        """Publish those events of a task that were not published yet."""
        last = self._last.get(task_id, 0)
        if not (fresh := [event for event in new if event.seq > last]):
            return
        self._last.pop(task_id, None)  # the one that was published last is kept longest
        self._last[task_id] = fresh[-1].seq
        self._drop_oldest()
        for listener in self._listeners:
            try:
                listener(fresh)
            except Exception:
                logger.exception("a listener failed for %d events of task %s", len(fresh), task_id)

    def _drop_oldest(self) -> None:
        if len(self._last) > 2 * KEPT_TASKS:
            for task_id in list(self._last)[:KEPT_TASKS]:
                if task_id not in self._reading and not self._bus.is_followed(task_id):
                    del self._last[task_id]
