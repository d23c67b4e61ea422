"""Live events in memory, from the commits of the store to the open streams.

A thousand open streams must not cause a thousand database reads per epoch: each event is encoded as JSON once and
pushed to the subscribers of its task.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from epochd.core.events import FINAL_TYPES, Event, Type

BUFFER_LINES = 256
"""How many events a subscriber may be behind before its buffer is thinned."""
KEPT_TYPES = FINAL_TYPES | {Type.STATE, Type.ROLLBACK}
"""Events that a slow subscriber never misses."""


@dataclass(frozen=True, slots=True)
class EventLine:
    """One event in the form that is sent; ``text`` is JSON in ASCII."""

    seq: int
    type: Type
    text: str

    @property
    def is_final(self) -> bool:
        return self.type in FINAL_TYPES


def line_of(event: Event) -> EventLine:
    """The form in which an event is sent: ``{"type", "task_id", **payload}``."""
    data = {"type": event.type.value, "task_id": event.task_id, **event.payload}
    return EventLine(event.seq, event.type, json.dumps(data, allow_nan=False))


class Subscriber:
    """The events of one task that a subscriber has not read yet."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: deque[EventLine] = deque()
        self._changed = asyncio.Event()
        self.closed = False

    def __len__(self) -> int:
        return len(self._lines)

    def push(self, line: EventLine) -> None:
        if len(self._lines) >= self._limit:
            self._lines = _thinned(self._lines, self._limit)
        self._lines.append(line)
        self._changed.set()

    def close(self) -> None:
        """End the subscription. Events that the client can request again are dropped, unless the last is among them."""
        self.closed = True
        if not any(line.is_final for line in self._lines):
            self._lines.clear()
        self._changed.set()

    async def next(self) -> EventLine | None:
        """Wait for the next event; None once the subscription has ended."""
        while not self._lines:
            if self.closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._lines.popleft()


def _thinned(lines: deque[EventLine], limit: int) -> deque[EventLine]:
    """Without all progress but the newest; if that is not enough, also without the older half of what may be missed."""
    newest = next((line for line in reversed(lines) if line.type is Type.PROGRESS), None)
    left = deque(line for line in lines if line.type is not Type.PROGRESS or line is newest)
    if len(left) < limit:
        return left
    recent = left[-(limit // 2)].seq
    return deque(line for line in left if line.type in KEPT_TYPES or line is newest or line.seq >= recent)


class EventBus:
    """The subscribers of all tasks. ``publish`` is the callback that the database calls after commits."""

    def __init__(self, buffer_lines: int = BUFFER_LINES) -> None:
        self._buffer_lines = buffer_lines
        self._subscribers: dict[str, set[Subscriber]] = {}
        self.closed = False

    def __len__(self) -> int:
        """The number of subscribers."""
        return sum(map(len, self._subscribers.values()))

    def publish(self, events: Sequence[Event]) -> None:
        """Push events to the subscribers of their tasks. Call it in the event loop, after the commit."""
        for event in events:
            if subscribers := self._subscribers.get(event.task_id):
                line = line_of(event)
                for subscriber in subscribers:
                    subscriber.push(line)

    @contextmanager
    def subscribe(self, task_id: str) -> Iterator[Subscriber]:
        """Receive the events of a task from now on, until the context ends."""
        subscriber = Subscriber(self._buffer_lines)
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
        for subscriber in self._subscribers.get(task_id, ()):
            subscriber.close()

    def close(self) -> None:
        """End all subscriptions, for the shutdown of the server."""
        self.closed = True
        for task_id in self._subscribers:
            self.close_task(task_id)
