"""A registered dataset as a frozen value, and what a name may look like.

Configs name a dataset; the registry knows where it lies and what was found in it. The same few rules about
names hold for uploads, for paths and for the snapshots of queries.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from epochd.core.specs import Task

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
NAME_RULE = "use letters, digits, '.', '_' and '-', with a letter or digit first, 120 at most"


class DatasetKind(StrEnum):
    BUILTIN = "builtin"
    """Comes with epochd."""
    UPLOAD = "upload"
    """A file that was sent to the server, which keeps it."""
    PATH = "path"
    """A file or folder that somebody else keeps, under one of the server's dataset folders."""
    QUERY = "query"
    """A Parquet snapshot of a query's rows, which the server keeps."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a look at a dataset's content finds. ``schema`` has a ``name`` and a ``type`` for each column."""

    rows: int
    bytes: int
    schema: list[dict[str, str]]
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """One row of the registry. Times are seconds since the Unix epoch (UTC).

    ``path`` is relative to the server's own dataset folder for a file that the server keeps, else absolute.
    ``profile`` is None until somebody asks for it, and again when the content has changed.
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
        """Whether the file is the server's own, to be removed with the dataset."""
        return self.kind in (DatasetKind.UPLOAD, DatasetKind.QUERY)


@dataclass(frozen=True, slots=True)
class CheckedDataset:
    """What the server found in a config's dataset when it checked the config: rows, feature columns, the task, and its
    classes (None for a regression).

    ``fingerprint`` and ``validation_fingerprint`` identify the content that was checked: a SHA-256, or for large files
    ``sampled:`` and a SHA-256 of size, time of modification and samples.
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
