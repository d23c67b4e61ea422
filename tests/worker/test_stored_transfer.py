"""A worker of a server that has an object store: it exchanges files with the store, and only says so to the server."""

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.tickets import ticket

from epochd.artifact import files
from epochd.core.errors import StorageUnavailable
from epochd.core.events import ReportKind
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.tickets import AttemptTicket, PredictionTicket
from epochd.core.transfers import Inputs, RemoteFile
from epochd.worker import transfer
from epochd.worker.failures import final_report
from epochd.worker.transfer import RemoteFolders, StoredFolders

CONTENT = bytes(range(256)) * 40
STORE = "http://store.test"


class Known:
    """What a reporter knows of a server that is well."""

    is_given_up = False

    def check(self) -> None: ...


class Network:
    """A server and its store. ``faults`` are what happens to the next requests to the store: an exception, a status, or
    the number of bytes after which an answer ends. ``refused`` are the next answers to manifests."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.states: list[Inputs] = []
        self.faults: list[Any] = []
        self.refused: list[int] = []
        self.to_store: list[httpx.Request] = []
        self.to_server: list[httpx.Request] = []
        self.manifests: dict[str, bytes] = {}

    def server(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.to_server.append(request)
        path = request.url.path.partition("/files")[2].lstrip("/")
        if path == "grants":
            wanted = json.loads(request.content)["files"]
            urls = {name: f"{STORE}/{name}.{sha256}?signed" for name, (sha256, _) in wanted.items()}
            return httpx.Response(200, json={"urls": urls, "headers": {}})
        if request.method == "PUT":
            if self.refused:
                return httpx.Response(self.refused.pop(0), json={"message": "incomplete"})
            self.manifests[path] = request.content
            return httpx.Response(204)
        if not path:
            damaged = request.url.params.get_list("damaged")
            return httpx.Response(200, content=self.states[len(damaged)].model_dump_json())
        return httpx.Response(307, headers={"Location": f"{STORE}/{path}?signed"})

    def store(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.to_store.append(request)
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if isinstance(fault, int) and fault >= 400:
            return httpx.Response(fault)
        key = request.url.path.lstrip("/")
        if request.method == "PUT":
            self.objects[key] = request.content
            return httpx.Response(200)
        begin = int(request.headers.get("Range", "bytes=0-")[6:-1])
        return httpx.Response(206 if begin else 200, content=self.objects[key][begin:fault])


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture(params=[RemoteFolders, StoredFolders])
def folders(request, network, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_RETRY_SECONDS", 0.0)
    is_remote = request.param is RemoteFolders
    sent = ticket(tmp_path, dataset="iris", is_remote=is_remote, is_stored=True, grace_seconds=0.5)
    with request.param(sent, Known(), transport=httpx.MockTransport(network.server)) as folders:
        folders._store = httpx.Client(transport=httpx.MockTransport(network.store))
        yield folders


def checkpoint(home: Path, number: int = 1) -> Path:
    path = home / "checkpoints" / "task" / f"0001-{number:06d}"
    with files.durable_folder(path) as folder:
        (folder / "state.json").write_text("{}")
        (folder / "weights.safetensors").write_bytes(CONTENT)
    return path


def inputs(network: Network, path: Path, home: Path) -> Inputs:
    """What the server says of a checkpoint, which the store has."""
    described = []
    for file in sorted(path.iterdir(), key=lambda file: -file.stat().st_size):
        name = file.relative_to(home).as_posix()
        network.objects[f"state/{name}"] = file.read_bytes()
        described.append(RemoteFile(path=name, bytes=file.stat().st_size, modified=1))
    return Inputs(state=described)


def test_files_go_to_the_store_under_their_sums_and_the_manifest_to_the_server_last(folders, network, tmp_path):
    path = checkpoint(tmp_path)
    network.faults = [503, httpx.WriteError("broken"), 403]
    assert folders.send(path)
    weights = f"checkpoints/task/0001-000001/weights.safetensors.{hashlib.sha256(CONTENT).hexdigest()}"
    assert network.objects[weights] == CONTENT
    assert list(network.manifests) == ["checkpoints/task/0001-000001/manifest.json"]
    assert all("Authorization" not in request.headers for request in network.to_store), "the store gets no token"
    assert all("Content-MD5" in request.headers for request in network.to_store)


def test_all_files_are_sent_again_when_the_server_does_not_find_them(folders, network, tmp_path):
    network.refused = [500]
    assert folders.send(checkpoint(tmp_path))
    assert len(network.to_store) == 4
    assert len(network.manifests) == 1


def test_a_checkpoint_is_left_out_while_the_store_fails(folders, network, tmp_path):
    network.faults = [503] * 3
    assert folders.send(checkpoint(tmp_path), is_optional=True) is False
    assert network.manifests == {}


def test_what_must_be_stored_waits_for_the_grace_and_then_the_task_waits(folders, network, tmp_path):
    network.faults = [503] * 10_000
    with pytest.raises(StorageUnavailable, match="continues when the object store works again") as caught:
        folders.send(checkpoint(tmp_path))
    kind, payload = final_report(caught.value, ticket(tmp_path))
    assert (kind, payload["code"]) == (ReportKind.HELD, "storage_unavailable")


def test_a_checkpoint_is_read_from_the_store_and_goes_on_where_it_broke_off(folders, network, tmp_path):
    network.states = [inputs(network, checkpoint(tmp_path / "other"), tmp_path / "other")]
    network.faults = [404, 100, httpx.ReadError("broken"), 503]
    for _ in range(2):
        folders.fetched(ticket(tmp_path, dataset="iris"))
    files.verify(tmp_path / "checkpoints" / "task" / "0001-000001")
    assert all("Authorization" not in request.headers for request in network.to_store)
    assert any("Range" in request.headers for request in network.to_store)
    assert len(network.to_store) == 3 + 4, "it is here the second time"


def test_a_checkpoint_that_is_damaged_here_is_read_from_the_store(folders, network, tmp_path):
    network.states = [inputs(network, checkpoint(tmp_path), tmp_path)]
    place = tmp_path / "checkpoints" / "task" / "0001-000001"
    (place / "weights.safetensors").write_bytes(b"x" * len(CONTENT))
    folders.fetched(ticket(tmp_path, dataset="iris"))
    files.verify(place)


def test_a_checkpoint_that_is_damaged_in_the_store_is_told_and_an_older_one_read(folders, network, tmp_path):
    newer = inputs(network, checkpoint(tmp_path / "other", 2), tmp_path / "other")
    network.objects["state/checkpoints/task/0001-000002/weights.safetensors"] = b"x" * len(CONTENT)
    older = inputs(network, checkpoint(tmp_path / "other", 1), tmp_path / "other")
    older.faults = ["checkpoint 0001-000002 cannot be used"]
    network.states = [newer, older]
    _, faults = folders.fetched(ticket(tmp_path, dataset="iris"))
    assert faults == older.faults
    told = [
        request.url.params.get_list("damaged") for request in network.to_server if request.url.path.endswith("/files")
    ]
    assert told == [[], ["0001-000002"]]
    assert [path.name for path in (tmp_path / "checkpoints" / "task").iterdir()] == ["0001-000001"]


@pytest.mark.parametrize("is_passed_on", [False, True], ids=["at a URL", "by the server"])
def test_a_part_of_a_prediction_that_is_damaged_in_the_store_is_left_out(network, tmp_path, is_passed_on):
    """A server that cannot sign URLs finds out by itself."""
    state = []
    for number in range(2):
        path = tmp_path / "other" / "checkpoints" / "task" / "parts" / f"{number:06d}"
        with files.durable_folder(path) as folder:
            (folder / "rows.arrow").write_bytes(CONTENT)
        state += inputs(network, path, tmp_path / "other").state
    damaged = "checkpoints/task/parts/000001/rows.arrow"
    network.objects[f"state/{damaged}"] = b"x" * len(CONTENT)
    network.states = [Inputs(state=state)]

    def server(request: httpx.Request) -> httpx.Response:
        if is_passed_on and request.url.path.endswith(damaged):
            return httpx.Response(500, json={"code": "corrupt_file", "message": "a file is damaged"})
        return network.server(request)

    common = ticket(tmp_path, is_remote=True, is_stored=True, grace_seconds=0.5)
    spec = PredictionSpec.model_construct(dataset="iris")
    values = {name: getattr(common, name) for name in AttemptTicket.model_fields}
    sent = PredictionTicket.model_construct(**values | {"spec": spec, "model_dir": tmp_path / "model"})
    with RemoteFolders(sent, Known(), transport=httpx.MockTransport(server)) as folders:
        folders._store = httpx.Client(transport=httpx.MockTransport(network.store))
        folders.fetched(sent)
    place = tmp_path / "checkpoints" / "task" / "parts"
    assert [path.name for path in place.iterdir()] == ["000000"]
    files.verify(place / "000000")


def test_a_worker_beside_the_server_reads_its_data_unless_they_are_others(network, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "FIRST_RETRY_SECONDS", 0.0)
    place = tmp_path / "datasets" / "sales.csv"
    place.parent.mkdir()
    place.write_bytes(CONTENT)
    network.objects["data/0/sales.csv"] = b"newer"
    same = RemoteFile(path="0/sales.csv", bytes=len(CONTENT), modified=place.stat().st_mtime_ns)
    other = RemoteFile(path="0/sales.csv", bytes=5, modified=7)
    network.states = [Inputs(data=[same], registered={"sales": "0/sales.csv"})]
    sent = ticket(tmp_path, dataset="sales", registered={"sales": place}, is_stored=True)
    with StoredFolders(sent, Known(), transport=httpx.MockTransport(network.server)) as folders:
        folders._store = httpx.Client(transport=httpx.MockTransport(network.store))
        assert folders.fetched(sent)[0].registered == {"sales": place}
        assert network.to_store == []
        network.states = [Inputs(data=[other], registered={"sales": "0/sales.csv"})]
        found = folders.fetched(sent)[0].registered["sales"]
    assert (found.read_bytes(), found.stat().st_mtime_ns) == (b"newer", 7)
    assert found.is_relative_to(tmp_path / "cache" / "inputs")
