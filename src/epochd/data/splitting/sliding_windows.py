"""Sliding windows: consecutive rows of one group, and the row whose target they are to tell.

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

NOUNS = {"train": "the training rows", "validation": "the validation rows", "test": "the test rows"}


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
    """Where each row stands in the order: its inverse, int64 (n,)."""
    found = np.empty(len(order), np.int64)
    for first in range(0, len(order), PIECE):
        rows = order[first : first + PIECE]
        found[rows] = np.arange(first, first + len(rows))
    return found


def starts(order: IntArray, ahead: int, groups: Integers | None = None) -> IntArray:
    """Positions in the order from which the same group goes on for at least ``ahead`` more rows; int64, rising."""
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
            raise no_window(spec, NOUNS[name], groups, rows)
        if len(chosen):
            found[name] = Examples(chosen, order[chosen + ahead])
    return found


def no_window(spec: TrainingSpec, what: str, groups: Integers | None, rows: IntArray) -> DataError:
    """The error about some rows, which ``what`` names, in which no window finds room."""
    longest = len(rows) if groups is None else int(np.bincount(groups[rows]).max(initial=0))
    needs = f"a window of {spec.sequence_length} rows"
    needs += f" and a target {spec.horizon} rows later" if spec.horizon else ""
    has = "there are only" if groups is None else "the longest group has only"
    message = f"no room in {what} for {needs}: {has} {longest} rows"
    hint = "lower sequence_length or horizon, or hold out other shares, so that each side has longer runs of rows"
    return DataError([Problem("sequence_length", message, hint)])
