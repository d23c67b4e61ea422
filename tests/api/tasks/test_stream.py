import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from tests.support.house import House

from epochd.api.responses import SHUTDOWN
from epochd.api.tasks.routing import PREFIX
from epochd.api.tasks.stream import OpenStream, sent
from epochd.core.events import ReportKind
from epochd.store.events import after


def parsed(text: str) -> list[dict[str, Any]]:
    """The data of every event of a whole body, with its id."""
    blocks = [block.splitlines() for block in text.split("\n\n") if "data: " in block]
    fields = [dict(line.split(": ", 1) for line in block) for block in blocks]
    return [json.loads(f["data"]) | {"id": int(f["id"])} for f in fields]


@asynccontextmanager
async def open_stream(house: House, task_id: str, **headers: str) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    path = f"{PREFIX}/stream-progress/{task_id}"
    async with aconnect_sse(house.http, "GET", path, headers=headers) as source:
        assert source.response.status_code == 200
        yield source.aiter_sse()


async def until(events: AsyncIterator[ServerSentEvent], kind: str) -> list[dict[str, Any]]:
    """All events up to the first of a type."""
    seen = []
    async for event in events:
        seen.append(event.json() | {"id": event.id})
        if seen[-1]["type"] == kind:
            return seen
    raise AssertionError(f"the stream ended without {kind}: {seen}")


async def test_a_finished_training_is_replayed_whole_and_ends_with_one_last_event(house):
    task_id = await house.completed()
    answer = await house.get(f"/stream-progress/{task_id}")
    events = parsed(answer.text)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    assert {event["task_id"] for event in events} == {task_id}
    assert [event["type"] for event in events if event["type"] != "state"] == [
        "progress",
        "progress",
        "progress",
        "complete",
    ]


async def test_progress_events_carry_what_the_guides_client_reads(house):
    task_id = await house.completed()
    events = parsed((await house.get(f"/stream-progress/{task_id}")).text)
    progress = next(event["progress"] for event in events if event["type"] == "progress")
    assert progress["current_epoch"] == 1
    assert progress["latest_metrics"]["train_loss"] == 1.0
    assert progress["latest_metrics"]["train_accuracy"] == 0.9


@pytest.mark.parametrize("where", ["header", "query"])
async def test_a_reconnect_goes_on_behind_the_last_event_seen(house, where):
    task_id = await house.completed()
    path = f"/stream-progress/{task_id}"
    every = parsed((await house.get(path)).text)
    sent = {"headers": {"Last-Event-ID": "3"}} if where == "header" else {"params": {"last_event_id": 3}}
    assert parsed((await house.get(path, **sent)).text) == every[3:]


@pytest.mark.parametrize("beyond", [0, 5])
async def test_a_reconnect_behind_the_last_event_is_204(house, beyond):
    task_id = await house.completed()
    path = f"/stream-progress/{task_id}"
    last = parsed((await house.get(path)).text)[-1]["id"]
    answer = await house.get(path, headers={"Last-Event-ID": str(last + beyond)})
    assert answer.status_code == 204
    assert answer.content == b""


@pytest.mark.parametrize("nonsense", ["-1", "seven", "9" * 40])
async def test_an_id_that_is_no_id_is_refused(house, nonsense):
    task_id = await house.start()
    answer = await house.get(f"/stream-progress/{task_id}", headers={"Last-Event-ID": nonsense})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"


async def test_a_log_longer_than_a_page_is_replayed_whole(house, monkeypatch):
    monkeypatch.setattr("epochd.api.event_bus.PAGE_EVENTS", 2)
    task_id = await house.completed()
    ids = [event["id"] for event in parsed((await house.get(f"/stream-progress/{task_id}")).text)]
    assert ids == list(range(1, len(ids) + 1))
    assert len(ids) > 5


async def test_live_events_follow_the_replay_without_gap_or_double(live):
    task_id = await live.start()
    worker = await (await live.worker()).begin()
    await worker.epochs(1, 1)
    async with open_stream(live, task_id) as events:
        seen = await until(events, "progress")
        await worker.epochs(2, 3)
        await worker.complete()
        seen += await until(events, "complete")
        assert [event async for event in events] == []
    assert [int(event["id"]) for event in seen] == list(range(1, len(seen) + 1))
    assert [e["progress"]["current_epoch"] for e in seen if e["type"] == "progress"] == [1, 2, 3]


async def test_events_that_happen_during_the_replay_come_once(live, monkeypatch):
    task_id = await live.start()
    worker = await (await live.worker()).begin()
    monkeypatch.setattr("epochd.api.event_bus.PAGE_EVENTS", 1)
    working = asyncio.create_task(worker.epochs(1, 30))
    async with open_stream(live, task_id) as events:
        seen = await until(events, "progress")
        await working
        await worker.complete()
        seen += await until(events, "complete")
    assert [int(event["id"]) for event in seen] == list(range(1, len(seen) + 1))


async def test_a_stopped_training_ends_its_stream_with_cancelled(live):
    task_id = await live.start()
    await live.worker()
    waiting = await live.start()
    async with open_stream(live, waiting) as events:
        await live.post(f"/stop/{waiting}")
        assert (await until(events, "cancelled"))[-1]["state"] == "cancelled"
        assert [event async for event in events] == []
    assert task_id != waiting


async def test_the_subscriber_is_gone_soon_after_the_client(live):
    task_id = await live.start()
    async with open_stream(live, task_id) as events:
        await until(events, "state")
        assert len(live.service.event_bus) == 1
    await live.subscribers(0, within=5)


async def test_an_idle_stream_has_heartbeats(live, monkeypatch):
    monkeypatch.setattr("epochd.api.tasks.stream.PING_SECONDS", 0.05)
    task_id = await live.start()
    await live.worker()
    async with live.http.stream("GET", f"{PREFIX}/stream-progress/{task_id}") as answer:
        async for line in answer.aiter_lines():
            if line == ": ping":
                break
    assert line == ": ping"


async def test_the_servers_end_is_told_and_ends_the_stream(live):
    task_id = await live.start()
    await live.worker()
    async with open_stream(live, task_id) as events:
        await until(events, "state")
        live.server.should_exit = True
        *before, last = await until(events, "server_shutdown")
        assert [event async for event in events] == []
    assert last["id"] == before[-1]["id"]  # the client's Last-Event-ID stays where it was


async def test_many_streams_of_one_task_all_get_the_same(live):
    task_id = await live.start()
    worker = await (await live.worker()).begin()

    async def follow() -> list[str]:
        async with open_stream(live, task_id) as events:
            return [event["id"] for event in await until(events, "complete")]

    followers = [asyncio.create_task(follow()) for _ in range(50)]
    await live.subscribers(50)
    await worker.epochs(1, 3)
    await worker.complete()
    seen = await asyncio.gather(*followers)
    assert all(ids == seen[0] for ids in seen)
    assert seen[0] == [str(n) for n in range(1, len(seen[0]) + 1)]


async def test_log_lines_are_streamed(live):
    task_id = await live.start()
    worker = await (await live.worker()).begin()
    async with open_stream(live, task_id) as events:
        await worker.report(ReportKind.LOG, level="info", message="数据已加载")
        assert (await until(events, "log"))[-1]["message"] == "数据已加载"


async def test_a_replay_ends_with_the_server(house):
    task_id = await house.completed()
    with house.service.event_bus.subscribe(task_id) as subscriber:
        house.service.event_bus.close()
        opened = OpenStream(house.service, task_id, 0, subscriber)
        assert [chunk async for chunk in sent(opened)] == [SHUTDOWN]


async def test_a_replay_that_the_servers_end_interrupts_does_not_go_on_with_the_last_event(house, monkeypatch):
    monkeypatch.setattr("epochd.api.event_bus.PAGE_EVENTS", 1)
    task_id = await house.completed()
    [*_, last] = await after(house.service.db, task_id, 0)
    with house.service.event_bus.subscribe(task_id) as subscriber:
        replay = sent(OpenStream(house.service, task_id, 0, subscriber))
        assert b"id: 1\n" in await anext(replay)
        house.service.event_bus.publish([last])
        house.service.event_bus.close()
        assert [chunk async for chunk in replay] == [SHUTDOWN]
