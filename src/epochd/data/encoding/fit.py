"""Fitting an encoder on the training rows of a table, in batches."""

from collections.abc import Sequence

import polars as pl

from epochd.core.specs import Task, TrainingSpec
from epochd.data.encoding import sequence, values
from epochd.data.encoding.categorical import CategoryFit
from epochd.data.encoding.dates import DateFit
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.image import ImageFit
from epochd.data.encoding.labels import Label
from epochd.data.encoding.numeric import BooleanFit, NumberFit
from epochd.data.encoding.scaling import Moments, ScaleFit
from epochd.data.encoding.sequence import ListFit
from epochd.data.schema import Kind, can_embed, col, kind_of

Fit = NumberFit | BooleanFit | CategoryFit | DateFit | ListFit | ImageFit

COLUMN_SAMPLE = 200_000
"""Numbers of a column from which its quantiles are computed, at most."""
TOTAL_SAMPLE = 40_000_000
"""The same limit for all columns together."""


class EncoderFit:
    """Fits an encoder on training rows in batches, in bounded memory; depends only on the rows and batches."""

    def __init__(
        self,
        spec: TrainingSpec,
        schema: pl.Schema,
        features: Sequence[str],
        task: Task,
        classes: Sequence[Label] | None,
        rows: int,
        steps: int | None = None,
    ) -> None:
        """``rows`` is the number of training rows, ``steps`` the length of the longest list in the whole dataset (None
        without list columns). Raise DataError for a column of an unsupported type."""
        self._spec, self._task, self._classes, self._steps = spec, task, classes, steps
        self._target = Moments()
        kinds = {name: kind_of(schema[name]) for name in features}
        self._lists = [name for name in features if kinds[name] is Kind.LIST]
        columns = sum(kind in (Kind.NUMBER, Kind.LIST) for kind in kinds.values())
        self._interval = _sampling_interval(rows, columns)
        self._list_interval = _sampling_interval(rows * (steps or 1), columns)
        self._can_embed = can_embed(spec, has_lists=bool(self._lists))
        self._fits = [self._column_fit(name, schema[name]) for name in features]

    def partial_fit(self, frame: pl.DataFrame) -> None:
        """Fit on some training rows: feature columns and target, in the order of the table. Raise DataError for a value
        that cannot be encoded; its row is counted in ``frame``."""
        if self._lists:
            sequence.common_lengths([frame.get_column(name) for name in self._lists])
        for fit in self._fits:
            if isinstance(fit, ImageFit):
                fit.partial_fit(frame)
            else:
                fit.partial_fit(frame.get_column(fit.name))
        if self._task == "regression":
            self._target.partial_fit(values.bounded_numbers(frame.get_column(self._spec.target_column)))

    def finalize(self) -> Encoder:
        """The encoder fitted on all rows so far. The pixels of an image's channel are scaled together: with a scale
        each, they would lose how bright pixels are beside each other."""
        self._pool_channels()
        target = self._target.linear()
        lengths = [fit for fit in self._fits if isinstance(fit, ListFit)]
        steps = max([self._steps or 1, *(fit.longest for fit in lengths)])
        return Encoder(
            columns=tuple(fit.finalize() for fit in self._fits),
            target_column=self._spec.target_column,
            task=self._task,
            classes=None if self._task == "regression" else tuple(self._classes or ()),
            target_mean=target.centre,
            target_scale=target.scale,
            steps=steps if lengths else None,
            masked=any(fit.shortest is not None and fit.shortest < steps for fit in lengths),
        )

    def _pool_channels(self) -> None:
        """Give the pixels of each channel one scale, where ``input_shape`` makes images of columns that are all numbers
        without missing values."""
        if self._spec.model_type != "cnn" or self._spec.input_shape is None:
            return
        pixels = [fit for fit in self._fits if isinstance(fit, NumberFit) and not fit.has_missing]
        if len(pixels) < len(self._fits):
            return
        channels = self._spec.input_shape[2] if len(self._spec.input_shape) == 3 else 1
        for channel in range(min(channels, len(pixels))):
            shared = ScaleFit.pooled([fit.scale for fit in pixels[channel::channels]]).finalize()
            for fit in pixels[channel::channels]:
                fit.shared = shared

    def _column_fit(self, name: str, dtype: pl.DataType) -> Fit:
        if name == self._spec.image_column:
            height, width = self._spec.image_size
            return ImageFit(name, (height, width), self._spec.image_mode, self._spec.scaling)
        match kind_of(dtype):
            case Kind.NUMBER:
                return NumberFit(name, ScaleFit(self._spec.scaling, self._interval))
            case Kind.BOOLEAN:
                return BooleanFit(name)
            case Kind.CATEGORY:
                return CategoryFit(name, self._spec.embedding_threshold if self._can_embed else None)
            case Kind.DATE:
                return DateFit(name, dtype, extrapolates=name == self._spec.time_column and self._spec.looks_ahead)
            case Kind.LIST:
                return ListFit(name, ScaleFit(self._spec.scaling, self._list_interval))
            case _:
                raise values.wrong_type(pl.Series(name, [], dtype), "features")


def longest_list(table: pl.LazyFrame, features: Sequence[str]) -> int | None:
    """The length of the longest list in the list columns among ``features``; None without any such column."""
    schema = table.collect_schema()
    names = [name for name in features if kind_of(schema[name]) is Kind.LIST]
    if not names:
        return None
    lengths = [col(name).arr.len() if isinstance(schema[name], pl.Array) else col(name).list.len() for name in names]
    longest = pl.max_horizontal(length.max() for length in lengths)
    return int(table.select(longest).collect(engine="streaming").item() or 0)


def _sampling_interval(numbers: int, columns: int) -> int:
    """The distance between sampled rows that keeps samples of ``numbers`` per column within their limits."""
    most = min(COLUMN_SAMPLE, TOTAL_SAMPLE // max(columns, 1))
    return max(1, -(-numbers // max(most, 1)))
