"""The inputs of a model's ONNX graph as columns of a table, and one row as an example."""

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.image import Image
from epochd.data.encoding.numeric import Boolean
from epochd.data.encoding.scaling import Linear, Scale
from epochd.data.encoding.sequence import Channel
from epochd.data.encoding.text import HashedText
from epochd.export.saved_model import SavedModel
from epochd.onnx_graph.inputs import FEATURES, column_inputs


@dataclass(frozen=True, slots=True)
class TableInput:
    """An input of the graph. ``column`` is the table's; ``kind`` is number, boolean, text, date, time, list, lengths or
    features; ``shape`` that of the tensor, -1 for the rows, and for the steps of lists of any length, which are padded
    to ``steps``; ``missing`` the text of a missing value. ``listed``: a cell of the column is a list."""

    name: str
    column: str
    kind: str
    shape: tuple[int, ...]
    missing: str = ""
    listed: bool = False
    steps: int | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def table_inputs(saved: SavedModel, session: Any) -> list[TableInput]:
    """The inputs of a graph in an ONNX Runtime session: one for each column in the order of the encoder, and the
    lengths of lists behind them; or the encoded features, or the pixels of pictures."""
    encoder, steps = saved.model.encoder, saved.model.setup.spec.sequence_length
    if [about.name for about in session.get_inputs()] == [FEATURES] and FEATURES not in encoder.feature_names:
        return [TableInput(FEATURES, "", FEATURES, (-1, *session.get_inputs()[0].shape[1:]))]
    found = column_inputs(encoder, steps)
    if encoder.image is not None:  # an array of pixels, not a column of a table
        return [TableInput(found[0].name, "", FEATURES, found[0].shape)]
    lists = [about.column for about in found if about.kind == "list"]
    return [
        TableInput(
            about.name,
            (about.name if about.ahead else about.column) or str(lists[0]),
            about.kind,
            about.shape,
            str(about.missing) if about.kind == "text" else "",
            steps is not None or about.kind == "list",
            about.steps,
        )
        for about in found
    ]


def example(saved: SavedModel) -> dict[str, Any]:
    """A typical row, column → value: numbers and times at the centre of their scale, the first of the categories. With
    sliding windows each value is a list of the steps."""
    encoder, steps = saved.model.encoder, saved.model.setup.spec.sequence_length
    values = {column.name: _typical(column, encoder) for column in encoder.windowed.columns}
    return values if steps is None else {name: [value] * steps for name, value in values.items()}


def _typical(column: Column, encoder: Encoder) -> Any:
    match column:
        case OneHot() | Codes():
            return next(iter(column.categories), "")
        case HashedText():
            return "free text"
        case Boolean():
            return True
        case Channel():
            return [_centre(column.scale)] * (encoder.steps or 1)
        case Date():
            days = timedelta(days=_centre(column.elapsed) if column.elapsed else 0)
            found = (datetime(1970, 1, 1, tzinfo=UTC) + days).replace(tzinfo=None, microsecond=0)
            return found.time().isoformat() if column.clock else found
        case Image():
            return ""
        case _:
            return _centre(column.scale)


def _centre(scale: Scale) -> float:
    return scale.centre if isinstance(scale, Linear) else scale.values[len(scale.values) // 2]
