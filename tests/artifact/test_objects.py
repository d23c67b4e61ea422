"""Object stores: in memory, in a folder, and a real S3 server, also one that makes every kind of error."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import httpx
import pytest
from tests.support.stores import FaultyStore, Weed

from epochd.artifact import files, objects, stored
from epochd.artifact.objects import Objects
from epochd.core.errors import Busy, CorruptFile, SettingsError

MODEL = "artifacts/churn/epoch_training_20260101_000000_abcdef"
ALL_FAULTS = {"error": 0.2, "reset": 0.1, "cut": 0.1, "stale": 0.5}


def in_weed(weed: Weed, place: str, endpoint: str | None = None) -> Objects:
    return Objects.opened(f"s3://tests/{place}", weed.options(endpoint))


@pytest.fixture(params=["memory", "folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "s3":
        return in_weed(request.getfixturevalue("weed"), tmp_path.name)
    if request.param == "folder":
        return Objects.opened(f"file://{tmp_path / 'the bucket'}", {})
    from obstore.store import MemoryStore  # noqa: PLC0415

    return Objects(MemoryStore(), "memory:///")


@pytest.fixture
def faulty(weed: Weed) -> Any:
    found = FaultyStore(weed.port, seed=1, **ALL_FAULTS)
    yield found
    found.close()


def folder(home: Path, name: str = MODEL, content: bytes = b"abc") -> Path:
    with files.durable_folder(home / name) as place:
        (place / "model.json").write_text("{}")
        (place / "model.safetensors").write_bytes(content)
    return home / name


def test_a_small_object_is_created_once_and_replaced_by_who_has_seen_it(store):
    assert store.read("a/b") is None
    assert store.create("a/b", b"1")
    assert store.create("a/b", b"1"), "it has this content"
    assert not store.create("a/b", b"2")
    seen = store.read("a/b")
    assert store.replace("a/b", b"2", seen)
    if not store.url.startswith("file:"):
        assert not store.replace("a/b", b"3", seen)
        assert store.read("a/b").content == b"2"


@pytest.mark.parametrize("name", ["plain", "数据 é.csv", "a#b%c+d&e?f=g'h", "0001-000001"])
def test_any_name_of_a_file_is_a_key(store, name):
    store.put(f"x/{name}/y", b"content")
    assert store.sizes("x") == {f"x/{name}/y": 7}
    assert store.folders("x") == [name]
    store.delete([f"x/{name}/y", "x/never there"])
    assert store.sizes("x") == {}


def test_a_large_file_is_sent_in_parts_and_comes_back(store, tmp_path):
    source, target = tmp_path / "large", tmp_path / "back"
    source.write_bytes(os.urandom(20 << 20))
    store.put("large", source)
    store.fetch("large", target, 20 << 20, files.sha256(source))
    assert files.sha256(target) == files.sha256(source)
    with pytest.raises(CorruptFile, match="damaged"):
        store.fetch("large", target, 20 << 20, "0" * 64)


def test_a_folder_exists_once_its_manifest_does(store, tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "STALE_SECONDS", 0.3)
    place = folder(tmp_path)
    wanted = stored.parsed(MODEL, (place / files.MANIFEST).read_bytes())
    store.put(wanted.files["model.json"].key, b"{}")
    with pytest.raises(CorruptFile, match=r"incomplete: model\.safetensors"):
        stored.prepared(store, wanted)
    assert stored.manifest(store, MODEL) is None
    stored.put_folder(store, place, MODEL)
    stored.put_folder(store, place, MODEL)
    stored.get_folder(store, stored.manifest(store, MODEL), tmp_path / "copy")
    files.verify(tmp_path / "copy")
    assert (tmp_path / "copy" / files.MANIFEST).read_bytes() == (place / files.MANIFEST).read_bytes()


def test_files_are_written_before_their_manifest_and_manifests_deleted_before_their_files(weed, tmp_path):
    proxy = FaultyStore(weed.port)
    try:
        store = in_weed(weed, tmp_path.name, proxy.endpoint)
        stored.put_folder(store, folder(tmp_path), MODEL)
        puts = [path.rpartition("/")[2].partition(".json")[0] for method, path, _ in proxy.requests if method == "PUT"]
        assert (len(puts), puts[-1]) == (3, "manifest")
        assert all(
            method != "PUT" or "manifest" in path or len(path.rpartition(".")[2]) == 64
            for method, path, _ in proxy.requests
        )
        stored.remove(store, MODEL)
        first, second = (body for method, _, body in proxy.requests if method == "POST")
        assert b"manifest.json" in first
        assert b"model.safetensors" in second
        assert b"model.safetensors" not in first
        assert store.sizes(MODEL) == {}
    finally:
        proxy.close()


@pytest.mark.parametrize("is_first", [True, False], ids=["of the first model", "of another model"])
def test_of_two_writers_the_one_who_has_not_seen_the_other_is_refused(weed, tmp_path, is_first):
    """The first one is found to be the running attempt, and then stands still."""
    store = in_weed(weed, tmp_path.parent.name + tmp_path.name)
    if not is_first:
        stored.put_folder(store, folder(tmp_path / "before", content=b"before"), MODEL)
    stale, new = folder(tmp_path / "a", content=b"old"), folder(tmp_path / "b", content=b"new")
    manifests = [stored.parsed(MODEL, (place / files.MANIFEST).read_bytes()) for place in (stale, new)]
    for place, wanted in zip((stale, new), manifests, strict=True):
        stored.put_files(store, place, wanted)
    seen = stored.prepared(store, manifests[0])
    assert stored.publish(store, stored.prepared(store, manifests[1]))
    assert not stored.publish(store, seen)
    assert stored.manifest(store, MODEL).content == manifests[1].content


def test_latest_leads_to_the_model_that_was_saved_last_whoever_says_it_first(store, tmp_path):
    ids = [f"epoch_training_20260101_00000{number}_abcdef" for number in range(3)]
    for number, version in enumerate(ids):
        stored.put_folder(store, folder(tmp_path, f"artifacts/m/{version}", bytes([number])), f"artifacts/m/{version}")
        time.sleep(1.1 if number == 0 else 0)
    threads = [threading.Thread(target=stored.point_latest, args=(store, "artifacts/m", one)) for one in ids[1:]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored.point_latest(store, "artifacts/m", ids[0])
    newest = stored.latest(store, "artifacts/m")[0]
    assert newest in ids[1:]
    stored.repoint_latest(store, "artifacts/m", newest)
    stored.remove(store, f"artifacts/m/{newest}")
    assert stored.latest(store, "artifacts/m")[0] == next(one for one in ids[1:] if one != newest)
    for one in ids:
        stored.repoint_latest(store, "artifacts/m", one)
        stored.remove(store, f"artifacts/m/{one}")
    assert stored.latest(store, "artifacts/m")[0] is None
    assert [*store.sizes("artifacts")] == [f"artifacts/m/{files.LATEST}"]


def test_latest_leads_to_a_model_that_is_published_while_the_only_other_one_is_removed(weed, tmp_path, monkeypatch):
    store = in_weed(weed, tmp_path.parent.name + tmp_path.name)
    old, new = (f"epoch_training_20260101_00000{number}_abcdef" for number in range(2))
    stored.put_folder(store, folder(tmp_path, f"artifacts/m/{old}"), f"artifacts/m/{old}")
    stored.point_latest(store, "artifacts/m", old)
    listed = store.folders

    def publish_after_listing(name: str) -> list[str]:
        found = listed(name)
        if new not in found:
            stored.put_folder(store, folder(tmp_path, f"artifacts/m/{new}", b"new"), f"artifacts/m/{new}")
            stored.point_latest(store, "artifacts/m", new)
        return found

    monkeypatch.setattr(store, "folders", publish_after_listing)
    stored.repoint_latest(store, "artifacts/m", old)
    assert stored.latest(store, "artifacts/m")[0] == new


@pytest.mark.parametrize("mode", ["create", "replace"])
def test_a_store_that_does_not_keep_conditions_is_refused(mode, monkeypatch):
    import obstore  # noqa: PLC0415
    from obstore.store import MemoryStore  # noqa: PLC0415

    store, put, conditions = Objects(MemoryStore(), "memory:///"), obstore.put, []

    def careless(*arguments: Any, mode: Any = None, **options: Any) -> Any:
        conditions.append(mode)
        is_ignored = mode == "create" if is_create else isinstance(mode, dict)
        return put(*arguments, **options, **({} if mode is None or is_ignored else {"mode": mode}))

    is_create = mode == "create"
    store.probe()
    monkeypatch.setattr(obstore, "put", careless)
    with pytest.raises(SettingsError, match="does not write on a condition"):
        store.probe()
    assert store.sizes("") == {}


def test_a_condition_names_the_version_that_google_cloud_storage_compares(monkeypatch):
    import obstore  # noqa: PLC0415
    from obstore.store import MemoryStore  # noqa: PLC0415

    modes = []
    monkeypatch.setattr(obstore, "put", lambda *_, mode, **options: modes.append(mode))
    store = Objects(MemoryStore(), "memory:///")
    assert store.replace("a", b"1", objects.Stored(b"", '"tag"', "7", 0.0))
    assert store.replace("a", b"1", objects.Stored(b"", None, "7", 0.0))
    assert modes == [{"e_tag": '"tag"', "version": "7"}, {"version": "7"}]


def test_a_store_whose_keys_cannot_sign_passes_files_on(weed, tmp_path, monkeypatch, caplog):
    import obstore  # noqa: PLC0415

    store = in_weed(weed, tmp_path.name)
    store.probe()
    assert store.can_sign
    monkeypatch.setattr(obstore, "sign", Mock(side_effect=obstore.exceptions.GenericError("no private key")))
    store.probe()
    assert not store.can_sign
    assert "signs no URLs, so the server passes all files on: no private key" in caplog.text


def test_the_newest_complete_checkpoint_is_found_and_old_ones_are_deleted(store, tmp_path):
    home = "checkpoints/t"
    for name in ("0001-000001", "0001-000002", "0002-000001", "0002-000002"):
        stored.put_folder(store, folder(tmp_path, f"{home}/{name}", name.encode()), f"{home}/{name}")
    store.delete([f"{home}/0002-000002/{files.MANIFEST}"])
    stored.prune(store, home)
    assert stored.numbered(store, home) == ["0001-000002", "0002-000001"], "those with a manifest"
    assert any("/0002-000002/" in key for key in store.sizes(home)), "it may be about to be published"
    found, faults = stored.newest(store, home)
    assert (found.folder, faults) == (f"{home}/0002-000001", [])
    found, faults = stored.newest(store, home, damaged=["0002-000001"])
    assert found.folder == f"{home}/0001-000002"
    assert "0002-000001 cannot be used" in faults[0]
    store.put(f"{home}/0002-000001/{files.MANIFEST}", b'{"files": {"../x": 1}}')
    found, faults = stored.newest(store, home)
    assert found.folder == f"{home}/0001-000002"
    assert "damaged" in faults[0]


def test_a_store_with_every_kind_of_fault_loses_nothing(weed, faulty, tmp_path):
    store = in_weed(weed, tmp_path.name, faulty.endpoint)
    for number in range(6):
        name = f"checkpoints/t/0001-{number:06d}"
        stored.put_folder(store, folder(tmp_path, name, os.urandom(50_000)), name)
        stored.get_folder(store, stored.manifest(store, name, must_exist=True), tmp_path / "back" / name)
        files.verify(tmp_path / "back" / name)
        stored.prune(store, "checkpoints/t")
    assert set(faulty.counts) == set(ALL_FAULTS), f"each fault has fired: {faulty.counts}"


def test_a_damaged_file_is_no_copy(store, tmp_path):
    stored.put_folder(store, folder(tmp_path), MODEL)
    wanted = stored.manifest(store, MODEL)
    store.put(wanted.files["model.safetensors"].key, b"abX")
    with pytest.raises(CorruptFile, match="is damaged"):
        stored.get_folder(store, wanted, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert list(tmp_path.glob(f"{files.TEMPORARY}*")) == []


def test_a_signed_url_is_for_one_object_one_method_and_a_short_time(weed, tmp_path):
    store = in_weed(weed, tmp_path.name)
    [put], [get] = store.signed("PUT", ["a/b c"], 60), store.signed("GET", ["a/b c"], 60)
    with httpx.Client(trust_env=False) as http:
        assert http.put(put, content=b"content").status_code == 200
        assert http.get(get).content == b"content"
        assert http.put(put.replace("b%20c", "other"), content=b"x").status_code == 403
        assert http.get(put).status_code == 403
        assert http.put(get, content=b"x").status_code == 403
        [short] = store.signed("GET", ["a/b c"], 1)
        time.sleep(2.1)
        assert http.get(short).status_code == 403
    assert weed.options()["secret_access_key"] not in put + get


def test_a_store_that_cannot_be_used_is_told_without_its_keys(weed, monkeypatch):
    monkeypatch.setattr(objects, "RETRY_SECONDS", 0.3)
    with pytest.raises(SettingsError, match="cannot use s3://x"):
        Objects.opened("s3://x/y", {"nonsense": "1"})
    wrong = Objects.opened("s3://x/y", weed.options() | {"secret_access_key": "hush"})
    with pytest.raises(SettingsError, match=r"cannot write to s3://x/y: .*403") as caught:
        wrong.probe()
    assert "hush" not in str(caught.value)
    nowhere = Objects.opened("s3://x/y", weed.options("http://127.0.0.1:9"))
    with pytest.raises(Busy, match="the object store s3://x/y fails"):
        nowhere.read("a")


def test_a_server_without_obstore_is_told_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "obstore.exceptions", None)
    with pytest.raises(SettingsError, match=r"needs the package obstore\. Run: .*obstore>=0\.6"):
        Objects.opened("s3://x/y", {})


def test_a_manifest_names_only_what_is_in_its_folder():
    for name in ("../x", ".hidden", "a/b", "a\0"):
        content = json.dumps({"files": {name: {"bytes": 1, "sha256": "0" * 64}}}).encode()
        with pytest.raises(CorruptFile, match="damaged"):
            stored.parsed("f", content)
