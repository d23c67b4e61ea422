"""The inputs and outputs of a model's graph: names, types, shapes, and what stands for a missing value.

There is one input per raw column, so that a caller needs to know nothing of the encoder. Rows are the first axis of
every tensor; sliding windows and lists have their steps on the second one. Nothing here needs ``onnx``.
"""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.image import Image
from epochd.data.encoding.labels import Label
from epochd.data.encoding.numeric import Boolean
from epochd.data.encoding.sequence import Channel

ONNX = "model.onnx"
"""The file in a model's folder."""
Datatype = Literal["BOOL", "INT64", "FP32", "FP64", "BYTES"]
"""Names of the Open Inference Protocol; BYTES are strings in ONNX."""
Start = Literal["columns", "features"]
"""Where a graph starts: at raw columns, or at the features that the encoder makes of them."""

MISSING_TIME = -(2**63)
"""A missing date or time."""
MISSING_NUMBER = "NaN"
"""How JSON describes a missing number; the tensor contains a NaN."""
LABEL, PROBABILITIES, VALUE = "label", "probabilities", "value"
LENGTHS, FEATURES = "lengths", "features"
OUTPUT_NAMES = frozenset({LABEL, PROBABILITIES, VALUE, ""})
"""Names that no input can have; in ONNX the empty one means that there is no tensor."""
INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that the graph takes. ``column`` is None for ``lengths`` and ``features``; -1 in ``shape`` is the number
    of rows, and of steps where lists may have any length; ``missing`` is what stands for a missing value, None if there
    can be none. ``steps`` is how many steps shorter lists of any length are padded to, ``ahead`` how many rows after
    each row of a window the column's values are."""

    name: str
    column: str | None
    kind: str
    datatype: Datatype
    shape: tuple[int, ...]
    missing: str | int | None
    description: str
    steps: int | None = None
    ahead: int | None = None

    def as_json(self) -> dict[str, Any]:
        found = asdict(self) | {"shape": list(self.shape)}
        return {name: value for name, value in found.items() if value is not None or name not in ("steps", "ahead")}


@dataclass(frozen=True, slots=True)
class Output:
    """A tensor that the graph gives; fields as in ``Input``."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]
    description: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"shape": list(self.shape)}


def column_inputs(encoder: Encoder, sequence_length: int | None) -> list[Input]:
    """An input for each column in the order of the encoder, then for each column that is known in advance, and the
    lengths of lists last where they have an effect."""
    windowed = encoder.windowed
    names = input_names(windowed.feature_names)
    pairs = zip(windowed.columns, names[:-1], strict=True)
    found = [_column_input(column, name, encoder, sequence_length) for column, name in pairs]
    known = [column.name for column in encoder.columns if column.name in encoder.known]
    later = ((rows, name) for rows in encoder.ahead for name in known)
    for place, (rows, name) in enumerate(later, len(encoder.columns)):
        meaning = f"{found[place].description}; {rows} rows after each row of the window"
        found[place] = replace(found[place], column=name, description=meaning, ahead=rows)
    if has_lengths(encoder):
        meaning = "elements of each row's lists; what is behind them is ignored"
        found.append(Input(names[-1], None, LENGTHS, "INT64", (-1, 1), None, meaning))
    return found


def features_input(encoder: Encoder, sequence_length: int | None) -> Input:
    """The encoded rows as the only input."""
    shape, meaning = (-1, *example_shape(encoder, sequence_length)), "rows as the encoder in model.json encodes them"
    if encoder.longer == "read":
        return Input(FEATURES, None, FEATURES, "FP32", (-1, -1, shape[-1]), None, meaning, encoder.steps)
    return Input(FEATURES, None, FEATURES, "FP32", shape, None, meaning)


def outputs(encoder: Encoder) -> list[Output]:
    """``label`` and ``probabilities``, or ``value`` for a regression."""
    if encoder.classes is None:
        of = f" at the horizons {', '.join(map(str, encoder.horizons))}" if encoder.horizons else ""
        return [Output(VALUE, "FP64", (-1, encoder.outputs), f"{encoder.target_column} in its own unit{of}")]
    classes = len(encoder.classes)
    return [
        Output(LABEL, label_type(encoder.classes), (-1, 1), f"class of {encoder.target_column}"),
        Output(PROBABILITIES, "FP64", (-1, classes), "probability of each class, in the order of the classes"),
    ]


def example_shape(encoder: Encoder, sequence_length: int | None) -> tuple[int, ...]:
    """The shape of an encoded example: (features,), (steps, channels) or (height, width, channels)."""
    return encoder.shape if sequence_length is None else (sequence_length, *encoder.windowed.shape)


def has_lengths(encoder: Encoder) -> bool:
    """Whether the lengths of lists have an effect besides that of missing elements: by the mask, or because other
    columns are repeated on the steps that exist."""
    lists = sum(isinstance(column, Channel) for column in encoder.columns)
    return lists > 0 and (encoder.masked or lists < len(encoder.columns))


def label_type(classes: Sequence[Label]) -> Datatype:
    """The type of the labels as in the dataset; text for integers that do not fit into 64 bits, and for a mixture."""
    if all(isinstance(label, bool) for label in classes):
        return "BOOL"
    if all(type(label) is int and label in INT64 for label in classes):
        return "INT64"
    return "FP64" if all(type(label) is float for label in classes) else "BYTES"


def input_names(columns: Sequence[str]) -> list[str]:
    """Names of the columns' inputs, and of ``lengths`` last: the columns' own names, with underscores behind those that
    ONNX or an output does not leave to them."""
    found: list[str] = []
    taken = {*OUTPUT_NAMES, *columns}
    for column in columns:
        usable = column not in OUTPUT_NAMES and "\0" not in column
        found.append(column if usable else _free(column.replace("\0", "_"), taken))
        taken.add(found[-1])
    return [*found, _free(LENGTHS, taken)]


def _free(name: str, taken: Collection[str]) -> str:
    while name in taken:
        name += "_"
    return name


def missing_text(categories: Collection[str]) -> str:
    """The text that stands for a missing value: the empty one, unless that is a category."""
    marker = ""
    while marker in categories:
        marker = f"<{marker or 'missing'}>"
    return marker


def _column_input(column: Column, name: str, encoder: Encoder, sequence_length: int | None) -> Input:
    if isinstance(column, Image):
        meaning = "pixels of decoded pictures from 0 to 255, resized to this size"
        return Input(name, column.name, "image", "FP32", (-1, *column.shape), None, meaning)
    if isinstance(column, Channel):
        shape = (-1, encoder.steps or 1)
        meaning = "numbers of a list, padded at the end with NaN"
        if encoder.longer == "read":
            meaning += f" to {encoder.steps} steps; rows of longer lists have a call of their own for each length"
            return Input(name, column.name, "list", "FP64", (-1, -1), MISSING_NUMBER, meaning, encoder.steps)
        return Input(name, column.name, "list", "FP64", shape, MISSING_NUMBER, meaning)
    shape = (-1, sequence_length or 1)
    if isinstance(column, OneHot | Codes):
        return Input(name, column.name, "text", "BYTES", shape, missing_text(frozenset(column.categories)), "text")
    if isinstance(column, Date):
        kind = "time" if column.clock else "date"
        return Input(name, column.name, kind, "INT64", shape, MISSING_TIME, _time_unit(column))
    if isinstance(column, Boolean):
        return Input(name, column.name, "boolean", "FP64", shape, MISSING_NUMBER, "1 for true, 0 for false")
    return Input(name, column.name, "number", "FP64", shape, MISSING_NUMBER, "number; durations in seconds")


def _time_unit(column: Date) -> str:
    if column.clock:
        return "microseconds since midnight"
    zone = f" of {column.zone}" if column.zone else ""
    return f"microseconds from 1970-01-01T00:00:00 to the local date and time{zone}"
