"""Tasks that go on from others."""

import json
import shutil

import pytest

from epochd.artifact import files
from epochd.core.events import ReportKind

CHECKPOINT = {"epoch": 3, "step": 0, "bytes": 9, "restores": {}}


async def kept(house, worker):
    """A checkpoint that the worker has written and reported."""
    path = house.service.settings.checkpoints_dir / worker.ticket.task_id / "0001-000001"
    with files.durable_folder(path) as folder:
        (folder / "state.json").write_text("{}")
    where = str(path.relative_to(house.service.settings.data_dir))
    await worker.report(ReportKind.CHECKPOINT, path=where, **CHECKPOINT)


def on_disk(house, task_id, name, epoch):
    """A checkpoint that the server was never told of."""
    path = house.service.settings.checkpoints_dir / task_id / name
    with files.durable_folder(path) as folder:
        (folder / "state.json").write_text(json.dumps({"loop": {"epoch": epoch, "step": 1}}))
    return path


def flip(path):
    content = bytearray((path / "state.json").read_bytes())
    content[0] ^= 1
    (path / "state.json").write_bytes(content)


async def cancelled(house):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await kept(house, worker)
    await worker.cancel()
    return task_id


async def completed(house, metrics=None, **config):
    task_id = await house.start(**config)
    worker = await (await house.worker()).begin()
    await worker.epochs(1, 3)
    await kept(house, worker)
    await worker.complete(**(metrics or {}))
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


async def test_warnings_about_the_result_of_a_task_are_not_those_of_the_one_that_continues_it(house):
    parent = await completed(house, {"warnings": ["not better than its baseline"]}, batch_size=500)
    told = (await house.post(f"/continue/{parent}", json={"epochs": 6})).json()
    before, after = [(await house.get(f"/tasks/{name}")).json()["warnings"] for name in (parent, told["task_id"])]
    assert before == [*after, "not better than its baseline"]
    assert after[0].startswith("batch_size 500")


async def test_continuing_needs_more_epochs_and_a_task_that_is_complete(house):
    parent = await completed(house)
    refused = await house.post(f"/continue/{parent}", json={"epochs": 3})
    assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "epochs")
    running = await house.start()
    assert (await house.post(f"/continue/{running}", json={"epochs": 9})).status_code == 409


async def test_a_task_that_stopped_early_is_continued_to_more_epochs_than_it_has(house):
    parent = await completed(house, epochs=300)
    refused = await house.post(f"/continue/{parent}", json={"learning_rate": 0.01})
    assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "epochs")
    assert (await house.post(f"/continue/{parent}", json={"epochs": 4})).json()["config"]["epochs"] == 4


async def test_the_receipt_of_a_continued_task_shows_how_the_learning_rate_jumps(house, monkeypatch):
    cosine = {"learning_rate_scheduler": "cosine", "learning_rate": 0.01, "T_max": 3, "eta_min": 0.0}
    restores = {"position": {"epochs_done": 3}, "schedule": {"learning_rate": 0.0, "settings": cosine}}
    monkeypatch.setitem(CHECKPOINT, "restores", restores)
    parent = await completed(house, learning_rate_scheduler="cosine", learning_rate=0.01)
    told = (await house.post(f"/continue/{parent}", json={"epochs": 6})).json()["receipt"]
    assert (told["from"], told["epoch"], told["position"]) == ("checkpoint", 3, {"epochs_done": 3})
    assert told["learning_rate"]["before"] == [[1, 0.01], [2, pytest.approx(0.0075)], [3, pytest.approx(0.0025)]]
    after = [[4, pytest.approx(0.005)], [5, pytest.approx(0.0025)], [6, pytest.approx(0.00067, abs=1e-5)]]
    assert told["learning_rate"]["after"] == after


async def test_the_receipt_of_a_retry_shows_the_rates_to_come(house):
    parent = await cancelled(house)
    assert (await house.post(f"/retry/{parent}")).json()["receipt"]["from"] == "checkpoint"
    afresh = (await house.post(f"/retry/{parent}", json={"from_beginning": True})).json()["receipt"]
    rates = [[epoch, 0.001] for epoch in (1, 2, 3)]
    assert afresh == {"from": "beginning", "learning_rate": {"before": rates, "after": rates}}


async def test_a_cancelled_task_is_tried_again_from_its_checkpoint_or_from_the_beginning(house):
    parent = await house.start()
    worker = await (await house.worker()).begin()
    await kept(house, worker)
    await worker.report(ReportKind.CANCELLED)
    await worker.end()
    again = (await house.post(f"/retry/{parent}")).json()
    assert again["checkpoint"] == {"epoch": 3, "step": 0}
    afresh = (await house.post(f"/retry/{parent}", json={"from_beginning": True})).json()
    assert afresh["checkpoint"] is None
    assert (await house.post(f"/retry/{again['task_id']}")).status_code == 409


async def test_a_retry_takes_no_other_option(house):
    refused = await house.post(f"/retry/{await completed(house)}", json={"epochs": 9})
    assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "epochs")


async def test_a_retry_passes_over_a_damaged_checkpoint_and_says_so(house):
    parent = await cancelled(house)
    flip(on_disk(house, parent, "0001-000002", 4))
    again = (await house.post(f"/retry/{parent}")).json()
    assert again["checkpoint"] == {"epoch": 3, "step": 0}
    (warning,) = (await house.get(f"/tasks/{again['task_id']}")).json()["warnings"]
    assert "0001-000002 cannot be used" in warning
    assert "0001-000001 is used instead" in warning


async def test_a_retry_takes_the_newest_checkpoint_on_disk_wherever_the_database_points(house):
    parent = await cancelled(house)
    on_disk(house, parent, "0001-000003", 5)
    shutil.rmtree(house.service.settings.checkpoints_dir / parent / "0001-000001")
    assert (await house.post(f"/retry/{parent}")).json()["checkpoint"] == {"epoch": 5, "step": 1}


@pytest.mark.parametrize(("harm", "word"), [(shutil.rmtree, "is missing"), (flip, "is damaged")])
async def test_without_a_good_checkpoint_a_retry_is_refused_and_a_new_beginning_offered(house, harm, word):
    parent = await cancelled(house)
    harm(house.service.settings.checkpoints_dir / parent / "0001-000001")
    refused = await house.post(f"/retry/{parent}")
    assert refused.status_code == 409
    assert word in refused.json()["message"]
    assert "from_beginning" in refused.json()["message"]
    assert (await house.post(f"/retry/{parent}", json={"from_beginning": True})).status_code == 200


@pytest.mark.parametrize(("harm", "word"), [(shutil.rmtree, "is missing"), (flip, "is damaged")])
async def test_a_final_state_that_is_not_whole_cannot_be_continued(house, harm, word):
    parent = await completed(house)
    harm(house.service.settings.checkpoints_dir / parent / "0001-000001")
    refused = await house.post(f"/continue/{parent}", json={"epochs": 6})
    assert refused.status_code == 409
    assert word in refused.json()["message"]
    assert "start a new training" in refused.json()["message"]


async def test_a_retry_can_save_the_model_in_another_folder(house):
    parent = await cancelled(house)
    again = (await house.post(f"/retry/{parent}", json={"output_path": "/models/other"})).json()
    assert again["config"]["output_path"] == "/models/other"
    assert again["checkpoint"] == {"epoch": 3, "step": 0}
    (house.service.settings.artifacts_dir / "file").write_text("")
    for path in ("../x", "/file/x", f"/models/{parent}"):
        refused = await house.post(f"/retry/{parent}", json={"output_path": path})
        assert (refused.status_code, refused.json()["problems"][0]["field"]) == (422, "output_path")
    assert (await house.post(f"/retry/{parent}", json={"output_path": 3})).status_code == 422
