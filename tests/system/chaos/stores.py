"""A server whose folders are in a real S3 server, behind a proxy that makes errors; and a disk that is lost."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from epochd.artifact import stored
from epochd.artifact.objects import Objects
from epochd.dispatch.host import processes
from tests.support.stores import FaultyStore, Weed

from .arena import Arena, NotFired, until

ALWAYS = {"error": 0.02, "reset": 0.01, "cut": 0.01, "stale": 0.2}
"""How often each kind of fault happens at any time."""


class StoreArena(Arena):
    """Its server has its folders in ``weed``."""

    def __init__(self, folder: Path, weed: Weed, seed: int, *, is_long: bool) -> None:
        super().__init__(folder, None, seed, is_long=is_long)
        self.store = FaultyStore(weed.port, seed, **ALWAYS)
        self._settings = weed.settings(endpoint=self.store.endpoint)
        self._copies = folder / "copies"
        self.bucket = Objects.opened(self._settings["EPOCHD_STORAGE"], weed.options())

    @contextmanager
    def opened(self) -> Iterator["Arena"]:
        try:
            with super().opened() as arena:
                yield arena
        finally:
            self.store.close()

    def serve(self, port: int = 0, slots: int = 2, **more: str) -> None:
        super().serve(port, slots, **self._settings | more)

    def model(self, task: dict[str, Any]) -> Path:
        """A copy of the model as the store has it."""
        place = self._copies / task["task_id"]
        if not place.exists():
            found = stored.manifest(self.bucket, task["artifact"], must_exist=True)
            assert found is not None, f"the store has no model of {task['task_id']}"
            stored.get_folder(self.bucket, found, place)
        return place


def _for_a_while(arena: StoreArena, seconds: float, **faults: float) -> str:
    """Let the store be bad until each kind of fault has happened."""
    arena.victim()
    before = dict(arena.store.counts)
    arena.store.faults = ALWAYS | faults
    try:
        time.sleep(seconds)
        fired = until(
            lambda: all(arena.store.counts.get(kind, 0) > before.get(kind, 0) for kind in faults),
            f"not all of {', '.join(faults)} happened",
        )
    finally:
        arena.store.faults = ALWAYS
    assert fired
    count = {kind: arena.store.counts[kind] - before.get(kind, 0) for kind in faults}
    return f"the store was bad for {seconds:g} s: {count}"


def store_errors(arena: StoreArena) -> str:
    """A third of all requests fail, before or after they were carried out."""
    return _for_a_while(arena, 4.0, error=0.2, reset=0.1)


def no_store(arena: StoreArena) -> str:
    """No request succeeds."""
    return _for_a_while(arena, 5.0, error=1.0)


def slow_store(arena: StoreArena) -> str:
    """Half of all requests take a second longer."""
    return _for_a_while(arena, 4.0, slow=0.5)


def stale_store(arena: StoreArena) -> str:
    """What has just been written is not found for a second, and bodies end early."""
    return _for_a_while(arena, 4.0, stale=1.0, cut=0.2)


def lose_folders(arena: StoreArena) -> str:
    """SIGKILL for the server and all workers, and all folders but the database are lost."""
    victim = arena.victim()
    code = arena.end_server(signal.SIGKILL)
    if code != -signal.SIGKILL:
        raise NotFired(f"the server ended with code {code}")
    for process in processes.find_marked(arena.data_dir):
        with suppress(psutil.Error):
            process.kill()
            process.wait(10)
    kinds = "artifacts", "checkpoints", "datasets", "cache"
    lost = sum(len(names) for kind in kinds for _, _, names in os.walk(arena.data_dir / kind))
    for kind in kinds:
        shutil.rmtree(arena.data_dir / kind, ignore_errors=True)
    arena.serve_again()
    until(lambda: arena.is_over(victim), f"task {victim.task_id} was not taken from its dead worker")
    return f"{lost} files were lost"


STORE_FAULTS: dict[str, Callable[[StoreArena], str]] = {
    fault.__name__: fault for fault in (store_errors, no_store, slow_store, stale_store, lose_folders)
}
