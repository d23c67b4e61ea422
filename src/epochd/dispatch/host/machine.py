"""What the machine of the server has, how much of it is free, and what fills the data folder, as measured values.

Operators look at this to decide whether more trainings fit; nothing of it is needed to train. The data folder can
contain millions of files, so it is walked for a limited time; what was found until then is marked as a lower bound.
"""

import os
import platform
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from stat import S_ISDIR
from time import monotonic

import psutil

import epochd
from epochd.artifact.pack import cpu_name
from epochd.core.settings import DATABASE_FILE, Settings
from epochd.dispatch.host import gpus, memory
from epochd.dispatch.host.gpus import Gpu

WALK_SECONDS = 5.0
BLOCK = 512
"""Bytes of a unit of ``st_blocks``, whatever the file system."""
DISTRIBUTIONS = {
    "pytorch": ("torch",),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-macos"),
    "keras": ("keras",),
    "jax": ("jax",),
    "numpy": ("numpy",),
    "polars": ("polars",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
}
"""Name → the distributions that it can be installed from."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """``usable`` are the logical processors that the server may run on; ``load`` is the average of the last minute."""

    name: str
    logical: int
    usable: int
    load: float | None


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes; ``limit`` is what server and trainings may use, less than ``total`` in a container."""

    total: int
    available: int
    limit: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a part of the data folder occupies on the disk; at least this, unless it ``is_complete``."""

    part: str
    bytes: int
    files: int
    is_complete: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the data folder, in bytes."""

    folder: str
    total: int
    free: int
    usage: list[Usage]


@dataclass(frozen=True, slots=True)
class Machine:
    """``disk`` is None if the data folder is gone. Software that is not installed has no version."""

    cpu: Cpu
    memory: Memory
    gpus: list[Gpu]
    disk: Disk | None
    versions: dict[str, str | None]


def measure(settings: Settings) -> Machine:
    """Measure everything, which takes up to ``WALK_SECONDS`` and the time of the driver of the GPUs."""
    found = psutil.virtual_memory()
    limit = memory.total_bytes()
    return Machine(
        cpu=_cpu(),
        memory=Memory(found.total, min(found.available, limit), limit),
        gpus=gpus.list_gpus(),
        disk=_disk(settings),
        versions={
            "epochd": epochd.__version__,
            "python": platform.python_version(),
            **{name: _version(names) for name, names in DISTRIBUTIONS.items()},
        },
    )


def _cpu() -> Cpu:
    logical = os.cpu_count() or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    with suppress(OSError):
        return Cpu(cpu_name(), logical, usable, round(os.getloadavg()[0], 2))
    return Cpu(cpu_name(), logical, usable, None)


def _version(names: Iterable[str]) -> str | None:
    """The version of the first of these distributions that is installed; the software itself is not imported."""
    for name in names:
        with suppress(PackageNotFoundError):
            return version(name)
    return None


def _disk(settings: Settings) -> Disk | None:
    home = settings.data_dir
    parts = {
        "models": [settings.artifacts_dir],
        "checkpoints": [settings.checkpoints_dir],
        "datasets": [settings.dataset_roots[0]],
        "predictions": [settings.predictions_dir],
        "logs": [settings.logs_dir],
        "cache": [settings.cache_dir],
        "database": [] if settings.database_url else sorted(home.glob(f"{DATABASE_FILE}*")),
    }
    try:
        space = shutil.disk_usage(home)
    except OSError:
        return None
    until = monotonic() + WALK_SECONDS
    usage = [occupied(part, paths, until) for part, paths in parts.items()]
    return Disk(str(home.absolute()), space.total, space.free, usage)


def occupied(part: str, paths: Iterable[Path], until: float) -> Usage:
    """What these files, and those in these folders, occupy, as far as they are found ``until`` then. A file with
    several names counts once, a link not at all; what disappears meanwhile is skipped."""
    waiting, seen, size, files = list(map(str, paths)), set[tuple[int, int]](), 0, 0
    while waiting:
        if monotonic() > until:
            return Usage(part, size, files, is_complete=False)
        with suppress(OSError):
            path = waiting.pop()
            about = os.lstat(path)
            if S_ISDIR(about.st_mode):
                with os.scandir(path) as entries:
                    waiting += [entry.path for entry in entries if not entry.is_symlink()]
            elif about.st_nlink == 1 or (about.st_dev, about.st_ino) not in seen:
                seen |= {(about.st_dev, about.st_ino)} if about.st_nlink > 1 else set()
                size, files = size + about.st_blocks * BLOCK, files + 1
    return Usage(part, size, files, is_complete=True)
