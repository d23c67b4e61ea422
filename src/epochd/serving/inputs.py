"""What a model reads and returns: names, kinds and example values of its inputs, and the names of its outputs."""

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from epochd.core.specs import TrainingSpec
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.encoder import FITTED_KINDS, PREDICTION, Column, Encoder
from epochd.data.encoding.image import EXAMPLE_PICTURE, Image
from epochd.data.encoding.labels import Label
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.scaling import Knots, Linear
from epochd.data.encoding.text import HashedText
from epochd.data.schema import Kind

InputKind = Literal["number", "text", "boolean", "date", "list", "image"]
OutputKind = Literal["label", "probability", "number"]
KINDS: dict[Kind, InputKind] = {
    Kind.NUMBER: "number",
    Kind.BOOLEAN: "boolean",
    Kind.CATEGORY: "text",
    Kind.DATE: "date",
    Kind.LIST: "list",
    Kind.IMAGE: "image",
}
PROBABILITY = "probability_"


@dataclass(frozen=True, slots=True)
class Input:
    """A column that a model needs. ``role`` says what for; ``steps`` is the most elements of a list. ``example`` is a
    value of the training data, or one that the encoder knows, as JSON; None if neither is known."""

    name: str
    kind: InputKind
    role: Literal["feature", "time", "group"]
    example: Any
    steps: int | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A column of a table of predictions. ``label`` is the class of a probability."""

    name: str
    kind: OutputKind
    label: Label | None = None


def inputs_of(spec: TrainingSpec, encoder: Encoder, examples: Mapping[str, Any]) -> list[Input]:
    """The features in the order of the encoder, then for windows the columns of time and group."""
    found = [_feature(column, encoder.steps, examples) for column in encoder.columns]
    names = {column.name for column in found}
    if spec.sequence_length is not None:
        for role, name in (("time", spec.time_column), ("group", spec.group_column)):
            if name is not None and name not in names:
                found.append(_ordering(role, name, examples.get(name)))  # type: ignore[arg-type]
    return found


def outputs_of(encoder: Encoder) -> list[Output]:
    """The prediction, of each horizon if there are several, and for classification the probability of each class."""
    classes = encoder.classes
    if classes is None:
        return [Output(name, "number") for name in encoder.prediction_names]
    return [Output(PREDICTION, "label"), *(Output(f"{PROBABILITY}{c}", "probability", c) for c in classes)]


def example_row(inputs: Sequence[Input]) -> dict[str, Any]:
    """One row of example values, as a client would send it."""
    return {one.name: one.example for one in inputs}


def _feature(column: Column, steps: int | None, examples: Mapping[str, Any]) -> Input:
    kind = KINDS[FITTED_KINDS[type(column)]]
    if isinstance(column, Image):
        return Input(column.name, kind, "feature", EXAMPLE_PICTURE)
    example = examples.get(column.name)
    if example is None:
        example = next(_known_values(column, steps), None)
    return Input(column.name, kind, "feature", example, steps if kind == "list" else None)


def _ordering(role: Literal["time", "group"], name: str, example: Any) -> Input:
    """A column that orders rows or tells groups apart; its kind is not part of the model, so the example decides."""
    kind: InputKind = "date" if role == "time" else "text"
    if isinstance(example, int | float) and not isinstance(example, bool):
        kind = "number"
    return Input(name, kind, role, example)


def _known_values(column: Column, steps: int | None) -> Iterator[Any]:
    """A value that the encoder knows: the centre of a scale, the first category, a day of the training data."""
    match column:
        case Number(scale=Linear(centre=centre)):
            yield centre
        case Number(scale=Knots(values=values)):
            yield values[len(values) // 2]
        case Boolean():
            yield True
        case OneHot(categories=categories) | Codes(categories=categories):
            yield from categories
        case HashedText():
            yield "free text"
        case Date(clock=True):
            yield "12:00:00"
        case Date(elapsed=Linear(centre=centre)) if abs(centre) < 100_000:
            yield (datetime.date(1970, 1, 1) + datetime.timedelta(days=round(centre))).isoformat()
        case Date():
            yield "2024-12-31"
        case Image():
            yield EXAMPLE_PICTURE
        case _:
            scale = column.scale
            yield [scale.centre if isinstance(scale, Linear) else scale.values[len(scale.values) // 2]] * (steps or 1)
