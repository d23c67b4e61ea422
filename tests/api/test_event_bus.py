import asyncio
import json

import pytest

from epochd.api.event_bus import CACHED_PAGES, PAGE_EVENTS, EventBus, PastEvents, line_of
from epochd.core.events import Event, Type


def event(seq: int, kind: Type = Type.PROGRESS, task_id: str = "a") -> Event:
    return Event(task_id, seq, 1, kind, {"n": seq}, at=0.0)


async def drained(subscriber) -> list[int]:
    return [line.seq for line in await subscriber.take()]


def test_a_line_carries_type_and_task_beside_the_payload_in_plain_ascii():
    line = line_of(Event("a", 7, 1, Type.LOG, {"message": "第一行\nzweite"}, at=0.0))
    data, number, *rest = line.data.decode("ascii").split("\n")
    assert json.loads(data.removeprefix("data: ")) == {"type": "log", "task_id": "a", "message": "第一行\nzweite"}
    assert (number, rest) == ("id: 7", ["", ""])


async def test_a_subscriber_gets_its_own_tasks_events_in_order():
    bus = EventBus()
    with bus.subscribe("a") as subscriber:
        bus.publish([event(1), event(1, task_id="b"), event(2)])
        assert await drained(subscriber) == [1, 2]


async def test_take_waits_until_there_is_something():
    bus = EventBus()
    with bus.subscribe("a") as subscriber:
        waiting = asyncio.create_task(subscriber.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.publish([event(1)])
        assert [line.seq for line in await waiting] == [1]


async def test_the_subscription_ends_with_its_context():
    bus = EventBus()
    with bus.subscribe("a"), bus.subscribe("a"):
        assert len(bus) == 2
    assert len(bus) == 0
    assert not bus._subscribers


async def test_a_slow_reader_loses_old_progress_but_no_state_and_no_last_event():
    bus = EventBus(buffer_lines=10)
    with bus.subscribe("a") as subscriber:
        bus.publish([event(1, Type.STATE)])
        bus.publish([event(seq) for seq in range(2, 500)])
        bus.publish([event(500, Type.COMPLETE)])
        assert len(subscriber) <= 10
        seen = await drained(subscriber)
    assert seen[0] == 1
    assert seen[-2:] == [499, 500]
    assert seen == sorted(seen)


async def test_a_flood_of_logs_is_bounded_too():
    bus = EventBus(buffer_lines=10)
    with bus.subscribe("a") as subscriber:
        bus.publish([event(1, Type.STATE), event(2)])
        bus.publish([event(seq, Type.LOG) for seq in range(3, 500)])
        assert len(subscriber) <= 10
        seen = await drained(subscriber)
    assert seen[:2] == [1, 2]
    assert seen[-1] == 499


async def test_closing_drops_what_a_reconnect_will_bring():
    bus = EventBus()
    with bus.subscribe("a") as subscriber:
        bus.publish([event(1)])
        bus.close()
        assert await subscriber.take() == []


async def test_closing_does_not_swallow_the_last_event():
    bus = EventBus()
    with bus.subscribe("a") as subscriber:
        bus.publish([event(1), event(2, Type.COMPLETE)])
        bus.close()
        assert await drained(subscriber) == [1, 2]
        assert await subscriber.take() == []


async def test_a_closed_feed_ends_new_subscriptions_at_once():
    bus = EventBus()
    bus.close()
    with bus.subscribe("a") as subscriber:
        assert await subscriber.take() == []


class Log:
    """A database of events that counts how often it is read."""

    def __init__(self, monkeypatch, length: int) -> None:
        self.length, self.reads = length, 0
        self.continues = asyncio.Event()
        self.continues.set()
        monkeypatch.setattr("epochd.api.event_bus.events.after", self._after)

    async def _after(self, _, task_id: str, seq: int, limit: int) -> list[Event]:
        self.reads += 1
        found = [event(number, task_id=task_id) for number in range(seq + 1, min(seq + limit, self.length) + 1)]
        await self.continues.wait()
        return found


async def test_many_streams_read_each_full_page_of_past_events_once(monkeypatch):
    log, past = Log(monkeypatch, 3 * PAGE_EVENTS), PastEvents(None)
    for seq in (0, PAGE_EVENTS, 2 * PAGE_EVENTS):
        pages = await asyncio.gather(*(past.after("a", seq) for _ in range(100)))
        assert {tuple(line.seq for line in page) for page in pages} == {tuple(range(seq + 1, seq + PAGE_EVENTS + 1))}
    assert log.reads == 3


async def test_the_newest_past_events_are_not_those_that_another_stream_has_read_before(monkeypatch):
    log, past = Log(monkeypatch, 1), PastEvents(None)
    log.continues.clear()
    earlier = asyncio.create_task(past.after("a", 0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    log.length = 2
    later = [asyncio.create_task(past.after("a", 0)) for _ in range(100)]
    await asyncio.sleep(0)
    log.continues.set()
    assert [line.seq for line in await earlier] == [1]
    for page in await asyncio.gather(*later):
        assert [line.seq for line in page] == [1, 2]
    assert log.reads == 2
    log.length = 3
    assert [line.seq for line in await past.after("a", 0)] == [1, 2, 3]


async def test_few_pages_of_past_events_are_kept_and_no_error(monkeypatch):
    log, past = Log(monkeypatch, 10**6), PastEvents(None)
    for seq in range(0, 200 * PAGE_EVENTS, PAGE_EVENTS):
        await past.after("a", seq)
    assert len(past._pages) == CACHED_PAGES
    monkeypatch.setattr("epochd.api.event_bus.events.after", failing)
    with pytest.raises(RuntimeError):
        await past.after("b", 0)
    assert ("b", 0) not in past._pages
    assert log.reads == 200


async def failing(*_):
    raise RuntimeError
