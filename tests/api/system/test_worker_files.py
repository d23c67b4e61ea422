"""The files that workers on other machines read and write: their own, complete, and no others."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from epochd.artifact import files
from epochd.core.errors import StaleAttempt
from epochd.core.jobs import State
from epochd.store import attempts, jobs

TABLE = "x,target\n" + "".join(f"{number},{number % 2}\n" for number in range(40))


class Worker:
    """Speaks for one attempt through the real routes."""

    def __init__(self, house, ticket) -> None:
        self.house, self.ticket = house, ticket
        self.home: Path = house.service.settings.data_dir
        self.path = f"/internal/attempts/{ticket.task_id}"
        self.headers = {"Authorization": f"Bearer {ticket.token}"}

    async def inputs(self) -> dict[str, Any]:
        answer = await self.house.http.get(f"{self.path}/files", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.house.http.get(f"{self.path}/files/{path}", headers=self.headers | headers)

    async def put(self, path: str, content: bytes, attempt: int = 1, **query: Any) -> httpx.Response:
        params = {"attempt": attempt} | query
        return await self.house.http.put(f"{self.path}/{path}", content=content, params=params, headers=self.headers)

    async def send(self, folder: str, names: dict[str, bytes], attempt: int = 1) -> list[int]:
        """Send the files of a folder and their manifest; the status of each answer."""
        about = {n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for n, c in names.items()}
        sent = names | {"manifest.json": json.dumps({"files": about}).encode()}
        return [(await self.put(f"files/{folder}/{n}", c, attempt)).status_code for n, c in sent.items()]


@pytest.fixture
async def worker(open_house: Callable[..., Any], tmp_path: Path) -> Worker:
    house = await open_house()
    (house.service.settings.dataset_roots[0] / "sales.csv").write_text(TABLE)
    (house.service.settings.dataset_roots[0] / "other.csv").write_text(TABLE)
    await house.start(dataset="sales.csv", target_column="target")
    return Worker(house, await house.executor.tickets.get())


async def test_a_worker_is_told_which_files_it_needs_and_gets_them(worker):
    inputs = await worker.inputs()
    assert inputs["registered"] == {"sales.csv": "0/sales.csv"}
    (file,) = inputs["data"]
    assert (file["path"], file["bytes"]) == ("0/sales.csv", len(TABLE))
    assert (await worker.get("data/0/sales.csv")).text == TABLE
    rest = await worker.get("data/0/sales.csv", Range="bytes=10-")
    assert (rest.status_code, rest.text) == (206, TABLE[10:])


@pytest.mark.parametrize(
    "path",
    [
        "data/0/other.csv",
        "data/1/sales.csv",
        "data/x/sales.csv",
        "data/0/%2e%2e/%2e%2e/epochd.db",
        "state/epochd.db",
        "state/checkpoints/epoch_training_20260101_000000_abcdef/0001-000001/state.json",
        "state/%2Fetc/passwd",
        "model/x",
        "home/epochd.db",
    ],
)
async def test_a_worker_gets_no_file_that_its_task_does_not_need(worker, path):
    answer = await worker.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert str(worker.home) not in answer.text


async def test_nothing_is_read_or_written_without_the_token_of_the_attempt(worker):
    worker.headers = {"Authorization": "Bearer other"}
    assert (await worker.get("data/0/sales.csv")).status_code == 401
    assert (await worker.put("log", b"x", offset=0)).status_code == 401
    assert await worker.send(f"checkpoints/{worker.ticket.task_id}/0001-000001", {"a": b"x"}) == [401, 401]


async def test_a_folder_appears_complete_with_its_manifest(worker):
    folder = f"checkpoints/{worker.ticket.task_id}/0001-000001"
    final = worker.home / folder
    assert (await worker.put(f"files/{folder}/state.json", b"{}")).status_code == 204
    assert not final.exists()
    assert await worker.send(folder, {"state.json": b"{}", "weights.safetensors": b"abc"}) == [204] * 3
    files.verify(final)
    assert (final / "weights.safetensors").read_bytes() == b"abc"
    assert await worker.send(folder, {"state.json": b"{}", "weights.safetensors": b"abc"}) == [204] * 3, "told twice"
    assert [path.name for path in final.parent.iterdir()] == ["0001-000001"], "nothing unfinished is left"


async def test_a_damaged_folder_is_refused(worker):
    folder = f"checkpoints/{worker.ticket.task_id}/0001-000001"
    manifest = {"files": {"state.json": {"bytes": 2, "sha256": hashlib.sha256(b"{}").hexdigest()}}}
    assert (await worker.put(f"files/{folder}/state.json", b"[]")).status_code == 204
    answer = await worker.put(f"files/{folder}/manifest.json", json.dumps(manifest).encode())
    assert answer.json()["code"] == "corrupt_file"
    assert not (worker.home / folder).exists()


async def test_the_two_newest_checkpoints_are_kept_and_the_newest_is_given_to_the_next_attempt(worker):
    for number in (1, 2, 3):
        folder = f"checkpoints/{worker.ticket.task_id}/0001-{number:06d}"
        assert await worker.send(folder, {"state.json": b"%d" % number}) == [204, 204]
    kept = sorted(path.name for path in (worker.home / "checkpoints" / worker.ticket.task_id).iterdir())
    assert kept == ["0001-000002", "0001-000003"]
    state = (await worker.inputs())["state"]
    assert {Path(file["path"]).name for file in state} == {"state.json", "manifest.json"}
    assert (await worker.get(f"state/{state[-1]['path']}")).text == "3"


async def test_a_model_becomes_the_latest_of_its_folder(worker):
    folder = f"artifacts/{worker.ticket.spec.artifact_folder}/{worker.ticket.task_id}"
    assert await worker.send(folder, {"model.json": b"{}"}) == [204, 204]
    assert (worker.home / folder).parent.joinpath("latest").resolve() == (worker.home / folder).resolve()


@pytest.mark.parametrize(
    "folder",
    [
        "checkpoints/{task}/0002-000001",
        "checkpoints/epoch_training_20260101_000000_abcdef/0001-000001",
        "checkpoints/{task}",
        "artifacts/models/epoch_training_20260101_000000_abcdef",
        "artifacts/models/{task}/../x",
        "predictions/{task}",
        "datasets",
        ".",
    ],
)
async def test_a_worker_writes_nowhere_else(worker, folder):
    path = folder.format(task=worker.ticket.task_id)
    before = sorted(worker.home.rglob("*"))
    answer = await worker.put(f"files/{path}/x", b"x")
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert sorted(worker.home.rglob("*")) == before


async def test_a_stale_attempt_writes_nothing(worker):
    folder, service = f"checkpoints/{worker.ticket.task_id}/0001-000001", worker.house.service
    assert (await worker.put(f"files/{folder}/state.json", b"{}")).status_code == 204
    await attempts.release_attempt(service.db, worker.ticket.task_id, 1, reason="a test")
    again = await worker.house.executor.tickets.get() if worker.house.executor.free_slots else None
    assert again is None, "the fake still has the first attempt"
    assert (await jobs.get(service.db, worker.ticket.task_id)).state is State.PENDING
    assert await worker.send(folder, {"state.json": b"{}"}) == [409, 409]
    assert not (worker.home / folder).exists()


async def test_an_attempt_that_becomes_stale_while_it_writes_completes_nothing(worker):
    service, content = worker.house.service, json.dumps({"files": {}}).encode()
    job = await jobs.get(service.db, worker.ticket.task_id)

    async def chunks():
        yield content

    async def confirm():
        raise StaleAttempt("a newer one has begun")

    path = f"checkpoints/{job.id}/0001-000001"
    with pytest.raises(StaleAttempt):
        await service.attempt_files.write(job, f"{path}/manifest.json", chunks(), confirm)
    assert not (worker.home / path).exists()


async def test_a_log_grows_by_pieces_and_can_be_sent_again(worker):
    log = worker.home / "logs" / worker.ticket.task_id / "1.log"

    async def put(offset: int, content: bytes) -> int:
        return (await worker.put("log", content, offset=offset)).json()["size"]

    assert await put(0, b"") == 0
    assert log.exists()
    assert await put(0, b"one\n") == 4
    assert await put(4, b"two\n") == 8
    assert await put(4, b"two\n") == 8, "an answer was lost: the worker goes on from here"
    assert await put(20, b"x") == 8
    assert log.read_bytes() == b"one\ntwo\n"
    assert await put(0, b"short\n") == 6, "the worker has cut its log"
    assert log.read_bytes() == b"short\n"


async def test_the_machines_of_an_attempt_find_each_other_through_the_door(worker):
    meeting = {"address": "10.0.0.1", "port": 4711, "secret": "of these machines"}
    ask = {"params": {"attempt": 1, "wait": 0}, "headers": worker.headers}
    path = f"{worker.path}/meeting"
    assert (await worker.house.http.get(path, **ask)).status_code == 204
    assert (await worker.put("meeting", b'{"port": 0}')).status_code == 422
    assert (await worker.put("meeting", json.dumps(meeting).encode())).status_code == 204
    assert (await worker.house.http.get(path, **ask)).json() == meeting
    assert (await worker.put("meeting", json.dumps(meeting).encode(), attempt=2)).status_code == 409
    worker.headers = {"Authorization": "Bearer other"}
    assert (await worker.house.http.get(path, **ask | {"headers": worker.headers})).status_code == 401
