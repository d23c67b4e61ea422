"""What workers on other machines and the server tell each other."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RemoteFile(BaseModel):
    """A file of the server: its path below what it belongs to, with ``/``; ``modified`` in nanoseconds since the Unix
    epoch, which is part of the fingerprint of a large dataset."""

    model_config = ConfigDict(defer_build=True)

    path: str
    bytes: int
    modified: int


class Inputs(BaseModel):
    """The files that an attempt needs."""

    model_config = ConfigDict(defer_build=True)

    data: list[RemoteFile] = []
    """Those of its datasets: ``<number of the folder>/<path in this folder>``."""
    registered: dict[str, str] = {}
    """Dataset → its path, as in ``data``."""
    image_root: str | None = None
    """The folder of the pictures, as in ``data``, if the config names one."""
    model: list[RemoteFile] = []
    """Those of the model that predicts: ``<id of the model>/<name>``."""
    state: list[RemoteFile] = []
    """Those of the newest checkpoint, or the parts of a prediction, below the data folder."""
    faults: list[str] = []
    """What is wrong with newer checkpoints."""


class Meeting(BaseModel):
    """Where the worker of rank 0 waits for those of the other machines of its training; they prove with the ``secret``
    that they belong to it."""

    model_config = ConfigDict(frozen=True, defer_build=True)

    address: Annotated[str, Field(max_length=255)]
    port: Annotated[int, Field(ge=1, le=65535)]
    secret: Annotated[str, Field(min_length=16, max_length=100)]


class Wanted(BaseModel):
    """The files of a folder that an attempt is about to write, with their paths below the data folder, to their
    SHA-256 sums and sizes."""

    model_config = ConfigDict(defer_build=True, extra="forbid")

    files: dict[str, tuple[str, int]]


class Grants(BaseModel):
    """Where these files are to be sent: a URL of the object store for each, or None for those that the server takes;
    and the headers that the store needs."""

    model_config = ConfigDict(defer_build=True)

    urls: dict[str, str | None]
    headers: dict[str, str] = {}
