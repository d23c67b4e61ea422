"""What workers have printed, as lines and live."""

import asyncio
import json

import pytest


def write(house, task_id, attempt, text, mode="w"):
    path = house.service.settings.logs_dir / task_id / f"{attempt}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open(mode) as file:
        file.write(text)


async def test_the_tail_of_the_newest_log_is_shown(house):
    task_id = await house.start()
    await (await house.worker()).begin()
    write(house, task_id, 1, "".join(f"line {i}\n" for i in range(20_000)))
    told = (await house.get(f"/logs/{task_id}", params={"tail": 3})).json()
    assert told["lines"] == ["line 19997", "line 19998", "line 19999"]
    assert (told["attempts"], told["attempt"]) == ([1], 1)


async def test_a_task_that_has_printed_nothing_has_no_lines(house):
    told = (await house.get(f"/logs/{await house.start()}")).json()
    assert (told["attempts"], told["attempt"], told["lines"]) == ([], None, [])


@pytest.mark.parametrize("attempt", ["7", "../../../etc/passwd", "0"])
async def test_an_attempt_without_a_log_is_refused(house, attempt):
    answer = await house.get(f"/logs/{await house.start()}", params={"attempt": attempt})
    assert answer.status_code in (404, 422)
    assert answer.json()["success"] is False


async def test_a_log_is_followed_over_attempts_until_the_task_ends(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    write(house, task_id, 1, "one\ntwo\n")
    lines = []

    async def follow():
        async with house.http.stream("GET", f"/api/v1/epoch-training/logs/{task_id}?follow=true&tail=1") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    lines.append(json.loads(line.removeprefix("data: ")))

    following = asyncio.create_task(follow())
    await house.executor.end(worker.ticket.task_id, -9)
    second = await (await house.worker()).begin()
    write(house, task_id, 2, "three\nno newline")
    await second.epochs(1, 3)
    await second.complete()
    async with asyncio.timeout(20):
        await following
    assert [(line["attempt"], line["line"]) for line in lines] == [(1, "two"), (2, "three"), (2, "no newline")]
