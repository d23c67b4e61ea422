"""One stream for several tasks."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from httpx_sse import aconnect_sse
from tests.support.house import House, PlayedWorker, eventually

from epochd.api.tasks.routing import PREFIX
from epochd.core.events import ReportKind

ACTIVITY = {"epoch": 2, "step": 3, "steps": 10, "memory": 5_000, "cpu": 1.5, "gpus": []}
Events = AsyncIterator[dict[str, Any]]


@asynccontextmanager
async def opened(house: House, *follow: str, tasks: bool = False) -> AsyncIterator[Events]:
    params = {"follow": list(follow)} | ({"tasks": True} if tasks else {})
    async with aconnect_sse(house.http, "GET", f"{PREFIX}/stream", params=params) as source:
        assert source.response.status_code == 200

        async def events() -> Events:
            async for event in source.aiter_sse():
                yield event.json() | {"id": event.id}

        yield events()


async def until(events: Events, kind: str) -> list[dict[str, Any]]:
    """All events up to the first of a type."""
    seen = []
    async for event in events:
        seen.append(event)
        if event["type"] == kind:
            return seen
    raise AssertionError(f"the stream ended without {kind}: {seen}")


async def heartbeat(worker: PlayedWorker, **activity: Any) -> None:
    answer = await worker.http.post(
        f"/internal/attempts/{worker.ticket.task_id}/report",
        json={"attempt": worker.ticket.attempt, "activity": ACTIVITY | activity, "reports": []},
        headers={"Authorization": f"Bearer {worker.ticket.token}"},
    )
    assert answer.status_code == 200, answer.text


async def test_each_task_is_followed_from_its_own_number_and_what_follows_comes_once(live):
    first = await live.completed()
    second = await live.start()
    worker = await (await live.worker()).begin()
    await worker.epochs(1, 2)
    async with opened(live, f"{first}:5", f"{second}:0") as events:
        seen = await until(events, "complete")
        await worker.epochs(3, 3)
        await worker.complete()
        seen += await until(events, "complete")
    ids = [event["id"] for event in seen if event["id"].startswith(first)]
    last = (await live.get(f"/curves/{first}")).json()["last_seq"]
    assert ids == [f"{first}:{n}" for n in range(6, last + 1)]
    ids = [event["id"] for event in seen if event["id"].startswith(second)]
    assert ids == [f"{second}:{n}" for n in range(1, len(ids) + 1)]
    assert [e["progress"]["current_epoch"] for e in seen if e["type"] == "progress" and e["task_id"] == second] == [
        1,
        2,
        3,
    ]


async def test_a_long_past_is_sent_whole_while_it_grows(live, monkeypatch):
    monkeypatch.setattr("epochd.api.event_bus.PAGE_EVENTS", 2)
    task_id = await live.start()
    worker = await (await live.worker()).begin()
    await worker.epochs(1, 9)
    working = asyncio.create_task(worker.epochs(10, 30))
    async with opened(live, f"{task_id}:0") as events:
        seen = await until(events, "progress")
        await working
        await worker.complete()
        seen += await until(events, "complete")
    assert [event["id"] for event in seen] == [f"{task_id}:{n}" for n in range(1, len(seen) + 1)]


async def test_the_place_within_the_epoch_is_sent_to_followers_and_part_of_the_details(live):
    task_id = await live.start()
    worker = await (await live.worker()).begin()
    await heartbeat(worker)
    async with opened(live, f"{task_id}:0") as events:
        [*_, told] = await until(events, "activity")
        assert (told["task_id"], told["activity"]) == (task_id, ACTIVITY)
        assert (await live.get(f"/tasks/{task_id}")).json()["activity"] == ACTIVITY
        await heartbeat(worker, step=4)
        [*_, told] = await until(events, "activity")
        assert told["activity"]["step"] == 4
    await worker.pause()
    assert (await live.get(f"/tasks/{task_id}")).json()["activity"] is None
    assert live.service.event_bus.activities == {}


async def test_what_is_no_event_is_sent_at_most_once_a_second(live):
    task_id = await live.start()
    worker = await (await live.worker()).begin()
    async with opened(live, f"{task_id}:0", tasks=True) as events:
        began, steps = time.monotonic(), []
        for step in range(5):
            await heartbeat(worker, step=step)
        while steps[-1:] != [4]:
            steps.append((await until(events, "activity"))[-1]["activity"]["step"])
        elapsed = time.monotonic() - began
    assert len(steps) <= 1 + int(elapsed)


async def test_trainings_that_change_are_sent_as_in_the_list(live):
    async with opened(live, tasks=True) as events:
        task_id = await live.completed()

        async def told(state: str) -> dict[str, Any]:
            while True:
                [*_, event] = await until(events, "tasks")
                if (line := event["tasks"][0])["state"] == state:
                    return line

        line = await asyncio.wait_for(told("completed"), 10)
    [listed] = (await live.get("/tasks")).json()["tasks"]
    assert line == listed
    assert line["task_id"] == task_id


async def test_a_batch_prediction_is_no_training_of_the_list(live):
    task_id = await live.completed()
    with live.service.event_bus.open_feed([], lists_tasks=True) as feed:
        answer = await live.http.post("/api/v1/predictions", json={"model": task_id, "dataset": "iris"})
        assert answer.status_code in {200, 404, 409, 422}
        await live.start()
        assert list(feed.jobs) == [job.id for job in feed.jobs.values() if job.kind == "training"]


async def test_removed_and_unknown_tasks_are_told(live):
    task_id = await live.completed()
    unknown = task_id[:-6] + ("abcdef" if not task_id.endswith("abcdef") else "fedcba")
    async with opened(live, f"{task_id}:0", f"{unknown}:7", tasks=True) as events:
        [first, *_] = await until(events, "complete")
        assert (first["type"], first["task_ids"]) == ("removed", [unknown])
        assert (await live.http.delete(f"{PREFIX}/tasks/{task_id}")).status_code == 200
        assert (await until(events, "removed"))[-1]["task_ids"] == [task_id]
    assert live.service.event_bus.activities == {}


@pytest.mark.parametrize(
    "given", ["x:1", "epoch_training_20240101_120000_a1b2c3", "prediction_20240101_120000_a1b2c3:1"]
)
async def test_what_names_no_event_of_a_training_is_refused(house, given):
    answer = await house.get("/stream", params={"follow": given})
    assert answer.status_code == 422
    [problem] = answer.json()["problems"]
    assert problem["field"] == "follow"
    assert given in problem["message"]


async def test_more_tasks_than_the_limit_are_refused(house):
    follow = [f"epoch_training_20240101_120000_{n:06x}:0" for n in range(101)]
    answer = await house.get("/stream", params={"follow": follow})
    assert answer.status_code == 422


async def test_the_subscriptions_end_with_the_client(live):
    task_id = await live.start()
    async with opened(live, f"{task_id}:0", tasks=True) as events:
        await until(events, "state")
        assert len(live.service.event_bus) == 2
    await live.subscribers(0, within=5)


async def test_an_idle_stream_has_heartbeats(live, monkeypatch):
    monkeypatch.setattr("epochd.api.tasks.live.PING_SECONDS", 0.05)
    async with live.http.stream("GET", f"{PREFIX}/stream", params={"tasks": True}) as answer:
        async for line in answer.aiter_lines():
            if line == ": ping":
                break
    assert line == ": ping"


async def test_the_servers_end_is_told_and_ends_the_stream(live):
    async with opened(live, tasks=True) as events:
        await live.subscribers(1)
        live.server.should_exit = True
        *_, last = await until(events, "server_shutdown")
        assert [event async for event in events] == []
    assert last["id"] == ""


async def test_messages_are_in_the_language_of_the_request(live):
    task_id = await live.start()
    worker = await (await live.worker()).begin()
    await worker.report(ReportKind.LOG, level="warning", message="resumed although the dataset has changed")
    headers = {"Accept-Language": "zh"}
    async with aconnect_sse(
        live.http, "GET", f"{PREFIX}/stream", params={"follow": f"{task_id}:0"}, headers=headers
    ) as source:
        async for event in source.aiter_sse():
            if (data := json.loads(event.data))["type"] == "log":
                break
    assert data["message"] != "resumed although the dataset has changed"
    assert not data["message"].isascii()


async def test_a_late_heartbeat_of_an_ended_attempt_is_not_kept(live):
    await live.start()
    worker = await (await live.worker()).begin()
    await heartbeat(worker)
    assert list(live.service.event_bus.activities) == [worker.ticket.task_id]
    await worker.cancel()

    async def forgotten() -> bool:
        return not live.service.event_bus.activities

    await eventually(forgotten)
