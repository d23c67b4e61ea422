"""What a batch prediction is asked for: a model, a dataset, and the form of the file of predictions."""

from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from epochd.core.columns import Encoding, ReadOptions, Sheet
from epochd.core.errors import InvalidSpec, Problem
from epochd.core.names import COMPOSED
from epochd.core.spec_fields import Column, DatasetName, Priority
from epochd.core.specs import problems_error, problems_of
from epochd.core.text import is_visible, shown

OutputFormat = Literal["parquet", "csv"]


class PredictionSpec(BaseModel):
    """A batch prediction. Unknown fields are rejected; strings are not converted to numbers."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        defer_build=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )

    model: Annotated[str, Field(min_length=1, max_length=1_200), COMPOSED]
    """The model: the id of the training that has made it, or the ``output_path`` of such trainings."""
    version: Annotated[str, Field(min_length=1, max_length=100), COMPOSED] | None = None
    """With an ``output_path``: the id of the training; default: the newest model there. An answer names the one that
    is used."""
    dataset: DatasetName
    """The rows: a built-in or registered dataset, or a path inside the server's dataset folders."""
    encoding: Encoding | None = None
    """The encoding of the dataset's text file. Default: that of the registered dataset, or detected."""
    sheet: Sheet | None = None
    """The sheet of a spreadsheet, by its name or its number from 1. Default: that of the registered dataset, or the
    first visible one."""
    image_root: DatasetName | None = None
    """For a model of pictures: the folder that their paths are relative to, inside the server's dataset folders.
    Default: that of the dataset."""
    output_format: OutputFormat = "parquet"
    """``parquet`` or ``csv``."""
    id_columns: Annotated[list[Column], Field(max_length=1_000)] = []
    """Columns of the dataset that the file of predictions begins with."""
    echo: bool = False
    """Whether the file of predictions begins with all columns of the dataset."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """Rows that cannot be scored: ``refuse`` fails the task and names the first ones, ``skip`` leaves their prediction
    empty, counts them and names the first ones."""
    probabilities: bool = True
    """Whether the file has the probability of each class, for a classification."""
    bom: bool = False
    """Whether a CSV file begins with a byte order mark, which Excel needs to read it as UTF-8."""
    name: Annotated[str, Field(max_length=200), COMPOSED] = "prediction"
    """A name for the list of predictions."""
    priority: Priority = 0
    """The place in the queue: tasks of higher priority start first, those of equal priority in the order in which they
    were queued."""

    @property
    def read_options(self) -> ReadOptions:
        """How the dataset is read."""
        return ReadOptions(self.encoding, self.sheet)

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        if problems := _cross_field_problems(self):
            raise problems_error(problems)
        return self


def _cross_field_problems(spec: PredictionSpec) -> list[Problem]:
    found = []
    if spec.echo and spec.id_columns:
        found.append(Problem("echo", "echo and id_columns are both set", "omit one of them"))
    if spec.bom and spec.output_format != "csv":
        message = f"bom is an option of output_format 'csv', but output_format is {spec.output_format!r}"
        found.append(Problem("bom", message, "set output_format to 'csv', or omit bom"))
    for column in sorted(name for name, count in Counter(spec.id_columns).items() if count > 1):
        found.append(Problem("id_columns", f"{column!r:.200} is listed more than once", "list each column once"))
    if "\0" not in spec.name and not is_visible(spec.name):
        message = f"{shown(spec.name)} contains control, bidirectional or other invisible characters"
        found.append(Problem("name", message, "use visible characters, of any script"))
    for name in ("model", "version", "dataset", "name", "id_columns"):
        value = getattr(spec, name) or ()
        if any("\0" in text for text in ([value] if isinstance(value, str) else value)):
            found.append(Problem(name, f"{name} contains a NUL character (U+0000)", "remove it"))
    return found


def parse(values: object) -> PredictionSpec:
    """Validate the options of a batch prediction, given as a mapping; raise InvalidSpec with every problem found."""
    try:
        return PredictionSpec.model_validate(values)
    except ValidationError as error:
        errors, schema = error.errors(include_url=False), "POST /api/v1/predictions in /docs"
        raise InvalidSpec(problems_of(errors, PredictionSpec.model_fields, schema)) from None


def stored(values: dict[str, Any]) -> PredictionSpec:
    """The spec of a stored task, not validated again."""
    return PredictionSpec.model_construct(**values)
