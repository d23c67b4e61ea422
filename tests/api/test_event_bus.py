import asyncio
import json

from epochd.api.event_bus import EventBus, line_of
from epochd.core.events import Event, Type


def event(seq: int, kind: Type = Type.PROGRESS, task_id: str = "a") -> Event:
    return Event(task_id, seq, 1, kind, {"n": seq}, at=0.0)


async def drained(subscriber) -> list[int]:
    return [(await subscriber.next()).seq for _ in range(len(subscriber))]


def test_a_line_carries_type_and_task_beside_the_payload_in_plain_ascii():
    line = line_of(Event("a", 7, 1, Type.LOG, {"message": "第一行\nzweite"}, at=0.0))
    assert json.loads(line.text) == {"type": "log", "task_id": "a", "message": "第一行\nzweite"}
    assert line.text.isascii()
    assert "\n" not in line.text


async def test_a_subscriber_gets_its_own_tasks_events_in_order():
    bus = EventBus()
    with bus.subscribe("a") as subscriber:
        bus.publish([event(1), event(1, task_id="b"), event(2)])
        assert await drained(subscriber) == [1, 2]


async def test_next_waits_until_there_is_something():
    bus = EventBus()
    with bus.subscribe("a") as subscriber:
        waiting = asyncio.create_task(subscriber.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        bus.publish([event(1)])
        assert (await waiting).seq == 1


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
        assert await subscriber.next() is None


async def test_closing_does_not_swallow_the_last_event():
    bus = EventBus()
    with bus.subscribe("a") as subscriber:
        bus.publish([event(1), event(2, Type.COMPLETE)])
        bus.close()
        assert await drained(subscriber) == [1, 2]
        assert await subscriber.next() is None


async def test_a_closed_feed_ends_new_subscriptions_at_once():
    bus = EventBus()
    bus.close()
    with bus.subscribe("a") as subscriber:
        assert await subscriber.next() is None
