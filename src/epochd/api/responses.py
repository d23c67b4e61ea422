"""What all answers of the API share: success, the error shape, and moments as ISO 8601."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Moment = Annotated[float, PlainSerializer(_iso, return_type=str)]
"""Unix seconds inside, ISO 8601 in UTC outside."""


class Shape(BaseModel):
    """What all responses share. Descriptions are given as such: reading them from docstrings would cost the
    server's start a tenth of a second."""

    model_config = ConfigDict(protected_namespaces=())


class Success(Shape):
    success: Literal[True] = True


class ProblemShape(Shape):
    field: str
    message: str
    hint: str = ""


class ErrorShape(Shape):
    """Every answer with a status of 400 or more."""

    success: Literal[False] = False
    code: str = Field(examples=["invalid_spec"])
    message: str
    problems: list[ProblemShape]
