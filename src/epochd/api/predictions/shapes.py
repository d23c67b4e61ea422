"""The responses about batch predictions, and the events of their streams."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from epochd.api.language import Told
from epochd.api.responses import Moment, ProblemShape, RootShape, Shape, Success, described_as
from epochd.api.tasks.responses import JobError
from epochd.api.tasks.shapes import CancelledEvent, FailedEvent, LogEvent, ShutdownEvent, StateEvent
from epochd.core.jobs import Job, State
from epochd.core.prediction_specs import OutputFormat, PredictionSpec
from epochd.dispatch.queue import NOT_WAITING, Standing

Config = Annotated[dict[str, Any], described_as("PredictionConfig")]


class PredictionConfig(PredictionSpec):
    """What a batch prediction is asked for."""

    model_config = ConfigDict(use_attribute_docstrings=False)


class PredictionProgress(Shape):
    rows_done: int = Field(0, description="Rows of the dataset that are complete: a resume continues after them.")
    rows_total: int | None = Field(None, description="Null until the worker has counted them.")
    rows_per_second: float | None = Field(None, description="Of the newest attempt; null before and after it.")
    skipped: int = Field(0, description="Rows that could not be scored.")


class PredictionOutput(Shape):
    """The file of predictions."""

    path: str = Field(description="Relative to the data directory.")
    format: OutputFormat
    rows: int = Field(description="The lines of the file. A model of windows has one for each complete window.")
    bytes: int


class PredictionStarted(Success):
    task_id: str = Field(examples=["prediction_20240101_120000_a1b2c3"])
    message: str
    config: Config = Field(description="The options with their defaults, and with the version of the model resolved.")
    columns: list[str] = Field(description="The columns of the file of predictions.")
    queue_position: int | None


class PredictionLine(Shape):
    """A batch prediction in the list."""

    task_id: str
    name: str
    state: State
    model: str
    version: str | None
    dataset: str
    output_format: OutputFormat
    progress: PredictionProgress
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

    @classmethod
    def of(cls, job: Job, standing: Standing = NOT_WAITING, **more: Any) -> Self:
        """The fields of the list from a task and what it waits for; ``more`` adds those of a subclass."""
        spec = job.prediction
        return cls(
            task_id=job.id,
            name=spec.name,
            state=job.state,
            model=spec.model,
            version=spec.version,
            dataset=spec.dataset,
            output_format=spec.output_format,
            progress=PredictionProgress(**(job.latest_metrics or {})),
            priority=job.priority,
            owner=job.owner,
            **standing._asdict(),
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            **more,
        )


class Predictions(Success):
    predictions: list[PredictionLine] = Field(description="Newest first.")
    total: int = Field(description="The number of matching predictions on all pages.")
    limit: int
    offset: int


class PredictionDetail(PredictionLine):
    """All details of a batch prediction."""

    success: Literal[True] = True
    message: str
    config: Config
    attempt: int
    command: str = Field(description="The command for the running worker.")
    model_folder: str = Field(description="Relative to the data directory.")
    output: PredictionOutput | None = Field(description="The file of predictions; null until it is complete.")
    problems: list[ProblemShape] = Field(description="The first rows that could not be scored.")
    error: JobError | None
    crashes: int = Field(description="The number of attempts whose worker died.")


class PredictionControlled(Success):
    task_id: str
    state: State
    message: str
    queue_position: int | None


class PredictionRemoved(Success):
    task_id: str
    message: str


class EventPredictionProgress(PredictionProgress):
    state: State


class PredictionProgressEvent(Shape):
    type: Literal["progress"]
    task_id: str
    progress: EventPredictionProgress


class PredictionSummary(Shape):
    """What is known of a completed prediction."""

    output: dict[str, Any]
    problems: list[ProblemShape]


class PredictionCompleteEvent(Shape):
    type: Literal["complete"]
    task_id: str
    progress: EventPredictionProgress
    artifact: str
    summary: PredictionSummary


Event = (
    StateEvent
    | PredictionProgressEvent
    | LogEvent
    | PredictionCompleteEvent
    | FailedEvent
    | CancelledEvent
    | ShutdownEvent
)


class PredictionEvent(RootShape[Event]):
    """The data of one event of a prediction's stream, told apart by ``type``."""

    root: Event = Field(discriminator="type")
