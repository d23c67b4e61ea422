import pytest
from tests.support.house import row

from epochd.core.events import ReportKind


async def test_progress_before_the_first_epoch_has_the_guides_shape(house):
    task_id = await house.start()
    told = (await house.get(f"/progress/{task_id}")).json()
    assert told["success"] is True
    assert told["task_id"] == task_id
    assert told["progress"]["current_epoch"] == 0
    assert told["progress"]["total_epochs"] == 3
    assert told["progress"]["latest_metrics"] == {}
    assert told["progress"]["best_metrics"] == {}
    assert told["error"] is None


async def test_progress_of_a_running_training_has_the_guides_fields(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await worker.epochs(1, 2)
    progress = (await house.get(f"/progress/{task_id}")).json()["progress"]
    assert set(progress) == {
        "current_epoch",
        "total_epochs",
        "training_state",
        "latest_metrics",
        "best_metrics",
    }
    assert progress["training_state"] == "running"
    assert progress["current_epoch"] == 2
    assert progress["latest_metrics"] == row(2)
    assert progress["best_metrics"] == {"loss": 1.0, "accuracy": 0.8, "epoch": 2}


async def test_a_waiting_training_tells_its_place_in_the_queue(house):
    await house.start()
    await house.worker()
    task_id = await house.start()
    told = (await house.get(f"/progress/{task_id}", headers={"Accept-Language": "zh"})).json()
    assert told["queue_position"] == 1
    assert told["progress"]["training_state"] == "pending"
    assert told["message"] == "Epoch训练正在排队"


async def test_a_failed_training_tells_why(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await worker.report(ReportKind.FAILED, code="diverged", message="the loss became infinite", problems=[])
    told = (await house.get(f"/progress/{task_id}")).json()
    assert told["progress"]["training_state"] == "failed"
    assert told["error"]["code"] == "diverged"


async def test_crashes_and_preemptions_are_counted_apart(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await worker.end(-9)
    await (await house.worker()).begin()
    told = (await house.get(f"/tasks/{task_id}")).json()
    assert (told["attempt"], told["crashes"], told["strikes"], told["preemptions"]) == (2, 1, 1, 0)
    assert told["stalled_seconds"] is None


async def test_history_has_one_row_per_epoch_from_epoch_one(house):
    task_id = await house.completed()
    told = (await house.get(f"/history/{task_id}")).json()
    assert told == {"success": True, "task_id": task_id, "history": [row(1), row(2), row(3)]}


@pytest.mark.parametrize("path", ["/progress/x", "/history/x", "/tasks/x", "/stream-progress/x"])
async def test_an_unknown_task_is_404_in_the_one_shape(house, path):
    answer = await house.get(path)
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert set(answer.json()) == {"success", "code", "message", "problems"}


async def test_tasks_are_listed_newest_first_in_pages(house):
    ids = [await house.start(name=f"number {n}") for n in range(3)]
    told = (await house.get("/tasks", params={"limit": 2})).json()
    assert [task["task_id"] for task in told["tasks"]] == [ids[2], ids[1]]
    assert (told["total"], told["limit"], told["offset"]) == (3, 2, 0)
    rest = (await house.get("/tasks", params={"limit": 2, "offset": 2})).json()
    assert [task["task_id"] for task in rest["tasks"]] == [ids[0]]


async def test_tasks_are_filtered_by_state_and_name(house):
    done = await house.completed(name="alpha one")
    await house.start(name="beta")
    by_state = (await house.get("/tasks", params={"state": "completed"})).json()
    by_name = (await house.get("/tasks", params={"name": "alpha"})).json()
    assert [task["task_id"] for task in by_state["tasks"]] == [done]
    assert [task["task_id"] for task in by_name["tasks"]] == [done]


async def test_a_filter_that_makes_no_sense_is_422_in_the_one_shape(house):
    answer = await house.get("/tasks", params={"state": "sleeping", "limit": "many"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"
    assert {problem["field"] for problem in answer.json()["problems"]} == {"state", "limit"}


async def test_a_tasks_page_shows_everything(house):
    task_id = await house.completed()
    told = (await house.get(f"/tasks/{task_id}")).json()
    assert told["task_id"] == task_id
    assert told["state"] == "completed"
    assert told["config"]["dataset"] == "iris"
    assert told["artifact"] == "artifacts/models/x"
    assert told["summary"]["dataset"]["rows"] == 150
    assert told["warnings"] == []
    assert told["attempt"] == 1
    assert told["created_at"].endswith("Z")
    assert told["created_at"] <= told["started_at"] <= told["finished_at"]


async def test_a_task_tells_the_seconds_of_each_phase_while_it_waits_too(house):
    task_id = await house.start()
    worker = await house.worker()
    waiting = await house.start()
    timings = (await house.get(f"/tasks/{waiting}")).json()["timings"]
    assert timings["queue"] > 0
    assert sum(timings.values()) == timings["queue"]
    await worker.begin()
    summary, best = {"epochs": 3}, {"loss": 0.1, "epoch": 3}
    await worker.report(
        ReportKind.COMPLETED, artifact="a", best=best, stopped_early=False, summary=summary, timings={"validate": 2.5}
    )
    assert (await house.get(f"/tasks/{task_id}")).json()["timings"]["validate"] == 2.5


async def test_tasks_are_filtered_by_the_whole_name_of_their_dataset(house):
    iris = await house.start(dataset="iris")
    await house.start(dataset="wine")
    told = (await house.get("/tasks", params={"dataset": "iris"})).json()
    assert ([task["task_id"] for task in told["tasks"]], told["total"]) == ([iris], 1)
    assert (await house.get("/tasks", params={"dataset": "iri"})).json()["total"] == 0


async def test_tasks_in_the_list_have_their_config_only_if_it_is_asked_for(house):
    await house.start(epochs=3)
    [without] = (await house.get("/tasks")).json()["tasks"]
    [task] = (await house.get("/tasks", params={"config": "true"})).json()["tasks"]
    assert without["config"] is None
    assert task["config"] == (await house.get(f"/tasks/{task['task_id']}")).json()["config"]
