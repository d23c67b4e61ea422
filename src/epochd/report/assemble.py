"""From a trained model to its report: predictions for the rows of each part, and all that follows from them.

Everything is bounded: rows are sampled evenly, and the measurements that repeat predictions end with their time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task, TrainingSpec
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.numeric import Number
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.report import classification, columns, examples, regression
from epochd.report.columns import Encoded
from epochd.report.importance import MAX_LINES, TOP, Measurement, Outputs, Scored, dependence, importances
from epochd.report.texts import number
from epochd.report.values import Example, Importances, Part, Profile

Float64 = npt.NDArray[np.float64]
Dataset = InMemoryDataset | MemmapDataset

MAX_ROWS, MAX_OUTPUTS = 100_000, 10_000_000
"""Rows of a part that are predicted, and outputs."""
MEASURED_ROWS, PROFILED_ROWS = 2_000, 20_000
MAX_VALUES = 4_000_000
"""Encoded values that are predicted, measured or profiled at a time."""
HELD_OUT = ("validation", "test")
LEAST_STEPS = 4
"""Shorter sequences are not drawn."""
HEAT = (0.0, 0.45, 0.7)


@dataclass(frozen=True, slots=True)
class Order:
    """The time and the group (None: one group) of each window's target, (windows,)."""

    times: pl.Series
    groups: pl.Series | None


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained model, whose best weights the engine has: ``outputs`` are its raw outputs for features (rows, *inputs).

    ``parts`` are the encoded examples by part, and ``rows`` their row numbers in the dataset. ``shape`` is that of an
    encoded example, whose last axis are the channels of the encoder. ``seconds`` bound the time for importances.
    ``known`` are the raw outputs for all examples of a part that others have predicted: by folds, each by a network
    that has not trained on it.
    """

    outputs: Outputs
    spec: TrainingSpec
    task: Task
    encoder: Encoder
    inputs: tuple[int, ...]
    shape: tuple[int, ...]
    parts: Mapping[str, Dataset]
    rows: Mapping[str, IntArray]
    threshold: float | None = None
    seconds: float = 10.0
    order: Callable[[str], Order | None] = lambda part: None
    known: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        return [_label(label) for label in self.encoder.classes or ()]

    @property
    def shown_parts(self) -> list[str]:
        """The held-out parts; the training rows if there is none."""
        return [name for name in HELD_OUT if name in self.parts] or ["train"]

    def means(self, outputs: FloatArray) -> Float64:
        """The mean probability of each class, or the mean value of a regression as an array of one."""
        found = self.encoder.decode(outputs)
        if found.probabilities is None:
            return np.atleast_1d(np.array(found.labels, np.float64).mean())
        return np.asarray(found.probabilities.mean(axis=0))

    def losses(self, outputs: FloatArray, y: FloatArray | IntArray) -> Float64:
        """The loss of each row: cross-entropy in nats, or the squared error of the standardised target; of a
        transformed target the squared error in its own unit. Not finite where the outputs are not."""
        if self.encoder.target_transform is not None:
            units = self.encoder.target_units
            return np.asarray((units.restored(outputs[:, 0]) - units.restored(y)) ** 2)
        wide = outputs.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            if self.task == "binary":
                return np.asarray(np.logaddexp(0, wide[:, 0]) - y * wide[:, 0])
            if self.task == "multiclass":
                return np.asarray(np.logaddexp.reduce(wide, axis=1) - wide[np.arange(len(y)), y.astype(np.int64)])
            return np.asarray((wide[:, 0] - y) ** 2)

    def scored(self, outputs: FloatArray, y: FloatArray | IntArray, weights: FloatArray | None = None) -> Scored:
        """The mean loss and the score of rows with these weights; the loss of a transformed target is in units of its
        variance."""
        loss = _mean(self.losses(outputs, y), weights)
        if self.task != "regression":
            predicted = outputs[:, 0] > 0 if self.task == "binary" else outputs.argmax(axis=1)
            return Scored(loss, _mean(predicted == y, weights))
        is_transformed = self.encoder.target_transform is not None
        truth = self.encoder.target_units.restored(y) if is_transformed else y.astype(np.float64)
        variance = _mean((truth - _mean(truth, weights)) ** 2, weights)
        share = loss / variance if variance > 0 else 1.0
        return Scored(share if is_transformed else loss, 1 - share)


def _mean(values: npt.NDArray[Any], weights: FloatArray | None) -> float:
    """The mean over rows with these weights; the plain mean if all are 0 or there are none."""
    return float(np.average(values, weights=weights if weights is not None and weights.any() else None))


def _label(label: object) -> str:
    return str(label).lower() if isinstance(label, bool) else str(label)


def evenly(count: int, most: int) -> IntArray:
    """At most ``most`` evenly spaced positions of ``count``."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def sample(dataset: Dataset, most: int) -> tuple[InMemoryDataset, IntArray]:
    """At most ``most`` evenly spaced examples, and their positions."""
    positions = evenly(len(dataset), most)
    if isinstance(dataset, MemmapDataset):
        return dataset.gather(positions), positions
    if len(positions) == len(dataset):
        return dataset, positions
    weights = None if dataset.weights is None else dataset.weights[positions]
    return InMemoryDataset(dataset.x[positions], dataset.y[positions], weights), positions


def at_most(rows: int, shape: Sequence[int]) -> int:
    """So many rows, or fewer if they are wide."""
    return max(1, min(rows, MAX_VALUES // max(1, prod(shape))))


def part(trained: Trained, name: str) -> Part:
    """The predictions for one part."""
    dataset, outputs_per_row = trained.parts[name], trained.encoder.outputs
    positions = evenly(len(dataset), min(MAX_ROWS, MAX_OUTPUTS // outputs_per_row))
    outputs, y = _predicted(trained, name, positions)
    finite = np.isfinite(outputs).all(axis=1)
    positions, outputs, y = positions[finite], outputs[finite], y[finite]
    found: dict[str, Any] = {"classification": None, "regression": None, "worst": [], "best": [], "forecasts": []}
    if not len(y):
        return Part(name, 0, len(dataset), **found)
    worst, best = examples.extremes(trained.losses(outputs, y))
    describe = _Describer(trained, dataset, trained.rows[name], positions, outputs, y)
    found |= {"worst": describe.all(worst), "best": describe.all(best)}
    if trained.task == "regression":
        truth, predicted = describe.truth, describe.predicted
        found["regression"] = regression.regression(truth, predicted)
        order = trained.order(name)
        if order is not None:
            groups = None if order.groups is None else order.groups.gather(positions)
            found["forecasts"] = examples.forecasts(order.times.gather(positions), groups, truth, predicted)
    else:
        probabilities = describe.probabilities
        assert probabilities is not None
        numbers = y.astype(np.int64)
        found["classification"] = classification.classification(
            probabilities, numbers, trained.labels, trained.threshold
        )
    return Part(name, len(y), len(dataset), **found)


def _predicted(trained: Trained, name: str, positions: IntArray) -> tuple[FloatArray, FloatArray | IntArray]:
    """The raw outputs and targets of these examples of a part, read in slices of bounded size."""
    dataset = trained.parts[name]
    if name in trained.known:
        return trained.known[name][positions], dataset.y[positions]
    if isinstance(dataset, InMemoryDataset) and len(positions) == len(dataset):
        return trained.outputs(dataset.x), dataset.y
    at_once, found = at_most(MAX_ROWS, trained.inputs), []
    for first in range(0, len(positions), at_once):
        here = positions[first : first + at_once]
        rows = dataset.gather(here).x if isinstance(dataset, MemmapDataset) else dataset.x[here]
        found.append(trained.outputs(rows))
    return np.concatenate(found), dataset.y[positions]


class _Describer:
    """Single rows of predicted ones as examples: ``positions`` in the dataset of the part, whose row numbers in the
    whole dataset are ``rows``."""

    def __init__(
        self,
        trained: Trained,
        dataset: Dataset,
        rows: IntArray,
        positions: IntArray,
        outputs: FloatArray,
        y: FloatArray | IntArray,
    ) -> None:
        encoder = trained.encoder
        decoded = encoder.decode(outputs)
        self.trained, self.dataset, self.rows, self.positions, self.y = trained, dataset, rows, positions, y
        self.labels, self.probabilities = decoded.labels, decoded.probabilities
        if encoder.classes is None:
            self.predicted = np.array(decoded.labels, np.float64)
            self.truth = encoder.target_units.restored(y)

    def all(self, places: IntArray) -> list[Example]:
        """Examples of the predicted rows at these places."""
        if not len(places):
            return []
        chosen = self.positions[places]
        x = self.dataset.gather(chosen).x if isinstance(self.dataset, MemmapDataset) else self.dataset.x[chosen]
        pictures: Sequence[str | None] = self._images(x) or [None] * len(x)
        series = self._series(x) or [[]] * len(x)
        found = zip(places.tolist(), chosen.tolist(), pictures, series, strict=True)
        return [self._example(place, int(self.rows[at]), image, lines) for place, at, image, lines in found]

    def _example(self, place: int, row: int, image: str | None, series: list[list[float]]) -> Example:
        if self.probabilities is None:
            error = float(self.predicted[place] - self.truth[place])
            truth, predicted = number(float(self.truth[place])), number(float(self.predicted[place]))
            return Example(row, truth, predicted, None, error, image, series)
        code, labels = int(self.y[place]), self.trained.labels
        probability = float(self.probabilities[place, code])
        predicted_code = int(self.probabilities[place].argmax())
        if self.trained.task == "binary" and self.trained.threshold is not None:
            predicted_code = int(self.probabilities[place, 1] > self.trained.threshold)
        return Example(row, labels[code], labels[predicted_code], probability, None, image, series)

    def _images(self, x: FloatArray) -> list[str] | None:
        if (column := self.trained.encoder.image) is not None:
            pixels = examples.picture_pixels(column, x)
            return [examples.image(one, 0.0, 255.0) for one in pixels]
        shape = image_shape(self.trained)
        if shape is None:
            return None
        found = examples.pixels(Encoded(self.trained.encoder, x.reshape(len(x), -1)), shape)
        low, high = float(np.nanmin(found)), float(np.nanmax(found))
        return [examples.image(one, low, high) for one in found]

    def _series(self, x: FloatArray) -> list[list[list[float]]] | None:
        spec, inputs, encoder = self.trained.spec, self.trained.inputs, self.trained.encoder
        is_forecast = spec.forecasts and self.trained.task == "regression"
        if spec.model_type == "mlp" or len(inputs) != 2 or inputs[0] < LEAST_STEPS or is_forecast:
            return None
        if not encoder.masked:
            return [examples.sequence(row) for row in x]
        return [examples.sequence(row[: max(1, int(row[:, -1].sum())), :-1]) for row in x]


def image_shape(trained: Trained) -> tuple[int, ...] | None:
    """(height, width, channels) if each row is an image of numeric columns without missing values, not a picture."""
    shape, every = trained.spec.input_shape, trained.encoder.columns
    is_image = trained.spec.model_type == "cnn" and shape is not None and len(trained.shape) == 1
    if not is_image or not all(isinstance(column, Number) and not column.flag for column in every):
        return None
    return trained.inputs


def measured(trained: Trained) -> Importances:
    """The importance of the columns on held-out rows, and the dependence on the most important ones; on training rows
    if no rows are held out from all networks."""
    name = next((name for name in trained.shown_parts if name not in trained.known), "train")
    rows, _ = sample(trained.parts[name], at_most(MEASURED_ROWS, trained.inputs))

    def until(seconds: float) -> Measurement:
        return Measurement(
            trained.outputs,
            lambda outputs: trained.scored(outputs, rows.y, rows.weights),
            trained.encoder.windowed,
            rows.x,
            trained.shape,
            trained.spec.seed,
            monotonic() + seconds,
        )

    found, skipped = importances(until(0.7 * trained.seconds))
    given, lines = until(0.3 * trained.seconds), _lines(trained, rows)
    top = [one.column for one in found[:TOP] if one.loss > 0]
    depending = (dependence(given, column, trained.means, lines) for column in top)
    dependences = [one for one in depending if one is not None]
    image = None
    if (shape := image_shape(trained)) is not None and not skipped:
        by_name = {one.column: one.loss for one in found}
        values = np.array([by_name[column] for column in trained.encoder.feature_names]).reshape(shape)
        image = examples.heat(values.sum(axis=2), HEAT)
    return Importances(name, len(rows), found, skipped, dependences, image)


def _lines(trained: Trained, rows: InMemoryDataset) -> dict[str, int]:
    """The lines of a partial dependence: the value, the second of two classes, or the most frequent classes."""
    if trained.task == "regression":
        return {"": 0}
    if trained.task == "binary":
        return {"": 1}
    counts = np.bincount(rows.y.astype(np.int64), minlength=len(trained.labels))
    most = sorted(np.argsort(-counts, kind="stable")[:MAX_LINES].tolist())
    return {trained.labels[place]: place for place in most}


def profile(trained: Trained) -> Profile:
    """The columns in a sample of the training rows, and the target of each part."""
    rows, _ = sample(trained.parts["train"], at_most(PROFILED_ROWS, trained.shape))
    found = columns.profiles(Encoded(trained.encoder, rows.x.reshape(len(rows), *trained.shape)))
    ys = {name: dataset.y for name, dataset in trained.parts.items()}
    if trained.task != "regression":
        size = len(trained.labels)
        counts = {name: np.bincount(y.astype(np.int64), minlength=size).tolist() for name, y in ys.items()}
        return Profile(len(rows), found, classes=counts)
    restored = trained.encoder.target_units.restored
    target = {name: np.quantile(restored(y), [0, 0.25, 0.5, 0.75, 1]).tolist() for name, y in ys.items()}
    return Profile(len(rows), found, target=target)


WINDOW_ROWS = 12
"""Rows of a window that are shown as an example, at most."""


def usage_rows(trained: Trained) -> list[dict[str, Any]]:
    """Raw rows to predict, similar to held-out ones: one row, or the last rows of a window with its columns of time and
    group, and the first rows after it with what is known in advance."""
    one, _ = sample(trained.parts[trained.shown_parts[0]], 1)
    x = one.x.reshape(1, *trained.shape)
    if trained.spec.sequence_length is None:
        return columns.example_rows(Encoded(trained.encoder, x))
    rows = columns.example_rows(Encoded(trained.encoder, x[0, -WINDOW_ROWS:]))
    order = trained.order(trained.shown_parts[0])
    for place, row in enumerate(rows):
        for name, value in _ordering(trained.spec, order, place):
            if name == trained.spec.time_column or name not in row:
                row[name] = value
    known = trained.encoder.known
    future = [dict.fromkeys(rows[-1]) | {name: rows[-1][name] for name in known} for _ in range(trained.encoder.reach)]
    for place, row in enumerate(future[:WINDOW_ROWS], len(rows)):
        row.update(_ordering(trained.spec, order, place))
    return [*rows, *future[:WINDOW_ROWS]]


def _ordering(spec: TrainingSpec, order: Order | None, place: int) -> Iterator[tuple[str, Any]]:
    """Example values of the columns of time and group."""
    if spec.time_column is not None:
        is_number = order is not None and order.times.dtype.is_numeric()
        yield spec.time_column, place if is_number else f"2024-01-{place + 1:02}"
    if spec.group_column is not None:
        groups = None if order is None else order.groups
        known = None if groups is None or not len(groups) else groups[0]
        yield spec.group_column, known if isinstance(known, int | float | str | bool) else "a"
