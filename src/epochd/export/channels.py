"""What each number of an encoded row is, for those who prepare features without epochd."""

from collections.abc import Iterator
from typing import Any

from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import Date
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.image import Image
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.text import HashedText
from epochd.export.saved_model import SavedModel


def preprocessing(saved: SavedModel) -> dict[str, Any]:
    """How raw columns become features and outputs become predictions, for ``json.dumps``.

    ``channels`` are the numbers of an encoded row in their order; ``shape`` is that of a row's features.
    """
    setup, encoder = saved.model.setup, saved.model.encoder
    return {
        "task_id": saved.about["task_id"],
        "task": setup.task,
        "shape": list(setup.inputs),
        "channels": [*channels(encoder.windowed)],
        "classes": saved.about["classes"],
        "target_mean": encoder.target_mean,
        "target_scale": encoder.target_scale,
        "target_transform": encoder.target_transform,
        "encoder": encoder.as_json(),
    }


def channels(encoder: Encoder) -> Iterator[dict[str, str]]:
    """``column`` and ``value`` of each channel, in order; ``category`` for those that are 1 for one category."""
    for column in encoder.columns:
        for about in _column_channels(column):
            yield {"column": column.name, **about}
    if encoder.masked:
        yield {"column": "", "value": "1 for steps that exist, 0 for padding"}


def _column_channels(column: Column) -> Iterator[dict[str, str]]:
    match column:
        case OneHot():
            yield from ({"value": "1 for this category", "category": category} for category in column.categories)
        case Codes():
            yield {"value": "position among the categories, their number for any other value"}
        case Boolean():
            yield {"value": "1 true, -1 false, 0 missing"}
        case HashedText():
            for place in range(column.columns):
                yield {"value": f"sum of the signs of the n-grams with hash {place}, divided by the row's norm"}
        case Date():
            yield from _date_channels(column)
        case Image():
            colours = ("red", "green", "blue") if column.mode == "rgb" else ("grey",)
            yield from ({"value": f"scaled {colour} of each pixel"} for colour in colours)
        case _:
            yield {"value": "scaled number, 0 missing"}
    if isinstance(column, Number | Boolean | Date | OneHot | HashedText) and column.flag:
        yield {"value": "1 missing"}
    if isinstance(column, OneHot):
        yield {"value": "1 for any other value"}


def _date_channels(column: Date) -> Iterator[dict[str, str]]:
    if column.elapsed is not None:
        yield {"value": f"days since {'midnight' if column.clock else '1970'}, scaled; 0 missing"}
    for cycle in column.cycles:
        for curve in ("sine", "cosine"):
            yield {"value": f"{curve} of the position in the {cycle}"}
