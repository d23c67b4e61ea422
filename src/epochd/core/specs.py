"""The training config: ``spec_fields`` and ``spec_checks`` become ``TrainingSpec``, and the errors of its validation
problems that name a field, the cause and what to do."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import (
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

from epochd.core.columns import ColumnOptions
from epochd.core.errors import MAX_PROBLEMS, InvalidSpec, Problem, similar_names
from epochd.core.feature_options import FeatureOptions
from epochd.core.spec_checks import cross_field_problems, task_option_problems
from epochd.core.spec_fields import SpecFields, Split, Task
from epochd.core.text import cut, shown

__all__ = ["Split", "Task", "TrainingSpec", "parse", "parse_leniently", "task_option_problems"]


NESTED: dict[str, Mapping[str, FieldInfo]] = {
    "features": FeatureOptions.model_fields,
    "columns": ColumnOptions.model_fields,
}
"""The options within an option; those of ``columns`` are below the name of a column."""


class _Found(list[Problem]):
    """Problems in the context of an error, all of which pydantic formats as text, however long it is."""

    def __str__(self) -> str:
        return f"{len(self)} problems"


def problems_error(problems: list[Problem]) -> PydanticCustomError:
    """What a validator raises for problems that it has found itself; ``problems_of`` returns them."""
    return PydanticCustomError("epochd_problems", "{problems}", {"problems": _Found(problems)})


class TrainingSpec(SpecFields):
    """A training config. Unknown fields are rejected; strings are not converted to numbers."""

    @field_validator("feature_columns", "class_weight", mode="before")
    @classmethod
    def _count_wrong_entries(cls, value: object, info: ValidationInfo) -> object:
        """Many wrong entries are counted here: pydantic takes much longer, because it describes each of them."""
        wrong: list[Any] = []
        if isinstance(value, list):
            wrong = [index for index, entry in enumerate(value) if type(entry) is not str or not entry]
        elif isinstance(value, dict):
            wrong = [label for label, weight in value.items() if type(weight) not in (int, float) or weight <= 0]
        if len(wrong) > MAX_PROBLEMS:
            raise problems_error(_entry_problems(str(info.field_name), wrong, value))
        return value

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        if problems := cross_field_problems(self):
            raise problems_error(problems)
        return self

    @model_serializer(mode="wrap")
    def _serialize_applicable(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out options that do not apply, so that a config in an answer can be submitted again unchanged."""
        values: dict[str, Any] = handler(self)
        applicable = {name: value for name, value in values.items() if self.applies(name)}
        return applicable | {"monitor": self.watched} if "monitor" in applicable else applicable


def parse(values: object) -> TrainingSpec:
    """Validate a config given as a mapping; raise InvalidSpec with every problem found."""
    try:
        return TrainingSpec.model_validate(values)
    except ValidationError as error:
        raise InvalidSpec(problems_of(error.errors(include_url=False))) from None


def parse_leniently(values: object) -> tuple[TrainingSpec | None, list[Problem]]:
    """All problems, and the spec with defaults for the invalid fields (None if a required field is missing), so that
    later checks can run too. Only the first ``MAX_PROBLEMS`` problems have a message."""
    try:
        return TrainingSpec.model_validate(values), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
        problems, invalid = problems_of(errors), {entry["loc"][0] for entry in errors if entry["loc"]}
    if not isinstance(values, dict):
        return None, problems
    invalid |= {problem.field.split(".")[0] for problem in problems}
    rest = {name: value for name, value in values.items() if name not in invalid}
    if len(rest) == len(values):
        return None, problems
    spec, more = parse_leniently(rest)
    return spec, problems + [problem for problem in more if problem.field not in invalid]


def problems_of(
    errors: list[ErrorDetails],
    options: Mapping[str, FieldInfo] = TrainingSpec.model_fields,
    schema: str = "GET /api/v1/epoch-training/schema",
) -> list[Problem]:
    """Pydantic's errors as problems with hints, in the order of the fields; those that no error lists have no text.
    ``options`` are the fields of the model that was validated, ``schema`` says where they are described."""
    problems: list[Problem] = []
    others = {error["loc"][0]: Problem(cut(str(error["loc"][0])), "") for error in errors if error["loc"]}
    for error in errors:
        if error["type"] == "epochd_problems":
            problems += error["ctx"]["problems"]
        elif len(problems) < MAX_PROBLEMS:
            problems.append(_problem(error, options, schema))
        else:
            problems.append(others[error["loc"][0]])
    return problems


def _entry_problems(field: str, wrong: list[Any], value: Any) -> list[Problem]:
    kind = "a column name" if isinstance(value, list) else "a number above 0"
    first = [
        Problem(f"{field}.{cut(str(key))}", f"{kind} is required, but {shown(value[key], 80)} was given")
        for key in wrong[:MAX_PROBLEMS]
    ]
    return first + [Problem(field, "")] * (len(wrong) - len(first))


def _problem(error: ErrorDetails, options: Mapping[str, FieldInfo], schema: str) -> Problem:
    parts = [cut(str(part)) for part in error["loc"] if part not in ("body", "constrained-str")]
    field = ".".join(parts) or "body"
    depth = 2 if parts[:1] == ["columns"] else 1
    if len(parts) > depth and parts[0] in options and parts[0] in NESTED:
        options = NESTED[parts[0]]
        known = options.get(parts[depth])
    else:
        depth = 0
        known = options.get(field.split(".")[0])  # of a list item (hidden_units.0) its list
    description = " ".join(((known and known.description) or "").replace("``", "").split())
    match error["type"]:
        case "extra_forbidden":
            nearest = similar_names(".".join(parts[depth:]), options, 1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"see {schema}"
            return Problem(field, f"unknown field {shown(field)}", hint)
        case "missing":
            return Problem(field, f"{field} is required", description)
        case "json_invalid":
            return Problem("body", f"not valid JSON: {error['ctx']['error']}", "send one JSON object")
        case _:
            reason = error["msg"][0].lower() + error["msg"][1:]
            return Problem(field, f"{reason}, but {shown(error['input'], 80)} was given", description)
