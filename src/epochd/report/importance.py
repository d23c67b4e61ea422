"""Permutation importance of raw columns, and partial dependence on the most important ones.

Importance after Breiman (2001) as in scikit-learn's ``permutation_importance``: how much worse the predictions become
if the values of a column are exchanged between rows. All channels of a raw column, such as those of its one-hot
encoding, are exchanged together. Partial dependence after Friedman (2001): the mean prediction if a column had the same
value in all rows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from time import monotonic
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.sequence import Channel
from epochd.report.columns import Encoded
from epochd.report.values import Dependence, Importance, Line

Float64 = npt.NDArray[np.float64]
Outputs = Callable[[FloatArray], FloatArray]
"""Features (rows, *inputs) → raw outputs (rows, outputs)."""

REPEATS = 5
MAX_COLUMNS = 500
"""Columns that are measured, at most."""
TOP = 4
"""Columns whose partial dependence is computed."""
GRID, MAX_CATEGORIES, MAX_LINES = 15, 12, 5
"""Values of a numeric column, of a text column, and classes, at most."""


class Scored(NamedTuple):
    """The loss, and the score that people read: accuracy or R²."""

    loss: float
    score: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """Rows to measure on: ``x`` float32 (rows, *inputs), ``y`` (rows,) as the engine trains on them. ``shape`` is that
    of an encoded row, whose last axis are the channels. ``deadline`` is a time of ``monotonic``."""

    outputs: Outputs
    score: Callable[[FloatArray], Scored]
    encoder: Encoder
    x: FloatArray
    shape: tuple[int, ...]
    seed: int = 0
    deadline: float = inf
    channels: Mapping[str, tuple[Column, slice]] = field(init=False)

    def __post_init__(self) -> None:
        encoded = Encoded(self.encoder, self.x).columns()
        object.__setattr__(self, "channels", {column.name: (column, place) for column, place in encoded})

    @property
    def is_late(self) -> bool:
        return monotonic() > self.deadline

    def outputs_with(self, channels: slice, values: FloatArray) -> FloatArray:
        """The outputs if these channels had other values, which are broadcast to (rows, ..., channels)."""
        changed = self.x.reshape(len(self.x), *self.shape).copy()
        changed[..., channels] = values
        return self.outputs(changed.reshape(self.x.shape))


def importances(given: Measurement) -> tuple[list[Importance], list[str]]:
    """The importance of each column, the largest first, and the columns that the time did not suffice for. The first
    round measures each column once; further rounds repeat that while there is time."""
    before = given.score(given.outputs(given.x))
    losses: dict[str, list[float]] = {}
    scores: dict[str, list[float]] = {}
    for repeat, number, name in _plan(list(given.channels)):
        if given.is_late:
            break
        column, channels = given.channels[name]
        order = np.random.default_rng([given.seed, number, repeat]).permutation(len(given.x))
        values = given.x.reshape(len(given.x), *given.shape)[order][..., channels]
        if given.encoder.steps is not None and not isinstance(column, Channel):
            values = values[:, :1]  # repeated on every step, of which a shorter row has fewer
        after = given.score(given.outputs_with(channels, values))
        if isfinite(after.loss) and isfinite(after.score):
            losses.setdefault(name, []).append(after.loss - before.loss)
            scores.setdefault(name, []).append(before.score - after.score)
    found = [
        Importance(
            name,
            float(np.mean(losses[name])),
            float(np.std(losses[name])),
            float(np.mean(scores[name])),
            len(losses[name]),
        )
        for name in losses
    ]
    found.sort(key=lambda one: -one.loss)
    return found, [name for name in given.channels if name not in losses]


def _plan(names: list[str]) -> Iterator[tuple[int, int, str]]:
    """(repeat, number of the column, name), in the order of measurement."""
    for repeat in range(REPEATS):
        for number, name in enumerate(names[:MAX_COLUMNS]):
            yield repeat, number, name


def dependence(
    given: Measurement, name: str, means: Callable[[FloatArray], Float64], lines: dict[str, int]
) -> Dependence | None:
    """The partial dependence on one column; None for a column of dates, and if the time does not suffice.

    ``means`` turns outputs into the mean prediction of each class, or of the value; ``lines`` are the positions in it
    to report, by label.
    """
    column, channels = given.channels[name]
    encoded = Encoded(given.encoder, given.x.reshape(len(given.x), *given.shape))
    if isinstance(column, Number | Channel):
        values, x, categories = _numbers(encoded, column, channels)
    elif isinstance(column, Boolean):
        values, x, categories = _booleans(column)
    elif isinstance(column, OneHot | Codes):
        values, x, categories = _categories(encoded, column, channels)
    else:
        return None
    found = []
    for value in values:
        if given.is_late:
            return None
        found.append(means(given.outputs_with(channels, value)))
    table = np.array(found)
    if len(table) < 2 or not np.isfinite(table).all():
        return None
    return Dependence(name, x, categories, [Line(label, table[:, place].tolist()) for label, place in lines.items()])


Grid = tuple[list[FloatArray], list[float], list[str]]
"""Encoded values (channels,), and what they stand for: numbers, or categories."""


def _numbers(encoded: Encoded, column: Number | Channel, channels: slice) -> Grid:
    """Quantiles of the known values, from the 5th to the 95th percentile."""
    raw = encoded.numbers(column, channels)
    known = raw[np.isfinite(raw)]
    if not len(known):
        return [], [], []
    x = np.unique(np.quantile(known, np.linspace(0.05, 0.95, GRID), method="nearest"))
    values = np.zeros((len(x), column.width), np.float32)
    values[:, 0] = column.scale.apply(x)
    return list(values), x.tolist(), []


def _booleans(column: Boolean) -> Grid:
    values = np.zeros((2, column.width), np.float32)
    values[:, 0] = [-1, 1]
    return list(values), [], ["false", "true"]


def _categories(encoded: Encoded, column: OneHot | Codes, channels: slice) -> Grid:
    """The most frequent categories."""
    counts = np.bincount(encoded.codes(column, channels), minlength=len(column.categories))
    counts = counts[: len(column.categories)]
    order: IntArray = np.argsort(-counts, kind="stable")[:MAX_CATEGORIES]
    chosen = [int(code) for code in order if counts[code]]
    if isinstance(column, Codes):
        values = np.array(chosen, np.float32).reshape(-1, 1)
    else:
        values = np.eye(column.width, dtype=np.float32)[chosen]
    return list(values), [], [column.categories[code] for code in chosen]
