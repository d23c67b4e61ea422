"""The training config: ``spec_fields`` and ``spec_checks`` become ``TrainingSpec``, and the errors of its validation
problems that name a field, the cause and what to do."""

from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, ValidationError, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from epochd.core.errors import InvalidSpec, Problem, similar_names
from epochd.core.spec_checks import class_option_problems, cross_field_problems
from epochd.core.spec_fields import SpecFields, Split, Task

__all__ = ["Split", "Task", "TrainingSpec", "class_option_problems", "parse", "parse_leniently"]


class TrainingSpec(SpecFields):
    """A training config. Unknown fields are rejected; strings are not converted to numbers."""

    @model_validator(mode="after")
    def _check_across_fields(self) -> Self:
        if problems := cross_field_problems(self):
            context = {"count": len(problems), "problems": problems}
            raise PydanticCustomError("epochd_problems", "{count} problems", context)
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
        raise InvalidSpec(_problems(error)) from None


def parse_leniently(values: object) -> tuple[TrainingSpec | None, list[Problem]]:
    """All problems, and the spec with defaults for the invalid fields (None if a required field is missing), so that
    later checks can run too."""
    try:
        return TrainingSpec.model_validate(values), []
    except ValidationError as error:
        problems = _problems(error)
    if not isinstance(values, dict):
        return None, problems
    invalid = {problem.field.split(".")[0] for problem in problems}
    rest = {name: value for name, value in values.items() if name not in invalid}
    if len(rest) == len(values):
        return None, problems
    spec, more = parse_leniently(rest)
    return spec, problems + [problem for problem in more if problem.field not in invalid]


def _problems(invalid: ValidationError) -> list[Problem]:
    """Pydantic's errors as problems with hints, in the order of the fields."""
    problems: list[Problem] = []
    for error in invalid.errors(include_url=False):
        field = ".".join(str(part) for part in error["loc"] if part not in ("body", "constrained-str")) or "body"
        known = TrainingSpec.model_fields.get(field.split(".")[0])  # of a list item (hidden_units.0) its list
        description = ((known and known.description) or "").replace("``", "")
        match error["type"]:
            case "epochd_problems":
                problems += error["ctx"]["problems"]
            case "extra_forbidden":
                nearest = similar_names(field, TrainingSpec.model_fields, 1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else "see GET /api/v1/epoch-training/schema"
                problems.append(Problem(field, f"unknown field {field!r}", hint))
            case "missing":
                problems.append(Problem(field, f"{field} is required", description))
            case "json_invalid":
                problems.append(Problem("body", f"not valid JSON: {error['ctx']['error']}", "send one JSON object"))
            case _:
                given = repr(error["input"])
                given = given if len(given) <= 80 else given[:77] + "..."
                message = f"{error['msg'][0].lower()}{error['msg'][1:]}, but {given} was given"
                problems.append(Problem(field, message, description))
    return problems
