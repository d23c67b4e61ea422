"""A worker on another machine, and a network that is not what it should be."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.tickets import ticket

from epochd.artifact import files
from epochd.core.errors import EpochdError, NotFound, OutOfSpace, ServerUnreachable, StaleAttempt
from epochd.core.transfers import Inputs, RemoteFile
from epochd.worker import transfer
from epochd.worker.transfer import LogSender, RemoteFolders

CONTENT = bytes(range(256)) * 40


class Known:
    """What a reporter knows of the server."""

    def __init__(self) -> None:
        self.is_given_up = False
        self.error: EpochdError | None = None

    def check(self) -> None:
        if self.error:
            raise self.error


class Network:
    """A server with files. ``faults`` are what happens to the next requests, one by one: an exception, a status, or
    the number of bytes after which an answer breaks off."""

    def __init__(self) -> None:
        self.files = {"data/0/sales.csv": CONTENT}
        self.inputs = Inputs(
            data=[RemoteFile(path="0/sales.csv", bytes=len(CONTENT), modified=1_700_000_000_123_456_789)],
            registered={"sales": "0/sales.csv"},
        )
        self.faults: list[Any] = []
        self.requests: list[httpx.Request] = []
        self.received: dict[str, bytes] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if isinstance(fault, int) and fault >= 400:
            return httpx.Response(fault, json={"message": f"status {fault}"})
        path = request.url.path.partition("/files")[2].lstrip("/")
        if request.method == "PUT":
            self.received[path] = request.content
            return httpx.Response(204)
        if not path:
            return httpx.Response(200, content=self.inputs.model_dump_json())
        if path not in self.files:
            return httpx.Response(404, json={"message": "no such file"})
        begin = int(request.headers.get("Range", "bytes=0-")[6:-1])
        return httpx.Response(206 if begin else 200, stream=Piece(self.files[path][begin:], fault))


class Piece(httpx.SyncByteStream):
    def __init__(self, content: bytes, limit: int | None) -> None:
        self.content, self.limit = content, limit

    def __iter__(self):
        yield self.content[: self.limit]
        if self.limit is not None:
            raise httpx.ReadError("the connection broke")


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def folders(network, known, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_RETRY_SECONDS", 0.0)
    sent = ticket(tmp_path, dataset="sales", is_remote=True)
    with RemoteFolders(sent, known, transport=httpx.MockTransport(network)) as folders:
        yield folders


def checkpoint(home: Path) -> Path:
    path = home / "checkpoints" / "task" / "0001-000001"
    with files.durable_folder(path) as folder:
        (folder / "state.json").write_text("{}")
        (folder / "weights.safetensors").write_bytes(CONTENT)
    return path


def test_datasets_are_fetched_with_their_time_of_modification(folders, network):
    local, faults = folders.fetched(ticket(folders._home, dataset="sales", is_remote=True))
    path = local.registered["sales"]
    assert path.read_bytes() == CONTENT
    assert path.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert faults == []


def test_what_broke_off_is_continued_and_not_begun_again(folders, network):
    network.faults = [None, 300, httpx.ConnectError("no route"), 503]
    local, _ = folders.fetched(ticket(folders._home, dataset="sales", is_remote=True))
    assert local.registered["sales"].read_bytes() == CONTENT
    ranges = [request.headers.get("Range") for request in network.requests[1:]]
    assert ranges == [None, "bytes=300-", "bytes=300-", "bytes=300-"]


def test_a_file_that_changed_meanwhile_is_not_used(folders, network):
    network.files["data/0/sales.csv"] = CONTENT[:-1]
    with pytest.raises(EpochdError, match="has changed on the server"):
        folders.fetched(ticket(folders._home, dataset="sales", is_remote=True))
    assert not any((folders._home / "cache" / "inputs").iterdir())


def test_data_are_fetched_once_and_again_when_they_have_changed(folders, network):
    for _ in range(2):
        folders.fetched(ticket(folders._home, dataset="sales", is_remote=True))
    assert sum("sales.csv" in request.url.path for request in network.requests) == 1
    network.inputs.data[0].modified += 1
    folders.fetched(ticket(folders._home, dataset="sales", is_remote=True))
    assert sum("sales.csv" in request.url.path for request in network.requests) == 2


def test_room_is_made_for_new_data_but_not_by_deleting_what_is_in_use(folders, network, known, tmp_path):
    folders.fetched(ticket(folders._home, dataset="sales", is_remote=True))
    cache = tmp_path / "cache" / "inputs"
    (entry,) = (path for path in cache.iterdir() if path.is_dir())
    transfer.make_room(cache, len(CONTENT), 1)
    assert entry.is_dir(), "an attempt has it open"
    folders.close()
    transfer.make_room(cache, len(CONTENT) + 1, 1)
    assert entry.is_dir(), "both fit"
    transfer.make_room(cache, len(CONTENT), 1)
    assert not entry.exists()


def test_a_checkpoint_is_fetched_unless_it_is_here(folders, network, tmp_path):
    path = checkpoint(tmp_path / "server")
    for file in path.iterdir():
        network.files[f"state/checkpoints/task/0001-000001/{file.name}"] = file.read_bytes()
    network.inputs.state = [
        RemoteFile(path=f"checkpoints/task/0001-000001/{file.name}", bytes=file.stat().st_size, modified=1)
        for file in path.iterdir()
    ]
    network.inputs.faults = ["checkpoint 0001-000002 cannot be used"]
    for _ in range(2):
        _, faults = folders.fetched(ticket(tmp_path, dataset="sales", is_remote=True))
        assert faults == network.inputs.faults
    files.verify(tmp_path / "checkpoints" / "task" / "0001-000001")
    assert sum("weights" in request.url.path for request in network.requests) == 1


def test_a_damaged_checkpoint_is_not_taken(folders, network, tmp_path):
    path = checkpoint(tmp_path / "server")
    names = sorted(file.name for file in path.iterdir())
    for name in names:
        network.files[f"state/checkpoints/task/0001-000001/{name}"] = (path / name).read_bytes()
    network.files["state/checkpoints/task/0001-000001/state.json"] = b"[]"
    network.inputs.state = [
        RemoteFile(path=f"checkpoints/task/0001-000001/{name}", bytes=(path / name).stat().st_size, modified=1)
        for name in names
    ]
    with pytest.raises(EpochdError, match="is damaged"):
        folders.fetched(ticket(tmp_path, dataset="sales", is_remote=True))
    assert not (tmp_path / "checkpoints" / "task" / "0001-000001").exists()


def test_a_folder_is_sent_with_its_manifest_last(folders, network, tmp_path):
    network.faults = [httpx.WriteTimeout("slow"), 500]
    assert folders.send(checkpoint(tmp_path))
    sent = list(network.received)
    assert sent[-1] == "checkpoints/task/0001-000001/manifest.json"
    assert network.received["checkpoints/task/0001-000001/weights.safetensors"] == CONTENT
    assert {request.url.params["attempt"] for request in network.requests} == {"1"}
    assert json.loads(network.received[sent[-1]])["files"].keys() == {"state.json", "weights.safetensors"}


@pytest.mark.parametrize("fault", [httpx.ConnectError("no route"), 503, 507])
def test_a_checkpoint_that_need_not_arrive_does_not_hold_the_training_up(folders, network, tmp_path, fault):
    network.faults = [fault] * 3
    assert folders.send(checkpoint(tmp_path), is_optional=True) is False
    assert len(network.requests) == 3
    assert folders.send(checkpoint(tmp_path), is_optional=True) is True


@pytest.mark.parametrize(("fault", "error"), [(httpx.ConnectError("no route"), ServerUnreachable), (507, OutOfSpace)])
def test_what_must_arrive_is_sent_until_the_server_is_given_up(
    folders, network, known, tmp_path, monkeypatch, fault, error
):
    network.faults = [fault] * 50

    def give_up(seconds: float) -> None:
        known.is_given_up = len(network.requests) >= 10

    monkeypatch.setattr(transfer.time, "sleep", give_up)
    with pytest.raises(error):
        folders.send(checkpoint(tmp_path))
    assert len(network.requests) == 11


@pytest.mark.parametrize(("status", "error"), [(401, StaleAttempt), (409, StaleAttempt), (404, NotFound)])
def test_an_answer_that_repeating_does_not_change_is_an_error_at_once(folders, network, tmp_path, status, error):
    network.faults = [status]
    with pytest.raises(error, match=f"status {status}"):
        folders.send(checkpoint(tmp_path), is_optional=True)
    assert len(network.requests) == 1


def test_an_attempt_that_is_stale_stops_at_once(folders, network, known, tmp_path):
    known.error = StaleAttempt("a newer one has begun")
    with pytest.raises(StaleAttempt):
        folders.send(checkpoint(tmp_path))
    assert network.requests == []


def test_a_log_is_sent_as_it_grows_and_from_its_beginning_when_it_was_cut(tmp_path, monkeypatch):
    known = b""

    def server(request: httpx.Request) -> httpx.Response:
        nonlocal known
        offset = int(request.url.params["offset"])
        known = b"" if offset == 0 else known
        known += request.content if offset == len(known) else b""
        return httpx.Response(200, json={"size": len(known)})

    monkeypatch.setattr(transfer, "LOG_SECONDS", 1000.0)
    sent = ticket(tmp_path, is_remote=True)
    sent.log_path.parent.mkdir(parents=True)
    sent.log_path.write_bytes(b"one\n")
    sender = LogSender(sent, transport=httpx.MockTransport(server))
    sender._send()
    assert known == b"one\n"
    with sent.log_path.open("ab") as log:
        log.write(b"two\n")
    sender._send()
    assert known == b"one\ntwo\n"
    os.truncate(sent.log_path, 0)
    sent.log_path.write_bytes(b"cut\n")
    sender.close()
    assert known == b"cut\n"


def test_a_log_that_reaches_another_server_each_time_is_not_sent_for_ever(tmp_path, monkeypatch):
    sizes, requests = [0, 0], 0

    def servers(request: httpx.Request) -> httpx.Response:
        nonlocal requests
        requests += 1
        assert requests < 50
        offset, one = int(request.url.params["offset"]), requests % 2
        sizes[one] = 0 if offset == 0 else sizes[one]
        sizes[one] += len(request.content) if offset == sizes[one] else 0
        return httpx.Response(200, json={"size": sizes[one]})

    monkeypatch.setattr(transfer, "LOG_SECONDS", 1000.0)
    monkeypatch.setattr(transfer, "LOG_BYTES", 4)
    sent = ticket(tmp_path, is_remote=True)
    sent.log_path.parent.mkdir(parents=True)
    sent.log_path.write_bytes(b"one\ntwo\nthree\n")
    sender = LogSender(sent, transport=httpx.MockTransport(servers))
    sender._send()
    sender.close()
    assert requests < 12
