"""A column of pictures: pixels, of which those of a channel share one scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import polars as pl

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError, Problem
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.spec_fields import Scaling
from epochd.data.encoding import values
from epochd.data.encoding.scaling import Moments, Scale, ScaleFit, scale_from_json
from epochd.data.encoding.values import Fitted
from epochd.data.formats.picture import CHANNELS, Mode
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.pictures import PIXELS, REASON, Pictures
from epochd.data.tables.source import Source

EXAMPLE_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
"""A grey picture of one pixel."""
LEVELS = 256
"""Values of a pixel of 8 bits."""
SAMPLE = 1_000_000
"""Pixels of a channel from which its quantiles are computed, about."""


@dataclass(frozen=True, slots=True)
class Image(Fitted):
    """Pictures of ``size`` (height, width), with one scale per channel, which gets values from 0 to 255."""

    kind: ClassVar[str] = "image"
    name: str
    size: tuple[int, int]
    mode: Mode
    scales: tuple[Scale, ...]

    @property
    def width(self) -> int:
        """Channels, which are the last axis of encoded rows."""
        return len(self.scales)

    @property
    def shape(self) -> tuple[int, int, int]:
        return *self.size, len(self.scales)

    def pictures(self, *folders: Path) -> Pictures:
        """How pictures in these folders, or in the table itself, become pixels."""
        return Pictures(self.name, *self.size, self.mode, tuple(folder.resolve() for folder in folders))

    def pixels(self, frame: pl.DataFrame) -> Any:
        """The decoded pictures, uint8 or another type of numbers, (n, height, width, channels): the column of pixels,
        or this column if it has arrays of numbers. Raise DataError for the first row without a picture."""
        series = frame.get_column(self.name + PIXELS if self.name + PIXELS in frame.columns else self.name)
        if frame.height == 0:
            return np.zeros((0, *self.shape), np.uint8)
        if not isinstance(series.dtype, pl.Array) or series.dtype.shape != (prod(self.shape),):
            message = f"column {self.name!r} has the type {series.dtype}, but {list(self.shape)} pixels are needed here"
            hint = (
                "send pictures in base64 to POST /api/v1/models/{model}/predict, or predict a dataset with their paths"
            )
            raise DataError([Problem(self.name, message, hint)])
        if series.null_count():
            row = series.is_null().arg_max() or 0
            why = frame.get_column(self.name + REASON)[row] if self.name + REASON in frame.columns else "is missing"
            raise DataError([pictures.problem(self.name, row, frame.get_column(self.name)[row], why)])
        return series.to_numpy().reshape(frame.height, *self.shape)

    def transform(self, frame: pl.DataFrame) -> FloatArray:
        """Scaled pixels, float32 (n, height, width, channels). Raise what ``pixels`` raises, and DataError for numbers
        that are not finite."""
        pixels = self.pixels(frame)
        out = np.empty(pixels.shape, np.float32)
        for channel, scale in enumerate(self.scales):
            if pixels.dtype == np.uint8:
                levels = scale.apply(np.arange(LEVELS, dtype=np.float64)).astype(np.float32)
                out[..., channel] = levels[pixels[..., channel]]
            else:
                out[..., channel] = scale.apply(pixels[..., channel].astype(np.float64))
        if pixels.dtype != np.uint8 and not np.isfinite(out).all():
            row = int(np.argmin(np.isfinite(out).reshape(len(out), -1).all(axis=1)))
            raise DataError([pictures.problem(self.name, row, None, "has pixels that are no finite numbers")])
        return out

    def as_json(self) -> dict[str, Any]:
        return Fitted.as_json(self) | {"scales": [scale.as_json() for scale in self.scales]}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Self:
        scales = tuple(scale_from_json(scale) for scale in state["scales"])
        if len(scales) != CHANNELS[state["mode"]]:
            raise ValueError(f"{len(scales)} scales for mode {state['mode']!r}")
        height, width = map(int, state["size"])
        return cls(values.stored_text(state["name"]), (height, width), state["mode"], scales)


def opened(catalog: Catalog, column: Image | None, spec: PredictionSpec) -> Source:
    """The dataset of a batch prediction with a model that has this column of pictures, which are in the spec's
    ``image_root``, or in the folder of the dataset. Raise DataError."""
    source = catalog.open(spec.dataset).reading(spec.read_options)
    return source if column is None else pictures.with_pictures(catalog, source, column.pictures(), spec.image_root)


@dataclass(slots=True)
class ImageFit:
    """Fits the scale of each channel, from how often each of its 256 values occurs: the same whatever the batches."""

    name: str
    size: tuple[int, int]
    mode: Mode
    scaling: Scaling
    counts: IntArray = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((CHANNELS[self.mode], LEVELS), np.int64)

    def partial_fit(self, frame: pl.DataFrame) -> None:
        """Add the pictures of a frame that has their pixels. Raise what ``Image.pixels`` raises."""
        pixels = self.finalize().pixels(frame)
        for channel, counts in enumerate(self.counts):
            counts += np.bincount(pixels[..., channel].reshape(-1), minlength=LEVELS)

    def finalize(self) -> Image:
        return Image(self.name, self.size, self.mode, tuple(_scale(counts, self.scaling) for counts in self.counts))


def _scale(counts: IntArray, scaling: Scaling) -> Scale:
    """The scale of values from 0 to 255 that occur so often."""
    levels, total = np.arange(LEVELS, dtype=np.float64), int(counts.sum())
    if total == 0:
        return ScaleFit(scaling).finalize()
    mean, present = float(counts @ levels) / total, np.flatnonzero(counts)
    squares = float(counts @ np.square(levels - mean))
    moments = Moments(total, total, mean, squares, float(present[0]), float(present[-1]))
    samples = [] if scaling == "standard" else [np.repeat(levels, -(-counts * min(total, SAMPLE) // total))]
    return ScaleFit(scaling, moments=moments, samples=samples).finalize()
