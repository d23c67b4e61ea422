"""The metrics of binary and multiclass models, from sums over the scored rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core import metric_table
from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import Task
from epochd.loop.ranking import Ranking

Scores = dict[str, float | None]
"""The value of each metric by name; None where it is not defined."""
MATRIX_CLASSES = 100
"""A confusion matrix is counted for this many classes at most."""
LARGEST_LOG_LOSS = -float(np.log(np.finfo(np.float64).eps))
"""The log loss of a row whose class has the probability 0; ``sklearn.metrics.log_loss`` limits it in the same way."""
Float64 = npt.NDArray[np.float64]
Counts = npt.NDArray[Any]
"""Numbers of rows (int64), or sums of their weights (float64)."""


def total(values: Counts, weights: Float64 | None) -> float:
    """The sum of the rows' values (rows,), each times its weight (None: 1)."""
    return float(values.sum() if weights is None else (values * weights).sum())


def weighted_rows(
    outputs: FloatArray | Float64, y: FloatArray | IntArray, weights: FloatArray | None
) -> tuple[FloatArray | Float64, FloatArray | IntArray, Float64 | None]:
    """The rows that count, with their weights: a row of weight 0 has no effect on any metric."""
    if weights is None:
        return outputs, y, None
    if weights.all():
        return outputs, y, weights.astype(np.float64)
    counts = weights > 0
    return outputs[counts], y[counts], weights[counts].astype(np.float64)


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Rows by class, or the sums of their weights, (classes,): ``actual``, ``predicted``, and ``hits``, which are
    both."""

    actual: Counts
    predicted: Counts
    hits: Counts

    @classmethod
    def of(cls, actual: IntArray, predicted: IntArray, classes: int, weights: Float64 | None = None) -> "LabelCounts":
        """From class numbers, int64 (rows,)."""
        hit = actual == predicted
        if weights is None:
            each = (actual, predicted, actual[hit])
            return cls(*(np.bincount(numbers, minlength=classes) for numbers in each))
        weighted = ((actual, weights), (predicted, weights), (actual[hit], weights[hit]))
        return cls(*(np.bincount(numbers, of_rows, classes) for numbers, of_rows in weighted))

    @classmethod
    def of_matrix(cls, matrix: IntArray) -> "LabelCounts":
        """From a confusion matrix (true, predicted)."""
        return cls(matrix.sum(axis=1), matrix.sum(axis=0), matrix.diagonal())

    def __add__(self, other: "LabelCounts") -> "LabelCounts":
        hits = self.hits + other.hits
        return LabelCounts(self.actual + other.actual, self.predicted + other.predicted, hits)

    def precision(self) -> Float64:
        """Of each class; 0 where it was never predicted."""
        return _ratio(self.hits, self.predicted)

    def recall(self) -> Float64:
        """Of each class; 0 where it has no row."""
        return _ratio(self.hits, self.actual)

    def f1(self) -> Float64:
        """Of each class; 0 where it has no row and was never predicted."""
        return _ratio(2 * self.hits, self.actual + self.predicted)

    def scores(self, task: Task) -> Scores:
        """The metrics that compare labels. Macro F1 is the mean over the classes that occur in the rows or in the
        predictions, balanced accuracy that of the recall over the classes that have rows."""
        if task == "binary":
            return self._binary_scores()
        rows, f1, recall = self.actual.sum().item(), self.f1(), self.recall()
        return {
            "accuracy": self.hits.sum().item() / rows,
            "f1": float(f1[self.actual + self.predicted > 0].mean()),
            "f1_weighted": float((f1 * self.actual).sum()) / rows,
            "balanced_accuracy": float(recall[self.actual > 0].mean()),
        }

    def _binary_scores(self) -> Scores:
        """The same in plain Python, which is faster for two classes."""
        (negatives, positives), (_, predicted), (rejected, found) = (
            values.tolist() for values in (self.actual, self.predicted, self.hits)
        )
        recalls = [hits / rows for hits, rows in ((rejected, negatives), (found, positives)) if rows]
        return {
            "accuracy": (rejected + found) / (negatives + positives),
            "f1": 2 * found / ((positives + predicted) or 1),
            "precision": found / (predicted or 1),
            "recall": found / (positives or 1),
            "balanced_accuracy": sum(recalls) / len(recalls),
        }


def _ratio(part: Counts, whole: Counts) -> Float64:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


@dataclass(slots=True)
class ClassTally:
    """Sums over scored rows of a classification with ``total`` rows, from which all its metrics follow. With weights
    they are weighted, except the numbers of rows in ``matrix`` and ``many``.

    The second of two classes is predicted above the probability ``threshold``. AUC is computed for ``auc_classes``
    classes at most, because its time grows with rows times classes.
    """

    task: Task
    total: int
    threshold: float = 0.5
    auc_classes: int = 1_000_000
    rows: int = 0
    weight: float = 0.0
    loss: float = 0.0
    log_loss: float = 0.0
    squares: float = 0.0
    top: float = 0.0
    matrix: IntArray | None = None
    many: LabelCounts | None = None
    """Instead of the matrix, for more than MATRIX_CLASSES."""
    weighted: LabelCounts | None = None
    """The sums of weights by class, if the rows have weights."""
    ranking: Ranking = field(init=False)

    def __post_init__(self) -> None:
        self.ranking = Ranking(self.total)

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray, weights: FloatArray | None = None) -> None:
        """Add rows: logits (rows, outputs), class numbers (rows,), and weights (rows,)."""
        self.rows += len(y)
        outputs, y, of_rows = weighted_rows(outputs, y, weights)
        self.weight += len(y) if of_rows is None else float(of_rows.sum())
        if not len(y):
            return
        with np.errstate(invalid="ignore"):  # the loop looks for losses that are not finite
            if self.task == "binary":
                self._add_binary(outputs, y, of_rows)
            else:
                self._add_multiclass(outputs.astype(np.float64), y.astype(np.int64), of_rows)

    def _add_binary(self, outputs: FloatArray | Float64, y: FloatArray | IntArray, weights: Float64 | None) -> None:
        logit, numbers = outputs[:, 0].astype(np.float64), y.astype(np.int64)
        losses = np.logaddexp(0, logit) - y * logit
        if self._add_losses(losses, weights):
            self.squares += total(np.expm1(-losses) ** 2, weights)  # exp(-loss) is the probability of the row's class
            self._count(numbers, (logit > metric_table.logit(self.threshold)).astype(np.int64), 2, weights)
            self.ranking.add(outputs, numbers, weights)

    def _add_multiclass(self, logits: Float64, numbers: IntArray, weights: Float64 | None) -> None:
        classes, largest = logits.shape[1], logits.max(axis=1, keepdims=True)
        powers = np.exp(logits - largest)
        sums, own = powers.sum(axis=1, keepdims=True), logits[np.arange(len(numbers)), numbers]
        if self._add_losses(np.log(sums[:, 0]) + largest[:, 0] - own, weights):
            self._count(numbers, logits.argmax(axis=1), classes, weights)
            if classes > metric_table.TOP:
                self.top += total(_in_top(logits, own, numbers), weights)
            if classes <= self.auc_classes:
                self.ranking.add(powers / sums, numbers, weights)

    def _add_losses(self, losses: Float64, weights: Float64 | None) -> bool:
        """Add the losses of rows; whether they are finite, as otherwise nothing else is defined."""
        loss = total(losses, weights)
        self.loss += loss
        self.log_loss += total(np.minimum(losses, LARGEST_LOG_LOSS), weights)
        return isfinite(loss)

    def _count(self, numbers: IntArray, predicted: IntArray, classes: int, weights: Float64 | None) -> None:
        if weights is not None:
            sums = LabelCounts.of(numbers, predicted, classes, weights)
            self.weighted = sums if self.weighted is None else self.weighted + sums
        if classes <= MATRIX_CLASSES:
            cells = np.bincount(numbers * classes + predicted, minlength=classes**2).reshape(classes, classes)
            self.matrix = cells if self.matrix is None else self.matrix + cells
        else:
            found = LabelCounts.of(numbers, predicted, classes)
            self.many = found if self.many is None else self.many + found

    @property
    def counts(self) -> LabelCounts | None:
        """The numbers of rows; None if no row had a finite loss."""
        return self.many if self.matrix is None else LabelCounts.of_matrix(self.matrix)

    def scores(self) -> Scores:
        """All metrics of the rows; the loss alone if it is not finite."""
        loss, counts = self.loss / self.weight, self.weighted or self.counts
        if not isfinite(loss) or counts is None:
            return {"loss": loss}
        labels = counts.scores(self.task)
        found = {"loss": loss, "accuracy": labels.pop("accuracy")} | self._ranking_scores() | labels
        found["log_loss"] = self.log_loss / self.weight
        if self.task == "binary":
            found["brier"] = self.squares / self.weight
        elif len(counts.actual) > metric_table.TOP:
            found["top_5_accuracy"] = self.top / self.weight
        return found

    def _ranking_scores(self) -> Scores:
        if self.ranking.is_empty:
            return {}
        estimated: Scores = {"auc_estimated": True} if self.ranking.is_estimate else {}
        if self.task == "multiclass":
            return {"auc": self.ranking.macro_auc()} | estimated
        ranked = self.ranking.binary()
        return {"auc": ranked.auc(), "average_precision": ranked.average_precision()} | estimated

    def details(self, classes: Sequence[object]) -> dict[str, Any]:
        """The metrics of each class with its numbers of rows (``support``) and predictions, and the confusion matrix
        (rows: true, columns: predicted) unless there are too many classes. ``classes`` are the labels."""
        counts = self.counts
        if counts is None:
            return {}
        matrix = {} if self.matrix is None else {"confusion_matrix": self.matrix.tolist()}
        keys, rates = ("label", "precision", "recall", "f1", "support", "predicted"), self.weighted or counts
        columns = (rates.precision(), rates.recall(), rates.f1(), counts.actual, counts.predicted)
        entries = zip(classes, *(column.tolist() for column in columns), strict=True)
        return matrix | {"per_class": [dict(zip(keys, entry, strict=True)) for entry in entries]}


def _in_top(logits: Float64, own: Float64, numbers: IntArray) -> npt.NDArray[np.bool_]:
    """Whether the class of each row is among the TOP with the highest logits; as in ``top_k_accuracy_score``, the later
    of two classes with equal logits comes first."""
    ahead, tied = (logits > own[:, None]).sum(axis=1), logits == own[:, None]
    if int(tied.sum()) > len(own):
        ahead += (tied & (np.arange(logits.shape[1]) > numbers[:, None])).sum(axis=1)
    return np.asarray(ahead < metric_table.TOP)
