"""Loaded models, bounded in number and memory, and the threads in which they are loaded and used.

A model is identified by its folder and its manifest: a folder that was written again is another model. Each is loaded
and verified once, even if many requests need it at the same moment; the least recently used ones are dropped.
"""

import asyncio
import os
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import ParamSpec, TypeVar

from epochd.artifact.files import MANIFEST
from epochd.core.errors import Busy
from epochd.serving.predictor import Predictor

P = ParamSpec("P")
T = TypeVar("T")

Identity = tuple[Path, int, int]
RETRY_SECONDS = 2


class BoundedThreads:
    """``threads`` threads for work on models; up to ``waiting`` more calls wait for one."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="serving")
        self._most, self._calls = threads + waiting, 0

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of ``work`` in a thread. Raises Busy if too many calls wait already.

        Work that has begun goes on when the caller is cancelled, and counts until its end.
        """
        if self._calls >= self._most:
            raise Busy(f"{self._calls} requests already predict or wait: repeat this one later", RETRY_SECONDS)
        self._calls += 1
        context = copy_context()  # the language of the request
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(work, *args, **kwargs))
        future.add_done_callback(self._ended)
        return await future

    def _ended(self, future: asyncio.Future[T]) -> None:
        self._calls -= 1

    def close(self) -> None:
        """Reject what waits; what has begun goes on, and is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class PredictorCache:
    """Up to ``most`` loaded models of up to ``most_bytes`` together; at least one, however large it is."""

    def __init__(self, most: int, most_bytes: int, threads: BoundedThreads) -> None:
        self._most, self._most_bytes, self._threads = most, most_bytes, threads
        self._loaded: OrderedDict[Identity, Predictor] = OrderedDict()
        self._loading: dict[Identity, asyncio.Task[Predictor]] = {}

    def __len__(self) -> int:
        return len(self._loaded)

    @property
    def nbytes(self) -> int:
        """About how much memory the loaded models take."""
        return sum(predictor.nbytes for predictor in self._loaded.values())

    def loaded(self, folder: Path) -> Predictor | None:
        """The model in this folder if it is loaded. Raises OSError if there is no model."""
        return self._use(identity(folder))

    async def get(self, folder: Path) -> Predictor:
        """The model in this folder. Raises OSError if there is none, CorruptFile if it is damaged, Busy."""
        key = identity(folder)
        if (found := self._use(key)) is not None:
            return found
        task = self._loading.get(key)
        if task is None:
            self._loading[key] = task = asyncio.create_task(self._load(key))
            task.add_done_callback(lambda _: self._loading.pop(key, None))
        return await asyncio.shield(task)  # others may wait for it too

    def evict(self, folder: Path) -> None:
        """Drop the model in this folder."""
        for key in [key for key in self._loaded if key[0] == folder]:
            del self._loaded[key]

    async def _load(self, key: Identity) -> Predictor:
        predictor = await self._threads.run(Predictor.load, key[0])
        self.evict(key[0])  # what was in this folder before
        self._loaded[key] = predictor
        while len(self._loaded) > 1 and (len(self._loaded) > self._most or self.nbytes > self._most_bytes):
            self._loaded.popitem(last=False)
        return predictor

    def _use(self, key: Identity) -> Predictor | None:
        found = self._loaded.get(key)
        if found is not None:
            self._loaded.move_to_end(key)
        return found


def identity(folder: Path) -> Identity:
    """What distinguishes the model in a folder from any other that was or will be there. Raises OSError."""
    manifest = os.stat(f"{folder}/{MANIFEST}")
    return folder, manifest.st_ino, manifest.st_mtime_ns
