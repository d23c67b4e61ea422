"""The parts of answers and events that are stored as JSON and sent as they are. The models only describe them.

A new attempt, a worker of another version and older data may add fields, so all of them allow fields that are not
listed. The tests compare them with the answers of real trainings.
"""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from epochd.api.responses import Activity, ProblemShape, RootShape, Shape, described_as
from epochd.core.columns import ColumnType
from epochd.core.jobs import State
from epochd.core.spec_fields import Priority, SpecFields


class TrainingConfig(SpecFields):
    """A training config. In an answer, options that do not apply to the others are left out."""

    model_config = ConfigDict(use_attribute_docstrings=False)


class MetricValues(Shape):
    """The metrics of some rows; those of another task are left out, and null is one that is not defined."""

    loss: float | None = None
    accuracy: float | None = None
    auc: float | None = None
    average_precision: float | None = None
    auc_estimated: bool | None = Field(None, description="Whether the last two are estimates from a histogram.")
    f1: float | None = None
    f1_weighted: float | None = None
    precision: float | None = None
    recall: float | None = None
    balanced_accuracy: float | None = None
    log_loss: float | None = None
    brier: float | None = None
    top_5_accuracy: float | None = None
    r2: float | None = None
    mae: float | None = None
    rmse: float | None = None
    mape: float | None = None
    smape: float | None = None


class EpochMetrics(Shape):
    """A row of the history. Without validation rows, the metrics from ``val_auc`` on begin with ``train_`` instead."""

    epoch: int
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float | None
    val_accuracy: float | None
    learning_rate: float
    time_per_epoch: float = Field(description="Seconds.")
    train_r2: float | None = None
    val_auc: float | None = None
    val_average_precision: float | None = None
    val_auc_estimated: bool | None = None
    val_f1: float | None = None
    val_f1_weighted: float | None = None
    val_precision: float | None = None
    val_recall: float | None = None
    val_balanced_accuracy: float | None = None
    val_log_loss: float | None = None
    val_brier: float | None = None
    val_top_5_accuracy: float | None = None
    val_r2: float | None = None
    val_mae: float | None = None
    val_rmse: float | None = None
    val_mape: float | None = None
    val_smape: float | None = None
    members: int | None = Field(
        None, description="With `folds` or `ensemble`: how many networks have trained in this epoch; metrics are means."
    )
    monitored_std: float | None = Field(
        None, description="The sample standard deviation of the monitored metric over these networks."
    )


class CurveRow(EpochMetrics):
    """A row of the history, or the extremes of several."""

    elapsed_seconds: float = Field(description="The time of training up to the end of this epoch.")


class BestMetrics(MetricValues):
    """The metrics of the best epoch."""

    epoch: int
    loss: float | None
    accuracy: float | None


class ClassMetrics(Shape):
    """The metrics of one class."""

    label: Any
    precision: float
    recall: float
    f1: float
    support: int = Field(description="The rows of the class.")
    predicted: int = Field(description="The rows for which it is predicted.")


class SideMetrics(MetricValues):
    """The final metrics of one side of the split, of the best weights."""

    rows: int
    confusion_matrix: list[list[int]] | None = Field(
        None,
        description="Rows by true class and predicted class, in the order of the classes; for 100 classes at most.",
    )
    per_class: list[ClassMetrics] | None = None


class BaselineMetrics(MetricValues):
    """The metrics of a trivial prediction on the same rows."""

    name: str = Field(examples=["majority class", "prior", "mean", "last value", "seasonal naive"])
    season: int | None = Field(None, description="Of a seasonal naive forecast, in rows.")


class Baselines(Shape):
    validation: list[BaselineMetrics] | None = None
    test: list[BaselineMetrics] | None = None
    train: list[BaselineMetrics] | None = None


class MemberMetrics(MetricValues):
    """The metrics of one network of several, on the rows that it was validated on."""

    rows: int
    epochs: int
    best_epoch: int
    stopped_early: bool


class MembersMetrics(Shape):
    """The metrics of each of several networks, and their spread."""

    part: Literal["validation", "train"] = Field(description="The rows that they were measured on.")
    each: list[MemberMetrics] = Field(description="By fold, or by member of the ensemble.")
    mean: MetricValues
    std: MetricValues = Field(description="The sample standard deviation (n - 1).")


class FinalMetrics(Shape):
    """The final metrics on each side that has rows, and those of the baselines. With `folds`, validation metrics are
    those of the out-of-fold predictions of all rows that are not test rows."""

    validation: SideMetrics | None = None
    test: SideMetrics | None = None
    train: SideMetrics
    members: MembersMetrics | None = Field(None, description="With `folds` or `ensemble`: each network's own metrics.")
    baselines: Baselines
    main_metric: str = Field(description="The metric by which the model is compared with its baselines.")
    verified: bool | None = Field(
        None, description="Whether validation and test metrics are those of the saved files, loaded again."
    )
    decision_threshold: float | None = Field(
        None, description="The probability of the second of two classes above which it is predicted."
    )
    warnings: list[str] = Field(description="Those of the task's warnings that are about its result.")


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
    """Learning rates as [epoch, rate]: those to come, before and after the change of a resume; or, where a completed
    training is continued, those that it has used and those to come."""

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


class Receipt(RootShape[ReceiptFromBeginning | ReceiptFromCheckpoint]):
    """The state that a resumed training starts from."""

    root: ReceiptFromBeginning | ReceiptFromCheckpoint = Field(discriminator="from_")


class RevisionShape(Shape):
    """A change of the config on a resume."""

    at: float = Field(description="Seconds since the Unix epoch.")
    changes: dict[str, list[Any]] = Field(description="Option → [old, new].")


class LeftOutShape(Shape):
    name: str
    reason: str


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
    left_out: list[LeftOutShape] = Field([], description="Columns that are not learned from, such as identifiers.")
    types: dict[str, ColumnType] | None = Field(None, description="What each feature column is.")


class Timings(Shape):
    """Where the time of a training went, in seconds of all attempts that have reported their end."""

    queue: float = Field(description="Waiting for a slot, up to now while it waits.")
    start: float = Field(description="Until a worker had read its ticket: process start and import of the framework.")
    data: float = Field(description="Reading, checking, splitting and encoding the dataset.")
    compile: float = Field(
        description="Building the network, and what the first call of a program took longer than later ones."
    )
    train: float
    validate_: float = Field(alias="validate", description="Metrics at the end of each epoch.")
    checkpoint: float = Field(description="Saving and restoring checkpoints.")
    pack: float = Field(description="Final metrics, ONNX graph, files of the model, their verification, report.")


class MeasuredSpeed(Shape):
    """What a training on a CPU has measured of its engine, for `framework: auto`."""

    engine: str
    network: str = Field(examples=["mlp", "cnn", "cnn2d", "lstm", "gru"])
    flops: float = Field(description="Floating-point operations of a step.")
    step_seconds: float
    compile_seconds: float
    import_seconds: float | None = Field(description="The import of the framework; null where it was not measured.")


class TrainingSummary(Shape):
    """What is known of a training as a whole; most of it once it has started, metrics once it is complete."""

    dataset: CheckedDatasetShape | None = None
    framework: str | None = None
    device: str | None = None
    threads: int | None = None
    gpus: list[int] | None = None
    parameters: int | None = None
    steps_per_epoch: int | None = Field(None, description="The number of steps of the optimizer in an epoch.")
    epochs: int | None = None
    best_epoch: int | None = None
    stopped_early: bool | None = None
    metrics: FinalMetrics | None = None
    replay_of: str | None = None
    timings: dict[str, float] | None = Field(
        None, description="Seconds of each phase so far; `timings` of the task has all of them."
    )
    speed: MeasuredSpeed | None = None
    model_removed_at: str | None = Field(None, description="When the model was deleted, if the task was kept.")


class HistoryDifference(Shape):
    epochs: list[int] = Field(description="The number of epochs of each.")
    first_difference: dict[str, Any] | None = Field(description="Epoch, metric and both values; times do not count.")


class WeightDifference(Shape):
    differing: list[str] = Field(description="The names of the tensors that differ.")
    largest_difference: float | None = Field(description="Absolute; null where shapes differ.")


class ModelComparison(Shape):
    """How a repeated training differs from the first one; pairs are [first, repeated]."""

    identical: bool = Field(description="Epochs, weights and scores are equal bit for bit.")
    history: HistoryDifference
    weights: WeightDifference
    scores: dict[str, list[Any]]
    environment: dict[str, list[Any]] = Field(description="Versions, device, threads and CPU, where they differ.")


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


class TrainingEvent(RootShape[Event]):
    """The data of one event of a training's stream, told apart by ``type``."""

    root: Event = Field(discriminator="type")


class ActivityEvent(_Event):
    """What a running training does at this moment."""

    type: Literal["activity"]
    activity: Activity


class TasksEvent(Shape):
    """Trainings that have changed."""

    type: Literal["tasks"]
    tasks: list[Annotated[dict[str, Any], described_as("TaskLine")]]


class RemovedEvent(Shape):
    """Trainings that do not exist, or not any more."""

    type: Literal["removed"]
    task_ids: list[str]


class LiveEvent(RootShape[Event | ActivityEvent | TasksEvent | RemovedEvent]):
    """The data of one event of a stream of several trainings, told apart by ``type``."""

    root: Event | ActivityEvent | TasksEvent | RemovedEvent = Field(discriminator="type")


class LogEventLine(Shape):
    """A line of a log."""

    attempt: int
    line: str


class LogStreamEvent(RootShape[LogEventLine | ShutdownEvent]):
    """The data of one event of a log's stream."""


class NoMetrics(Shape):
    """The metrics before the first epoch."""

    model_config = ConfigDict(extra="forbid")


class PriorityBody(Shape):
    model_config = ConfigDict(extra="forbid", strict=True)

    priority: Priority = Field(description="From -100 to 100; tasks of higher priority start first.")


class RetryOptions(Shape):
    model_config = ConfigDict(extra="forbid")

    from_beginning: bool = Field(False, description="Start without the checkpoint of the task.")
    output_path: str | None = Field(None, description="Save the model in another folder.")
