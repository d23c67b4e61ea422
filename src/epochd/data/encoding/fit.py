"""Learns how to encode a table, from its training rows alone, which come in batches."""

from collections.abc import Sequence

import polars as pl

from epochd.core.specs import Task, TrainingSpec
from epochd.data.encoding import sequence, values
from epochd.data.encoding.categorical import CategoryFit
from epochd.data.encoding.dates import DateFit
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.labels import Label
from epochd.data.encoding.numeric import BooleanFit, NumberFit
from epochd.data.encoding.scaling import Moments, ScaleFit
from epochd.data.encoding.sequence import ListFit
from epochd.data.schema import Kind, can_embed, col, kind_of

Fit = NumberFit | BooleanFit | CategoryFit | DateFit | ListFit

SAMPLE = 200_000
"""Numbers of a column, at most, that its quantiles are learned from."""
SAMPLES = 40_000_000
"""The same for all columns together."""


class Fitting:
    """Learns an encoder from training rows that come in batches, in bounded memory; a pure function of the rows and
    their batches."""

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
        """``rows`` is how many training rows will come, ``steps`` the longest list of the list columns in the whole
        dataset (None without list columns). Raise DataError for a column of an unsupported type."""
        self._spec, self._task, self._classes, self._steps = spec, task, classes, steps
        self._target = Moments()
        kinds = {name: kind_of(schema[name]) for name in features}
        self._lists = [name for name in features if kinds[name] is Kind.LIST]
        columns = sum(kind in (Kind.NUMBER, Kind.LIST) for kind in kinds.values())
        self._every, self._every_list = _every(rows, columns), _every(rows * (steps or 1), columns)
        self._can_embed = can_embed(spec, has_lists=bool(self._lists))
        self._fits = [self._fit(name, schema[name]) for name in features]

    def partial_fit(self, frame: pl.DataFrame) -> None:
        """Learn from some training rows: feature columns and target, in the table's order.

        Raise DataError for a value that cannot be learned from; its row is counted in ``frame``.
        """
        if self._lists:
            sequence.common_lengths([frame.get_column(name) for name in self._lists])
        for fit in self._fits:
            fit.partial_fit(frame.get_column(fit.name))
        if self._task == "regression":
            self._target.partial_fit(values.learnable(frame.get_column(self._spec.target_column)))

    def encoder(self) -> Encoder:
        """The encoder of all rows so far."""
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

    def _fit(self, name: str, dtype: pl.DataType) -> Fit:
        match kind_of(dtype):
            case Kind.NUMBER:
                return NumberFit(name, ScaleFit(self._spec.scaling, self._every))
            case Kind.BOOLEAN:
                return BooleanFit(name)
            case Kind.CATEGORY:
                return CategoryFit(name, self._spec.embedding_threshold if self._can_embed else None)
            case Kind.DATE:
                return DateFit(name, dtype, ahead=name == self._spec.time_column and self._spec.looks_ahead)
            case Kind.LIST:
                return ListFit(name, ScaleFit(self._spec.scaling, self._every_list))
            case Kind.UNSUPPORTED:
                raise values.wrong_type(pl.Series(name, [], dtype), "features")


def longest(table: pl.LazyFrame, features: Sequence[str]) -> int | None:
    """The length of the longest list in the list columns among ``features``; None without any such column."""
    schema = table.collect_schema()
    names = [name for name in features if kind_of(schema[name]) is Kind.LIST]
    if not names:
        return None
    lengths = [
        (col(name).arr.len() if isinstance(schema[name], pl.Array) else col(name).list.len()).max() for name in names
    ]
    found = table.select(pl.max_horizontal(lengths)).collect(engine="streaming").item()
    return int(found or 0)


def _every(numbers: int, columns: int) -> int:
    """Of how many rows one is kept, so that the samples of so many numbers in each column stay within their limits."""
    most = min(SAMPLE, SAMPLES // max(columns, 1))
    return max(1, -(-numbers // max(most, 1)))
