"""Priorities, owners and the queue, as the API shows and changes them."""

import pytest
from tests.api.tasks.test_resume import paused
from tests.support.house import PREFIX, House

TOKENS = {"users": {"ann": "token-of-ann", "bob": "token-of-bob"}, "tokens": "token-of-nobody"}


def of(name: str) -> dict[str, dict[str, str]]:
    return {"headers": {"Authorization": f"Bearer token-of-{name}"}}


async def started(house: House, name: str, **values: object) -> str:
    config = {"dataset": "iris", "target_column": "target", **values}
    answer = await house.post("/start", json=config, **of(name))
    assert answer.status_code == 200, answer.text
    task_id: str = answer.json()["task_id"]
    return task_id


async def test_a_training_of_higher_priority_is_next(house):
    await house.start()
    await house.worker()
    first, second = await house.start(), await house.start(priority=7)
    assert (await house.get(f"/progress/{second}")).json()["queue_position"] == 1
    told = (await house.get(f"/tasks/{first}")).json()
    assert (told["priority"], told["queue_position"], told["config"]["priority"]) == (0, 2, 0)
    listed = {task["task_id"]: task for task in (await house.get("/tasks")).json()["tasks"]}
    assert [listed[task_id]["queue_position"] for task_id in (first, second)] == [2, 1]
    assert listed[second]["priority"] == 7


@pytest.mark.parametrize(
    ("language", "text"), [("en", "waits for a free slot"), ("zh", "等待空闲的槽位：全部 1 个都在使用")]
)
async def test_a_waiting_training_tells_what_it_waits_for(house, language, text):
    await house.start()
    await house.worker()
    task_id = await house.start()
    headers = {"Accept-Language": language}
    for path in (f"/progress/{task_id}", f"/tasks/{task_id}"):
        told = (await house.get(path, headers=headers)).json()
        assert told["waiting_for"].startswith(text)
        assert told["expected_start"] is None
    [listed] = (await house.get("/tasks?state=pending", headers=headers)).json()["tasks"]
    assert listed["waiting_for"].startswith(text)
    [line] = (await house.http.get("/api/v1/system/queue", headers=headers)).json()["queue"]
    assert (line["priority"], line["owner"]) == (0, None)
    assert line["waiting_for"].startswith(text)


async def test_the_expected_start_is_a_time_like_all_others(house):
    await house.start()
    worker = await (await house.worker()).begin()
    await worker.epochs(1, 1)
    task_id = await house.start()
    told = (await house.get(f"/progress/{task_id}")).json()
    created = (await house.get(f"/tasks/{task_id}")).json()["created_at"]
    assert told["expected_start"].endswith("Z")
    assert told["expected_start"][:10] >= created[:10]


async def test_a_training_that_runs_waits_for_nothing(house):
    task_id = await house.start()
    await house.worker()
    told = (await house.get(f"/tasks/{task_id}")).json()
    assert [told[name] for name in ("queue_position", "expected_start", "waiting_for")] == [None] * 3


async def test_the_priority_of_a_waiting_training_is_changed(house):
    await house.start()
    await house.worker()
    first, second = await house.start(), await house.start()
    answer = await house.post(f"/priority/{second}", json={"priority": 3}, headers={"Accept-Language": "zh"})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["priority"], told["queue_position"], told["message"]) == (3, 1, "优先级已更改")
    assert (await house.get(f"/progress/{first}")).json()["queue_position"] == 2
    assert (await house.get(f"/tasks/{second}")).json()["config"]["priority"] == 3


@pytest.mark.parametrize(
    "body", [{"priority": 101}, {"priority": "1"}, {"priority": True}, {}, {"priority": 1, "x": 2}]
)
async def test_a_priority_that_is_none_is_refused_and_named(house, body):
    task_id = await house.start()
    answer = await house.post(f"/priority/{task_id}", json=body)
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"] in {"priority", "x"}


async def test_the_priority_of_a_running_training_is_not_changed(house):
    task_id = await house.start()
    await house.worker()
    answer = await house.post(f"/priority/{task_id}", json={"priority": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_move")


async def test_a_paused_training_is_resumed_with_another_priority(house):
    task_id = await paused(house)
    answer = await house.post(f"/resume/{task_id}", json={"priority": 5})
    assert answer.status_code == 200, answer.text
    assert (await house.get(f"/tasks/{task_id}")).json()["priority"] == 5


async def test_a_task_keeps_the_name_of_the_user_who_started_it(open_house):
    house = await open_house(**TOKENS)
    mine, other, nobodys = [await started(house, name) for name in ("ann", "bob", "nobody")]
    owners = [(await house.get(f"/tasks/{task_id}", **of("bob"))).json()["owner"] for task_id in (mine, other, nobodys)]
    assert owners == ["ann", "bob", None]
    found = (await house.get("/tasks", params={"owner": "ann"}, **of("bob"))).json()
    assert [task["task_id"] for task in found["tasks"]] == [mine]
    assert found["total"] == 1
    assert (await house.get("/tasks")).status_code == 401
    assert (await house.get("/tasks", headers={"Authorization": "Bearer ann"})).status_code == 401


async def test_a_user_at_the_limit_holds_up_nobody(open_house):
    house = await open_house(slots=2, user_slots=1, **TOKENS)
    await started(house, "ann")
    second = await started(house, "ann")
    third = await started(house, "bob")
    tickets = {(await house.worker()).ticket.task_id for _ in range(2)}
    assert second not in tickets
    assert third in tickets
    told = (await house.get(f"/progress/{second}", **of("ann"))).json()
    assert told["waiting_for"] is not None


async def test_a_browser_that_logs_in_as_a_user_starts_tasks_of_this_user(open_house):
    house = await open_house(**TOKENS)
    session = (await house.http.post("/api/v1/session", json={"token": "token-of-ann"})).json()
    assert session["user"] == "ann"
    config = {"dataset": "iris", "target_column": "target"}
    answer = await house.post("/start", json=config, headers={"X-CSRF-Token": session["csrf_token"]})
    task_id = answer.json()["task_id"]
    assert (await house.http.get(f"{PREFIX}/tasks/{task_id}")).json()["owner"] == "ann"
