"""A job as a frozen value, its state transitions, and the changes that its config may undergo."""

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from epochd.core import specs
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import IllegalMove, InvalidSpec, Problem
from epochd.core.job_values import Checkpoint, JobError, Phase, Revision, WorkerIdentity
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.spec_fields import APPLIES_TO
from epochd.core.specs import TrainingSpec
from epochd.core.text import shown


class State(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not MOVES[self]


MOVES: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.PAUSED, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset({State.PENDING, State.PAUSED, State.COMPLETED, State.FAILED, State.CANCELLED}),
    State.PAUSED: frozenset({State.PENDING, State.CANCELLED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}


class JobKind(StrEnum):
    """What a job does. Its id begins with the name: ``epoch_training_…`` or ``prediction_…``."""

    TRAINING = "training"
    PREDICTION = "prediction"


class Command(StrEnum):
    """What a running worker has to do. ``release`` is a pause for the server's own reasons, a shutdown or a job of
    higher priority: the job is requeued."""

    CONTINUE = "continue"
    PAUSE = "pause"
    CANCEL = "cancel"
    RELEASE = "release"


AttemptKey = tuple[str, int]
"""An attempt: the id of its task, and its number."""

MAX_STRIKES = 3
"""A job fails as poison once this many workers have died since its last newer checkpoint."""


def check_move(task_id: str, old: State, new: State) -> None:
    """Raise IllegalMove unless ``old`` may be followed by ``new``."""
    if new not in MOVES[old]:
        allowed = ", ".join(sorted(MOVES[old])) or "none, it has finished"
        raise IllegalMove(f"task {task_id} is {old} and cannot become {new} (allowed: {allowed})")


TASK_ID = re.compile(r"(epoch_training|prediction)_\d{8}_\d{6}_[0-9a-f]{6}")
PREFIXES = {JobKind.TRAINING: "epoch_training", JobKind.PREDICTION: "prediction"}


def new_task_id(now: datetime | None = None, kind: JobKind = JobKind.TRAINING) -> str:
    """``epoch_training_YYYYMMDD_HHMMSS_xxxxxx`` in UTC, with six random hex digits; ``prediction_…`` for that kind."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%d_%H%M%S")
    return f"{PREFIXES[kind]}_{stamp}_{secrets.token_hex(3)}"


def is_prediction(task_id: str) -> bool:
    """Whether this is the id of a batch prediction."""
    return task_id.startswith(f"{PREFIXES[JobKind.PREDICTION]}_")


def kind_of(spec: TrainingSpec | PredictionSpec) -> JobKind:
    """The kind of the job that carries out this spec."""
    return JobKind.PREDICTION if isinstance(spec, PredictionSpec) else JobKind.TRAINING


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the jobs table. Times are seconds since the Unix epoch (UTC).

    ``parent`` is the task that this one continues or retries. ``crashes`` counts attempts whose worker died,
    ``strikes`` those since the last newer checkpoint, ``preemptions`` attempts that the server ended for its own
    reasons. ``worker`` is the process of the attempt if it is on the machine of the server, ``agent`` the agent
    that has the newest attempt otherwise, ``progress_at`` the time of its last completed step. ``summary``
    is what workers report about the job as a whole, for display. ``revisions`` are in the order of time. ``owner`` is
    the named user who has submitted it; ``priority`` is that of its config.

    A prediction has no epochs and no best metrics; its ``latest_metrics`` are its progress: rows_done, rows_total,
    rows_per_second, skipped. Its ``artifact`` is the file of predictions.
    """

    id: str
    spec: TrainingSpec | PredictionSpec
    state: State
    created_at: float
    queued_at: float
    attempt: int = 0
    command: Command = Command.CONTINUE
    current_epoch: int = 0
    latest_metrics: dict[str, Any] | None = None
    best_metrics: dict[str, Any] | None = None
    checkpoint: Checkpoint | None = None
    artifact: str | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: JobError | None = None
    started_at: float | None = None
    finished_at: float | None = None
    lease_until: float | None = None
    parent: str | None = None
    priority: int = 0
    owner: str | None = None
    crashes: int = 0
    strikes: int = 0
    preemptions: int = 0
    worker: WorkerIdentity | None = None
    agent: str | None = None
    progress_at: float | None = None
    revisions: list[Revision] = field(default_factory=list)
    reported: int = 0
    last_seq: int = 0

    @property
    def kind(self) -> JobKind:
        return kind_of(self.spec)

    @property
    def training(self) -> TrainingSpec:
        """The config of a training."""
        assert isinstance(self.spec, TrainingSpec), f"task {self.id} is no training"
        return self.spec

    @property
    def prediction(self) -> PredictionSpec:
        """What a batch prediction was asked for."""
        assert isinstance(self.spec, PredictionSpec), f"task {self.id} is no prediction"
        return self.spec

    @property
    def checked_dataset(self) -> CheckedDataset | None:
        """What the server found in the dataset when it checked the config."""
        found = self.summary.get("dataset")
        return CheckedDataset.from_json(found) if found else None

    @property
    def key(self) -> AttemptKey:
        """The present attempt, or the last one."""
        return self.id, self.attempt

    @property
    def gpus(self) -> list[int]:
        """The ids of the GPUs that its worker has reported to use."""
        return list(self.summary.get("gpus", []))

    @property
    def replay_of(self) -> str | None:
        """The task whose training this one repeats."""
        return self.summary.get("replay_of")

    @property
    def waiting_since(self) -> float:
        """When a pending job entered the queue; one that was interrupted keeps the place of its ``queued_at``."""
        return float(self.summary.get("waiting_since", self.queued_at))

    def timings(self, now: float) -> dict[str, float]:
        """Seconds by phase of all attempts that have reported their end; a pending job waits until ``now``."""
        known = self.summary.get("timings", {})
        found = {phase.value: float(known.get(phase, 0.0)) for phase in Phase}
        if self.state is State.PENDING:
            found[Phase.QUEUE] += max(0.0, now - self.waiting_since)
        return found

    @property
    def error_code(self) -> str | None:
        return None if self.error is None else self.error.code


ONE_IF_ANY, ALL_GPUS = -1, -2
"""Requests for GPUs that depend on how many there are."""


def gpu_request(spec: TrainingSpec | PredictionSpec) -> int:
    """How many GPUs a job asks for: a number, ``ONE_IF_ANY`` or ``ALL_GPUS``; a prediction for none."""
    if isinstance(spec, PredictionSpec) or spec.device == "cpu" or spec.num_devices is not None:
        return 0
    if spec.num_gpus is None:
        return ONE_IF_ANY
    return ALL_GPUS if spec.num_gpus == "auto" else spec.num_gpus


def gpus_needed(request: int, owned: int) -> int:
    """The number of GPUs that a request stands for where there are ``owned`` GPUs."""
    return {ONE_IF_ANY: min(1, owned), ALL_GPUS: owned}.get(request, request)


SCHEDULE = tuple(name for name, (owner, _) in APPLIES_TO.items() if owner == "learning_rate_scheduler")
REVISABLE = (
    "epochs",
    "learning_rate",
    "learning_rate_scheduler",
    *SCHEDULE,
    "early_stopping_patience",
    "min_delta",
    "allow_changed_data",
    "priority",
)


def revise(spec: TrainingSpec, changes: dict[str, Any]) -> TrainingSpec:
    """The spec with these changes. A change of the scheduler resets the options of the old one. Names are not validated
    again: their rules may have become stricter since the task was submitted.

    Raises InvalidSpec with every problem: a field that may not be changed, fewer epochs than before, an invalid value.
    """
    problems = []
    hint = f"these can be changed: {', '.join(REVISABLE)}. For other changes start a new task"
    for name in changes:
        if name not in REVISABLE:
            known = name in TrainingSpec.model_fields
            message = (
                f"{name} cannot be changed after a training has started" if known else f"unknown field {shown(name)}"
            )
            problems.append(Problem(name, message, hint))
    epochs = changes.get("epochs")
    if isinstance(epochs, int) and epochs < spec.epochs:
        message = f"epochs = {shown(epochs)} is less than the present {spec.epochs}; it can only be raised"
        problems.append(Problem("epochs", message, "to end earlier, stop the task"))
    if problems:
        raise InvalidSpec(problems)
    values = spec.model_dump()
    if changes.get("learning_rate_scheduler", spec.learning_rate_scheduler) != spec.learning_rate_scheduler:
        values = {name: value for name, value in values.items() if name not in SCHEDULE}
    names = {name: values.pop(name) for name in ("name", "output_path")}
    return specs.parse(values | changes).model_copy(update=names)


def differences(old: TrainingSpec, new: TrainingSpec) -> dict[str, list[Any]]:
    """Option → [before, after], for every option that differs."""
    before, after = old.model_dump(), new.model_dump()
    names = [name for name in REVISABLE if before.get(name) != after.get(name)]
    return {name: [before.get(name), after.get(name)] for name in names}
