"""The parts of answers and events that are stored as JSON and sent as they are. The models only describe them.

A new attempt, a worker of another version and older data may add fields, so all of them allow fields that are not
listed. The tests compare them with the answers of real trainings.
"""

from typing import Any, Literal

from pydantic import ConfigDict, Field, RootModel

from epochd.api.responses import ProblemShape, Shape
from epochd.core.jobs import State
from epochd.core.spec_fields import SpecFields


class TrainingConfig(SpecFields):
    """A training config. In an answer, options that do not apply to the others are left out."""


class EpochMetrics(Shape):
    """A row of the history. The last four are those of a regression."""

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    time_per_epoch: float = Field(description="Seconds.")
    train_r2: float | None = None
    val_r2: float | None = None
    val_mae: float | None = None
    val_rmse: float | None = None


class BestMetrics(Shape):
    """The scores of the best epoch."""

    epoch: int
    loss: float | None
    accuracy: float | None
    r2: float | None = None


class JobErrorShape(Shape):
    """Why a training has failed or cannot continue."""

    code: str = Field(examples=["diverged"])
    message: str
    problems: list[ProblemShape]
    log_tail: list[str] | None = None
    needed_bytes: int | None = Field(None, description="The free disk space that the training requires.")


class ScheduleState(Shape):
    scheduler: str | None = None
    learning_rate: float | None = None
    settings: dict[str, Any] | None = None


class PatienceState(Shape):
    wait: int
    patience: int | None


class LoopPosition(Shape):
    epochs_done: int
    steps_done_in_epoch: int


class Restores(Shape):
    """What a resume restores from a checkpoint."""

    weights: bool | None = None
    optimizer: str | None = None
    schedule: ScheduleState | None = None
    patience: PatienceState | None = None
    best_epoch: int | None = None
    position: LoopPosition | None = None
    data_fingerprint: str | None = None
    validation_fingerprint: str | None = None


class CheckpointShape(Shape):
    path: str = Field(description="Relative to the data directory.")
    epoch: int = 0
    step: int = 0
    bytes: int | None = None
    restores: Restores | None = None


class StartingPoint(Shape):
    """The position of the checkpoint that a training starts from."""

    epoch: int
    step: int


class RateCurves(Shape):
    """Future learning rates as [epoch, rate], before and after the change of a resume."""

    before: list[list[float]]
    after: list[list[float]]
    note: str | None = None


class ReceiptFromBeginning(Shape):
    """The training had not saved a checkpoint."""

    from_: Literal["beginning"] = Field(alias="from")
    learning_rate: RateCurves


class ReceiptFromCheckpoint(Restores):
    from_: Literal["checkpoint"] = Field(alias="from")
    epoch: int
    learning_rate: RateCurves


class Receipt(RootModel[ReceiptFromBeginning | ReceiptFromCheckpoint]):
    """The state that a resumed training starts from."""

    root: ReceiptFromBeginning | ReceiptFromCheckpoint = Field(discriminator="from_")


class RevisionShape(Shape):
    """A change of the config on a resume."""

    at: float = Field(description="Seconds since the Unix epoch.")
    changes: dict[str, list[Any]] = Field(description="Option → [old, new].")


class CheckedDatasetShape(Shape):
    """What the check of a config has found in its dataset."""

    name: str
    rows: int
    features: list[str]
    task: Literal["binary", "multiclass", "regression"] | None
    classes: list[Any] | None
    fingerprint: str | None = Field(
        None, description="SHA-256 of the content; above 64 MiB `sampled:` and a SHA-256 of size, time and samples."
    )
    validation_fingerprint: str | None = None


class TrainingSummary(Shape):
    """What is known of a training as a whole; most of it once it has started, scores once it is complete."""

    dataset: CheckedDatasetShape | None = None
    framework: str | None = None
    device: str | None = None
    threads: int | None = None
    gpus: list[int] | None = None
    parameters: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    stopped_early: bool | None = None
    scores: dict[str, dict[str, float | None]] | None = None
    model_removed_at: str | None = Field(None, description="When the model was deleted, if the task was kept.")


class EventProgress(Shape):
    current_epoch: int
    total_epochs: int
    training_state: State
    latest_metrics: EpochMetrics | None
    best_metrics: BestMetrics | None


class CrashShape(Shape):
    """How a worker died."""

    code: str
    message: str
    attempt: int
    strikes: int
    log_tail: list[str] | None = None


class _Event(Shape):
    task_id: str


class StateEvent(_Event):
    """The task has another state, or a worker has started to train it."""

    type: Literal["state"]
    state: State
    reason: str | None = None
    parent: str | None = None
    started: dict[str, Any] | None = None
    changes: dict[str, list[Any]] | None = None
    checkpoint: CheckpointShape | None = None
    crash: CrashShape | None = None
    error: JobErrorShape | None = None


class ProgressEvent(_Event):
    type: Literal["progress"]
    progress: EventProgress


class CheckpointEvent(_Event):
    type: Literal["checkpoint"]
    checkpoint: CheckpointShape


class RollbackEvent(_Event):
    """The epochs after ``epoch`` are discarded."""

    type: Literal["rollback"]
    epoch: int
    learning_rate: float
    message: str


class LogEvent(_Event):
    type: Literal["log"]
    level: str
    message: str


class CompleteEvent(_Event):
    type: Literal["complete"]
    progress: EventProgress
    artifact: str | None
    summary: TrainingSummary


class FailedEvent(_Event):
    type: Literal["failed"]
    error: JobErrorShape | None


class CancelledEvent(_Event):
    type: Literal["cancelled"]
    state: Literal["cancelled"]


class ShutdownEvent(Shape):
    """The server shuts down; connect again."""

    type: Literal["server_shutdown"]


Event = (
    StateEvent
    | ProgressEvent
    | CheckpointEvent
    | RollbackEvent
    | LogEvent
    | CompleteEvent
    | FailedEvent
    | CancelledEvent
    | ShutdownEvent
)


class TrainingEvent(RootModel[Event]):
    """The data of one event of a training's stream, told apart by ``type``."""

    root: Event = Field(discriminator="type")


class LogEventLine(Shape):
    """A line of a log."""

    attempt: int
    line: str


class LogStreamEvent(RootModel[LogEventLine | ShutdownEvent]):
    """The data of one event of a log's stream."""


class NoMetrics(Shape):
    """The metrics before the first epoch."""

    model_config = ConfigDict(extra="forbid")


class RetryOptions(Shape):
    model_config = ConfigDict(extra="forbid")

    from_beginning: bool = Field(False, description="Start without the checkpoint of the task.")
    output_path: str | None = Field(None, description="Save the model in another folder.")
