"""The copies of what an object store has: the least recently used go first, and nothing that the store lacks."""

import asyncio
import os
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from epochd.api import service as module
from epochd.api.storage import Storage
from epochd.artifact import copies, files, removal, stored
from epochd.core.settings import Settings
from epochd.data.tables import addresses

MODELS = [f"artifacts/churn/epoch_training_20260101_00000{number}_abcdef" for number in range(4)]
CHECKPOINT = "checkpoints/epoch_training_20260101_000000_abcdef/0001-000002"
PREDICTIONS = "predictions/prediction_20260101_000000_abcdef"
HOUR = 3600.0


def folder(home: Path, name: str) -> Path:
    """A durable folder of a bit less than one MiB."""
    with files.durable_folder(home / name) as place:
        (place / "content").write_bytes(os.urandom(1_000_000))
    return home / name


def unused(path: Path, hours: float) -> None:
    """Let a copy have been used for the last time so many hours ago."""
    mark = path / files.MANIFEST if path.is_dir() else path
    os.utime(mark, (time.time() - hours * HOUR, mark.stat().st_mtime))


@pytest.fixture
async def storage(tmp_path: Path) -> Any:
    place = f"file://{tmp_path / 'bucket'}"
    found = Storage(Settings(data_dir=tmp_path / "data", storage=place, storage_cache_mb=3, dataset_urls=[place]))
    await found.open()
    yield found
    await found.close()


async def nothing() -> Any:
    """What is wanted to stay."""
    return lambda path: False


def present(storage: Storage) -> set[str]:
    home = storage._settings.data_dir
    walked = os.walk(home)  # which passes over folders that are deleted meanwhile
    return {Path(path).relative_to(home).as_posix() for path, _, names in walked if files.MANIFEST in names}


async def test_the_least_recently_used_copies_go_first_and_come_back_when_they_are_asked_for(storage):
    home, names = storage._settings.data_dir, [CHECKPOINT, *MODELS, PREDICTIONS]
    for hours, name in enumerate(names, 2):
        await storage.put_folder(folder(home, name))
        unused(home / name, hours)
    content = (home / PREDICTIONS / "content").read_bytes()
    await storage.folder(home / MODELS[3])  # a use
    await storage.trim(HOUR, nothing)
    assert present(storage) == {CHECKPOINT, MODELS[0], MODELS[3]}
    await storage.folder(home / PREDICTIONS)
    assert (home / PREDICTIONS / "content").read_bytes() == content
    assert not [*storage._settings.bodies_dir.glob("*")]


async def test_what_was_used_lately_stays_whatever_its_size(storage):
    for name in MODELS:
        await storage.put_folder(folder(storage._settings.data_dir, name))
    await storage.trim(HOUR, nothing)
    assert present(storage) == {*MODELS}


async def test_what_the_store_does_not_have_stays(storage):
    home = storage._settings.data_dir
    for name in MODELS:
        await storage.put_folder(folder(home, name))
        unused(home / name, 2)
    [key] = [key for key in storage.objects.sizes(MODELS[0]) if not key.endswith(files.MANIFEST)]
    storage.objects.delete([key])
    storage.objects.put(f"{MODELS[1]}/{files.MANIFEST}", b"another one")
    (home / MODELS[2] / "notes.txt").write_text("of a user")
    await storage.trim(HOUR, nothing)
    assert present(storage) == {*MODELS[:3]}


async def test_what_the_store_does_not_have_takes_no_room_of_copies(storage):
    home = storage._settings.data_dir
    for name in MODELS:
        unused(folder(home, name), 2)
    for name in (PREDICTIONS, CHECKPOINT):
        await storage.put_folder(folder(home, name))
        unused(home / name, 3)
    await storage.trim(HOUR, nothing)
    assert present(storage) == {*MODELS, PREDICTIONS, CHECKPOINT}


async def test_after_a_removal_latest_leads_to_the_newest_model_of_the_store_not_of_the_disk(storage):
    home = storage._settings.data_dir
    for name in MODELS:
        await storage.put_folder(folder(home, name))
        stored.point_latest(storage.objects, "artifacts/churn", Path(name).name)
        await asyncio.sleep(0.01)  # each is newer than the one before
    await storage.latest("churn")
    unused(home / MODELS[2], 2)
    await storage.trim(HOUR, nothing)
    assert present(storage) == {MODELS[0], MODELS[1], MODELS[3]}
    note = removal.write_model_note(storage._settings, "churn", Path(MODELS[3]).name)
    removal.complete_model(storage._settings, note, storage)
    assert (home / "artifacts" / "churn" / files.LATEST).readlink().name == Path(MODELS[2]).name


async def test_the_copies_of_datasets_that_addresses_name_are_among_them(storage, tmp_path):
    home, url = storage._settings.data_dir, f"file://{tmp_path / 'bucket'}/sales.csv"
    storage._settings.dataset_urls[:] = [url.removesuffix("sales.csv")]
    storage.objects.put("sales.csv", b"x,target\n" * 400_000)
    copy = await storage.address(url)
    assert copy == addresses.cached(home, url)
    await storage.trim(HOUR, nothing)
    assert copy.exists(), "it was used a moment ago, however old the object is"
    unused(copy, 2)
    await storage.trim(HOUR, nothing)
    assert not copy.exists()
    assert (await storage.address(url)).stat().st_size == 3_600_000


async def test_a_copy_that_is_used_while_the_store_is_asked_stays(storage, monkeypatch):
    home, check = storage._settings.data_dir, stored.check_complete
    for name in MODELS:
        await storage.put_folder(folder(home, name))
        unused(home / name, 2)
    loop = asyncio.get_running_loop()

    def used(objects: Any, wanted: Any) -> None:
        asyncio.run_coroutine_threadsafe(storage.folder(home / wanted.folder), loop).result(10)
        check(objects, wanted)

    monkeypatch.setattr(stored, "check_complete", used)
    await storage.trim(HOUR, nothing)
    assert present(storage) == {*MODELS}


async def test_what_cannot_be_deleted_holds_nothing_up(storage, monkeypatch):
    home, delete = storage._settings.data_dir, copies.delete
    for hours, name in enumerate(reversed(MODELS), 2):
        await storage.put_folder(folder(home, name))
        unused(home / name, hours)

    def refused(settings: Settings, objects: Any, copy: copies.Copy, is_used: Any) -> bool:
        if copy.path == home / MODELS[0]:
            raise PermissionError("of somebody else")
        return delete(settings, objects, copy, is_used)

    monkeypatch.setattr(copies, "delete", refused)
    await storage.trim(HOUR, nothing)
    assert present(storage) == {MODELS[0], MODELS[2], MODELS[3]}


async def test_what_tasks_need_stays_while_the_server_deletes_copies(open_house, tmp_path, monkeypatch):
    """The checkpoints and datasets of tasks that have not ended, and models whose tasks were removed."""
    monkeypatch.setattr(module, "TRIM_SECONDS", 0.01)
    monkeypatch.setattr(module, "UNUSED_SECONDS", 0.0)
    place = f"file://{tmp_path / 'bucket'}"
    house = await open_house(storage=place, storage_cache_mb=1, dataset_urls=f"{place}/tables/", slots=1)
    home, storage = house.service.settings.data_dir, house.service.storage
    names = ["train", "check", "other"]
    urls = [f"{place}/tables/{name}.csv" for name in names]
    for number, name in enumerate(names):
        rows = [f"{(x * x + number) % 13},{x % 7}" for x in range(90)]
        storage.objects.put(f"tables/{name}.csv", "\n".join(["x,target", *rows]).encode())
    await house.start()
    task_id = await house.start(dataset=urls[0], validation_dataset=urls[1], target_column="target")
    ended = await house.start()
    await house.post(f"/stop/{ended}")
    await storage.address(urls[2])
    needed = f"checkpoints/{task_id}/0000-000001", f"checkpoints/{task_id}/parts/000000", MODELS[0]
    unneeded = f"checkpoints/{ended}/0000-000001", f"artifacts/churn/{ended}"
    for name in (*needed, *unneeded):
        await storage.put_folder(folder(home, name))
    until = time.monotonic() + 10
    while present(storage) != {*needed} or addresses.cached(home, urls[2]).exists():
        assert time.monotonic() < until, present(storage)
        await asyncio.sleep(0.02)
    assert [addresses.cached(home, url).exists() for url in urls] == [True, True, False]


async def test_a_prediction_of_a_loaded_model_is_a_use_of_its_copy(open_house, tmp_path, monkeypatch):
    house = await open_house(storage=f"file://{tmp_path / 'bucket'}")
    models, place = house.service.models, folder(house.service.settings.data_dir, MODELS[0])
    await house.service.storage.put_folder(place)
    await models.find("churn", place.name)
    assert models.loaded("churn", place.name) is None
    unused(place, 2)
    monkeypatch.setattr(models.cache, "loaded", lambda _: Mock())
    assert models.loaded("churn", place.name) is not None
    [found] = copies.found(house.service.settings)
    assert time.time() - found.used_at < 60
