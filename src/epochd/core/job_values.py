"""The parts of a job that are kept as JSON objects: in the database, in events and in the answers of the API."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Self


class Phase(StrEnum):
    """What a training spends its time on, in this order. Every moment of an attempt belongs to exactly one phase."""

    QUEUE = "queue"
    """From the submission, the resume or the end of an interrupted attempt until a worker slot is free."""
    START = "start"
    """Until a worker process reads the ticket: process start and import of the framework, if none is warm."""
    DATA = "data"
    """Reading, checking, splitting and encoding the dataset."""
    COMPILE = "compile"
    """Building the network; compiling its programs, see ``loop.phases``."""
    TRAIN = "train"
    VALIDATE = "validate"
    """Metrics, best weights and patience at the end of each epoch."""
    CHECKPOINT = "checkpoint"
    """Saving and restoring checkpoints."""
    PACK = "pack"
    """Final metrics, ONNX graph, files of the model, their verification, report."""


@dataclass(frozen=True, slots=True)
class JsonValue:
    """A value with a JSON form, without the fields that are None. Keys that this version does not know stay in
    ``other`` and are written again, so that nothing is lost that another version has stored."""

    other: dict[str, Any] = field(default_factory=dict, kw_only=True)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Raises KeyError for a required key that is missing."""
        named = [one for one in fields(cls) if one.name != "other"]
        required = {one.name for one in named if one.default is MISSING and one.default_factory is MISSING}
        known = {one.name: values[one.name] for one in named if one.name in values or one.name in required}
        return cls(**known, other={name: value for name, value in values.items() if name not in known})

    def as_json(self) -> dict[str, Any]:
        found = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "other"}
        return {name: value for name, value in found.items() if value is not None} | self.other


@dataclass(frozen=True, slots=True)
class Checkpoint(JsonValue):
    """A checkpoint on disk. ``path`` is relative to the data directory; ``epoch`` and ``step`` (of the next epoch) are
    what it has completed; ``bytes`` is its size. ``restores`` describes what a resume restores from it."""

    path: str
    epoch: int = 0
    step: int = 0
    bytes: int | None = None
    restores: dict[str, Any] | None = None

    @property
    def position(self) -> tuple[int, int]:
        """Completed epochs and steps, to compare checkpoints of one job."""
        return self.epoch, self.step


@dataclass(frozen=True, slots=True)
class JobError(JsonValue):
    """Why a job has failed or cannot continue. ``needed_bytes`` is the free disk space that it requires."""

    code: str
    message: str
    problems: list[dict[str, Any]] = field(default_factory=list)
    log_tail: list[str] | None = None
    needed_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Revision(JsonValue):
    """A change of the config on a resume: when (seconds since the Unix epoch), and option → [before, after]."""

    at: float
    changes: dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class MemoryCap:
    """The memory limit of a control group: ``limit`` bytes above the ``before`` bytes that the group at ``path`` used.

    ``kills`` and ``ooms`` are the kernel's counters at the moment when the limit was set.
    """

    path: str
    before: int
    limit: int
    kills: int
    ooms: int

    @property
    def total(self) -> int:
        """The limit of the whole group, in bytes."""
        return self.before + self.limit


@dataclass(frozen=True, slots=True)
class WorkerIdentity(JsonValue):
    """A worker process. ``created`` (its start time) tells it from a later process with the same ``pid``; ``machine``
    names the machine whose pid it is, None where only one server uses the data folder."""

    pid: int
    created: float
    memory_cap: MemoryCap | None = None
    machine: str | None = None

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        known = ("pid", "created", "hold", "machine")
        other = {name: value for name, value in values.items() if name not in known}
        cap = MemoryCap(**values["hold"]) if "hold" in values else None
        return cls(values["pid"], values["created"], cap, values.get("machine"), other=other)

    def as_json(self) -> dict[str, Any]:
        cap = {} if self.memory_cap is None else {"hold": asdict(self.memory_cap)}
        place = {} if self.machine is None else {"machine": self.machine}
        return {"pid": self.pid, "created": self.created} | cap | place | self.other
