"""The files of attempts in an object store: URLs for what is theirs, folders only of the running attempt."""

import asyncio
import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import httpx
import pytest
from tests.support.house import PlayedWorker
from tests.support.stores import SECRET, Azurite, Weed

from epochd.api import service as module
from epochd.api import storage
from epochd.artifact import files, objects, stored
from epochd.artifact.objects import Objects
from epochd.core.errors import Busy, NotFound
from epochd.core.jobs import State
from epochd.store import attempts, datasets, jobs

TABLE = "x,target\n" + "".join(f"{number},{number % 2}\n" for number in range(40))


class Worker:
    """Speaks for one attempt through the real routes, and with the store."""

    def __init__(self, house, ticket, bucket: Objects) -> None:
        self.house, self.ticket, self.bucket = house, ticket, bucket
        self.path = f"/internal/attempts/{ticket.task_id}"
        self.headers = {"Authorization": f"Bearer {ticket.token}"}

    def checkpoint(self, number: int = 1, attempt: int = 1) -> str:
        return f"checkpoints/{self.ticket.task_id}/{attempt:04d}-{number:06d}"

    async def inputs(self, *damaged: str) -> dict[str, Any]:
        query = {"damaged": list(damaged)}
        answer = await self.house.http.get(f"{self.path}/files", headers=self.headers, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(self, path: str) -> bytes:
        """The content that a redirect leads to; the store gets no token."""
        answer = await self.house.http.get(f"{self.path}/files/{path}", headers=self.headers)
        if answer.status_code == 200:
            return answer.content
        assert answer.status_code == 307, answer.text
        async with httpx.AsyncClient(trust_env=False) as store:
            found = await store.get(answer.headers["Location"])
        return found.raise_for_status().content

    async def grants(self, names: dict[str, bytes], attempt: int = 1) -> httpx.Response:
        wanted = {path: [hashlib.sha256(content).hexdigest(), len(content)] for path, content in names.items()}
        url, query = f"{self.path}/files/grants", {"attempt": attempt}
        return await self.house.http.post(url, json={"files": wanted}, params=query, headers=self.headers)

    async def put(self, path: str, content: bytes, attempt: int = 1) -> httpx.Response:
        url, query = f"{self.path}/files/{path}", {"attempt": attempt}
        return await self.house.http.put(url, content=content, params=query, headers=self.headers)

    async def send_files(self, folder: str, names: dict[str, bytes], attempt: int = 1) -> None:
        granted = (await self.grants({f"{folder}/{name}": names[name] for name in names}, attempt)).json()
        async with httpx.AsyncClient(trust_env=False) as store:
            for name, content in names.items():
                url = granted["urls"][f"{folder}/{name}"]
                if url is None:
                    assert (await self.put(f"{folder}/{name}", content, attempt)).status_code == 204
                else:
                    (await store.put(url, content=content, headers=granted["headers"])).raise_for_status()

    async def publish(self, folder: str, names: dict[str, bytes], attempt: int = 1) -> httpx.Response:
        about = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in names.items()}
        return await self.put(f"{folder}/manifest.json", json.dumps({"files": about}).encode(), attempt)

    async def send(self, folder: str, names: dict[str, bytes], attempt: int = 1) -> int:
        await self.send_files(folder, names, attempt)
        return (await self.publish(folder, names, attempt)).status_code


@pytest.fixture(params=["s3", "folder", pytest.param("azure", marks=pytest.mark.long)])
async def worker(open_house: Callable[..., Any], tmp_path: Path, request: pytest.FixtureRequest) -> Worker:
    if request.param == "s3":
        weed: Weed = request.getfixturevalue("weed")
        url, options = f"s3://doors/{secrets.token_hex(6)}", weed.options()
    elif request.param == "azure":
        azurite: Azurite = request.getfixturevalue("azurite")
        url, options = f"az://{azurite.container()}", azurite.options()
    else:
        url, options = f"file://{tmp_path / 'bucket'}", {}
    house = await open_house(storage=url, storage_options=options)
    headers = {"Content-Type": "application/octet-stream"}
    names = {"name": "sales", "filename": "sales.csv"}
    (await house.http.post("/api/v1/datasets", params=names, headers=headers, content=TABLE)).raise_for_status()
    await house.start(dataset="sales", target_column="target", output_path="models/x")
    return Worker(house, await house.executor.tickets.get(), Objects.opened(url, options))


async def test_a_worker_is_told_where_to_read_and_gets_it(worker):
    inputs = await worker.inputs()
    (file,) = inputs["data"]
    assert (file["path"], file["bytes"]) == ("0/sales.csv", len(TABLE))
    assert (await worker.get("data/0/sales.csv")).decode() == TABLE
    assert inputs["state"] == []
    assert worker.ticket.is_stored
    assert SECRET not in json.dumps(inputs)


async def test_where_workers_cannot_reach_the_store_the_server_passes_all_files_on(open_house, weed, caplog):
    place = f"s3://doors/{secrets.token_hex(6)}"
    house = await open_house(storage=place, storage_options=weed.options(), signed_urls=False)
    assert "signs no URLs" not in caplog.text, "that is as it should be"
    await house.start()
    worker = Worker(house, await house.executor.tickets.get(), Objects.opened(place, weed.options()))
    assert (await worker.grants({f"{worker.checkpoint()}/state.json": b"{}"})).json()["urls"] == {
        f"{worker.checkpoint()}/state.json": None
    }
    assert await worker.send(worker.checkpoint(), {"state.json": b"{}"}) == 204
    assert stored.manifest(worker.bucket, worker.checkpoint()) is not None
    path = next(file["path"] for file in (await worker.inputs())["state"] if file["path"].endswith("state.json"))
    answer = await house.http.get(f"{worker.path}/files/state/{path}", headers=worker.headers)
    assert (answer.status_code, answer.content) == (200, b"{}")


async def test_a_checkpoint_is_in_the_store_with_its_manifest_and_is_given_to_the_next_attempt(worker):
    names = {"state.json": b"{}", "weights.safetensors": b"abc"}
    for number in (1, 2, 3):
        assert await worker.send(worker.checkpoint(number), names) == 204
        assert await worker.send(worker.checkpoint(number), names) == 204, "told twice"
    assert stored.numbered(worker.bucket, f"checkpoints/{worker.ticket.task_id}") == ["0001-000002", "0001-000003"]
    inputs = await worker.inputs()
    paths = {file["path"] for file in inputs["state"]}
    assert paths == {f"{worker.checkpoint(3)}/{name}" for name in (*names, "manifest.json")}
    assert await worker.get(f"state/{worker.checkpoint(3)}/weights.safetensors") == b"abc"
    older = await worker.inputs("0001-000003")
    assert {file["path"].split("/")[2] for file in older["state"]} == {"0001-000002"}
    assert "0001-000003 cannot be used" in older["faults"][0]


async def test_a_retry_gets_the_complete_checkpoints_whatever_has_begun_to_be_sent(worker):
    service, names = worker.house.service, {"state.json": b"{}", "weights.safetensors": b"abc"}
    for number in (1, 2):
        assert await worker.send(worker.checkpoint(number), names) == 204
    for number in (3, 4):
        await worker.send_files(worker.checkpoint(number), {"state.json": b"{}"})
    assert await service.storage.checkpoints(await jobs.get(service.db, worker.ticket.task_id)) == []
    place = service.settings.checkpoints_dir / worker.ticket.task_id
    assert sorted(path.name for path in place.iterdir()) == ["0001-000001", "0001-000002"]


async def test_a_folder_that_lacks_a_file_is_refused(worker, monkeypatch):
    monkeypatch.setattr(stored, "STALE_SECONDS", 0.2)
    names = {"state.json": b"{}", "weights.safetensors": b"abc"}
    await worker.send_files(worker.checkpoint(), {"state.json": b"{}"})
    answer = await worker.publish(worker.checkpoint(), names)
    assert (answer.status_code, answer.json()["code"]) == (500, "corrupt_file")
    assert "weights.safetensors" in answer.json()["message"]
    assert (await worker.inputs())["state"] == []
    assert await worker.send(worker.checkpoint(), names) == 204


@pytest.mark.parametrize(
    "path",
    [
        "checkpoints/epoch_training_20260101_000000_abcdef/0001-000001/state.json",
        "checkpoints/{id}/0002-000001/state.json",
        "checkpoints/{id}/../x/0001-000001/state.json",
        "checkpoints/{id}/0001-000001/manifest.json",
        "artifacts/models/x/epoch_training_20260101_000000_abcdef/model.json",
        "artifacts/models/x/latest",
        "datasets/sales.csv/sales.csv",
        "/etc/passwd",
    ],
)
async def test_a_worker_is_granted_its_own_paths_only(worker, path):
    answer = await worker.grants({path.format(id=worker.ticket.task_id): b"x"})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


async def test_what_is_no_request_for_urls_is_refused(worker):
    for body in ({}, {"files": {"x": 1}}, {"files": {f"{worker.checkpoint()}/a": ["../x", 1]}}):
        answer = await worker.house.http.post(
            f"{worker.path}/files/grants", json=body, params={"attempt": 1}, headers=worker.headers
        )
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), body


async def test_a_stale_attempt_gets_no_urls_and_cannot_publish_what_it_has_sent(worker):
    """It has sent all files of a model before it lost its task."""
    model = f"artifacts/models/x/{worker.ticket.task_id}"
    await worker.send_files(model, {"model.json": b"{}"})
    job = await jobs.get(worker.house.service.db, worker.ticket.task_id)
    await attempts.release_attempt(worker.house.service.db, job.id, job.attempt, reason="a test")
    answer = await worker.publish(model, {"model.json": b"{}"})
    assert answer.status_code in (401, 409)
    assert (await worker.grants({f"{model}/model.json": b"{}"})).status_code in (401, 409)
    assert stored.manifest(worker.bucket, model) is None


async def test_an_attempt_that_loses_its_task_while_it_publishes_is_refused(worker, monkeypatch):
    """Its files are found to be complete, then the lease ends."""
    model, service = f"artifacts/models/x/{worker.ticket.task_id}", worker.house.service
    await worker.send_files(model, {"model.json": b"{}"})
    prepared = storage.stored.prepared
    revoked = []

    async def lose(*_: Any) -> None:
        await attempts.release_attempt(service.db, worker.ticket.task_id, 1, reason="a test")
        revoked.append(True)

    loop = asyncio.get_running_loop()

    def losing(*arguments: Any) -> Any:
        found = prepared(*arguments)
        asyncio.run_coroutine_threadsafe(lose(), loop).result(10)
        return found

    monkeypatch.setattr(stored, "prepared", losing)
    answer = await worker.publish(model, {"model.json": b"{}"})
    assert revoked
    assert answer.status_code == 409
    assert stored.manifest(worker.bucket, model) is None


async def test_a_model_is_served_from_the_store_and_removed_from_it(worker):
    service = worker.house.service
    model = f"artifacts/models/x/{worker.ticket.task_id}"
    assert await worker.send(model, {"model.json": b"{}"}) == 204
    home = service.settings.data_dir / model
    assert not home.exists(), "the server need not have it"
    assert service.models.latest("models/x") == worker.ticket.task_id
    found = await service.models.find("models/x")
    files.verify(found.folder)
    await service.models.remove(found)
    assert [*worker.bucket.sizes("artifacts")] == ["artifacts/models/x/latest"], "which leads to none"
    assert service.models.latest("models/x") is None


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that are opened later."""
    monkeypatch.setattr(module, "REMOVALS_SECONDS", 0.01)


async def test_a_removal_that_the_store_refuses_is_completed_while_the_server_runs(looks_often, worker, monkeypatch):
    service, task_id = worker.house.service, worker.ticket.task_id
    model = f"artifacts/models/x/{task_id}"
    assert await worker.send(model, {"model.json": b"{}"}) == 204
    found = await service.models.find("models/x")
    assert (found.folder / files.FETCHED).is_file()
    with monkeypatch.context() as patch:
        patch.setattr(service.storage.objects, "delete", Mock(side_effect=Busy("a test", 1)))
        await service.models.remove(found)
    assert worker.bucket.sizes(model)
    with pytest.raises(NotFound):
        await service.models.find("models/x", task_id)
    assert not found.folder.exists(), "it is not fetched again"
    monkeypatch.setattr(module, "INTERRUPTED_SECONDS", 0.0)
    for _ in range(500):
        if not worker.bucket.sizes(model):
            break
        await asyncio.sleep(0.01)
    assert not worker.bucket.sizes(model)


async def test_a_model_that_is_removed_while_it_is_fetched_is_not_kept(worker, monkeypatch):
    service = worker.house.service
    model = f"artifacts/models/x/{worker.ticket.task_id}"
    assert await worker.send(model, {"model.json": b"{}"}) == 204
    get = stored.get_folder

    def removed_then(objects: Objects, wanted: stored.Manifest, *rest: Any, **options: Any) -> None:
        get(objects, wanted, *rest, **options)
        stored.remove(objects, wanted.folder)

    monkeypatch.setattr(stored, "get_folder", removed_then)
    monkeypatch.setattr(objects, "STALE_SECONDS", 0.1)
    with pytest.raises(NotFound):
        await service.models.find("models/x", worker.ticket.task_id)
    assert not (service.settings.data_dir / model).exists()


async def test_a_model_whose_task_another_server_has_removed_is_not_served(worker, monkeypatch):
    service, old = worker.house.service, "epoch_training_20250101_000000_abcdef"
    monkeypatch.setattr(service.storage, "_settings", service.settings.model_copy(update={"shared": True}))
    monkeypatch.setattr(storage, "FRESH_SECONDS", 0.0)
    monkeypatch.setattr(objects, "STALE_SECONDS", 0.1)
    for name in ("fetched", "own"):
        home = service.settings.artifacts_dir / "models" / name
        with files.durable_folder(home / old) as place:
            (place / "model.json").write_text("{}")
    stored.put_folder(worker.bucket, home.parent / "fetched" / old, f"artifacts/models/fetched/{old}")
    files.remove_own(home.parent / "fetched" / old)
    found = await service.models.find("models/fetched", old)
    stored.remove(worker.bucket, f"artifacts/models/fetched/{old}")
    with pytest.raises(NotFound):
        await service.models.find("models/fetched", old)
    assert not found.folder.exists()
    assert (await service.models.find("models/own", old)).id == old, "it never was in the store"


async def test_a_store_that_does_not_answer_is_no_missing_model(worker, monkeypatch):
    service = worker.house.service
    assert await worker.send(f"artifacts/models/x/{worker.ticket.task_id}", {"model.json": b"{}"}) == 204
    (service.settings.artifacts_dir / "models/x" / files.LATEST).unlink()
    with monkeypatch.context() as patch:
        patch.setattr(stored, "latest", Mock(side_effect=Busy("a test", 1)))
        with pytest.raises(Busy):
            await service.models.find("models/x")
    found = await asyncio.gather(*(service.models.find("models/x") for _ in range(3)))
    assert {one.id for one in found} == {worker.ticket.task_id}, "also those who ask while it is looked up"


async def test_a_checkpoint_that_another_server_has_named_is_given_too(worker):
    names = {"state.json": b"{}", "weights.safetensors": b"abc"}
    for number in (1, 2):
        assert await worker.send(worker.checkpoint(number), names) == 204
    await worker.inputs()
    assert await worker.get(f"state/{worker.checkpoint(1)}/weights.safetensors") == b"abc"
    for path in (
        f"{worker.checkpoint(7)}/state.json",
        f"{worker.checkpoint(1)}/other",
        worker.checkpoint(1).replace(worker.ticket.task_id, "epoch_training_20260101_000000_abcdef") + "/state.json",
        f"{worker.checkpoint(1)}/%2e%2e/0001-000002/state.json",
    ):
        answer = await worker.house.http.get(f"{worker.path}/files/state/{path}", headers=worker.headers)
        assert answer.status_code == 404, path


async def test_a_dataset_that_another_server_has_deleted_is_gone_and_its_name_is_free(worker):
    service, config = worker.house.service, {"dataset": "sales.csv", "target_column": "target"}
    await jobs.stop(service.db, worker.ticket.task_id)
    await attempts.release_attempt(service.db, worker.ticket.task_id, 1, reason="a test")
    place = service.settings.dataset_roots[0] / "sales.csv"
    own = place.with_name("own.csv")
    own.write_text(TABLE)
    assert (await worker.house.post("/validate", json=config)).json()["valid"]
    await datasets.remove(service.db, "sales")
    headers, names = {"Content-Type": "application/octet-stream"}, {"name": "sales", "filename": "sales.csv"}
    again = await worker.house.http.post("/api/v1/datasets", params=names, headers=headers, content=TABLE + "1,1\n")
    assert again.status_code == 201, again.text
    place.unlink()
    await service.catalog("sales")
    assert place.read_text() == TABLE + "1,1\n"
    await datasets.remove(service.db, "sales")
    assert not (await worker.house.post("/validate", json=config)).json()["valid"]
    assert not place.exists(), "also the copy that was fetched"
    place.write_text(TABLE)
    await service.catalog()
    assert place.exists(), "what others put there is theirs"
    assert own.exists()


async def test_the_log_of_an_attempt_that_has_ended_is_the_longest_that_there_is(worker):
    service, task_id = worker.house.service, worker.ticket.task_id
    path = service.settings.logs_dir / task_id / "1.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    worker.bucket.put(f"logs/{task_id}/1.log", b"one\ntwo\n")
    path.write_bytes(b"one\n")
    job = await jobs.get(service.db, task_id)
    await service.storage.logs(job)
    assert path.read_bytes() == b"one\n", "it is still written"
    await service.storage.logs(replace(job, state=State.CANCELLED))
    assert path.read_bytes() == b"one\ntwo\n"
    path.write_bytes(b"one\ntwo\nthree\n")
    await service.storage.logs(replace(job, state=State.CANCELLED))
    assert path.read_bytes() == b"one\ntwo\nthree\n"


async def test_a_log_that_is_still_being_stored_goes_with_its_task(worker, monkeypatch):
    service, task_id = worker.house.service, worker.ticket.task_id
    monkeypatch.setattr(storage, "LAST_WORDS_SECONDS", 0.0)
    path = service.settings.logs_dir / task_id / "1.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"one\n")
    kept, put = service.storage.objects, service.storage.objects.put
    begun, is_removed = threading.Event(), threading.Event()

    def slow(key: str, content: Any) -> None:
        if key.startswith("logs/"):
            begun.set()
            assert is_removed.wait(20)
        put(key, content if isinstance(content, bytes) else b"one\n")

    monkeypatch.setattr(kept, "put", slow)
    played = PlayedWorker(worker.house.http, worker.house.executor, worker.ticket)
    await (await played.begin()).cancel()
    assert await asyncio.to_thread(begun.wait, 20)
    (await worker.house.http.delete(f"/api/v1/epoch-training/tasks/{task_id}")).raise_for_status()
    is_removed.set()
    await asyncio.wait(service.storage._tasks, timeout=20)
    assert worker.bucket.sizes(f"logs/{task_id}") == {}


async def test_the_log_of_a_worker_goes_to_the_server_that_dispatches(worker, monkeypatch):
    monkeypatch.setattr(type(worker.house.service), "is_leader", False)
    answer = await worker.house.http.put(
        f"{worker.path}/log", params={"attempt": 1, "offset": 0}, content=b"x", headers=worker.headers
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "busy"), "there is none"


async def test_what_the_server_had_before_it_had_a_store_is_used_and_kept(worker):
    service, old = worker.house.service, "epoch_training_20250101_000000_abcdef"
    home = service.settings.artifacts_dir / "models/old"
    with files.durable_folder(home / old) as place:
        (place / "model.json").write_text("{}")
    files.replace_link(home / files.LATEST, home / old)
    for version in (None, old):
        assert (await service.models.find("models/old", version)).id == old
    place = service.settings.checkpoints_dir / worker.ticket.task_id / "0000-000001"
    with files.durable_folder(place) as folder:
        (folder / "state.json").write_text("{}")
    inputs = await worker.inputs()
    assert {Path(file["path"]).name for file in inputs["state"]} == {"state.json", "manifest.json"}
    assert await worker.get(f"state/{inputs['state'][0]['path']}")


async def test_a_signed_url_says_neither_the_key_nor_leads_elsewhere(worker):
    answer = (await worker.grants({f"{worker.checkpoint()}/state.json": b"{}"})).json()
    (url,) = answer["urls"].values()
    if worker.bucket.can_sign:
        assert SECRET not in url
        digest = hashlib.sha256(b"{}").hexdigest()
        assert urlsplit(url).path.endswith(f"/{worker.checkpoint()}/state.json.{digest}")
    else:
        assert url is None, "the server passes files on"


async def test_a_dataset_that_is_not_here_or_is_another_one_is_fetched(worker):
    service = worker.house.service
    place = service.settings.dataset_roots[0] / "sales.csv"
    before = place.stat().st_mtime_ns
    for content in (None, "x,target\n1,1\n"):
        place.unlink() if content is None else place.write_text(content)
        assert (await worker.house.post("/validate", json={"dataset": "sales", "target_column": "target"})).json()[
            "valid"
        ]
        assert (place.read_text(), place.stat().st_mtime_ns) == (TABLE, before)


async def test_a_removed_dataset_and_task_leave_nothing_in_the_store(worker):
    service, http = worker.house.service, worker.house.http
    assert await worker.send(worker.checkpoint(), {"state.json": b"{}"}) == 204
    await jobs.stop(service.db, worker.ticket.task_id)
    await attempts.release_attempt(service.db, worker.ticket.task_id, 1, reason="a test")
    job = await jobs.get(service.db, worker.ticket.task_id)
    assert job.state in (State.CANCELLED, State.PENDING, State.FAILED)
    if not job.state.is_final:
        await jobs.stop(service.db, job.id)
    (await worker.house.http.delete(f"/api/v1/epoch-training/tasks/{job.id}")).raise_for_status()
    (await http.delete("/api/v1/datasets/sales")).raise_for_status()
    left = {**worker.bucket.sizes("checkpoints"), **worker.bucket.sizes("datasets")}
    assert left == {}
