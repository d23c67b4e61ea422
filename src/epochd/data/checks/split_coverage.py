"""What one side of a split has and the training side lacks: classes and values that nothing will be learned of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import IntArray
from epochd.core.errors import Problem
from epochd.core.specs import TrainingSpec
from epochd.data.checks.statistics import Feature
from epochd.data.checks.target import Target
from epochd.data.encoding.labels import Label, encode_labels, listed
from epochd.data.splitting.split import TRAIN, Splits
from epochd.data.tables.table import View

Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Lack:
    """What was found."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def examine(view: View, spec: TrainingSpec, features: Sequence[Feature], target: Target, splits: Splits | None) -> Lack:
    """Look at both sides of a split by time or group; of others each side has its share of all."""
    if splits is None or not len(splits.validation) + len(splits.test):
        return Lack()
    trained = splits.sides() == TRAIN
    found = Lack(warnings=list(_empty_features(view, features, trained)))
    if target.classes is not None and not target.problems:
        _look_at_classes(found, spec, target.classes, _counts(view, spec.target_column, target.classes, trained))
    return found


def _look_at_classes(found: Lack, spec: TrainingSpec, classes: Sequence[Label], counts: IntArray) -> None:
    held_out, trained = counts
    if np.count_nonzero(trained) == 1:
        only = classes[int(np.argmax(trained))]
        message = f"all {trained.sum():,} training rows have the {spec.target_column!r} {only!r}"
        hint = "hold out fewer rows, or use another split, so that rows of each class are trained on"
        found.problems.append(Problem("split", f"{message}: other classes are in held-out rows only", hint))
        return
    lacking = [label for label, seen in zip(classes, trained, strict=True) if not seen]
    if lacking:
        rows = held_out[trained == 0].sum()
        message = f"{rows:,} held-out rows have a {spec.target_column!r} that no training row has: {listed(lacking)}"
        found.warnings.append(f"{message}; hold out fewer rows, or use another split")


def _counts(view: View, name: str, classes: Sequence[Label], trained: Mask) -> IntArray:
    """The rows of each class, held out and trained on: (2, classes)."""
    counts = np.zeros((2, len(classes)), np.int64)
    for first, frame in view.batches(name):
        codes = encode_labels(frame.get_column(name), classes)
        at = trained[first : first + len(codes)]
        for side in (False, True):
            counts[int(side)] += np.bincount(codes[at == side], minlength=len(classes))
    return counts


def _empty_features(view: View, features: Sequence[Feature], trained: Mask) -> Iterator[str]:
    """A warning about features that have values, but none in the rows that are trained on."""
    sparse = [one.name for one in features if np.count_nonzero(trained) <= one.missing < view.rows]
    seen = dict.fromkeys(sparse, False)
    for first, frame in view.batches(*sparse) if sparse else ():
        at = trained[first : first + frame.height]
        for name in sparse:
            seen[name] = seen[name] or bool((_present(frame.get_column(name)) & at).any())
    empty = [name for name, is_seen in seen.items() if not is_seen]
    if empty:
        yield f"without a value in the training rows, so that those of held-out rows say nothing: {listed(empty)}"


def _present(series: pl.Series) -> Mask:
    found = series.is_not_null()
    return (found & series.is_not_nan().fill_null(False) if series.dtype.is_float() else found).to_numpy()
