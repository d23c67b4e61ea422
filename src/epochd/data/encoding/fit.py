"""Fitting an encoder on the training rows of a table, in batches."""

from collections.abc import Mapping, Sequence

import polars as pl

from epochd.core.columns import ColumnType
from epochd.core.specs import Task, TrainingSpec
from epochd.core.target_scale import transformed
from epochd.data.columns.reading import Reading
from epochd.data.encoding import sequence, values
from epochd.data.encoding.categorical import CategoryFit
from epochd.data.encoding.dates import DateFit
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.image import ImageFit
from epochd.data.encoding.labels import Label
from epochd.data.encoding.numeric import BooleanFit, NumberFit
from epochd.data.encoding.scaling import Moments, ScaleFit
from epochd.data.encoding.sequence import LONGER, ListFit
from epochd.data.encoding.text import TextFit
from epochd.data.schema import Kind, can_embed, col, kind_of

Fit = NumberFit | BooleanFit | CategoryFit | TextFit | DateFit | ListFit | ImageFit

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
        types: Mapping[str, ColumnType] | None = None,
        readings: Mapping[str, Reading] | None = None,
    ) -> None:
        """``rows`` is the number of training rows, ``steps`` the length of the longest list in all data that are read
        (None without list columns), ``types`` what the checks have found columns to be, by name: of those, ``text``
        matters. ``readings`` say how columns of text have been read. Raise DataError for a column of an unsupported
        type."""
        self._types = types or {}
        self._spec, self._task, self._classes, self._steps = spec, task, classes, steps
        self._readings = dict(readings or {})
        self._target = Moments()
        several = task == "regression" and spec.sequence_length is not None and len(spec.horizons) > 1
        self._horizons = spec.horizons if several else ()
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
            found = values.bounded_numbers(frame.get_column(self._spec.target_column))
            self._target.partial_fit(transformed(found, self._spec.transform))

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
            target_transform=self._spec.transform if self._task == "regression" else None,
            horizons=self._horizons,
            known=tuple(self._spec.known_in_advance or ()) if self._spec.ahead else (),
            ahead=self._spec.ahead,
            longer=LONGER[self._spec.model_type] if lengths else "refused",
            masked=any(fit.shortest is not None and fit.shortest < steps for fit in lengths),
            readings=self._readings,
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
            case Kind.CATEGORY if self._types.get(name) == "text":
                return TextFit(name, self._spec.feature_options.text_width)
            case Kind.CATEGORY:
                most = self._spec.embedding_threshold if self._can_embed else None
                return CategoryFit(name, most, self._spec.feature_options)
            case Kind.DATE:
                extrapolates = name == self._spec.time_column and self._spec.looks_ahead
                return DateFit(name, dtype, extrapolates, self._timezone(name))
            case Kind.LIST:
                return ListFit(name, ScaleFit(self._spec.scaling, self._list_interval))
            case _:
                raise values.wrong_type(pl.Series(name, [], dtype), "features")

    def _timezone(self, name: str) -> str | None:
        """The declared zone of times without an offset."""
        options, reading = self._spec.read_options.columns.get(name), self._readings.get(name)
        return (options.timezone if options else None) or (reading.timezone if reading else None)


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
