"""The responses about trainings. The fields of the public guide come first in each, with the guide's names."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from epochd.api.language import TOLD, Told
from epochd.api.responses import Activity, Config, Moment, ProblemShape, Shape, Success, described_as
from epochd.api.tasks.shapes import Timings
from epochd.core import metric_table
from epochd.core.jobs import Job, State
from epochd.dispatch.queue import NOT_WAITING, Standing

Row = Annotated[dict[str, Any], described_as("EpochMetrics")]
Latest = Annotated[dict[str, Any], described_as("EpochMetrics", "NoMetrics")]
Best = Annotated[dict[str, Any], described_as("BestMetrics", "NoMetrics")]
JobError = Annotated[dict[str, Any], TOLD, described_as("JobErrorShape")]
Summary = Annotated[dict[str, Any], TOLD, described_as("TrainingSummary")]
Dataset = Annotated[dict[str, Any], TOLD, described_as("CheckedDatasetShape")]
Receipt = Annotated[dict[str, Any], TOLD, described_as("Receipt")]


class Started(Success):
    task_id: str = Field(examples=["epoch_training_20240101_120000_a1b2c3"])
    message: str = Field(examples=["Epoch训练已启动"])
    config: Config = Field(description="The config with its defaults, and with dataset, task and framework resolved.")
    warnings: list[Told]
    dataset: Dataset | None = Field(description="What the check of the config found in its dataset.")
    queue_position: int | None = Field(description="1 is the next task; null once it is running.")


class Validated(Success):
    valid: bool
    problems: list[ProblemShape]
    warnings: list[Told]
    config: Config | None = Field(
        description="The resolved config that ``start`` would train; null if there are problems."
    )
    dataset: Dataset | None


class Progress(Shape):
    current_epoch: int = Field(examples=[25])
    total_epochs: int = Field(examples=[100])
    training_state: State
    latest_metrics: Latest = Field(
        description="The last row of the history; empty before the first epoch.",
        examples=[
            {
                "epoch": 25,
                "train_loss": 0.1234,
                "train_accuracy": 0.9234,
                "val_loss": 0.1456,
                "val_accuracy": 0.9123,
                "learning_rate": 0.001,
                "time_per_epoch": 45.2,
            }
        ],
    )
    best_metrics: Best = Field(
        description="The scores of the best weights; empty before the first epoch.",
        examples=[{"loss": 0.1234, "accuracy": 0.9234, "epoch": 21}],
    )


class ProgressOf(Success):
    task_id: str
    progress: Progress
    message: str
    queue_position: int | None
    expected_start: Moment | None
    waiting_for: Told | None
    error: JobError | None = Field(
        description="Why the training failed, is paused or cannot be stored: code, message, problems."
    )


class HistoryOf(Success):
    task_id: str
    history: list[Row] = Field(description="One row per epoch, from epoch 1.")


class PastEvent(Shape):
    seq: int
    epoch: int = Field(description="The number of epochs that were complete.")
    event: Annotated[dict[str, Any], TOLD, described_as("TrainingEvent")]


class CurvesOf(Success):
    task_id: str
    rows: list[Annotated[dict[str, Any], described_as("CurveRow")]] = Field(description="In the order of epochs.")
    bucket: int = Field(description="The number of epochs that two rows stand for; 1 if each epoch has its row.")
    missing: dict[str, list[int]] = Field(
        description="Metric → the first epochs of the buckets in which some of its values are not defined."
    )
    first: int
    last: int = Field(description="The last epoch of the rows.")
    total_epochs: int
    best_epoch: int | None
    events: list[PastEvent] = Field(description="All events but progress and checkpoints, oldest first.")
    last_seq: int = Field(description="The number of the last event that the answer contains.")


class Controlled(Success):
    task_id: str
    state: State
    message: str


class Prioritised(Controlled):
    priority: int
    queue_position: int | None


class Removed(Success):
    task_id: str
    message: str
    artifact: str | None = Field(description="The folder of the kept model; null if there is none.")


class Resumed(Controlled):
    queue_position: int | None
    receipt: Receipt = Field(
        description="The state that the checkpoint restores; ``from`` is ``checkpoint`` or ``beginning``."
    )


class Descended(Success):
    task_id: str
    parent: str = Field(description="The task that this one continues.")
    message: str
    config: Config
    queue_position: int | None
    checkpoint: Annotated[dict[str, Any], described_as("StartingPoint")] | None = Field(
        description="The checkpoint that it starts from; null if it starts from the beginning."
    )
    receipt: Receipt = Field(
        description="What the checkpoint restores, as on a resume; ``before`` are the learning rates that a continued "
        "task has used."
    )


class Replayed(Success):
    task_id: str
    replay_of: str = Field(description="The task whose training is repeated.")
    message: str
    config: Config
    queue_position: int | None


class ReplayResult(Success):
    task_id: str
    replay_of: str
    comparison: Annotated[dict[str, Any], described_as("ModelComparison")]


class LogOf(Success):
    task_id: str
    attempts: list[int] = Field(description="The attempts that have a log.")
    attempt: int | None = Field(description="The attempt of these lines; null if there is no log yet.")
    lines: list[str]


class Baseline(Shape):
    """The best of the trivial predictions of a task, by its main metric."""

    name: str = Field(examples=["majority class", "prior", "mean"])
    value: float


class TaskLine(Shape):
    """A task in the list."""

    task_id: str
    name: str
    state: State
    model_type: str
    framework: str
    dataset: str | None
    task: str | None
    current_epoch: int
    total_epochs: int
    best_metrics: Best
    latest_metrics: Latest
    main_metric: str = Field(description="The metric in which the model is compared with its baselines.")
    baseline: Baseline | None = Field(description="On the same rows as ``best_metrics``; null until it is complete.")
    priority: int
    owner: str | None = Field(description="The user of EPOCHD_USERS who has started it; null for one without a name.")
    queue_position: int | None = Field(description="1 is the next task; null unless it is pending.")
    expected_start: Moment | None = Field(
        description="An estimate for a pending task, from what earlier tasks took; null where nothing is known."
    )
    waiting_for: Told | None = Field(description="Why a pending task waits; null if it is about to start.")
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    config: Config | None = Field(None, description="In the list only with `config=true`.")

    @classmethod
    def of(cls, job: Job, standing: Standing = NOT_WAITING, **more: Any) -> Self:
        """The fields of the list from a task and what it waits for; ``more`` adds its config and the fields of a
        subclass."""
        return cls(
            task_id=job.id,
            name=job.spec.name,
            state=job.state,
            model_type=job.training.model_type,
            framework=job.training.framework,
            dataset=job.training.dataset,
            task=job.training.task,
            current_epoch=job.current_epoch,
            total_epochs=job.training.epochs,
            best_metrics=job.best_metrics or {},
            latest_metrics=job.latest_metrics or {},
            main_metric=metric_table.main_metric(job.training, job.training.task or "binary"),
            baseline=_baseline(job),
            priority=job.priority,
            owner=job.owner,
            **standing._asdict(),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            **more,
        )


def _baseline(job: Job) -> Baseline | None:
    metrics = job.summary.get("metrics") or {}
    sides = metrics.get("baselines") or {}
    best = metric_table.best_baseline(
        sides.get("validation") or sides.get("train") or (), metrics.get("main_metric", "")
    )
    return None if best is None else Baseline(name=best[0], value=best[1])


class Tasks(Success):
    tasks: list[TaskLine]
    total: int = Field(description="The number of matching tasks on all pages.")
    limit: int
    offset: int


class TaskDetail(TaskLine):
    """All details of a task."""

    success: Literal[True] = True
    message: str
    config: Config
    queued_at: Moment
    attempt: int
    command: str = Field(description="The command for the running worker.")
    checkpoint: Annotated[dict[str, Any], described_as("CheckpointShape")] | None
    artifact: str | None = Field(description="The model's folder, relative to the data directory.")
    summary: Summary
    timings: Timings
    warnings: list[Told]
    error: JobError | None
    parent: str | None = Field(description="The task that this one continues.")
    children: list[str] = Field(description="The tasks that continue or retry this one, oldest first.")
    replay_of: str | None = Field(description="The task whose training this one repeats.")
    crashes: int = Field(description="The number of attempts whose worker died.")
    strikes: int = Field(
        description="The number of crashes since the last new checkpoint; at the third the task fails."
    )
    preemptions: int = Field(
        description="The number of attempts that the server interrupted: at a shutdown, or for a task of higher "
        "priority."
    )
    agent: str | None = Field(description="The agent that has the newest attempt; null for the machine of the server.")
    revisions: list[Annotated[dict[str, Any], described_as("RevisionShape")]] = Field(
        description="The changes made on resumes: ``at``, and option → [old, new]."
    )
    last_step_at: Moment | None
    activity: Activity | None = Field(description="The last heartbeat of a running task.")
    stalled_seconds: float | None = Field(
        description="Seconds since the last finished step, if more than EPOCHD_HANG_SECONDS."
    )
