import asyncio

import pytest

from epochd.core.events import ReportKind


async def test_pausing_a_waiting_task_is_immediate_and_can_be_repeated(house):
    await house.start()
    await house.worker()
    task_id = await house.start()
    for _ in range(2):
        answer = await house.post(f"/pause/{task_id}", headers={"Accept-Language": "zh"})
        assert answer.status_code == 200
        assert answer.json() == {
            "success": True,
            "task_id": task_id,
            "state": "paused",
            "message": "Epoch训练已暂停",
        }


async def test_pause_answers_once_the_worker_has_checkpointed(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    pausing = asyncio.create_task(house.post(f"/pause/{task_id}"))
    await worker.ordered("pause")
    assert not pausing.done()
    await worker.pause()
    answer = await pausing
    assert answer.status_code == 200
    assert answer.json()["state"] == "paused"


async def test_pause_answers_202_when_the_worker_takes_longer(house):
    task_id = await house.start()
    await (await house.worker()).begin()
    answer = await house.post(f"/pause/{task_id}", params={"wait": 0.05}, headers={"Accept-Language": "zh"})
    assert answer.status_code == 202
    assert answer.json()["state"] == "running"
    assert answer.json()["message"].startswith("正在暂停")


@pytest.mark.parametrize("wait", [-1, 61, "long"])
async def test_a_wait_out_of_bounds_is_refused(house, wait):
    answer = await house.post("/pause/x", params={"wait": wait})
    assert answer.status_code == 422
    assert answer.json()["problems"][0]["field"] == "wait"


async def test_progress_during_the_wait_does_not_end_it(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    pausing = asyncio.create_task(house.post(f"/pause/{task_id}"))
    await worker.ordered("pause")
    await worker.epochs(1, 2)
    assert not pausing.done()
    await worker.pause()
    assert (await pausing).json()["state"] == "paused"


async def test_stop_waits_for_the_worker_and_is_final(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    stopping = asyncio.create_task(house.post(f"/stop/{task_id}", headers={"Accept-Language": "en"}))
    await worker.ordered("cancel")
    await worker.cancel()
    answer = await stopping
    assert answer.status_code == 200
    assert answer.json()["state"] == "cancelled"
    assert answer.json()["message"] == "Epoch training was cancelled"
    assert (await house.post(f"/resume/{task_id}")).status_code == 409


@pytest.mark.parametrize("order", ["pause", "resume", "stop"])
async def test_a_finished_task_refuses_orders_with_the_reason(house, order):
    task_id = await house.completed()
    answer = await house.post(f"/{order}/{task_id}")
    assert answer.status_code == 409
    assert answer.json()["code"] == "illegal_move"
    assert "completed" in answer.json()["message"]


@pytest.mark.parametrize("order", ["pause", "resume", "stop"])
async def test_an_unknown_task_is_404(house, order):
    assert (await house.post(f"/{order}/x")).status_code == 404


async def test_a_training_that_completes_before_it_obeys_is_reported_as_completed(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    pausing = asyncio.create_task(house.post(f"/pause/{task_id}"))
    await worker.ordered("pause")
    await worker.complete()
    answer = await pausing
    assert answer.status_code == 200
    assert answer.json()["state"] == "completed"


async def test_nobody_stays_subscribed_after_an_order(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await house.post(f"/pause/{task_id}", params={"wait": 0})
    await worker.report(ReportKind.LOG, level="info", message="still here")
    assert len(house.service.event_bus) == 0
