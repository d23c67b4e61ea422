"""The responses about datasets."""

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field

from epochd.api.language import TOLD, Told
from epochd.api.responses import Moment, RootShape, Shape, Success, described_as
from epochd.core.columns import ColumnOptions, Encoding, Sheet
from epochd.core.datasets import Dataset, DatasetKind

MAX_LENGTHS = {"name": 120, "path": 1_000, "connection": 200, "query": 100_000}
"""Characters of the values of a registration."""


class ColumnShape(Shape):
    name: str
    type: str = Field(examples=["Float64"])


class ValueCount(Shape):
    value: Any
    count: int


class Histogram(Shape):
    edges: list[Any] = Field(description="One more than counts.")
    counts: list[int]


class OtherColumn(Shape):
    """The profile of a column of lists or of another type."""

    name: str
    type: str = Field(examples=["Float64"])
    kind: Literal["list", "other"]
    missing: int
    notation: str | None = Field(None, description="How the text of the column is read, if it is not left as text.")


class ValueColumn(Shape):
    """The profile of a column of texts or booleans."""

    name: str
    type: str = Field(examples=["String"])
    kind: Literal["text", "boolean"]
    missing: int
    notation: str | None = Field(None, description="How the text of the column is read, if it is not left as text.")
    distinct: int
    distinct_is_estimate: bool
    top: list[ValueCount] = Field(description="The most frequent values.")


class RangeColumn(Shape):
    """The profile of a column of numbers, dates or times; dates and times are in ISO 8601."""

    name: str
    type: str = Field(examples=["Float64"])
    kind: Literal["number", "date"]
    missing: int
    notation: str | None = Field(None, description="How the text of the column is read, if it is not left as text.")
    distinct: int
    distinct_is_estimate: bool
    top: list[ValueCount] = Field(description="The most frequent values.")
    min: Any
    max: Any
    mean: Any
    std: float | None
    quartiles: list[Any] | None
    quartiles_are_estimates: bool
    histogram: Histogram | None
    infinite: int | None = Field(None, description="Of numbers only.")


class ColumnProfile(RootShape[OtherColumn | ValueColumn | RangeColumn]):
    """Statistics of the values of a column."""

    root: OtherColumn | ValueColumn | RangeColumn = Field(discriminator="kind")


class DatasetOptions(Shape):
    """How a dataset is read; what is not given is detected or decided from the data, and told."""

    model_config = ConfigDict(extra="forbid")

    encoding: Encoding | None = Field(None, description="The encoding of a text file.")
    sheet: Sheet | None = Field(None, description="The sheet of a spreadsheet, by its name or its number from 1.")
    columns: dict[str, ColumnOptions] | None = Field(None, description="How single columns are read.")


class PathRegistration(DatasetOptions):
    """Registers a file or folder of the server."""

    name: str = Field(min_length=1, max_length=MAX_LENGTHS["name"])
    path: str = Field(min_length=1, max_length=MAX_LENGTHS["path"])


class QueryRegistration(Shape):
    """Saves the rows of a query as a dataset."""

    model_config = ConfigDict(extra="forbid")

    columns: dict[str, ColumnOptions] | None = Field(None, description="How single columns are read.")

    name: str = Field(min_length=1, max_length=MAX_LENGTHS["name"])
    connection: str = Field(
        min_length=1, max_length=MAX_LENGTHS["connection"], description="A name of EPOCHD_CONNECTIONS."
    )
    query: str = Field(min_length=1, max_length=MAX_LENGTHS["query"])


class DatasetLine(Shape):
    """A dataset in the list."""

    name: str
    kind: DatasetKind
    state: Literal["ready", "uploading", "querying", "checking"] = "ready"
    rows: int | None = None
    columns: int | None = None
    bytes: int | None = None
    fingerprint: str | None = Field(None, description="SHA-256 of the content.")
    created_at: Moment | None = None
    updated_at: Moment | None = None

    @classmethod
    def of(cls, dataset: Dataset, **more: Any) -> Self:
        """The fields of this class from a dataset; ``more`` adds and replaces some."""
        is_builtin = dataset.kind is DatasetKind.BUILTIN
        fields = {
            "name": dataset.name,
            "kind": dataset.kind,
            "rows": dataset.rows,
            "columns": len(dataset.schema),
            "bytes": dataset.bytes,
            "fingerprint": dataset.fingerprint,
            "created_at": None if is_builtin else dataset.created_at,
            "updated_at": None if is_builtin else dataset.updated_at,
            "schema": dataset.schema,
            "connection": dataset.connection,
            "query": dataset.query,
            "options": dataset.options or None,
        }
        return cls(**fields | more)


class Datasets(Success):
    datasets: list[DatasetLine] = Field(description="Registered datasets, newest first, then the built-in ones.")
    total: int = Field(description="The number of matching datasets on all pages.")
    limit: int
    offset: int


class DatasetRecord(DatasetLine):
    """A registered dataset, without statistics of its values."""

    success: Literal[True] = True
    schema_: list[ColumnShape] | None = Field(None, alias="schema")
    connection: str | None = None
    query: str | None = None
    options: Annotated[dict[str, Any], described_as("DatasetOptions")] | None = None


class DatasetDetail(DatasetRecord):
    """All details of a dataset; while it is being received, only ``received_bytes`` and ``total_bytes`` are known."""

    received_bytes: int | None = None
    total_bytes: int | None = None
    profile: list[Annotated[dict[str, Any], TOLD, described_as("ColumnProfile")]] | None = None
    first_rows: list[dict[str, Any]] | None = None
    warnings: list[Told] | None = Field(None, description="Doubts about how columns are read.")
    notes: list[Told] | None = Field(
        None, description="What was detected when the file was read: its encoding, separator, sheet, title rows."
    )


class DatasetRemoved(Success):
    name: str
