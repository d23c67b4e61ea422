"""What the training side of a split by time or group lacks: classes and values that only held-out rows have."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from epochd.core.specs import TrainingSpec
from epochd.data.checks.issue import Issue, problem, warning
from epochd.data.checks.statistics import Statistics
from epochd.data.checks.target import Target
from epochd.data.encoding.labels import encode_labels, listed
from epochd.data.schema import col
from epochd.data.splitting.split import TRAIN, Splits


def questions(statistics: Statistics, splits: Splits | None) -> list[pl.Expr]:
    """What the second pass has to answer: in which rows features with many missing values have one."""
    if splits is None or not len(splits.validation) + len(splits.test):
        return []
    sparse = [f.name for f in statistics.features if len(splits.train) <= f.missing < statistics.rows]
    return [col(name).is_not_null().implode().alias(f"present {name}") for name in sparse]


def check(
    statistics: Statistics, spec: TrainingSpec, target: Target, splits: Splits | None, answers: Mapping[str, Any]
) -> Iterator[Issue]:
    """Compare the sides of a split by time or group; in other splits each side has its share of everything."""
    if splits is None or not len(splits.validation) + len(splits.test):
        return
    trained = splits.sides() == TRAIN
    empty = [
        key.partition(" ")[2]
        for key, value in answers.items()
        if key.startswith("present ") and not (value.to_numpy() & trained).any()
    ]
    if empty:
        yield warning(f"features with values in held-out rows only, from which a model learns nothing: {listed(empty)}")
    if target.classes is None or target.issues:
        return
    classes, name = target.classes, spec.target_column
    codes = encode_labels(statistics.by_row[name], classes)
    seen = np.bincount(codes[trained], minlength=len(classes))
    if np.count_nonzero(seen) == 1:
        only, rows = classes[int(np.argmax(seen))], seen.sum()
        message = f"all {rows:,} training rows have the {name!r} {only!r}: other classes are in held-out rows only"
        hint = "hold out fewer rows, or use another split, so that rows of each class are trained on"
        yield problem("split", message, hint)
        return
    lacking = [label for label, count in zip(classes, seen, strict=True) if not count]
    if lacking:
        rows = np.count_nonzero(seen[codes] == 0)
        message = f"{rows:,} held-out rows have a {name!r} that no training row has: {listed(lacking)}"
        yield warning(f"{message}; hold out fewer rows, or use another split")
