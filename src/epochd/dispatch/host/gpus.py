"""The GPUs of the machine: detection, allocation, and the processes that use them.

A GPU is allocated to one training at a time. The server runs nvidia-smi, since it imports no framework.
"""

import logging
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import count, islice
from typing import Any

from epochd.core.errors import SettingsError
from epochd.core.jobs import AttemptKey, gpu_request, gpus_needed
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.specs import TrainingSpec

logger = logging.getLogger(__name__)

QUERY_SECONDS = 10.0


def detect(setting: str) -> list[int]:
    """The ids of the GPUs for trainings, by ``EPOCHD_GPUS``: ``auto``, ``none`` or ids. Raises SettingsError."""
    match setting.strip().lower():
        case "none" | "":
            return []
        case "auto":
            detected, variable = _detected(), os.environ.get("CUDA_VISIBLE_DEVICES")
        case ids:
            return _parsed(ids)
    if variable is None:
        return detected
    try:
        return [gpu for gpu in detected if gpu in _parsed(variable)] if variable else []
    except SettingsError:
        logger.warning("CUDA_VISIBLE_DEVICES=%s contains no numeric ids; set EPOCHD_GPUS instead", variable)
        return []


def _parsed(ids: str) -> list[int]:
    try:
        return sorted({int(part) for part in ids.split(",")})
    except ValueError:
        message = f"invalid settings: EPOCHD_GPUS={ids[:80]}: use auto, none, or ids such as 0,1"
        raise SettingsError(message) from None


@cache
def _detected() -> list[int]:
    """Queried once per process: the GPUs do not change, and the driver may take a second to answer."""
    try:
        return [int(index) for (index,) in _query("gpu=index", "csv,noheader")]
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi failed, so trainings run on the CPU: %s", error)
        return []


def _query(fields: str, format: str) -> list[list[str]]:
    """The rows that nvidia-smi prints; none on a machine without it. Raises OSError or SubprocessError."""
    command = ("nvidia-smi", f"--query-{fields}", f"--format={format}")
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True)
    except FileNotFoundError:
        return []
    return [[field.strip() for field in line.split(",")] for line in answer.stdout.strip().splitlines()]


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that uses a GPU; ``memory`` in bytes, None if the driver does not report it."""

    pid: int
    gpu: int
    memory: int | None


def list_processes() -> list[GpuProcess]:
    """All processes that use a GPU, by nvidia-smi; none if it fails."""
    try:
        indices = {uuid: int(index) for index, uuid in _query("gpu=index,uuid", "csv,noheader")}
        found = []
        for pid, uuid, mebibytes in _query("compute-apps=pid,gpu_uuid,used_memory", "csv,noheader,nounits"):
            if uuid in indices:
                found.append(GpuProcess(int(pid), indices[uuid], _bytes(mebibytes)))
        return found
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("nvidia-smi failed to list the processes on the GPUs: %s", error)
        return []


def usage(ids: list[int]) -> list[dict[str, Any]]:
    """The present use of some GPUs: ``id``, ``utilization`` from 0 to 1, and ``memory`` of ``memory_total`` in bytes,
    each None if the driver does not report it; no GPU if nvidia-smi fails."""
    fields = "gpu=index,utilization.gpu,memory.used,memory.total"
    try:
        found = []
        for index, percent, used, total in _query(fields, "csv,noheader,nounits"):
            if int(index) in ids:
                share = int(percent) / 100 if percent.isdecimal() else None
                memory = {"memory": _bytes(used), "memory_total": _bytes(total)}
                found.append({"id": int(index), "utilization": share, **memory})
        return found
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("nvidia-smi failed to measure the use of the GPUs: %s", error)
        return []


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU of the machine; memory in bytes, None if the driver does not report it."""

    id: int
    name: str
    memory: int | None
    memory_used: int | None


def list_gpus() -> list[Gpu]:
    """All GPUs of the machine, by nvidia-smi; none if it fails."""
    try:
        rows = _query("gpu=index,name,memory.total,memory.used", "csv,noheader,nounits")
        return [Gpu(int(index), name, *map(_bytes, sizes)) for index, name, *sizes in rows]
    except (OSError, subprocess.SubprocessError, ValueError, TypeError) as error:
        logger.warning("nvidia-smi failed to describe the GPUs: %s", error)
        return []


def _bytes(mebibytes: str) -> int | None:
    """Bytes of what the driver prints; None where it prints no number, such as ``[N/A]``."""
    return int(mebibytes) * 2**20 if mebibytes.isdecimal() else None


class GpuPool:
    """Allocates GPUs to attempts. ``owned`` are the ids of all GPUs for trainings, of which others use so many."""

    def __init__(self, owned: list[int], used_by_others: int = 0) -> None:
        self.owned = owned
        self.used_by_others = used_by_others
        self._allocated: dict[AttemptKey, list[int]] = {}

    @property
    def free(self) -> list[int]:
        allocated = {gpu for gpus in self._allocated.values() for gpu in gpus}
        free = [gpu for gpu in self.owned if gpu not in allocated]
        return free[: max(0, len(free) - self.used_by_others)]

    def allocated(self, key: AttemptKey) -> list[int]:
        """The GPUs of an attempt."""
        return self._allocated.get(key, [])

    def allocate(
        self, key: AttemptKey, spec: TrainingSpec | PredictionSpec, others: Sequence["GpuPool"] = ()
    ) -> list[int]:
        """Allocate GPUs to an attempt, as many as on each of its ``others``; enough must be free, unless the server has
        too few, which its worker rejects."""
        owned = min(len(pool.owned) for pool in (self, *others))
        self._allocated[key] = self.free[: needed(spec, owned)]
        return self._allocated[key]

    def reserve(self, key: AttemptKey, gpus: list[int]) -> None:
        """Mark GPUs as allocated to an inherited worker."""
        self._allocated[key] = gpus

    def any_of(self, number: int) -> list[int]:
        """So many ids that no attempt has, for one whose ids are another's business."""
        allocated = {gpu for gpus in self._allocated.values() for gpu in gpus}
        return list(islice((gpu for gpu in count() if gpu not in allocated), number))

    def release(self, key: AttemptKey) -> None:
        self._allocated.pop(key, None)


def needed(spec: TrainingSpec | PredictionSpec, owned: int) -> int:
    """The number of GPUs that a training needs, on a server with ``owned`` GPUs; a prediction needs none."""
    return gpus_needed(gpu_request(spec), owned)
