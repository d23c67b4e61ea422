"""A registered dataset as a frozen value, and what a config's check found in a dataset."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from epochd.core.columns import ColumnType, ReadOptions
from epochd.core.specs import Task

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
"""The ends of the names of pictures, in lower case."""


class DatasetKind(StrEnum):
    BUILTIN = "builtin"  # included in epochd
    UPLOAD = "upload"  # an uploaded file, which the server owns
    PATH = "path"  # a file or folder in one of the allowed folders, which the server does not own
    QUERY = "query"  # a Parquet snapshot of a query's rows, which the server owns


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts about a dataset's content. ``schema`` has a ``name`` and a ``type`` for each column."""

    rows: int
    bytes: int
    schema: list[dict[str, str]]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One row of the registry. Times are seconds since the Unix epoch (UTC).

    ``path`` is relative to the server's dataset folder if the server owns the file, otherwise absolute. ``profile`` is
    None until it is first requested, and again after the content has changed. ``options`` are ``ReadOptions`` as JSON.
    """

    name: str
    kind: DatasetKind
    path: str
    rows: int
    bytes: int
    schema: list[dict[str, str]]
    fingerprint: str
    created_at: float
    updated_at: float
    connection: str | None = None
    query: str | None = None
    profile: dict[str, Any] | None = None
    options: dict[str, Any] | None = None

    @property
    def read_options(self) -> ReadOptions:
        """How the dataset is read."""
        return ReadOptions.from_json(self.options or {})

    @property
    def is_kept(self) -> bool:
        """Whether the server owns the file, and deletes it with the dataset."""
        return self.kind in (DatasetKind.UPLOAD, DatasetKind.QUERY)


OPTIONAL = ("validation_fingerprint", "types")
"""Parts of a checked dataset that are left out where there is nothing to say."""


@dataclass(frozen=True, slots=True)
class CheckedDataset:
    """What the server found in a config's dataset when it checked the config. ``classes`` is None for a regression.
    ``left_out`` are the columns that the config selects, but that are not learned from: each ``name`` and ``reason``.
    ``types`` say what each feature is, None in the records of older versions.

    ``readings`` say how columns of text are read (``data.columns.reading``), by column; None in older tasks.

    A fingerprint identifies the content that was checked: a SHA-256, or for large files ``sampled:`` and a SHA-256 of
    size, time of modification and samples.
    """

    name: str
    rows: int
    features: list[str]
    task: Task | None
    classes: list[Any] | None
    fingerprint: str | None = None
    validation_fingerprint: str | None = None
    left_out: list[dict[str, str]] = field(default_factory=list)
    readings: dict[str, dict[str, Any]] | None = None
    types: dict[str, ColumnType] | None = None

    @property
    def is_pinned(self) -> bool:
        """Whether the content that was checked is known."""
        return self.fingerprint is not None

    def pinned(self, fingerprints: Mapping[str, str]) -> "CheckedDataset":
        """The same with these fingerprints, by the names of the fields."""
        first, second = (fingerprints.get(name) for name in ("fingerprint", "validation_fingerprint"))
        return replace(self, fingerprint=first, validation_fingerprint=second)

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        return {name: value for name, value in found.items() if value is not None or name not in OPTIONAL}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "CheckedDataset":
        known = {name: state.get(name) for name in cls.__dataclass_fields__}
        return cls(**{**known, "left_out": state.get("left_out") or []})  # type: ignore[arg-type]
