"""The cache: each model is loaded once, and few are kept."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from epochd.artifact import files
from epochd.core.errors import Busy, CorruptFile
from epochd.serving import cache
from epochd.serving.cache import BoundedThreads, PredictorCache


class Loaded:
    """Stands for a predictor."""

    def __init__(self, folder: Path) -> None:
        files.verify(folder)
        self.folder, self.nbytes = folder, 10


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that were loaded."""
    found: list[str] = []

    def load(folder: Path) -> Any:
        found.append(folder.name)
        return Loaded(folder)

    monkeypatch.setattr(cache.Predictor, "load", load)
    return found


@pytest.fixture
def threads() -> Iterator[BoundedThreads]:
    found = BoundedThreads(2, 4)
    yield found
    found.close()


def model(folder: Path, name: str) -> Path:
    with files.durable_folder(folder / name) as path:
        (path / "model.json").write_text("{}")
    return folder / name


async def test_a_model_is_loaded_once_for_many_requests_at_once(
    tmp_path: Path, loads: list[str], threads: BoundedThreads
) -> None:
    kept, folder = PredictorCache(4, 1_000, threads), model(tmp_path, "a")
    found = await asyncio.gather(*(kept.get(folder) for _ in range(50)))
    assert (len(set(map(id, found))), loads) == (1, ["a"])
    assert kept.loaded(folder) is found[0]


async def test_the_least_recently_used_models_are_dropped_by_number_and_by_size(
    tmp_path: Path, loads: list[str], threads: BoundedThreads
) -> None:
    folders = [model(tmp_path, name) for name in "abc"]
    for kept in (PredictorCache(2, 1_000, threads), PredictorCache(9, 25, threads)):
        for folder in (folders[0], folders[1], folders[0], folders[2]):
            await kept.get(folder)
        assert [kept.loaded(folder) is not None for folder in folders] == [True, False, True]
        assert (len(kept), kept.nbytes) == (2, 20)


async def test_a_folder_that_was_written_again_is_another_model(
    tmp_path: Path, loads: list[str], threads: BoundedThreads
) -> None:
    kept = PredictorCache(4, 1_000, threads)
    before = await kept.get(model(tmp_path, "a"))
    after = await kept.get(model(tmp_path, "a"))
    assert (before is after, len(kept), loads) == (False, 1, ["a", "a"])
    kept.evict(tmp_path / "a")
    assert len(kept) == 0


async def test_a_model_that_cannot_be_loaded_is_an_error_for_all_and_is_tried_again(
    tmp_path: Path, loads: list[str], threads: BoundedThreads
) -> None:
    kept, folder = PredictorCache(4, 1_000, threads), model(tmp_path, "a")
    (folder / "model.json").write_text("[]")
    found = await asyncio.gather(*(kept.get(folder) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in found] == [CorruptFile] * 3
    (folder / "model.json").write_text("{}")
    assert (await kept.get(folder)).folder == folder
    with pytest.raises(FileNotFoundError):
        await kept.get(tmp_path / "nothing")


async def test_more_calls_than_may_wait_are_told_to_come_back() -> None:
    threads, go = BoundedThreads(1, 2), threading.Event()
    running = [asyncio.create_task(threads.run(go.wait)) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy) as caught:
        await threads.run(go.wait)
    assert caught.value.retry_seconds > 0
    go.set()
    assert await asyncio.gather(*running) == [True] * 3
    assert await threads.run(int, "7") == 7
    threads.close()
