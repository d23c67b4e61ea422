"""The folds of a cross-validation: a pure function of spec and data, as the split is.

The training rows, which are all but the test rows, are divided into parts of equal size, and each network is validated
on one of them. What the split keeps together or in proportion, the folds do too: groups stay whole, and each class has
its share of every fold.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError, Problem
from epochd.core.specs import TrainingSpec
from epochd.data.splitting.split import Integers, Splits, is_by_content, split_kind

FOLD_STREAM = (1 << 33) + 1
"""Separates these random numbers from other uses of the same seed."""


@dataclass(frozen=True, slots=True)
class Folds:
    """``number`` (rows,) is the fold of each training row, from 0; ``targets`` (rows,) are their targets, class numbers
    or values in their own unit, and ``count`` is how many folds there are."""

    number: npt.NDArray[np.uint8]
    targets: npt.NDArray[Any]
    count: int

    def held_out(self, fold: int) -> IntArray:
        """The positions of a fold's rows among the training rows, ascending."""
        return np.flatnonzero(self.number == fold)

    def trained_on(self, fold: int) -> IntArray:
        """The positions of all other rows, on which the fold's network trains."""
        return np.flatnonzero(self.number != fold)


def folds(
    spec: TrainingSpec, rows: int, *, codes: Integers | None = None, groups: Integers | None = None
) -> npt.NDArray[np.uint8]:
    """The fold of each of these training rows, uint8 (rows,); ``codes`` and ``groups`` are theirs, as in ``split``.
    Folds differ by one row at most, those of whole groups as little as the groups allow. Raise DataError if there are
    fewer rows, or groups, than folds."""
    assert spec.folds is not None
    if rows < spec.folds:
        raise DataError([too_few_rows(spec, rows)])
    random = np.random.Generator(np.random.PCG64([spec.seed, FOLD_STREAM]))
    kind = split_kind(spec, codes is not None)
    if kind == "group" and groups is not None:
        return _by_group(spec, groups, random)
    order = random.permutation(rows)
    if kind == "stratified" and codes is not None:
        order = order[np.argsort(codes[order], kind="stable")]  # one class after another, each dealt out in turn
    found = np.empty(rows, np.uint8)
    found[order] = np.arange(rows) % spec.folds
    return found


def too_few_rows(spec: TrainingSpec, rows: int) -> Problem:
    message = f"{spec.folds} folds need at least {spec.folds} rows that are not test rows, but there are {rows:,}"
    return Problem("folds", message, "use fewer folds, a smaller test_split, or more rows")


def check_groups(spec: TrainingSpec, splits: Splits, groups: Integers | None) -> None:
    """Raise DataError if the training rows of a split by group have fewer groups than there are folds."""
    if spec.folds is not None and groups is not None and len(splits.train) >= spec.folds:
        folds(spec, len(splits.train), groups=groups[splits.train])


def _by_group(spec: TrainingSpec, groups: Integers, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Whole groups, the largest first, each to the fold with the fewest rows so far; equal ones in a shuffled order."""
    assert spec.folds is not None
    present, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(present) < spec.folds:
        message = f"{spec.folds} folds of whole groups need as many groups, but the rows have only {len(present)}"
        if is_by_content(spec):
            message = f"{spec.folds} folds need as many different rows, but there are only {len(present)}"
        raise DataError([Problem("folds", message, "use fewer folds, or another split")])
    shuffled = random.permutation(len(sizes))
    of_group, filled = np.empty(len(sizes), np.uint8), np.zeros(spec.folds, np.int64)
    for group in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fold = int(np.argmin(filled))
        of_group[group] = fold
        filled[fold] += sizes[group]
    found: npt.NDArray[np.uint8] = of_group[numbers]
    return found


def weight_problem(name: str | None, weights: FloatArray | None, number: npt.NDArray[np.uint8]) -> Problem | None:
    """A problem if all rows of a fold have the weight 0: it could not be scored."""
    if weights is None:
        return None
    empty = np.flatnonzero(np.bincount(number, weights) == 0)
    if not len(empty):
        return None
    message = f"all weights in {name!r} are 0 for the rows of fold {empty[0] + 1}"
    return Problem("weight_column", message, "use fewer folds, give more rows a weight above 0, or omit weight_column")
