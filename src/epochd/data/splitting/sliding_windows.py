"""Sliding windows: consecutive rows of one group, and the row whose target is predicted from them.

Rows are ordered by (group, time), so a window is a range of that order. A window, including the row of its target,
contains rows of one group and of one side of the split only. Where a config has a rule for holes in time, the segments
between them (``gaps``) take the place of the groups.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem
from epochd.core.specs import TrainingSpec
from epochd.data.splitting.split import BLOCK_ROWS, SIDES, Integers, Splits, Times

SIDE_NAMES = {"train": "the training rows", "validation": "the validation rows", "test": "the test rows"}


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of one side: each begins at position ``first`` of the row order, and its target, the one of the largest
    horizon, is in row ``rows`` of the dataset; both int64 (examples,)."""

    first: IntArray
    rows: IntArray


def order(times: Times, groups: Integers | None = None) -> IntArray:
    """Row numbers (int64, (n,)) by group, then by time; rows of the same time keep the order of the table."""
    return np.argsort(times, kind="stable") if groups is None else np.lexsort((times, groups))


def inverse_order(order: IntArray) -> IntArray:
    """The position of each row in the order, int64 (n,)."""
    found = np.empty(len(order), np.int64)
    for first in range(0, len(order), BLOCK_ROWS):
        rows = order[first : first + BLOCK_ROWS]
        found[rows] = np.arange(first, first + len(rows))
    return found


def starts(order: IntArray, ahead: int, groups: Integers | None = None) -> IntArray:
    """Positions in the order that are followed by at least ``ahead`` rows of the same group; int64, sorted."""
    return np.flatnonzero(_same_value_ahead(order, ahead, groups))


def _same_value_ahead(order: IntArray, ahead: int, values: npt.NDArray[Any] | None) -> npt.NDArray[np.bool_]:
    """For each position followed by ``ahead`` rows, whether the last of them has the same value (None: yes)."""
    count = max(len(order) - ahead, 0)
    if values is None:
        return np.ones(count, np.bool_)
    ordered = values[order]
    same: npt.NDArray[np.bool_] = ordered[:count] == ordered[len(ordered) - count :]
    return same


def windows(spec: TrainingSpec, order: IntArray, splits: Splits, groups: Integers | None = None) -> dict[str, Examples]:
    """The windows of each side with rows: ``sequence_length`` rows, and targets up to ``horizon`` rows after the last.

    ``groups`` are the groups of the rows in the order of the table (None: one group). Within a group the rows of each
    side must be consecutive, which is the case for splits by time and by group: then a window is on one side if its
    first row and its target are. Raise DataError (field ``sequence_length``) for a side without any window.
    """
    ahead = (spec.sequence_length or 1) - 1 + spec.furthest
    sides = splits.sides()
    whole = _same_value_ahead(order, ahead, groups) & _same_value_ahead(order, ahead, sides)
    begins = sides[order[: len(whole)]]
    found = {}
    for number, name in enumerate(SIDES):
        rows = getattr(splits, name)
        chosen = np.flatnonzero(whole & (begins == number))
        if len(rows) and not len(chosen):
            raise DataError([_window_problem(spec, SIDE_NAMES[name], groups, _longest(groups, rows))])
        if len(chosen):
            found[name] = Examples(chosen, order[chosen + ahead])
    return found


def target_rows(spec: TrainingSpec, order: IntArray, first: IntArray) -> IntArray:
    """The rows of the targets of windows that begin at these positions of the order: int64 (windows,), or (windows,
    horizons) for several."""
    last = first + (spec.sequence_length or 1) - 1
    if len(spec.horizons) == 1:
        found: IntArray = order[last + spec.horizons[0]]
    else:
        found = order[last[:, None] + np.array(spec.horizons)]
    return found


def window_problem(spec: TrainingSpec, where: str, groups: Integers | None, rows: IntArray) -> Problem | None:
    """A problem if no window fits into these rows (``where``), even if the rows of each group are consecutive."""
    longest, needed = _longest(groups, rows), (spec.sequence_length or 1) + spec.furthest
    return _window_problem(spec, where, groups, longest) if longest < needed else None


def _longest(groups: Integers | None, rows: IntArray) -> int:
    return len(rows) if groups is None else int(np.bincount(groups[rows]).max(initial=0))


def _window_problem(spec: TrainingSpec, where: str, groups: Integers | None, longest: int) -> Problem:
    has = "there are only" if groups is None else "the longest group has only"
    if spec.has_holes:
        has = "the longest series without a hole has only"
    message = (
        f"no window fits into {where}: sequence_length {spec.sequence_length} and horizon {spec.furthest} take "
        f"{(spec.sequence_length or 1) + spec.furthest} rows, but {has} {longest}"
    )
    hint = "lower sequence_length or horizon, or add rows" + ("" if "dataset" in where else "; or change the split")
    hint += "; or raise max_gap" if spec.has_holes else ""
    return Problem("sequence_length", message, hint)
