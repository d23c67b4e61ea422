"""Base classes of all responses, the error shape, and timestamps in ISO 8601."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[float, PlainSerializer(_iso, return_type=str)]
"""Seconds since the Unix epoch in Python, ISO 8601 in UTC in JSON."""


class Shape(BaseModel):
    """Base class of all responses. Descriptions are not read from docstrings, which would delay the server's start by a
    tenth of a second."""

    model_config = ConfigDict(protected_namespaces=())


class Success(Shape):
    success: Literal[True] = True


class ProblemShape(Shape):
    field: str
    message: str
    hint: str = ""


class ErrorShape(Shape):
    """The body of every response with status 400 or higher."""

    success: Literal[False] = False
    code: str = Field(examples=["invalid_spec"])
    message: str
    problems: list[ProblemShape]
