"""Metrics that depend on the order of the scored rows, and the choice of a decision threshold.

Up to ``KEPT_VALUES`` outputs are kept and ranked exactly. Above that, logits are counted in histograms, whose memory is
bounded: rows of one bin count as tied, so the metrics are estimates.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import IntArray
from epochd.core.metric_table import logit

KEPT_VALUES = 2_000_000
"""Rows times outputs that are ranked exactly, which takes about 100 MB."""
HISTOGRAM_BINS, MAX_BINS = 1 << 21, 1 << 16
"""Bins of all histograms together, and of one of them."""
LARGEST_LOGIT = 32.0
"""The bins have equal widths between this logit and its negative; the outermost ones also contain what is beyond."""
Aim = Literal["f1", "balanced"]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Ranked:
    """Scored rows by their distinct ``scores``, ascending. ``positive`` and ``negative`` are int64 numbers of rows, or
    float64 sums of their weights, which are above 0: item i counts those below score i, and the last item (one more
    than scores) all of them."""

    scores: Array
    positive: Array
    negative: Array

    @classmethod
    def of(cls, scores: Array, is_positive: Array, weights: Array | None = None) -> "Ranked":
        """From the score, the class (bool) and the weight (None: 1) of each row, (rows,)."""
        order = scores.argsort()
        ordered = scores[order]
        first = np.empty(len(ordered) + 1, np.bool_)
        first[0] = first[-1] = True
        np.not_equal(ordered[1:], ordered[:-1], out=first[1:-1])
        begins = first.nonzero()[0]
        if weights is not None:
            sums = (np.where(is_positive == side, weights, 0.0)[order].cumsum() for side in (True, False))
            return cls(ordered[begins[:-1]], *(np.concatenate([[0.0], found])[begins] for found in sums))
        positive = np.zeros(len(ordered) + 1, np.int64)
        is_positive[order].cumsum(out=positive[1:])
        positive = positive[begins]
        return cls(ordered[begins[:-1]], positive, begins - positive)

    @classmethod
    def of_counts(cls, scores: Array, positive: Array, negative: Array) -> "Ranked":
        """From the numbers of rows, or the sums of their weights, at each score."""
        return cls(scores, *(np.concatenate([[0], rows.cumsum()]) for rows in (positive, negative)))

    @property
    def has_both(self) -> bool:
        return bool(self.positive[-1] and self.negative[-1])

    def auc(self) -> float | None:
        """The area under the ROC curve, as ``roc_auc_score``: the share of pairs of a positive and a negative row whose
        scores have the right order, ties counted half. None if all rows are of one class."""
        if not self.has_both:
            return None
        doubled = (self.positive[1:] - self.positive[:-1]) * (self.negative[1:] + self.negative[:-1])
        found: float = doubled.sum().item() / (2 * self.positive[-1].item() * self.negative[-1].item())
        return found

    def average_precision(self) -> float:
        """As ``average_precision_score``: the mean over the positive rows of the precision at their score; 0 without
        any positive row."""
        if not self.positive[-1]:
            return 0.0
        hits, false = self.at_or_above()
        rows = hits + false
        precision = np.divide(hits, rows, out=np.zeros(len(rows)), where=rows > 0)  # 0 by rounding of tiny weights
        return float((precision * (self.positive[1:] - self.positive[:-1])).sum() / self.positive[-1])

    def at_or_above(self) -> tuple[Array, Array]:
        """Positive and negative rows that have each score or a higher one."""
        return self.positive[-1] - self.positive[:-1], self.negative[-1] - self.negative[:-1]


def best_threshold(ranked: Ranked, aim: Aim) -> float:
    """The probability above which rows are to be predicted as positive; ``ranked`` has logits.

    ``f1`` maximises F1, ``balanced`` the balanced accuracy. Each cut between two neighbouring logits is tried, and one
    below the lowest; the threshold is the shortest decimal number near the middle of the cut, or 0.5 if that is the
    same cut. Of several best ones it is the nearest to 0.5, then the lowest. 0.5 if all rows are of one class.
    """
    if not ranked.has_both:
        return 0.5
    (hits, false), positive, negative = ranked.at_or_above(), ranked.positive[-1], ranked.negative[-1]
    values = 2 * hits / (hits + false + positive) if aim == "f1" else hits / positive - false / negative
    upper = ranked.scores.astype(np.float64)
    lower = np.concatenate([[-np.inf], upper[:-1]])
    for value in np.unique(values)[::-1]:  # the next one only if no probability lies between two huge logits
        cuts = np.flatnonzero(values == value)
        found = [_between(low, high) for low, high in zip(lower[cuts].tolist(), upper[cuts].tolist(), strict=True)]
        if known := [threshold for threshold in found if threshold is not None]:
            return min(known, key=lambda threshold: (abs(threshold - 0.5), threshold))
    return 0.5


def _between(low: float, high: float) -> float | None:
    """A short probability whose logit is at least ``low`` and below ``high``; 0.5 if that is. None if there is none."""
    if low <= 0.0 < high:
        return 0.5
    middle = float(sigmoid(np.array([low, high])).mean())
    rounded = (round(middle, digits) for digits in range(1, 17))
    return next((p for p in (*rounded, middle) if 0.0 < p < 1.0 and low <= logit(p) < high), None)


def sigmoid(logits: Array) -> Array:
    """Probabilities of logits."""
    return np.asarray(np.exp(-np.logaddexp(0, -logits)))


def macro_auc(probabilities: Array, numbers: IntArray, weights: Array | None = None) -> float | None:
    """The mean over the classes of the AUC of each against all others, as ``roc_auc_score`` with ``ovr`` and ``macro``.
    None if a class has no row, or all of them. Takes probabilities (rows, classes), class numbers and weights
    (rows,)."""
    rows, classes = probabilities.shape
    counts = np.bincount(numbers, minlength=classes).tolist()
    if 0 in counts:
        return None
    if weights is not None:
        found = [Ranked.of(column, numbers == place, weights).auc() for place, column in enumerate(probabilities.T)]
        known = [value for value in found if value is not None]
        return sum(known) / len(found) if len(known) == len(found) else None
    ordered = np.sort(np.ascontiguousarray(probabilities.T), axis=1)
    own = np.split(probabilities[np.arange(rows), numbers][np.argsort(numbers, kind="stable")], np.cumsum(counts[:-1]))
    total = 0.0
    for column, scores, positive in zip(ordered, own, counts, strict=True):
        scores.sort()
        below, at_most = column.searchsorted(scores, "left"), column.searchsorted(scores, "right")
        doubled = int(below.sum()) + int(at_most.sum()) - positive**2  # without the pairs of two positive rows
        total += doubled / (2 * positive * (rows - positive))
    return total / len(counts)


@dataclass(slots=True)
class Ranking:
    """The scores of ``total`` rows, with their class numbers and weights (None: all 1): kept as they are, or their
    logits counted in histograms."""

    total: int
    parts: list[tuple[Array, Array, Array | None]] = field(default_factory=list)
    counts: Array | None = None

    def add(self, scores: Array, numbers: IntArray, weights: Array | None = None) -> None:
        """Add rows with their class numbers, (rows,), and their logits, (rows, 1), or the probabilities of more than
        two classes, (rows, classes); and weights above 0, (rows,), with all rows or none."""
        columns = scores.shape[1]
        if self.total * columns <= KEPT_VALUES:
            self.parts.append((scores, numbers, weights))
            return
        bins = min(MAX_BINS, HISTOGRAM_BINS // columns)
        if self.counts is None:
            self.counts = np.zeros((columns, 2, bins), np.int64 if weights is None else np.float64)
        for column, logits in enumerate(_class_logits(scores)):
            of_class = numbers == (column if columns > 1 else 1)
            place = (np.clip(logits, -LARGEST_LOGIT, LARGEST_LOGIT) + LARGEST_LOGIT) * ((bins - 1) / LARGEST_LOGIT / 2)
            index = np.rint(place).astype(np.int64)
            index[of_class] += bins
            self.counts[column] += np.bincount(index, weights, 2 * bins).reshape(2, bins)

    @property
    def is_empty(self) -> bool:
        return not self.parts and self.counts is None

    @property
    def is_estimate(self) -> bool:
        return self.counts is not None

    def binary(self) -> Ranked:
        """The rows of a binary task by their logit."""
        if self.counts is not None:
            return self._counted(0)
        scores, numbers, weights = self._joined()
        return Ranked.of(scores[:, 0], numbers == 1, weights)

    def macro_auc(self) -> float | None:
        """As the function of this name."""
        if self.counts is None:
            return macro_auc(*self._joined())
        found = [self._counted(column).auc() for column in range(len(self.counts))]
        known = [value for value in found if value is not None]
        return sum(known) / len(found) if len(known) == len(found) else None

    def _joined(self) -> tuple[Array, Array, Array | None]:
        if len(self.parts) > 1:
            scores, numbers, weights = zip(*self.parts, strict=True)
            joined = None if weights[0] is None else np.concatenate(weights)
            self.parts = [(np.concatenate(scores), np.concatenate(numbers), joined)]
        return self.parts[0]

    def _counted(self, column: int) -> Ranked:
        assert self.counts is not None
        negative, positive = self.counts[column]
        used = np.flatnonzero(positive + negative)
        middles = np.linspace(-LARGEST_LOGIT, LARGEST_LOGIT, len(positive))
        return Ranked.of_counts(middles[used], positive[used], negative[used])


def _class_logits(scores: Array) -> list[Array]:
    """The logit of each class against all others."""
    wide = scores.astype(np.float64)
    if wide.shape[1] == 1:
        return [wide[:, 0]]
    probabilities = np.clip(wide, 1e-15, 1 - 1e-15)
    return list((np.log(probabilities) - np.log1p(-probabilities)).T)
