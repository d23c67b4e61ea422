"""The bodies and answers about models."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from epochd.api.language import Told
from epochd.api.responses import Moment, RootShape, Shape, Success, described_as

Metrics = Annotated[dict[str, Any], described_as("BestMetrics", "NoMetrics")]
Final = Annotated[dict[str, Any], described_as("FinalMetrics")]
JsonRow = dict[str, Any]


class RowsBody(Shape):
    """Rows to predict."""

    model_config = ConfigDict(extra="forbid")

    rows: list[JsonRow] = Field(min_length=1, description="One object per row: column → value, null if unknown.")


class ColumnsBody(Shape):
    """Rows to predict, by column; all lists have the same length."""

    model_config = ConfigDict(extra="forbid")

    columns: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(min_length=1)


class RowList(RootShape[list[JsonRow]]):
    """Rows to predict."""

    root: list[JsonRow] = Field(min_length=1)


class AliasBody(Shape):
    """Where an alias leads to."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(min_length=1, max_length=120, description="A task's id, `latest` or another alias.")


class VersionLine(Shape):
    """One version of a model."""

    version: str = Field(description="The id of the task that trained it.")
    aliases: list[str]
    metrics: Metrics | None = Field(description="The scores of the best epoch; null if its task was removed.")
    finished_at: Moment | None


class ModelLine(Shape):
    """A model in the list, with its newest version."""

    model: str = Field(description="The name: the task's `output_path` as a folder of the artifact store.")
    latest: str | None = Field(description="The version that `latest` leads to.")
    aliases: dict[str, str] = Field(description="Alias → version.")
    versions: int = Field(description="The number of versions.")
    newest: VersionLine


class Models(Success):
    models: list[ModelLine] = Field(description="The one that was trained last first.")
    total: int = Field(description="The number of matching models on all pages.")
    limit: int
    offset: int


class InputShape(Shape):
    name: str
    kind: Literal["number", "text", "boolean", "date", "list", "image"]
    role: Literal["feature", "time", "group"]
    required: Literal[True] = Field(True, description="The column must be there; a value may be null.")
    example: Any = Field(None, description="A value of the training data; null if none is known.")
    steps: int | None = Field(None, description="Of a list: the most elements.")


class OutputShape(Shape):
    name: str
    kind: Literal["label", "probability", "number"]
    label: bool | int | float | str | None = Field(None, description="The class of a probability.")


class Lineage(Shape):
    task_id: str
    task_exists: bool = Field(description="Whether the task that trained it still exists.")
    parent: str | None = Field(description="The task that its task continued.")
    dataset: str | None
    fingerprint: str | None = Field(description="SHA-256 of the content of the dataset.")
    framework: str | None
    created_at: Moment | None
    finished_at: Moment | None
    versions: dict[str, Any] = Field(description="Of epochd, Python and NumPy.")


class FileLine(Shape):
    name: str
    bytes: int


class ModelDetail(Success):
    """A version of a model: what it reads and returns, how good it is, and where it comes from."""

    model: str
    version: str
    latest: str | None
    aliases: dict[str, str] = Field(description="Alias → version, of all versions.")
    versions: list[VersionLine] = Field(description="The newest 100, newest first.")
    version_count: int
    task: Literal["binary", "multiclass", "regression"]
    target: str
    classes: list[bool | int | float | str] | None
    threshold: float | None = Field(description="Binary: the probability above which the second class is predicted.")
    inputs: list[InputShape]
    outputs: list[OutputShape]
    example: JsonRow = Field(description="A row to predict, of the examples of all inputs.")
    sequence_length: int | None = Field(description="Of a model that forecasts: how many rows a window has.")
    horizon: int | list[int] | None = Field(
        description="How many rows after a window the forecast is for; a list if there are several."
    )
    known_in_advance: list[str] | None = Field(
        default=None, description="Columns of which a forecast needs the rows up to the largest horizon, too."
    )
    metrics: Final | None = Field(description="By split: train, validation, test; and of the baselines.")
    engine: Literal["onnxruntime", "numpy"] = Field(description="What the server predicts with.")
    lineage: Lineage
    files: list[FileLine]


class AliasOf(Success):
    model: str
    alias: str
    version: str | None = Field(description="The version that it leads to; null if it was removed.")


class VersionRemoved(Success):
    model: str
    version: str


class RowProblemShape(Shape):
    row: int = Field(description="Counted from 1.")
    column: str
    value: str
    message: Told
    hint: Told


class PredictionsOf(Success):
    model: str
    version: str
    predictions: list[JsonRow] = Field(
        description="`prediction`, null for a row that could not be scored, `probabilities` by label for "
        "classification, and the columns that were passed through."
    )
    warnings: list[Told] = Field(
        default=[],
        description="Values that are not read as they are, such as lists that a cnn cuts; left out if none.",
    )
    problems: list[RowProblemShape] = Field(description="The rows that could not be scored.")
