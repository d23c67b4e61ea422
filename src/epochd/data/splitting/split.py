"""Which rows are held out for validation and test: a pure function of spec and data, the same again on a resume."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import DataError, Problem
from epochd.core.specs import Split, TrainingSpec

STREAM = 1 << 33
"""Keeps these random numbers apart from those of other uses of the same seed."""
SIDES = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(3)
"""The sides of a split, as numbers."""
PIECE = 1 << 20
"""Rows that are looked at together, so that little memory is needed besides the result."""
DRAWN = 1 << 15
"""Shuffled rows that are drawn from at a time; often no more than a fifth of all is needed."""

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
        """From the side of each row."""
        return cls(*(np.flatnonzero(sides == side) for side in (TRAIN, VALIDATION, TEST)))

    def sides(self) -> Sides:
        """The side of each row, uint8 (rows,): TRAIN, VALIDATION or TEST."""
        found = np.zeros(len(self.train) + len(self.validation) + len(self.test), np.uint8)
        found[self.validation] = VALIDATION
        found[self.test] = TEST
        return found


def kind(spec: TrainingSpec, classes: bool) -> Split:
    """The split that ``auto`` means: by time for windows, otherwise by class where there are classes."""
    if spec.split != "auto":
        return spec.split
    if spec.sequence_length is not None:
        return "time"
    return "stratified" if classes else "random"


def validation_rows(n: int, fraction: float) -> int:
    """How many of ``n`` rows are held out: the nearest whole number, at least one on each side; none for fraction 0."""
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

    ``codes`` are the rows' class numbers (None for regression), ``times`` numbers to sort them by (for a split by
    time), ``groups`` the numbers of their groups, 0, 1, … without gaps (for a split by group). Raise DataError if there
    are too few different times or groups for a row on each side.
    """
    test = validation_rows(rows, spec.test_split)
    validation = min(validation_rows(rows, spec.validation_share), max(rows - test - 1, 0))
    if not test + validation:
        return Splits.of(np.zeros(rows, np.uint8))
    match kind(spec, codes is not None):
        case "time" if times is not None:
            return Splits.of(_by_time(times, test, validation))
        case "group" if groups is not None:
            return Splits.of(_by_group(groups, test, validation, spec.seed))
        case "stratified" if codes is not None:
            return Splits.of(_by_class(codes, test, validation, spec.seed))
        case _:
            return Splits.of(_by_lot(rows, test, validation, spec.seed))


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, STREAM]))


def _by_lot(rows: int, test: int, validation: int, seed: int) -> Sides:
    order = _generator(seed).permutation(rows)
    sides = np.zeros(rows, np.uint8)
    sides[order[:test]] = TEST
    sides[order[test : test + validation]] = VALIDATION
    return sides


def _by_class(codes: Integers, test: int, validation: int, seed: int) -> Sides:
    """Each class gives its share of both sides, the first of its rows in a shuffled order.

    Each side gets a row of every class that has enough of them, as long as it has room for all; a class of one row
    is trained on.
    """
    counts = np.bincount(codes)
    tested = _shares(counts, test)
    held_out = tested + _shares(counts - tested, validation)
    sides = np.zeros(len(codes), np.uint8)
    for rows, ranks in _ranked(codes, _generator(seed).permutation(len(codes)), held_out):
        of_class = codes[rows]
        sides[rows[ranks < held_out[of_class]]] = VALIDATION
        sides[rows[ranks < tested[of_class]]] = TEST
    return sides


def _ranked(codes: Integers, order: IntArray, wanted: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Rows in their order and how many of their class came before each, until ``wanted`` of each class have come."""
    seen = np.zeros(len(wanted), np.int64)
    for start in range(0, len(order), DRAWN):
        rows = order[start : start + DRAWN]
        counts = np.bincount(codes[rows], minlength=len(wanted))
        by_class = np.argsort(codes[rows], kind="stable")
        ranks = np.empty(len(rows), np.int64)
        ranks[by_class] = np.arange(len(rows)) + np.repeat(seen - np.cumsum(counts) + counts, counts)
        yield rows, ranks
        seen += counts
        if (seen >= wanted).all():
            return


def _shares(counts: IntArray, held_out: int) -> IntArray:
    """Held-out rows of each class: within one of its exact share where the bounds allow, together ``held_out``."""
    most = np.maximum(counts - 1, 0)
    held_out = min(held_out, int(most.sum()))
    least = np.minimum(most, 1) if held_out >= np.count_nonzero(most) else np.zeros_like(most)
    exact = counts * (held_out / max(int(counts.sum()), 1))
    shares: IntArray = np.clip(np.floor(exact).astype(np.int64), least, most)
    while (gap := held_out - int(shares.sum())) != 0:
        lack = exact - shares
        if gap > 0:
            shares[np.argmax(np.where(shares < most, lack, -np.inf))] += 1
        else:
            shares[np.argmin(np.where(shares > least, lack, np.inf))] -= 1
    return shares


def _by_time(times: Times, test: int, validation: int) -> Sides:
    """The last rows are the test's, those before them validation's; each cut lies between two different times."""
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
    """Where the last ``wanted`` of the first ``end`` sorted times begin, moved to the nearest change of time."""
    if wanted == 0:
        return end
    at = ordered[max(end - wanted, 0)]
    edges = [int(np.searchsorted(ordered[:end], at, side)) for side in ("left", "right")]
    edges = [edge for edge in edges if 0 < edge < end]
    if not edges:
        message = "too few rows have different times: each side of the split needs times of its own"
        raise DataError([Problem("time_column", message, "use a finer time_column, or another split")])
    return min(edges, key=lambda edge: (abs(end - edge - wanted), -edge))


def _by_group(groups: Integers, test: int, validation: int, seed: int) -> Sides:
    """Whole groups, drawn in a shuffled order."""
    sizes = np.bincount(groups)
    spare = len(sizes) - 1 - (test > 0) - (validation > 0)
    if spare < 0:
        message = f"there are only {len(sizes)} groups: too few for one on each side of the split"
        raise DataError([Problem("group_column", message, "use a finer group_column, or another split")])
    order = _generator(seed).permutation(len(sizes))
    of_group = np.zeros(len(sizes), np.uint8)
    for side, wanted in ((TEST, test), (VALIDATION, validation)):
        if wanted:
            chosen = order[_nearest(sizes[order], wanted, spare + 1)]
            of_group[chosen] = side
            spare -= len(chosen) - 1
            order = order[of_group[order] == TRAIN]
    return of_group[groups]


def _nearest(sizes: IntArray, wanted: int, most: int) -> IntArray:
    """Positions of one to ``most`` groups that add up to about ``wanted`` rows: in turn, each that brings it nearer."""
    left = np.arange(len(sizes))
    chosen: list[IntArray] = []
    while wanted > 0 and most > 0:
        left = left[sizes[left] < 2 * wanted]
        if len(left) == 0:
            break
        fit = int(np.searchsorted(np.cumsum(sizes[left]), wanted, "right"))
        taken, left = np.split(left, [min(max(fit, 1), most)])
        chosen.append(taken)
        wanted -= int(sizes[taken].sum())
        most -= len(taken)
    return np.concatenate(chosen) if chosen else np.array([np.argmin(sizes)])
