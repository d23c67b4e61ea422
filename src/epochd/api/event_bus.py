"""Events in memory: live ones, from the commits of the store to the open streams, and past ones for new streams.

A thousand open streams must not cause a thousand database reads per epoch: each event is encoded once and pushed to the
subscribers of its task, and pages of past events are read once.
"""

import asyncio
import json
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from epochd.api.language import told
from epochd.api.responses import Activity
from epochd.core.events import FINAL_TYPES, Event, Type
from epochd.core.jobs import Job, JobKind, State
from epochd.core.language import Language
from epochd.store import events
from epochd.store.db import Database

BUFFER_LINES = 1_024
"""How many events a subscriber may be behind before its buffer is thinned."""
KEPT_TYPES = FINAL_TYPES | {Type.STATE, Type.ROLLBACK}
"""Events that a slow subscriber never misses."""
VALUE_TYPES = frozenset({Type.PROGRESS, Type.CHECKPOINT})
"""Events without messages."""
PAGE_EVENTS, CACHED_PAGES = 200, 128
"""How many past events are read at a time, and how many such pages are kept: about 10 MB."""


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event in the form that is sent: ``data`` is a Server-Sent Event whose data are JSON in ASCII."""

    seq: int
    type: Type
    data: bytes
    _translations: dict[Language, bytes] = field(default_factory=dict, compare=False, repr=False)

    @property
    def is_final(self) -> bool:
        return self.type in FINAL_TYPES

    def told(self, language: Language) -> bytes:
        """``data`` with its messages in this language; each is translated once, however many streams send it."""
        if language == "en" or self.type in VALUE_TYPES:
            return self.data
        if language not in self._translations:
            content = json.loads(self.data.split(b"\n", 1)[0].removeprefix(b"data: "))
            self._translations[language] = _sent(self.seq, told(content, language))
        return self._translations[language]


def line_of(event: Event) -> EventLine:
    """The form in which an event is sent: ``{"type", "task_id", **payload}``."""
    data = {"type": event.type.value, "task_id": event.task_id, **event.payload}
    return EventLine(event.seq, event.type, _sent(event.seq, data))


def _sent(seq: int, data: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(data, allow_nan=False)}\nid: {seq}\n\n".encode("ascii")


class Subscriber:
    """The events of one task that a subscriber has not read yet."""

    def __init__(self, limit: int, changed: asyncio.Event | None = None) -> None:
        self._limit = limit
        self._lines: deque[EventLine] = deque()
        self._changed = changed or asyncio.Event()
        self.closed = False

    def __len__(self) -> int:
        return len(self._lines)

    def push(self, lines: Sequence[EventLine]) -> None:
        self._lines.extend(lines)
        if len(self._lines) > self._limit:
            self._lines = _thinned(self._lines, self._limit)
        self._changed.set()

    def close(self) -> None:
        """End the subscription. Events that the client can request again are dropped, unless the last is among them."""
        self.closed = True
        if not any(line.is_final for line in self._lines):
            self._lines.clear()
        self._changed.set()

    async def take(self) -> list[EventLine]:
        """All events that wait, at least one; none once the subscription has ended."""
        while not self._lines and not self.closed:
            self._changed.clear()
            await self._changed.wait()
        return self.take_waiting()

    def take_waiting(self) -> list[EventLine]:
        """The events that wait now."""
        lines = list(self._lines)
        self._lines.clear()
        return lines


def _thinned(lines: deque[EventLine], limit: int) -> deque[EventLine]:
    """Without all progress but the newest; if that is not enough, also without the older half of what may be missed."""
    newest = next((line for line in reversed(lines) if line.type is Type.PROGRESS), None)
    left = deque(line for line in lines if line.type is not Type.PROGRESS or line is newest)
    if len(left) <= limit:
        return left
    recent = left[-(limit // 2)].seq
    return deque(line for line in left if line.type in KEPT_TYPES or line is newest or line.seq >= recent)


@dataclass(eq=False)
class Feed:
    """What a stream of several tasks has not sent yet: the events of those that it follows, and what they do at this
    moment; with ``lists_tasks`` also each training that has changed or was removed. ``changed`` is set with each."""

    subscribers: dict[str, Subscriber]
    lists_tasks: bool
    changed: asyncio.Event
    activities: dict[str, Activity] = field(default_factory=dict)
    jobs: dict[str, Job] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)

    @property
    def has_summary(self) -> bool:
        """Whether something other than events waits."""
        return bool(self.activities or self.jobs or self.removed)


class EventBus:
    """The subscribers of all tasks, and what each running task does. ``publish`` is the callback that the database
    calls after commits."""

    def __init__(self, buffer_lines: int = BUFFER_LINES) -> None:
        self._buffer_lines = buffer_lines
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._feeds: set[Feed] = set()
        self.activities: dict[str, Activity] = {}
        """The last heartbeat of each running training."""
        self.closed = False

    def __len__(self) -> int:
        """The number of subscriptions."""
        return sum(map(len, self._subscribers.values())) + sum(feed.lists_tasks for feed in self._feeds)

    def is_followed(self, task_id: str) -> bool:
        """Whether anybody would receive events of this task."""
        return task_id in self._subscribers or any(feed.lists_tasks for feed in self._feeds)

    def followed(self) -> set[str]:
        """The tasks with subscribers."""
        return set(self._subscribers)

    def publish(self, events: Sequence[Event]) -> None:
        """Push events to the subscribers of their tasks. Call it in the event loop, after the commit."""
        for task_id, of_task in groupby(events, lambda event: event.task_id):
            *_, last = own = list(of_task)
            if last.job is not None and last.job.state is not State.RUNNING:
                self._forget_activity(task_id)
            if subscribers := self._subscribers.get(task_id):
                lines = list(map(line_of, own))
                for subscriber in subscribers:
                    subscriber.push(lines)
            if last.job is not None and last.job.kind is JobKind.TRAINING:
                for feed in (feed for feed in self._feeds if feed.lists_tasks):
                    feed.jobs[task_id] = last.job
                    feed.changed.set()

    def note(self, task_id: str, activity: Activity) -> None:
        """Keep what a running training does, and push it to the feeds that follow it."""
        self.activities[task_id] = activity
        for feed in self._feeds:
            if task_id in feed.subscribers:
                feed.activities[task_id] = activity
                feed.changed.set()

    def _forget_activity(self, task_id: str) -> None:
        for activities in (self.activities, *(feed.activities for feed in self._feeds)):
            activities.pop(task_id, None)

    @contextmanager
    def open_feed(self, task_ids: Iterable[str], *, lists_tasks: bool) -> Iterator[Feed]:
        """Receive the events of several tasks from now on, until the context ends; see ``Feed``."""
        feed = Feed({}, lists_tasks, asyncio.Event())
        with ExitStack() as stack:
            for task_id in task_ids:
                feed.subscribers[task_id] = stack.enter_context(self.subscribe(task_id, feed.changed))
            self._feeds.add(feed)
            try:
                yield feed
            finally:
                self._feeds.discard(feed)

    @contextmanager
    def subscribe(self, task_id: str, changed: asyncio.Event | None = None) -> Iterator[Subscriber]:
        """Receive the events of a task from now on, until the context ends. ``changed`` is set with each of them."""
        subscriber = Subscriber(self._buffer_lines, changed)
        if self.closed:
            subscriber.close()
        subscribers = self._subscribers.setdefault(task_id, set())
        subscribers.add(subscriber)
        try:
            yield subscriber
        finally:
            subscribers.discard(subscriber)
            if not subscribers and self._subscribers.get(task_id) is subscribers:
                del self._subscribers[task_id]

    def close_task(self, task_id: str) -> None:
        """End the subscriptions of a task that has been removed."""
        self._forget_activity(task_id)
        for subscriber in self._subscribers.get(task_id, ()):
            subscriber.close()
        for feed in self._feeds:
            feed.jobs.pop(task_id, None)
            if feed.lists_tasks or task_id in feed.subscribers:
                feed.removed.add(task_id)
                feed.changed.set()

    def close(self) -> None:
        """End all subscriptions, for the shutdown of the server."""
        self.closed = True
        for subscribers in self._subscribers.values():
            for subscriber in subscribers:
                subscriber.close()
        for feed in self._feeds:
            feed.changed.set()


class PastEvents:
    """The events in the database as they are sent. Full pages never change, and are kept for other streams."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._pages: OrderedDict[tuple[str, int], asyncio.Task[list[EventLine]]] = OrderedDict()

    async def after(self, task_id: str, seq: int) -> list[EventLine]:
        """The events of a task beyond ``seq``: a full page of PAGE_EVENTS, or fewer if these are all now."""
        key = task_id, seq
        if (earlier := self._pages.get(key)) is not None and len(page := await asyncio.shield(earlier)) == PAGE_EVENTS:
            return page
        if (reading := self._pages.get(key)) is None:  # else it has begun after this call, and lacks nothing
            reading = self._pages[key] = asyncio.create_task(self._read(task_id, seq))
            reading.add_done_callback(lambda read: self._forget_unless_full(key, read))
            if len(self._pages) > CACHED_PAGES:
                self._pages.popitem(last=False)
        return await asyncio.shield(reading)

    async def _read(self, task_id: str, seq: int) -> list[EventLine]:
        return list(map(line_of, await events.after(self._db, task_id, seq, PAGE_EVENTS)))

    def _forget_unless_full(self, key: tuple[str, int], read: asyncio.Task[list[EventLine]]) -> None:
        if read.cancelled() or read.exception() or len(read.result()) < PAGE_EVENTS:
            self._pages.pop(key, None)
