"""Tasks that go on from others."""

from epochd.artifact import files
from epochd.core.events import Kind

CHECKPOINT = {"epoch": 3, "step": 0, "bytes": 9, "restores": {}}


async def kept(house, worker):
    """A checkpoint that the worker has written and reported."""
    path = house.service.settings.checkpoints_dir / worker.ticket.task_id / "0001-000001"
    with files.durable_folder(path) as folder:
        (folder / "state.json").write_text("{}")
    where = str(path.relative_to(house.service.settings.data_dir))
    await worker.report(Kind.CHECKPOINT, path=where, **CHECKPOINT)


async def completed(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await worker.epochs(1, 3)
    await kept(house, worker)
    await worker.complete()
    return task_id


async def test_a_completed_task_is_continued_by_a_new_one_from_a_copy_of_its_checkpoint(house):
    parent = await completed(house)
    told = (await house.post(f"/continue/{parent}", json={"epochs": 6})).json()
    assert (told["parent"], told["config"]["epochs"]) == (parent, 6)
    ticket = (await house.worker()).ticket
    assert ticket.task_id == told["task_id"] != parent
    files.verify(ticket.data_dir / ticket.checkpoint)
    assert told["task_id"] in ticket.checkpoint
    assert (await house.get(f"/tasks/{told['task_id']}")).json()["parent"] == parent


async def test_continuing_needs_more_epochs_and_a_task_that_is_complete(house):
    parent = await completed(house)
    refused = await house.post(f"/continue/{parent}", json={"epochs": 3})
    assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "epochs")
    running = await house.start()
    assert (await house.post(f"/continue/{running}", json={"epochs": 9})).status_code == 409


async def test_a_cancelled_task_is_tried_again_from_its_checkpoint_or_from_the_beginning(house):
    parent = await house.start()
    worker = await (await house.worker()).begin()
    await kept(house, worker)
    await worker.report(Kind.CANCELLED)
    await house.executor.end(parent)
    again = (await house.post(f"/retry/{parent}")).json()
    assert again["checkpoint"] == {"epoch": 3, "step": 0}
    afresh = (await house.post(f"/retry/{parent}", json={"from_beginning": True})).json()
    assert afresh["checkpoint"] is None
    assert (await house.post(f"/retry/{again['task_id']}")).status_code == 409


async def test_a_retry_takes_no_other_option(house):
    refused = await house.post(f"/retry/{await completed(house)}", json={"epochs": 9})
    assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "epochs")
