"""The responses about datasets."""

from typing import Any, Literal, Self

from pydantic import Field

from epochd.api.responses import Moment, Shape, Success
from epochd.core.datasets import Dataset, DatasetKind


class ColumnShape(Shape):
    name: str
    type: str = Field(examples=["Float64"])


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


class DatasetDetail(DatasetRecord):
    """All details of a dataset; while it is being received, only ``received_bytes`` and ``total_bytes`` are known."""

    received_bytes: int | None = None
    total_bytes: int | None = None
    profile: list[dict[str, Any]] | None = Field(
        None,
        description="For each column: name, type, kind, missing; distinct, distinct_is_estimate, top (value, count); "
        "numbers and dates: min, max, mean, std, quartiles, quartiles_are_estimates, histogram (edges, counts).",
    )
    first_rows: list[dict[str, Any]] | None = None


class DatasetRemoved(Success):
    name: str
