"""A registered dataset as a frozen value, the rule for dataset names, and what a config's check found in a dataset."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from epochd.core.specs import Task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
NAME_RULE = "use up to 120 letters, digits, '.', '_' and '-', starting with a letter or digit"


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
    None until it is first requested, and again after the content has changed.
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

    @property
    def is_kept(self) -> bool:
        """Whether the server owns the file, and deletes it with the dataset."""
        return self.kind in (DatasetKind.UPLOAD, DatasetKind.QUERY)


@dataclass(frozen=True, slots=True)
class CheckedDataset:
    """What the server found in a config's dataset when it checked the config. ``classes`` is None for a regression.

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

    def as_json(self) -> dict[str, Any]:
        found = asdict(self)
        if self.validation_fingerprint is None:
            del found["validation_fingerprint"]
        return found

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "CheckedDataset":
        return cls(**{name: state.get(name) for name in cls.__dataclass_fields__})  # type: ignore[arg-type]
