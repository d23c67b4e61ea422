"""Sliding windows: consecutive rows of one group, and the row whose target is predicted from them.

Rows are brought into the order of (group, time); a window is then a piece of that order and needs no copy. No window
holds rows of two groups, or of two sides of the split, the row of its target included: what one side is scored on, no
other has seen.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import IntArray
from epochd.core.errors import DataError, Problem
from epochd.core.specs import TrainingSpec
from epochd.data.splitting.split import PIECE, SIDES, Integers, Splits, Times

SIDE_NAMES = {"train": "the training rows", "validation": "the validation rows", "test": "the test rows"}


@dataclass(frozen=True, slots=True)
class Examples:
    """Examples of one side: each begins at ``first`` in the order of the rows, and row ``rows`` of the dataset has its
    target; both int64 (examples,)."""

    first: IntArray
    rows: IntArray


def order(times: Times, groups: Integers | None = None) -> IntArray:
    """Row numbers (int64, (n,)) by group, then by time; rows of the same time stay in the table's order."""
    return np.argsort(times, kind="stable") if groups is None else np.lexsort((times, groups))


def places(order: IntArray) -> IntArray:
    """The position of each row in the order: its inverse, int64 (n,)."""
    found = np.empty(len(order), np.int64)
    for first in range(0, len(order), PIECE):
        rows = order[first : first + PIECE]
        found[rows] = np.arange(first, first + len(rows))
    return found


def starts(order: IntArray, ahead: int, groups: Integers | None = None) -> IntArray:
    """Positions in the order from which the same group continues for at least ``ahead`` more rows; int64, rising."""
    return np.flatnonzero(_alike(order, ahead, groups))


def _alike(order: IntArray, ahead: int, values: npt.NDArray[Any] | None) -> npt.NDArray[np.bool_]:
    """For each position with ``ahead`` more rows behind it, whether the last of them has the same value (None: yes)."""
    count = max(len(order) - ahead, 0)
    if values is None:
        return np.ones(count, np.bool_)
    ordered = values[order]
    alike: npt.NDArray[np.bool_] = ordered[:count] == ordered[len(ordered) - count :]
    return alike


def windows(spec: TrainingSpec, order: IntArray, splits: Splits, groups: Integers | None = None) -> dict[str, Examples]:
    """The windows of each side that has rows: ``sequence_length`` rows, and a target ``horizon`` rows after the last.

    ``groups`` are those of the rows in the table's order (None: all in one). In the order of one group no side may come
    back after another, which holds for splits by time and by group: then a window whose first row and target are on
    one side is there as a whole. Raise DataError (field ``sequence_length``) for a side without any window.
    """
    ahead = (spec.sequence_length or 1) - 1 + spec.horizon
    sides = splits.sides()
    whole = _alike(order, ahead, groups) & _alike(order, ahead, sides)
    begins = sides[order[: len(whole)]]
    found = {}
    for number, name in enumerate(SIDES):
        rows = getattr(splits, name)
        chosen = np.flatnonzero(whole & (begins == number))
        if len(rows) and not len(chosen):
            raise DataError([_no_window(spec, SIDE_NAMES[name], groups, _longest(groups, rows))])
        if len(chosen):
            found[name] = Examples(chosen, order[chosen + ahead])
    return found


def no_window(spec: TrainingSpec, where: str, groups: Integers | None, rows: IntArray) -> Problem | None:
    """A problem if no window fits into these rows, which ``where`` names, even if the rows of each group follow one
    another."""
    longest = _longest(groups, rows)
    return _no_window(spec, where, groups, longest) if longest < (spec.sequence_length or 1) + spec.horizon else None


def _longest(groups: Integers | None, rows: IntArray) -> int:
    return len(rows) if groups is None else int(np.bincount(groups[rows]).max(initial=0))


def _no_window(spec: TrainingSpec, where: str, groups: Integers | None, longest: int) -> Problem:
    has = "there are only" if groups is None else "the longest group has only"
    message = (
        f"no window fits into {where}: sequence_length {spec.sequence_length} and horizon {spec.horizon} take "
        f"{(spec.sequence_length or 1) + spec.horizon} rows, but {has} {longest}"
    )
    hint = "lower sequence_length or horizon, or add rows"
    return Problem("sequence_length", message, f"{hint}; or hold out other shares" if "dataset" not in where else hint)
