"""The figures of a classification: ROC and precision-recall curves, thresholds, calibration, confusion.

Areas follow scikit-learn's definitions (``roc_auc_score``, ``average_precision_score``).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import IntArray
from epochd.report.values import Bin, Binary, Classification, ClassScores, Confusion, Curve, Levels, Threshold

Float64 = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MAX_POINTS = 200
"""Points of a curve, at most."""
GRID, MAX_SCORES, DIGITS = 100, 98, 15
"""Levels: equal steps of the probability, and scores of rows, at most, with so many digits. With both ends and the
threshold of the model there are ``MAX_POINTS``."""
MAX_MATRIX = 20
"""Classes of a confusion matrix, at most."""
MAX_PAIRS = 20
MAX_RANKED = 5_000_000
"""Probabilities that are sorted for the AUC of each class, at most; beyond that it is left out."""
THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
BINS = 10


def classification(
    probabilities: Float64, y: IntArray, labels: Sequence[str], threshold: float | None = None
) -> Classification:
    """The figures for predicted probabilities (rows, classes) and true class numbers (rows,).

    The predicted class is the most probable one; that of a binary task with a ``threshold`` the second one if its
    probability is higher than the threshold.
    """
    is_binary = len(labels) == 2
    at = 0.5 if threshold is None else threshold
    predicted = (probabilities[:, 1] > at).astype(np.int64) if is_binary else probabilities.argmax(axis=1)
    counts = np.bincount(y * len(labels) + predicted, minlength=len(labels) ** 2).reshape(len(labels), -1)
    return Classification(
        list(labels),
        counts.tolist() if len(labels) <= MAX_MATRIX else None,
        _confused(counts, labels),
        _per_class(counts, probabilities, y, labels),
        _binary(probabilities[:, 1], y == 1, labels[1], at) if is_binary else None,
    )


def _per_class(counts: IntArray, probabilities: Float64, y: IntArray, labels: Sequence[str]) -> list[ClassScores]:
    rows, predicted, hits = counts.sum(axis=1), counts.sum(axis=0), counts.diagonal()
    is_ranked = probabilities.size <= MAX_RANKED
    found = []
    for number, label in enumerate(labels):
        curve = roc(probabilities[:, number], y == number) if is_ranked else None
        precision, recall = ratio(hits[number], predicted[number]), ratio(hits[number], rows[number])
        f1 = ratio(2 * hits[number], rows[number] + predicted[number])
        auc = None if curve is None else curve.area
        found.append(ClassScores(label, int(rows[number]), int(predicted[number]), precision, recall, f1, auc))
    return found


def _confused(counts: IntArray, labels: Sequence[str]) -> list[Confusion]:
    """The pairs of different classes with the most rows, the largest first."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MAX_PAIRS]
    places = [divmod(int(place), len(labels)) for place in order]
    return [Confusion(labels[true], labels[said], int(wrong[true, said])) for true, said in places if wrong[true, said]]


def _binary(scores: Float64, positive: Flags, label: str, decision: float) -> Binary:
    chosen = sorted({*THRESHOLDS, decision})
    thresholds = [_threshold(scores, positive, level, is_decision=level == decision) for level in chosen]
    curves = roc(scores, positive), precision_recall(scores, positive)
    counts = levels(scores, positive, decision)
    return Binary(label, int(positive.sum()), *curves, thresholds, counts, calibration(scores, positive))


def roc(scores: Float64, positive: Flags) -> Curve | None:
    """The false and true positive rates at every distinct score, with the area under the curve; None if all rows have
    the same class."""
    hits, alarms = _counts(scores, positive)
    if not 0 < hits[-1] < len(positive):
        return None
    x, y = np.append(0, alarms) / alarms[-1], np.append(0, hits) / hits[-1]
    return _curve(x, y, float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum()))


def precision_recall(scores: Float64, positive: Flags) -> Curve | None:
    """Recall and precision at every distinct score, the highest first, with the average precision; None without a
    positive row."""
    hits, alarms = _counts(scores, positive)
    if hits[-1] == 0:
        return None
    precision, recall = hits / (hits + alarms), hits / hits[-1]
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    return _curve(np.append(0, recall), np.append(precision[0], precision), average)


def _counts(scores: Float64, positive: Flags) -> tuple[Float64, Float64]:
    """True and false positives if all rows down to each distinct score are predicted positive."""
    order = np.argsort(-scores, kind="stable")
    ordered, flags = scores[order], positive[order]
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    hits = flags.cumsum()[last].astype(np.float64)
    return hits, last + 1 - hits


def _curve(x: Float64, y: Float64, area: float) -> Curve:
    """At most ``MAX_POINTS`` of the points, at equal distances along the curve."""
    kept = _thinned(x, y, MAX_POINTS)
    return Curve(x[kept].tolist(), y[kept].tolist(), area)


def _thinned(x: Float64, y: Float64, most: int) -> IntArray:
    """The positions of at most so many points, at equal distances along the line through them."""
    if len(x) <= most:
        return np.arange(len(x))
    length = np.append(0, (np.abs(np.diff(x)) + np.abs(np.diff(y))).cumsum())
    return np.unique(np.searchsorted(length, np.linspace(0, length[-1], most)))


def levels(scores: Float64, positive: Flags, decision: float) -> Levels:
    """The counts at the threshold of the model, at equal steps of the probability, and between the scores of rows: of
    all rows, or of some at equal distances along the ROC curve, so that there are enough where most rows are."""
    hits, alarms = _counts(scores, positive)
    kept = _thinned(alarms / max(1.0, alarms[-1]), hits / max(1.0, hits[-1]), MAX_SCORES)
    distinct = np.unique(scores)
    between = _short(distinct, np.append(distinct[1:], np.inf))[::-1][kept]
    found = np.unique([*np.arange(GRID + 1) / GRID, decision, *between])
    lower = [np.searchsorted(np.sort(scores[flags]), found, side="right") for flags in (positive, ~positive)]
    return Levels(found.tolist(), (positive.sum() - lower[0]).tolist(), ((~positive).sum() - lower[1]).tolist())


def _short(low: Float64, high: Float64) -> Float64:
    """The decimal numbers with the fewest digits from ``low`` to below ``high``, which make the same difference."""
    found = low.copy()
    for digits in range(DIGITS, 1, -1):
        rounded = np.ceil(low * 10**digits) / 10**digits
        found = np.where((rounded >= low) & (rounded < high), rounded, found)
    return found


def _threshold(scores: Float64, positive: Flags, level: float, *, is_decision: bool) -> Threshold:
    chosen = scores > level
    hits, rows, found = int((chosen & positive).sum()), int(positive.sum()), int(chosen.sum())
    f1 = ratio(2 * hits, rows + found)
    return Threshold(level, ratio(hits, found), ratio(hits, rows), f1, found / len(scores), is_decision)


def calibration(scores: Float64, positive: Flags) -> list[Bin]:
    """Predicted and observed shares in ``BINS`` equal intervals of the probability; intervals without rows are left
    out."""
    number = np.minimum((scores * BINS).astype(np.int64), BINS - 1)
    found = []
    for place in np.unique(number):
        here = number == place
        predicted, observed = float(scores[here].mean()), float(positive[here].mean())
        found.append(Bin(int(place) / BINS, (int(place) + 1) / BINS, int(here.sum()), predicted, observed))
    return found


def ratio(part: float, whole: float) -> float | None:
    """None for a part of nothing."""
    return float(part / whole) if whole else None
