"""What workers have printed, as lines and live."""

import asyncio
import json

import pytest

from epochd.api.tasks import logs
from epochd.api.tasks.logs import new_lines


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


def lines_of(text):
    """Id, attempt and line of each event of a whole body."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            data = json.loads(fields["data"])
            found.append((fields["id"], data["attempt"], data["line"]))
    return found


async def test_a_reader_who_comes_back_goes_on_behind_the_last_line(house):
    task_id = await house.completed()
    write(house, task_id, 1, "one\nzwölf\nthree\n")
    path, query = f"/logs/{task_id}", {"follow": "true", "tail": 2}
    whole = lines_of((await house.get(path, params=query)).text)
    assert whole == [("1:11", 1, "zwölf"), ("1:17", 1, "three")]
    rest = (await house.get(path, params=query, headers={"Last-Event-ID": "1:11"})).text
    assert lines_of(rest) == whole[1:]
    assert lines_of((await house.get(path, params=query, headers={"Last-Event-ID": "1:17"})).text) == []


@pytest.mark.parametrize("last", ["x", "1", "1:-2", "../1:2", "9:0"])
async def test_a_place_that_is_none_is_refused(house, last):
    task_id = await house.completed()
    write(house, task_id, 1, "one\n")
    answer = await house.get(f"/logs/{task_id}", params={"follow": "true"}, headers={"Last-Event-ID": last})
    assert answer.status_code in (404, 422)


async def test_a_server_that_shuts_down_says_so_to_who_follows_a_log(house):
    task_id = await house.start()
    following = asyncio.create_task(house.get(f"/logs/{task_id}", params={"follow": "true"}))
    await house.subscribers(1)
    house.service.event_bus.close()
    assert "server_shutdown" in (await following).text


async def test_a_log_that_was_shortened_is_read_from_its_start(tmp_path):
    log = tmp_path / "1.log"
    log.write_text("short\n")
    assert new_lines(log, 1000, at_end=False) == [(6, "short")]


async def test_a_line_without_end_is_not_waited_for_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "READ_BYTES", 8)
    log = tmp_path / "1.log"
    log.write_text("0123456789\n")
    assert new_lines(log, 0, at_end=False) == [(8, "01234567")]
    assert new_lines(log, 8, at_end=False) == [(11, "89")]


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
    await house.subscribers(1)
    await worker.end(-9)
    second = await (await house.worker()).begin()
    write(house, task_id, 2, "three\nno newline")
    await second.epochs(1, 3)
    await second.complete()
    async with asyncio.timeout(20):
        await following
    assert [(line["attempt"], line["line"]) for line in lines] == [(1, "two"), (2, "three"), (2, "no newline")]


async def test_an_attempt_that_never_began_and_has_no_log_does_not_end_the_following(house):
    task_id = await house.start()
    first = await (await house.worker()).begin()
    write(house, task_id, 1, "one\n")
    following = asyncio.create_task(house.get(f"/logs/{task_id}", params={"follow": "true"}))
    await house.subscribers(1)
    await first.end(-9)
    await (await house.worker()).end(-9)
    third = await (await house.worker()).begin()
    write(house, task_id, 3, "three\n")
    await third.complete()
    async with asyncio.timeout(20):
        told = lines_of((await following).text)
    assert [(attempt, line) for _, attempt, line in told] == [(1, "one"), (3, "three")]
