"""The split into training, validation and test rows: a pure function of spec and data, so a resume repeats it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError, Problem
from epochd.core.specs import Split, TrainingSpec

SEED_STREAM = 1 << 33
"""Separates these random numbers from other uses of the same seed."""
SIDES = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
"""The sides of a split, as numbers."""
BLOCK_ROWS = 1 << 20
"""Rows that are processed together, so that little memory is needed besides the result."""
DRAW_ROWS = 1 << 15
"""Shuffled rows that are processed at a time; often a fifth of all is enough."""

Sides = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.integer[Any]]
Times = IntArray | FloatArray | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Splits:
    """Row numbers of each side: int64, sorted, disjoint, together all rows of the dataset."""

    train: IntArray
    validation: IntArray
    test: IntArray

    @classmethod
    def of(cls, sides: Sides) -> "Splits":
        """The splits in which each row is on this side."""
        return cls(*(np.flatnonzero(sides == side) for side in (TRAIN, VALIDATION, TEST)))

    def sides(self) -> Sides:
        """The side of each row, uint8 (rows,): TRAIN, VALIDATION or TEST."""
        found = np.zeros(len(self.train) + len(self.validation) + len(self.test), np.uint8)
        found[self.validation] = VALIDATION
        found[self.test] = TEST
        return found


def split_kind(spec: TrainingSpec, classes: bool) -> Split:
    """The split of the spec, with ``auto`` resolved: by time for windows, by group for folds if there is a column of
    groups, otherwise by class if there are classes."""
    if spec.split != "auto":
        return spec.split
    if spec.sequence_length is not None:
        return "time"
    if spec.folds is not None and spec.group_column is not None:
        return "group"
    return "stratified" if classes else "random"


def is_by_content(spec: TrainingSpec) -> bool:
    """Whether rows with the same features stay together: a split by group without a column of groups."""
    return spec.split == "group" and spec.group_column is None


def validation_rows(n: int, fraction: float) -> int:
    """The number of held-out rows among ``n``: rounded, with at least one row on each side; 0 for a fraction of 0."""
    return min(max(int(n * fraction + 0.5), 1), n - 1) if fraction > 0 and n > 1 else 0


def split(
    spec: TrainingSpec,
    rows: int,
    *,
    codes: Integers | None = None,
    times: Times | None = None,
    groups: Integers | None = None,
) -> Splits:
    """The sides of rows 0 … ``rows`` - 1. Test rows are chosen first and do not depend on ``validation_split``.

    ``codes`` are the class numbers of the rows (None for regression), ``times`` their sort keys (for a split by time),
    ``groups`` their group numbers, 0, 1, … without gaps (for a split by group or by content). Raise DataError if there
    are too few distinct times or groups for each side to get a row.
    """
    test = validation_rows(rows, spec.test_split)
    validation = min(validation_rows(rows, spec.validation_share), max(rows - test - 1, 0))
    if not test + validation:
        return Splits.of(np.zeros(rows, np.uint8))
    random = np.random.Generator(np.random.PCG64([spec.seed, SEED_STREAM]))
    match split_kind(spec, codes is not None):
        case "time" if times is not None:
            return Splits.of(_by_time(times, test, validation))
        case "group" if groups is not None:
            return Splits.of(_by_group(groups, test, validation, random, is_by_content(spec)))
        case "stratified" if codes is not None:
            return Splits.of(_by_class(codes, test, validation, random))
        case _:
            order, sides = random.permutation(rows), np.zeros(rows, np.uint8)
            sides[order[:test]] = TEST
            sides[order[test : test + validation]] = VALIDATION
            return Splits.of(sides)


def _by_class(codes: Integers, test: int, validation: int, random: np.random.Generator) -> Sides:
    """Each class gives its share to both sides: the first of its rows in a shuffled order.

    Each side gets a row of every class with enough rows, if its size allows; a class of one row stays in training.
    """
    counts = np.bincount(codes)
    tested = _shares(counts, test)
    held_out = tested + _shares(counts - tested, validation)
    sides = np.zeros(len(codes), np.uint8)
    seen, order = np.zeros(len(counts), np.int64), random.permutation(len(codes))
    for start in range(0, len(order), DRAW_ROWS):
        rows = order[start : start + DRAW_ROWS]
        of_class = codes[rows]
        drawn = np.bincount(of_class, minlength=len(counts))
        ranks = np.empty(len(rows), np.int64)  # the place of each row among those of its class
        first_ranks = np.repeat(seen - np.cumsum(drawn) + drawn, drawn)
        ranks[np.argsort(of_class, kind="stable")] = np.arange(len(rows)) + first_ranks
        sides[rows[ranks < held_out[of_class]]] = VALIDATION
        sides[rows[ranks < tested[of_class]]] = TEST
        seen += drawn
        if (seen >= held_out).all():
            break
    return sides


def _shares(counts: IntArray, held_out: int) -> IntArray:
    """Held-out rows of each class, ``held_out`` in total: within one row of the exact share where the bounds allow."""
    most = np.maximum(counts - 1, 0)
    held_out = min(held_out, int(most.sum()))
    least = np.minimum(most, 1) if held_out >= np.count_nonzero(most) else np.zeros_like(most)
    exact = counts * (held_out / max(int(counts.sum()), 1))
    shares: IntArray = np.clip(np.floor(exact).astype(np.int64), least, most)
    while (gap := held_out - int(shares.sum())) != 0:
        shortfall = exact - shares
        if gap > 0:
            shares[np.argmax(np.where(shares < most, shortfall, -np.inf))] += 1
        else:
            shares[np.argmin(np.where(shares > least, shortfall, np.inf))] -= 1
    return shares


def _by_time(times: Times, test: int, validation: int) -> Sides:
    """The last rows are test rows, those before them validation rows; each cut is between two distinct times."""
    ordered = times.copy()
    ordered.sort()
    test_from = _cut(ordered, len(ordered), test)
    validation_from = _cut(ordered, test_from, validation)
    sides = np.zeros(len(times), np.uint8)
    if validation:
        sides[times >= ordered[validation_from]] = VALIDATION
    if test:
        sides[times >= ordered[test_from]] = TEST
    return sides


def _cut(ordered: Times, end: int, wanted: int) -> int:
    """The start of the last ``wanted`` among the first ``end`` sorted times, moved to the nearest change of time."""
    if wanted == 0:
        return end
    at = ordered[max(end - wanted, 0)]
    found = (int(np.searchsorted(ordered[:end], at, side)) for side in ("left", "right"))
    edges = [edge for edge in found if 0 < edge < end]
    if not edges:
        message = "too few rows have different times: the sides of the split must not share a time"
        raise DataError([Problem("time_column", message, "use a time_column of higher resolution, or another split")])
    return min(edges, key=lambda edge: (abs(end - edge - wanted), -edge))


def _by_group(groups: Integers, test: int, validation: int, random: np.random.Generator, by_content: bool) -> Sides:
    """Whole groups in a shuffled order."""
    sizes = np.bincount(groups)
    spare = len(sizes) - 1 - (test > 0) - (validation > 0)
    if spare < 0:
        if by_content:
            message = f"the rows have only {len(sizes)} different contents: too few for one on each side of the split"
            raise DataError([Problem("split", message, "use another split, or more feature columns")])
        message = f"there are only {len(sizes)} groups: too few for one on each side of the split"
        raise DataError([Problem("group_column", message, "use a group_column with more groups, or another split")])
    order = random.permutation(len(sizes))
    of_group = np.zeros(len(sizes), np.uint8)
    for side, wanted in ((TEST, test), (VALIDATION, validation)):
        if wanted:
            chosen = order[_groups_near(sizes[order], wanted, spare + 1)]
            of_group[chosen] = side
            spare -= len(chosen) - 1
            order = order[of_group[order] == TRAIN]
    return of_group[groups]


def _groups_near(sizes: IntArray, wanted: int, most: int) -> IntArray:
    """Positions of one to ``most`` groups with about ``wanted`` rows in all: in order, each that reduces the gap."""
    left = np.arange(len(sizes))
    chosen: list[IntArray] = []
    while wanted > 0 and most > 0:
        left = left[sizes[left] < 2 * wanted]
        if len(left) == 0:
            break
        fit = int(np.searchsorted(np.cumsum(sizes[left]), wanted, "right"))
        picked, left = np.split(left, [min(max(fit, 1), most)])
        chosen.append(picked)
        wanted -= int(sizes[picked].sum())
        most -= len(picked)
    return np.concatenate(chosen) if chosen else np.array([np.argmin(sizes)])
