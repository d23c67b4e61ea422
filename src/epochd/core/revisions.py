"""What may be changed in a training that has begun: how long and how fast it learns, never what or from what."""

from typing import Any

from epochd.core import specs
from epochd.core.errors import InvalidSpec, Problem
from epochd.core.specs import APPLIES_TO, TrainingSpec

SCHEDULE = tuple(name for name, (owner, _) in APPLIES_TO.items() if owner == "learning_rate_scheduler")
REVISABLE = (
    "epochs",
    "learning_rate",
    "learning_rate_scheduler",
    *SCHEDULE,
    "early_stopping_patience",
    "min_delta",
    "allow_changed_data",
)


def revise(spec: TrainingSpec, changes: dict[str, Any]) -> TrainingSpec:
    """The spec with these changes; options of a scheduler that goes away go with it.

    Raises InvalidSpec with every problem: a field that may not be changed, fewer epochs than before, a bad value.
    """
    problems = [_refusal(name) for name in changes if name not in REVISABLE]
    epochs = changes.get("epochs")
    if isinstance(epochs, int) and epochs < spec.epochs:
        message = f"epochs is {spec.epochs} and can only be raised, but {epochs} was given"
        problems.append(Problem("epochs", message, "to end earlier, stop the task"))
    if problems:
        raise InvalidSpec(problems)
    values = spec.model_dump()
    if changes.get("learning_rate_scheduler", spec.learning_rate_scheduler) != spec.learning_rate_scheduler:
        values = {name: value for name, value in values.items() if name not in SCHEDULE}
    return specs.parse(values | changes)


def differences(old: TrainingSpec, new: TrainingSpec) -> dict[str, list[Any]]:
    """Option → [before, after], for every option that differs."""
    before, after = old.model_dump(), new.model_dump()
    names = [name for name in REVISABLE if before.get(name) != after.get(name)]
    return {name: [before.get(name), after.get(name)] for name in names}


def _refusal(name: str) -> Problem:
    if name in TrainingSpec.model_fields:
        message = f"{name} cannot be changed once a training has begun"
    else:
        message = f"unknown field {name!r}"
    return Problem(name, message, f"what can be changed: {', '.join(REVISABLE)}; for anything else start a new task")
