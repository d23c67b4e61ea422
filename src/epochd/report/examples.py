"""Single rows: those predicted worst and best, as images or sequences where they are; and forecasts over time."""

import base64
from collections.abc import Sequence
from io import BytesIO
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from matplotlib.image import imsave

from epochd.core.arrays import FloatArray, IntArray
from epochd.data.encoding.image import Image
from epochd.data.splitting import sort_keys
from epochd.report.columns import Encoded, unscaled
from epochd.report.values import Forecast

Float64 = npt.NDArray[np.float64]

WORST, BEST = 8, 4
MAX_GROUPS, MAX_WINDOWS = 4, 200
"""Groups of a forecast, and its windows: the last ones of each group."""
MAX_STEPS, MAX_CHANNELS = 200, 3
"""Of a sequence that is drawn."""
NO_SOFTWARE: dict[str, Any] = {"Software": None}
"""Without the version of Matplotlib in each picture."""
LEAST_PIXELS = 64
"""Images are enlarged to at least this height by repeating pixels."""


def extremes(losses: Float64) -> tuple[IntArray, IntArray]:
    """The positions of the rows with the largest losses, largest first, and of those with the smallest."""
    order = np.argsort(-losses, kind="stable")
    worst = order[: min(WORST, len(order))]
    return worst, order[len(worst) :][::-1][:BEST]


def image(pixels: Float64, low: float, high: float) -> str:
    """An image (height, width, channels) whose values from ``low`` to ``high`` go from black to white, as a PNG data
    URI: in colour if there are 3 channels, otherwise their mean."""
    scaled = (pixels - low) / (high - low) if high > low else np.zeros(pixels.shape)
    levels = np.nan_to_num(scaled).clip(0, 1)
    return _png(levels if levels.shape[2] == 3 else np.repeat(levels.mean(axis=2, keepdims=True), 3, axis=2))


def heat(values: Float64, colour: tuple[float, float, float]) -> str:
    """Values (height, width) as an image of one colour, the more opaque the larger; values below 0 are transparent."""
    positive = values.clip(0)
    largest = positive.max(initial=0)
    alpha = positive / largest if largest > 0 else positive
    return _png(np.dstack([*(np.full(alpha.shape, part) for part in colour), alpha]))


def _png(levels: Float64) -> str:
    """Colours from 0 to 1, (height, width, 3 or 4), as a data URI."""
    times = max(1, ceil(LEAST_PIXELS / len(levels)))
    larger = (255 * levels).round().astype(np.uint8).repeat(times, axis=0).repeat(times, axis=1)
    buffer = BytesIO()
    imsave(buffer, larger, format="png", metadata=NO_SOFTWARE)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def pixels(encoder_rows: Encoded, shape: Sequence[int]) -> Float64:
    """The raw values of rows of numeric columns as images, float64 (rows, height, width, channels)."""
    found = [encoder_rows.numbers(column, channels) for column, channels in encoder_rows.columns()]
    return np.stack(found, axis=1).reshape(len(encoder_rows.x), *shape)


def picture_pixels(column: Image, x: FloatArray) -> Float64:
    """The values from 0 to 255 of encoded pictures, float64 (rows, height, width, channels)."""
    rows = x.reshape(len(x), *column.shape)
    return np.stack(
        [unscaled(scale, rows[..., i].astype(np.float64)) for i, scale in enumerate(column.scales)], axis=-1
    )


def sequence(row: FloatArray) -> list[list[float]]:
    """The first channels of one encoded sequence (steps, channels), at most ``MAX_STEPS`` of its steps."""
    kept = np.linspace(0, len(row) - 1, min(len(row), MAX_STEPS)).astype(np.int64)
    return [row[kept, channel].astype(np.float64).tolist() for channel in range(min(row.shape[1], MAX_CHANNELS))]


def _time_text(times: pl.Series) -> pl.Series:
    return times.dt.to_string("%Y-%m-%d %H:%M") if isinstance(times.dtype, pl.Datetime) else times.cast(pl.String)


def forecasts(times: pl.Series, groups: pl.Series | None, truth: Float64, predicted: Float64) -> list[Forecast]:
    """The forecasts of the groups with the most windows. All are (windows,): the time and the group of each window's
    target, its true and its predicted value."""
    named = pl.Series(np.zeros(len(times))) if groups is None else groups
    columns = {"group": named.cast(pl.String).fill_null("null"), "at": sort_keys.time_keys(times)}
    table = pl.DataFrame(columns | {"time": _time_text(times), "truth": truth, "predicted": predicted})
    sizes = table.group_by("group", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
    found = []
    for name in sizes["group"].head(MAX_GROUPS):
        rows = table.filter(pl.col("group") == name).sort("at", maintain_order=True).tail(MAX_WINDOWS)
        lists = (rows[column].to_list() for column in ("at", "time", "truth", "predicted"))
        found.append(Forecast(None if groups is None else name, *lists))
    return found
