"""Which rows are held out for validation: a pure function of the seed, so that a resumed run sees the same ones."""

import numpy as np

from epochd.data.arrays import IntArray

STREAM = 1 << 33
"""Keeps these random numbers apart from those of other uses of the same seed."""


def validation_rows(n: int, fraction: float) -> int:
    """How many of ``n`` rows are held out: the nearest whole number, at least one on each side; none for fraction 0."""
    return min(max(int(n * fraction + 0.5), 1), n - 1) if fraction > 0 and n > 1 else 0


def split(codes: IntArray | None, n: int, fraction: float, seed: int, stratified: bool) -> tuple[IntArray, IntArray]:
    """Row numbers (int64, sorted, disjoint, together all of 0 … n-1) of the training and the validation side.

    ``stratified`` keeps the shares of the class numbers ``codes`` (int64, (n,)): each side gets a row of
    every class that has at least two, as long as the validation side has room for all of them; a class of
    one row is trained on.
    """
    rng = np.random.Generator(np.random.PCG64([seed, STREAM]))
    order = rng.permutation(n)
    held_out = validation_rows(n, fraction)
    if stratified and codes is not None and held_out:
        chosen = _stratified(codes[order], held_out)
        train, validation = order[~chosen], order[chosen]
    else:
        train, validation = order[held_out:], order[:held_out]
    return np.sort(train), np.sort(validation)


def _stratified(codes: IntArray, held_out: int) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Mark the first so many rows of each class; the rows come shuffled."""
    counts = np.bincount(codes)
    by_class = np.argsort(codes, kind="stable")
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.arange(len(codes)) - starts
    chosen = np.zeros(len(codes), dtype=np.bool_)
    chosen[by_class] = rank < np.repeat(_shares(counts, held_out), counts)
    return chosen


def _shares(counts: IntArray, held_out: int) -> IntArray:
    """Held-out rows of each class: within one of its exact share where the bounds allow, together ``held_out``."""
    most = np.maximum(counts - 1, 0)
    held_out = min(held_out, int(most.sum()))
    least = np.minimum(most, 1) if held_out >= np.count_nonzero(most) else np.zeros_like(most)
    exact = counts * (held_out / counts.sum())
    shares: IntArray = np.clip(np.floor(exact).astype(np.int64), least, most)
    while (gap := held_out - int(shares.sum())) != 0:
        lack = exact - shares
        if gap > 0:
            shares[np.argmax(np.where(shares < most, lack, -np.inf))] += 1
        else:
            shares[np.argmin(np.where(shares > least, lack, np.inf))] -= 1
    return shares
