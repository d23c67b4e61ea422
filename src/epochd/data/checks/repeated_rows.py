"""Rows that stand in a table several times, so that held-out rows are trained on as well.

In the first pass one column tells whether rows may be repeated; only then is every row compared with all others.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError
from epochd.core.specs import TrainingSpec
from epochd.data.checks.issue import Issue, problem, warning
from epochd.data.checks.statistics import Statistics, plain_column
from epochd.data.checks.target import Target
from epochd.data.encoding.labels import encode_labels
from epochd.data.schema import Kind, col, kind_of
from epochd.data.splitting.folds import check_groups, folds
from epochd.data.splitting.row_contents import group_numbers, row_hashes
from epochd.data.splitting.split import TRAIN, Splits, is_by_content, split, split_kind

MAX_ROWS, MAX_CELLS = 20_000_000, 200_000_000
"""Larger tables are not searched for repeated rows."""
VARIED = 0.95
"""A share of distinct values, or of distinct first rows, from which on a large table is not searched."""
ROOM = 10
"""Rows are compared only where their values have so many times as many combinations as there are rows: where there are
fewer, rows are the same by chance."""
SHARE = 0.05
"""The share of held-out rows among the training rows from which on it is reported."""


def questions(statistics: Statistics, spec: TrainingSpec) -> list[pl.Expr]:
    """What the second pass has to answer: the content and the target of each row, where rows may be repeated, or are
    split by their content."""
    names, target = [feature.name for feature in statistics.features], statistics.target
    if not names or target is None or spec.sequence_length is not None:
        return []
    if not spec.held_out and spec.folds is None:
        return []
    if kind_of(target.dtype) in (Kind.LIST, Kind.UNSUPPORTED) or is_unreadable(statistics):
        return []
    if not is_by_content(spec) and not (_is_searchable(statistics) and _may_repeat(statistics)):
        return []
    return [
        row_hashes(statistics.schema, names).implode().alias("row contents"),
        plain_column(target.name, target.dtype).implode().alias("row targets"),
    ]


def is_unreadable(statistics: Statistics) -> bool:
    """Whether a column is of a type that is refused, and has no content to compare."""
    return any(feature.kind is Kind.UNSUPPORTED for feature in statistics.features)


def content_sides(
    statistics: Statistics, spec: TrainingSpec, answers: Mapping[str, Any]
) -> tuple[list[Issue], Splits | None]:
    """The sides of a split by row content, or why there are none."""
    if not is_by_content(spec) or "row contents" not in answers:
        return [], None
    try:
        groups = group_numbers(answers["row contents"].to_numpy())
        sides = split(spec, statistics.rows, groups=groups)
        check_groups(spec, sides, groups)
        return [], sides
    except DataError as error:
        return [problem(found.field, found.message, found.hint) for found in error.problems], None


def check(
    statistics: Statistics, spec: TrainingSpec, target: Target, splits: Splits | None, answers: Mapping[str, Any]
) -> Iterator[Issue]:
    """A warning with the share of held-out rows that are trained on as well. ``splits`` are the sides of a split by
    time or group."""
    if "row contents" not in answers or target.issues or target.task is None or is_by_content(spec):
        return
    if not _is_searchable(statistics) or not _has_room(statistics):
        return
    targets = answers["row targets"].alias("target")
    sides = (splits or _sides(statistics, spec, target, targets)).sides()
    trained = sides == TRAIN
    contents = group_numbers(answers["row contents"].to_numpy())
    rows = _pairs(contents, targets)
    same = np.isin(rows[~trained], rows[trained])
    if not len(same) or same.mean() < SHARE:
        return
    message = (
        f"{same.mean():.0%} of the held-out rows ({same.sum():,} of {len(same):,}) also stand among the training rows, "
        "with the same features and the same target: their scores say little about new rows"
    )
    if split_kind(spec, target.classes is not None) != "group":
        message += '; to keep rows with the same features on one side, set "split": "group" without group_column'
    yield warning(message)
    other = np.isin(contents[~trained], contents[trained]) & ~same
    if other.mean() >= SHARE:
        yield warning(
            f"{other.mean():.0%} of the held-out rows ({other.sum():,} of {len(other):,}) have the features of "
            "training rows, but another target: the features do not determine the target"
        )


def _sides(statistics: Statistics, spec: TrainingSpec, target: Target, targets: pl.Series) -> Splits:
    """The sides of the split; the first of several folds stands for all."""
    codes = None if target.classes is None else encode_labels(targets, target.classes)
    found = split(spec, statistics.rows, codes=codes)
    if spec.folds is None or len(found.train) < spec.folds:
        return found
    is_held_out = folds(spec, len(found.train), codes=None if codes is None else codes[found.train]) == 0
    return Splits(found.train[~is_held_out], found.train[is_held_out], found.test)


def _pairs(contents: IntArray, targets: pl.Series) -> IntArray:
    """A number for each combination of content and target, int64 (rows,)."""
    frame = pl.DataFrame({"content": contents, "target": targets})
    return group_numbers(frame.select(pl.struct("content", "target").hash()).to_series().to_numpy())


def _is_searchable(statistics: Statistics) -> bool:
    return statistics.rows <= MAX_ROWS and statistics.rows * len(statistics.features) <= MAX_CELLS


def _may_repeat(statistics: Statistics) -> bool:
    """Whether rows may be repeated: always in a small table, whose search costs nothing."""
    if statistics.is_whole:
        return True
    if statistics.varied is not None and statistics.varied < VARIED:
        return True
    names = [feature.name for feature in statistics.features]
    first = statistics.head.select(row_hashes(statistics.schema, names).n_unique()).item()
    return bool(first < VARIED * statistics.head.height)


def _has_room(statistics: Statistics) -> bool:
    """Whether equal rows are hardly equal by chance: the values of the first rows have many combinations, or in a large
    table so many values that there must be more."""
    room, rows = 1.0, statistics.head.height
    for feature in statistics.features:
        distinct = rows if feature.kind is Kind.LIST else statistics.head.select(col(feature.name).n_unique()).item()
        room *= distinct
        if room >= ROOM * statistics.rows or (not statistics.is_whole and 2 * distinct >= rows):
            return True
    return False
