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


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Rows by class, int64 (classes,): ``actual``, ``predicted``, and ``hits``, which are both."""

    actual: IntArray
    predicted: IntArray
    hits: IntArray

    @classmethod
    def of(cls, actual: IntArray, predicted: IntArray, classes: int) -> "LabelCounts":
        """From class numbers, int64 (rows,)."""
        each = (actual, predicted, actual[actual == predicted])
        return cls(*(np.bincount(numbers, minlength=classes) for numbers in each))

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
        rows, f1, recall = int(self.actual.sum()), self.f1(), self.recall()
        return {
            "accuracy": int(self.hits.sum()) / rows,
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


def _ratio(part: IntArray, whole: IntArray) -> Float64:
    return np.asarray(part / np.maximum(whole, 1))


@dataclass(slots=True)
class ClassTally:
    """Sums over scored rows of a classification with ``total`` rows, from which all its metrics follow.

    The second of two classes is predicted above the probability ``threshold``. AUC is computed for ``auc_classes``
    classes at most, because its time grows with rows times classes.
    """

    task: Task
    total: int
    threshold: float = 0.5
    auc_classes: int = 1_000_000
    rows: int = 0
    loss: float = 0.0
    log_loss: float = 0.0
    squares: float = 0.0
    top: int = 0
    matrix: IntArray | None = None
    many: LabelCounts | None = None
    """Instead of the matrix, for more than MATRIX_CLASSES."""
    ranking: Ranking = field(init=False)

    def __post_init__(self) -> None:
        self.ranking = Ranking(self.total)

    def add(self, outputs: FloatArray | Float64, y: FloatArray | IntArray) -> None:
        """Add rows: logits (rows, outputs), and class numbers (rows,)."""
        self.rows += len(y)
        with np.errstate(invalid="ignore"):  # the loop looks for losses that are not finite
            if self.task == "binary":
                self._add_binary(outputs, y)
            else:
                self._add_multiclass(outputs.astype(np.float64), y.astype(np.int64))

    def _add_binary(self, outputs: FloatArray | Float64, y: FloatArray | IntArray) -> None:
        logit, numbers = outputs[:, 0].astype(np.float64), y.astype(np.int64)
        losses = np.logaddexp(0, logit) - y * logit
        if self._add_losses(losses):
            self.squares += float((np.expm1(-losses) ** 2).sum())  # exp(-loss) is the probability of the row's class
            self._count(numbers, (logit > metric_table.logit(self.threshold)).astype(np.int64), 2)
            self.ranking.add(outputs, numbers)

    def _add_multiclass(self, logits: Float64, numbers: IntArray) -> None:
        classes, largest = logits.shape[1], logits.max(axis=1, keepdims=True)
        powers = np.exp(logits - largest)
        sums, own = powers.sum(axis=1, keepdims=True), logits[np.arange(len(numbers)), numbers]
        if self._add_losses(np.log(sums[:, 0]) + largest[:, 0] - own):
            self._count(numbers, logits.argmax(axis=1), classes)
            if classes > metric_table.TOP:
                self.top += _in_top(logits, own, numbers)
            if classes <= self.auc_classes:
                self.ranking.add(powers / sums, numbers)

    def _add_losses(self, losses: Float64) -> bool:
        """Add the losses of rows; whether they are finite, as otherwise nothing else is defined."""
        loss = float(losses.sum())
        self.loss += loss
        self.log_loss += float(np.minimum(losses, LARGEST_LOG_LOSS).sum())
        return isfinite(loss)

    def _count(self, numbers: IntArray, predicted: IntArray, classes: int) -> None:
        if classes <= MATRIX_CLASSES:
            cells = np.bincount(numbers * classes + predicted, minlength=classes**2).reshape(classes, classes)
            self.matrix = cells if self.matrix is None else self.matrix + cells
        else:
            found = LabelCounts.of(numbers, predicted, classes)
            self.many = found if self.many is None else self.many + found

    @property
    def counts(self) -> LabelCounts | None:
        """None if no row had a finite loss."""
        return self.many if self.matrix is None else LabelCounts.of_matrix(self.matrix)

    def scores(self) -> Scores:
        """All metrics of the rows; the loss alone if it is not finite."""
        loss, counts = self.loss / self.rows, self.counts
        if not isfinite(loss) or counts is None:
            return {"loss": loss}
        labels = counts.scores(self.task)
        found = {"loss": loss, "accuracy": labels.pop("accuracy")} | self._ranking_scores() | labels
        found["log_loss"] = self.log_loss / self.rows
        if self.task == "binary":
            found["brier"] = self.squares / self.rows
        elif len(counts.actual) > metric_table.TOP:
            found["top_5_accuracy"] = self.top / self.rows
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
        keys = ("label", "precision", "recall", "f1", "support", "predicted")
        columns = (counts.precision(), counts.recall(), counts.f1(), counts.actual, counts.predicted)
        entries = zip(classes, *(column.tolist() for column in columns), strict=True)
        return matrix | {"per_class": [dict(zip(keys, entry, strict=True)) for entry in entries]}


def _in_top(logits: Float64, own: Float64, numbers: IntArray) -> int:
    """The rows whose class is among the TOP with the highest logits; as in ``top_k_accuracy_score``, the later of two
    classes with equal logits comes first."""
    ahead, tied = (logits > own[:, None]).sum(axis=1), logits == own[:, None]
    if int(tied.sum()) > len(own):
        ahead += (tied & (np.arange(logits.shape[1]) > numbers[:, None])).sum(axis=1)
    return int((ahead < metric_table.TOP).sum())
