"""The machine's GPUs: how many there are, and who has which.

A GPU belongs to one training at a time. The server asks the driver's own tool, since it imports no
framework that could tell.
"""

import logging
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from epochd.core.errors import SettingsError
from epochd.core.jobs import AttemptKey
from epochd.core.specs import TrainingSpec

logger = logging.getLogger(__name__)

QUERY = ("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
QUERY_SECONDS = 10.0
UUIDS = ("nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader")
USERS = ("nvidia-smi", "--query-compute-apps=pid,gpu_uuid,used_memory", "--format=csv,noheader,nounits")


def find(setting: str) -> list[int]:
    """The GPUs to give away, by ``EPOCHD_GPUS``: ``auto``, ``none`` or ids. Raises SettingsError."""
    match setting.strip().lower():
        case "none" | "":
            return []
        case "auto":
            return _visible(os.environ.get("CUDA_VISIBLE_DEVICES"), _detected())
        case ids:
            return _parsed(ids)


def _parsed(ids: str) -> list[int]:
    try:
        return sorted({int(part) for part in ids.split(",")})
    except ValueError:
        raise SettingsError(f"EPOCHD_GPUS is {ids!r}; use auto, none, or ids such as 0,1") from None


@cache
def _detected() -> list[int]:
    """Asked once per process: a machine's GPUs do not change, and the driver may take a second to answer."""
    try:
        return [int(line) for line in _asked(QUERY)]
    except (OSError, subprocess.SubprocessError) as error:
        logger.warning("nvidia-smi does not answer, so trainings run on the CPU: %s", error)
        return []


def _asked(query: Sequence[str]) -> list[str]:
    """The lines of the driver's answer; none on a machine without the tool. Raises OSError or SubprocessError."""
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=QUERY_SECONDS, check=True)
    except FileNotFoundError:
        return []
    return answer.stdout.strip().splitlines()


@dataclass(frozen=True, slots=True)
class User:
    """A process that computes on a GPU; ``memory`` in bytes, None where the driver does not tell."""

    pid: int
    gpu: int
    memory: int | None


def users() -> list[User]:
    """Who uses the machine's GPUs, by the driver; nobody where it does not answer."""
    try:
        return _users(_asked(UUIDS), _asked(USERS))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        logger.warning("nvidia-smi does not say who uses the GPUs: %s", error)
        return []


def _users(uuids: Sequence[str], lines: Sequence[str]) -> list[User]:
    """Lines like ``0, GPU-x`` and ``4711, GPU-x, 512`` put together. Raises ValueError for anything else."""
    indices = {uuid: int(index) for index, uuid in (_fields(line) for line in uuids)}
    found = []
    for pid, uuid, mebibytes in (_fields(line) for line in lines):
        if uuid in indices:
            used = int(mebibytes) * 2**20 if mebibytes.isdecimal() else None
            found.append(User(int(pid), indices[uuid], used))
    return found


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _visible(variable: str | None, detected: list[int]) -> list[int]:
    """``CUDA_VISIBLE_DEVICES`` narrows what was found; ids that are no numbers (UUIDs) cannot be matched."""
    if variable is None:
        return detected
    try:
        return [gpu for gpu in detected if gpu in _parsed(variable)] if variable else []
    except SettingsError:
        logger.warning("CUDA_VISIBLE_DEVICES=%s names no ids; set EPOCHD_GPUS instead", variable)
        return []


class Pool:
    """Who has which GPU. ``owned`` are all that this server may give away."""

    def __init__(self, owned: list[int]) -> None:
        self.owned = owned
        self._taken: dict[AttemptKey, list[int]] = {}

    @property
    def free(self) -> list[int]:
        taken = {gpu for gpus in self._taken.values() for gpu in gpus}
        return [gpu for gpu in self.owned if gpu not in taken]

    def fits(self, spec: TrainingSpec) -> bool:
        """Whether enough GPUs are free for this training right now.

        One that wants more than there are at all need not wait: its worker refuses it with the reason.
        """
        wanted = needed(spec, len(self.owned))
        return wanted <= len(self.free) or wanted > len(self.owned)

    def take(self, key: AttemptKey, spec: TrainingSpec) -> list[int]:
        """Give an attempt its GPUs; the caller has asked ``fits``."""
        self._taken[key] = self.free[: needed(spec, len(self.owned))]
        return self._taken[key]

    def hold(self, key: AttemptKey, gpus: list[int]) -> None:
        """Mark GPUs as taken by an attempt that a former server started."""
        self._taken[key] = gpus

    def give_back(self, key: AttemptKey) -> None:
        self._taken.pop(key, None)


def needed(spec: TrainingSpec, owned: int) -> int:
    """GPUs that a training takes on a server that has ``owned``."""
    if spec.device == "cpu" or spec.num_devices is not None:
        return 0
    if spec.num_gpus == "auto":
        return owned
    if spec.num_gpus is not None:
        return spec.num_gpus
    return min(1, owned)
