"""Tickets: all that a worker needs for one attempt, read from standard input as one JSON line, so that the token
appears neither on a command line nor in an environment."""

import time
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, WrapValidator

from epochd.core.columns import ReadOptions
from epochd.core.datasets import CheckedDataset
from epochd.core.jobs import AttemptKey
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.specs import TrainingSpec

RANK_FAILED = 71
"""The exit code of a worker whose other training processes (ranks) failed; the attempt counts as a crash."""
CLAIM_REFUSED = 75
"""The exit code of a worker that gets no ticket for its claim: that was taken, or is known to no server any more."""
NO_FRAMEWORK = "none"
"""What a worker is started with for a prediction, which needs no framework."""


def _stored_spec(value: Any, _: object) -> TrainingSpec:
    """The spec of a stored task, not validated again: the rules may have become stricter since it was submitted."""
    return value if isinstance(value, TrainingSpec) else TrainingSpec.model_construct(**value)


def _stored_prediction(value: Any, _: object) -> PredictionSpec:
    return value if isinstance(value, PredictionSpec) else PredictionSpec.model_construct(**value)


class AttemptTicket(BaseModel):
    """One attempt at one job of any kind. Paths are absolute; times are in seconds."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    task_id: str
    attempt: int
    token: str
    """Authorises reports of this attempt only."""
    server_url: str
    data_dir: Path
    """Contains ``artifacts/`` and ``checkpoints/<task_id>/``."""
    dataset_roots: list[Path]
    registered: dict[str, Path] = {}
    """The paths of the registered datasets that the spec names."""
    reading: dict[str, ReadOptions] = {}
    """How those of them are read that have options."""
    checkpoint: str | None = None
    """The newest checkpoint in the database, relative to ``data_dir``; None if there is none."""
    threads: int = 1
    """The maximum number of CPU threads."""
    gpus: list[int] = []
    """Ids of the GPUs that are allocated to this attempt; empty: the CPU."""
    claimed_at: float | None = None
    """When the server started the attempt, in seconds since the Unix epoch."""
    lease_seconds: float = 15.0
    checkpoint_seconds: float = 30.0
    grace_seconds: float = 900.0
    """How long to continue while the server is unreachable."""
    log_mb: int = 16
    memory_mb: int | None = None
    """The memory limit of the attempt, in MiB; None: no limit."""
    needs: str | None = None
    """The threads and devices that the worker's process has to have (``engines.registry.fixed``), as another worker has
    found; None: not known."""
    is_memory_capped: bool = False
    """Whether a control group enforces ``memory_mb``, so that the worker need not."""
    node_rank: int = 0
    """The number of this machine among those of the attempt; on 0 its ranks begin, and only this one reports."""
    node_address: str | None = None
    """The address by which the other machines reach this one; None: the one on the way to the server."""
    is_remote: bool = False
    """Whether the worker has the folders of the server not on its own disk: it fetches what it needs from the server,
    and sends what it writes there."""
    is_stored: bool = False
    """Whether the server keeps all folders in an object store, to which the worker hands over what it writes."""

    @property
    def key(self) -> AttemptKey:
        return self.task_id, self.attempt

    @property
    def framework(self) -> str:
        """The framework that the worker's process has to have imported; ``NO_FRAMEWORK`` for none."""
        return NO_FRAMEWORK

    @property
    def noun(self) -> str:
        """What messages call the job."""
        return "task"

    @property
    def log_path(self) -> Path:
        """``<data_dir>/logs/<task_id>/<attempt>.log``; ``<attempt>.node<rank>.log`` if the machine is not the first."""
        node = f".node{self.node_rank}" if self.node_rank else ""
        return self.data_dir / "logs" / self.task_id / f"{self.attempt}{node}.log"

    @property
    def checkpoints_dir(self) -> Path:
        return self.data_dir / "checkpoints" / self.task_id


class Ticket(AttemptTicket):
    """One attempt at a training."""

    kind: Literal["training"] = "training"
    spec: Annotated[TrainingSpec, WrapValidator(_stored_spec)]
    """The spec with ``framework``, ``dataset`` and ``task`` resolved by the server."""
    checked: CheckedDataset | None = None
    """What the server found in the dataset when it checked the config; None where it no longer knows."""
    many_threads: dict[str, float] = {}
    """For each network, the operations of a step from which ``threads`` threads are faster than one on this machine
    (``engines.speeds``); what is not measured is missing."""
    reported_epochs: int = 0
    """The number of epochs that the server has received."""
    resident_mb: int = 256
    """Encoded data above this size, in MiB, are streamed from ``cache/``."""
    cache_mb: int = 20_480
    """The maximum size of all encoded rows in ``cache/``, in MiB."""
    group_readable: bool = False
    """Whether the group of the artifact store may read the model."""
    report: bool = False
    """Whether a report is saved with the model."""
    warnings: list[str] = []
    """What the server warned of when it checked the config; part of the report."""

    @property
    def framework(self) -> str:
        return self.spec.framework

    @property
    def noun(self) -> str:
        return "training"

    @property
    def artifacts_dir(self) -> Path:
        return self.data_dir / "artifacts"

    @property
    def artifact_dir(self) -> Path:
        """``<data_dir>/artifacts/<output_path>/<task_id>``."""
        return self.artifacts_dir / self.spec.artifact_folder / self.task_id

    @property
    def cache_dir(self) -> Path:
        """For data that can be computed again: encoded rows, compiled programs."""
        return self.data_dir / "cache"


class PredictionTicket(AttemptTicket):
    """One attempt at a batch prediction."""

    kind: Literal["prediction"] = "prediction"
    spec: Annotated[PredictionSpec, WrapValidator(_stored_prediction)]
    model_dir: Path
    """The folder of the model."""

    @property
    def noun(self) -> str:
        return "prediction"

    @property
    def output_dir(self) -> Path:
        """``<data_dir>/predictions/<task_id>``: the predictions, once they are complete."""
        return self.data_dir / "predictions" / self.task_id


AttemptKind = TypeVar("AttemptKind", bound=AttemptTicket)


def moved(ticket: AttemptKind, home: Path, now: float, **values: object) -> AttemptKind:
    """A ticket for a worker on another machine than the server, where ``home`` is the data folder and the server's
    clock says ``now``; with other ``values``."""
    values |= {"data_dir": home, "claimed_at": ticket.claimed_at and ticket.claimed_at + time.time() - now}
    if isinstance(ticket, PredictionTicket):
        values["model_dir"] = home / ticket.model_dir
    if isinstance(ticket, Ticket):
        values["group_readable"] = False
    return ticket.model_copy(update=values)


class Claim(BaseModel):
    """What a worker that a cluster manager has started says of itself and its machine when it asks for its ticket.
    ``session`` is random for each process: the same one gets the same answer again, any other one none."""

    model_config = ConfigDict(defer_build=True)

    session: Annotated[str, Field(min_length=16, max_length=64)]
    version: Annotated[str, Field(max_length=50)]
    hostname: Annotated[str, Field(max_length=255)] = ""
    cpus: int = 1
    memory: int = 0
    """Bytes of the machine."""
    frameworks: Annotated[list[Annotated[str, Field(max_length=20)]], Field(max_length=20)] = []
    """Engines whose framework is installed."""


AnyTicket = Annotated[Ticket | PredictionTicket, Field(discriminator="kind")]


class Claimed(BaseModel):
    """The answer to a ``Claim``: no ticket if the server only wanted to know what is installed there."""

    model_config = ConfigDict(defer_build=True)

    ticket: AnyTicket | None
    now: float
    """The server's clock, in seconds since the Unix epoch."""


_TICKETS: TypeAdapter[Ticket | PredictionTicket] = TypeAdapter(AnyTicket, config=ConfigDict(defer_build=True))


def read_ticket(line: bytes) -> Ticket | PredictionTicket:
    """The ticket in a line of JSON. Raises pydantic.ValidationError."""
    return _TICKETS.validate_json(line)
