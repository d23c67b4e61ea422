"""Live events in memory, from the store's commits to the streams.

A thousand open streams must not mean a thousand database reads per epoch: each event is turned into its
JSON text once, and pushed to whoever follows that task. A subscriber that reads slowly keeps a bounded
buffer in which old ``progress`` gives way to new, while states and the last event always get through.
"""

import asyncio
import json
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from epochd.core.events import FINAL_TYPES, Event, Type

BUFFER_LINES = 256
"""How many lines a subscriber may be behind before its buffer is thinned."""

KEPT_TYPES = FINAL_TYPES | {Type.STATE, Type.ROLLBACK}
"""Lines that a slow subscriber never misses."""


@dataclass(frozen=True, slots=True)
class Line:
    """One event as it goes over the wire; ``text`` is JSON in plain ASCII."""

    seq: int
    type: Type
    text: str

    @property
    def is_final(self) -> bool:
        return self.type in FINAL_TYPES


def line_of(event: Event) -> Line:
    """An event's wire form: ``{"type", "task_id", **payload}``."""
    data = {"type": event.type.value, "task_id": event.task_id, **event.payload}
    return Line(event.seq, event.type, json.dumps(data, allow_nan=False))


class Subscriber:
    """What one follower of one task has yet to read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lines: deque[Line] = deque()
        self._changed = asyncio.Event()
        self.closed = False

    def __len__(self) -> int:
        return len(self._lines)

    def push(self, line: Line) -> None:
        if len(self._lines) >= self._limit:
            self._lines = _thinned(self._lines, self._limit)
        self._lines.append(line)
        self._changed.set()

    def close(self) -> None:
        """End the reading. What is buffered is dropped, for the client to ask for with its Last-Event-ID, unless
        the task's last event is in it."""
        self.closed = True
        if not any(line.is_final for line in self._lines):
            self._lines.clear()
        self._changed.set()

    async def next(self) -> Line | None:
        """The next line, as soon as there is one; None once the feed has closed."""
        while not self._lines:
            if self.closed:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._lines.popleft()


def _thinned(lines: deque[Line], limit: int) -> deque[Line]:
    """Without all progress but the newest; if that is not enough, without the older half of the rest."""
    newest = next((line for line in reversed(lines) if line.type is Type.PROGRESS), None)
    left = deque(line for line in lines if line.type is not Type.PROGRESS or line is newest)
    if len(left) < limit:
        return left
    recent = left[-(limit // 2)].seq
    return deque(line for line in left if line.type in KEPT_TYPES or line is newest or line.seq >= recent)


class Feed:
    """All subscribers of all tasks. ``publish`` is the callback that listens to the database."""

    def __init__(self, buffer_lines: int = BUFFER_LINES) -> None:
        self._buffer_lines = buffer_lines
        self._followers: dict[str, set[Subscriber]] = {}
        self.closed = False

    def __len__(self) -> int:
        """How many subscribers there are."""
        return sum(map(len, self._followers.values()))

    def publish(self, events: Sequence[Event]) -> None:
        """Push events to the followers of their tasks; call it in the event loop, after their commit."""
        for event in events:
            followers = self._followers.get(event.task_id)
            if followers:
                line = line_of(event)
                for subscriber in followers:
                    subscriber.push(line)

    @contextmanager
    def subscribe(self, task_id: str) -> Iterator[Subscriber]:
        """Follow a task's events from now on, for as long as the context lasts."""
        subscriber = Subscriber(self._buffer_lines)
        if self.closed:
            subscriber.close()
        followers = self._followers.setdefault(task_id, set())
        followers.add(subscriber)
        try:
            yield subscriber
        finally:
            followers.discard(subscriber)
            if not followers and self._followers.get(task_id) is followers:
                del self._followers[task_id]

    def drop(self, task_id: str) -> None:
        """There is no such task any more: its followers' reading ends."""
        for subscriber in self._followers.get(task_id, ()):
            subscriber.close()

    def close(self) -> None:
        """The server shuts down: every subscriber's reading ends."""
        self.closed = True
        for followers in self._followers.values():
            for subscriber in followers:
                subscriber.close()
