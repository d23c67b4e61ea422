"""Which tasks can be repeated, and what is refused."""

import shutil

from epochd.core.events import ReportKind


async def test_only_a_completed_task_is_repeated_and_only_a_replay_compared(house):
    task_id = await house.start()
    refused = await house.post(f"/replay/{task_id}")
    assert (refused.status_code, "only a completed task" in refused.json()["message"]) == (409, True)
    assert (await house.post("/replay/unknown")).status_code == 404
    refused = await house.get(f"/replay/{task_id}")
    assert (refused.status_code, "is no replay" in refused.json()["message"]) == (409, True)


async def test_a_task_whose_config_was_changed_on_a_resume_is_not_repeated(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await house.post(f"/pause/{task_id}?wait=0")
    await worker.ordered("pause")
    await worker.pause()
    await house.post(f"/resume/{task_id}", json={"epochs": 9})
    worker = await (await house.worker()).begin()
    await worker.complete()
    refused = await house.post(f"/replay/{task_id}")
    assert (refused.status_code, "resume (epochs)" in refused.json()["message"]) == (409, True)


async def test_a_task_whose_data_changed_is_not_repeated(house, tmp_path):
    uploads = house.service.settings.data_dir / "datasets"
    uploads.mkdir(exist_ok=True)
    (uploads / "rows.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(40)))
    task_id = await house.start(dataset="rows.csv", target_column="y")
    worker = await house.worker()
    await worker.report(ReportKind.STARTED, framework="pytorch", fingerprint="0" * 64, resumed=None)
    await worker.complete()
    refused = await house.post(f"/replay/{task_id}")
    assert (refused.status_code, refused.json()["code"]) == (409, "data_changed")


async def test_a_replay_whose_first_model_was_removed_has_nothing_to_be_compared_with(house):
    first = await house.completed()
    replay = (await house.post(f"/replay/{first}")).json()
    assert (replay["replay_of"], replay["config"]["output_path"]) == (first, "/replays/models")
    assert (await house.get(f"/replay/{replay['task_id']}")).status_code == 409
    worker = await (await house.worker()).begin()
    await worker.complete()
    shutil.rmtree(house.service.settings.data_dir / "artifacts" / "models" / "x", ignore_errors=True)
    gone = await house.get(f"/replay/{replay['task_id']}")
    assert (gone.status_code, "was removed" in gone.json()["message"]) == (404, True)
    repeated = (await house.post(f"/replay/{replay['task_id']}")).json()
    assert repeated["config"]["output_path"] == "/replays/models"
