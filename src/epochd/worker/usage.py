"""What an attempt uses of its machine: memory and processor time of its processes, and its GPUs.

The reporter's thread asks for it with each heartbeat. GPUs are measured by a thread of their own, since nvidia-smi can
take as long as a heartbeat may.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psutil

from epochd.dispatch.host import gpus

MEASURED_SECONDS, GPU_SECONDS = 1.0, 5.0
"""How old a figure may become before it is measured again."""


class Usage:
    """The usage of this process, and with ``has_ranks`` of its child processes; ``devices`` are the ids of its GPUs."""

    def __init__(self, devices: Sequence[int] = (), *, has_ranks: bool = False) -> None:
        self._process = psutil.Process()
        self._has_ranks = has_ranks
        self._measured: dict[str, Any] = {"memory": None, "cpu": None}
        self._at, self._cpu_seconds = 0.0, 0.0
        self._gpus: list[dict[str, Any]] = []
        self._closed = threading.Event()
        if devices:
            watch = threading.Thread(target=self._watch_gpus, args=(list(devices),), name="gpu-usage", daemon=True)
            watch.start()

    def current(self) -> dict[str, Any]:
        """``memory`` in bytes, without what is shared with files; ``cpu``, the mean number of busy cores since the last
        measurement (None: this is the first); ``gpus``, as ``gpus.usage``."""
        now = time.monotonic()
        if now - self._at >= MEASURED_SECONDS:
            memory, seconds = self._totals()
            elapsed, used = now - self._at, seconds - self._cpu_seconds
            cpu = max(0.0, round(used / elapsed, 2)) if self._at else None
            self._measured = {"memory": memory, "cpu": cpu}
            self._at, self._cpu_seconds = now, seconds
        return self._measured | {"gpus": self._gpus}

    def close(self) -> None:
        self._closed.set()

    def _totals(self) -> tuple[int, float]:
        """Bytes of memory and seconds of processor time of all processes."""
        memory, seconds = 0, 0.0
        processes = [self._process]
        with suppress(psutil.Error, OSError):
            processes += self._process.children(recursive=True) if self._has_ranks else []
        for process in processes:
            with suppress(psutil.Error, OSError), process.oneshot():
                info: Any = process.memory_info()
                memory += int(info.rss) - int(getattr(info, "shared", 0))
                times = process.cpu_times()
                seconds += times.user + times.system
        return memory, seconds

    def _watch_gpus(self, devices: list[int]) -> None:
        while not self._closed.is_set():
            self._gpus = gpus.usage(devices)
            self._closed.wait(GPU_SECONDS)
