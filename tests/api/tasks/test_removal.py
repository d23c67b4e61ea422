"""Removing tasks over HTTP."""

import asyncio
from contextlib import asynccontextmanager

import httpx
from tests.support.executors import FakeExecutor
from tests.support.house import House, PlayedWorker

from epochd.api.app import create_app
from epochd.api.tasks.routing import PREFIX
from epochd.artifact import files, removal
from epochd.core.errors import NotFound, OutOfSpace
from epochd.core.events import ReportKind
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.store import jobs


async def removed(house, task_id, **query):
    return await house.http.delete(f"{PREFIX}/tasks/{task_id}", params=query, headers={"Accept-Language": "en"})


def left(house, task_id):
    """Folders of a task: checkpoints, logs and model, as far as they are there."""
    settings = house.service.settings
    folders = (settings.checkpoints_dir, settings.logs_dir, settings.artifacts_dir / "models")
    return [(folder / task_id).is_dir() for folder in folders]


async def completed(house):
    task_id = await house.completed(output_path="/models")
    settings = house.service.settings
    for folder in (settings.checkpoints_dir, settings.logs_dir):
        (folder / task_id).mkdir()
    model = settings.artifacts_dir / "models" / task_id
    with files.durable_folder(model) as path:
        (path / "model.json").write_text("{}")
    files.replace_link(model.parent / files.LATEST, model)
    return task_id


async def test_a_finished_task_goes_with_its_files(house):
    task_id = await completed(house)
    answer = await removed(house, task_id)
    assert answer.status_code == 200
    assert answer.json() == {
        "success": True,
        "task_id": task_id,
        "message": "Epoch training was removed",
        "artifact": None,
    }
    assert left(house, task_id) == [False, False, False]
    assert (await house.get("/tasks")).json()["total"] == 0
    for path in ("tasks", "progress", "history", "stream-progress", "logs"):
        assert (await house.get(f"/{path}/{task_id}")).status_code == 404
    assert (await removed(house, task_id)).status_code == 404


async def test_its_model_is_kept_if_that_is_asked(house):
    task_id = await completed(house)
    artifact = (await house.get(f"/tasks/{task_id}")).json()["artifact"]
    assert artifact is not None
    assert (await removed(house, task_id, keep_model="true")).json()["artifact"] == artifact
    assert left(house, task_id) == [False, False, True]
    files.verify(house.service.settings.artifacts_dir / "models" / "latest")


async def test_latest_leads_to_the_model_before(house):
    first, second = await completed(house), await completed(house)
    await removed(house, second)
    assert (house.service.settings.artifacts_dir / "models" / "latest").readlink().name == first


async def test_a_task_that_has_not_ended_is_refused_with_the_reason(house):
    running = await house.start()
    await (await house.worker()).begin()
    paused, pending = await house.start(), await house.start()
    await house.post(f"/pause/{paused}")
    for task_id, state in ((running, "running"), (pending, "pending"), (paused, "paused")):
        answer = await removed(house, task_id)
        assert (answer.status_code, answer.json()["code"]) == (409, "illegal_move")
        assert f"{task_id} is {state}" in answer.json()["message"]
        assert "stop it first" in answer.json()["message"]


async def test_a_failed_and_a_cancelled_task_go_too(house):
    failed = await house.start()
    await (await (await house.worker()).begin()).report(ReportKind.FAILED, code="diverged", message="inf", problems=[])
    cancelled = await house.start()
    await house.post(f"/stop/{cancelled}")
    assert [(await removed(house, task_id)).status_code for task_id in (failed, cancelled)] == [200, 200]


async def test_a_full_disk_is_told_without_a_note_and_after_the_state(house, monkeypatch):
    def refuse(*given, **named):
        raise OutOfSpace("the disk is full: free space")

    finished, running = await completed(house), await house.start()
    monkeypatch.setattr("epochd.api.tasks.control.jobs.remove", refuse)
    assert (await removed(house, finished)).json()["code"] == "disk_full"
    assert list(house.service.settings.removals_dir.iterdir()) == []
    monkeypatch.setattr(removal, "write_note", refuse)
    assert [(await removed(house, task_id)).status_code for task_id in (finished, running)] == [507, 409]
    assert left(house, finished) == [True, True, True]


async def test_a_task_id_leads_nowhere_else(house):
    assert (await removed(house, "..%2F..%2Fdatasets")).status_code == 404
    assert house.service.settings.dataset_roots[0].is_dir()


async def test_an_open_stream_of_a_removed_task_ends_and_asks_to_connect_again(house, monkeypatch):
    task_id = await house.completed()
    removing = removed(house, task_id)

    async def removed_meanwhile(*given, **named):
        await removing
        return []

    monkeypatch.setattr("epochd.api.event_bus.events.after", removed_meanwhile)
    async with asyncio.timeout(5):
        stream = await house.get(f"/stream-progress/{task_id}")
    assert "server_shutdown" in stream.text
    again = await house.get(f"/stream-progress/{task_id}", headers={"Last-Event-ID": "1"})
    assert again.status_code == 404


async def test_who_follows_the_log_of_a_removed_task_gets_to_its_end(house, monkeypatch):
    task_id = await house.start()
    following = asyncio.create_task(house.get(f"/logs/{task_id}", params={"follow": "true"}))
    await house.subscribers(1)
    monkeypatch.setattr("epochd.api.tasks.logs.jobs.get", not_there)
    async with asyncio.timeout(5):
        assert (await following).text == ""


async def not_there(*given):
    raise NotFound("there is no such task")


@asynccontextmanager
async def server(folder):
    executor = FakeExecutor()
    app = create_app(Settings(data_dir=folder, slots=1), executor=executor)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield House(app, executor, http)


async def test_what_a_server_that_died_has_left_is_swept_at_the_next_start(tmp_path, monkeypatch):
    def die(*given, **named):
        raise OSError("the power went")

    async with server(tmp_path) as house:
        kept, gone = await completed(house), await completed(house)
        monkeypatch.setattr(removal, "complete", die)
        assert (await removed(house, gone)).status_code == 500
        assert left(house, gone) == [True, True, True]
        monkeypatch.undo()
    async with server(tmp_path) as house:
        assert left(house, gone) == [False, False, False]
        assert left(house, kept) == [True, True, True]
        assert (await house.get(f"/tasks/{gone}")).status_code == 404


async def test_a_task_of_an_earlier_version_whose_model_could_have_no_folder_goes_too(house):
    spec = TrainingSpec.model_construct(target_column="target", output_path="/models/" + "名" * 100)
    task_id = (await jobs.submit(house.service.db, spec)).id
    ticket = (await house.worker()).ticket
    assert ticket.spec.output_path == spec.output_path
    await house.post(f"/stop/{task_id}?wait=0")
    await PlayedWorker(house.http, house.executor, ticket).cancel()
    assert (await removed(house, task_id)).status_code == 200
    assert (await house.get("/tasks")).json()["total"] == 0
