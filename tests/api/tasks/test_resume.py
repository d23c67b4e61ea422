"""Resume, as it was or with changes."""

import asyncio

RESTORES = {
    "weights": True,
    "schedule": {"scheduler": "step", "learning_rate": 0.001},
    "position": {"epochs_done": 1, "steps_done_in_epoch": 0},
}


async def paused(house, **options):
    """A task that was paused by its worker after its first epoch."""
    task_id = await house.start(**options)
    worker = await (await house.worker()).begin()
    pausing = asyncio.create_task(house.post(f"/pause/{task_id}"))
    await worker.ordered("pause")
    await worker.pause(restores=RESTORES)
    await pausing
    return task_id


async def test_resume_returns_the_receipt_of_the_checkpoint(house):
    task_id = await paused(house)
    told = (await house.post(f"/resume/{task_id}", headers={"Accept-Language": "zh"})).json()
    assert told["success"] is True
    assert told["message"] == "Epoch训练已恢复"
    rates = [[2, 0.001], [3, 0.001]]
    assert told["receipt"] == {"from": "checkpoint", "epoch": 1, **RESTORES} | {
        "learning_rate": {"before": rates, "after": rates}
    }
    assert (await house.worker()).ticket.checkpoint == "checkpoints/x"


async def test_a_task_that_never_ran_resumes_from_the_beginning(house):
    await house.start()
    await house.worker()
    task_id = await house.start()
    await house.post(f"/pause/{task_id}")
    told = (await house.post(f"/resume/{task_id}")).json()
    assert told["state"] == "pending"
    assert told["queue_position"] == 1
    assert told["receipt"]["from"] == "beginning"


async def test_changes_show_the_learning_rates_before_and_after(house):
    task_id = await paused(house)
    changes = {"epochs": 5, "learning_rate": 0.01, "step_size": 2, "gamma": 0.5}
    curves = (await house.post(f"/resume/{task_id}", json=changes)).json()["receipt"]["learning_rate"]
    assert curves["before"] == [[2, 0.001], [3, 0.001]]
    assert curves["after"] == [[2, 0.01], [3, 0.005], [4, 0.005], [5, 0.0025]]
    spec = (await house.worker()).ticket.spec
    assert (spec.epochs, spec.learning_rate, spec.step_size) == (5, 0.01, 2)
    (revision,) = (await house.get(f"/tasks/{task_id}")).json()["revisions"]
    assert revision["changes"]["epochs"] == [3, 5]


async def test_a_plateau_schedule_says_that_its_falls_are_not_foreseen(house):
    task_id = await paused(house)
    told = (await house.post(f"/resume/{task_id}", json={"learning_rate_scheduler": "plateau"})).json()
    assert "plateau" in told["receipt"]["learning_rate"]["note"]


async def test_a_curve_of_many_epochs_is_thinned_and_keeps_its_ends(house):
    task_id = await paused(house)
    told = (await house.post(f"/resume/{task_id}", json={"epochs": 5000})).json()
    after = told["receipt"]["learning_rate"]["after"]
    assert len(after) <= 201
    assert (after[0][0], after[-1][0]) == (2, 5000)


async def test_what_cannot_be_changed_is_refused_and_named(house):
    task_id = await paused(house)
    refused = await house.post(f"/resume/{task_id}", json={"hidden_units": [4], "epochs": 2, "lr": 1})
    assert refused.status_code == 422
    assert {problem["field"] for problem in refused.json()["problems"]} == {"hidden_units", "epochs", "lr"}
    assert (await house.get(f"/progress/{task_id}")).json()["progress"]["training_state"] == "paused"


async def test_two_resumes_without_training_between_show_the_rates_that_will_be(house, monkeypatch):
    settings = {"learning_rate": 0.001, "learning_rate_scheduler": "step"}
    schedule = RESTORES["schedule"] | {"settings": settings}
    monkeypatch.setitem(RESTORES, "schedule", schedule)
    task_id = await paused(house)
    await house.start()
    await house.worker()
    await house.post(f"/resume/{task_id}", json={"learning_rate": 0.01})
    await house.post(f"/pause/{task_id}")
    told = (await house.post(f"/resume/{task_id}", json={"epochs": 4})).json()
    curves = told["receipt"]["learning_rate"]
    assert curves["before"] == [[2, 0.01], [3, 0.01]]
    assert curves["after"] == [[2, 0.01], [3, 0.01], [4, 0.01]]
