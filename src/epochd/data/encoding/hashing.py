"""Hashed n-grams: how often words and parts of words occur in texts, in a fixed number of columns.

A text is normalised: Unicode NFKC, lower case; whatever is neither letter, mark, number nor symbol separates words. Its
n-grams are

- each word, and the three characters of each window over a word with the spaces around it;
- in scripts that write no spaces between words (``UNSPACED``), each character and each pair of neighbouring ones.

An n-gram counts in the column ``abs(h) % width``, where h is its MurmurHash3 (x86, 32 bits, seed 0, of its UTF-8), read
as a signed number; it counts as 1 if h >= 0, else as -1, so that collisions cancel out on average. scikit-learn's
``HashingVectorizer`` does the same with the same n-grams. All sums are of integers, so every machine gets the same.
(Weinberger et al. 2009, https://arxiv.org/abs/0902.2206; A. Appleby, https://github.com/aappleby/smhasher)
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from epochd.core.arrays import IntArray
from epochd.data.encoding.values import Float64

UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai, Lao, Myanmar, Khmer
    *((0x2E80, 0x2FDF), (0x3005, 0x3007), (0x3031, 0x3035), (0x3038, 0x30FF), (0x31F0, 0x31FF)),  # Han radicals, kana
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x323AF)),  # Han
)
"""Ranges of code points, both ends included."""
MAX_CHARACTERS = 10_000
"""Characters of a text that are read; what is behind them is not."""
MAX_WORD = 64
"""Characters of a word that are read."""
BYTE = np.uint32(8)
VALUES, CHARACTERS = 1 << 19, 1 << 18
"""Numbers of texts that are computed together, and about how many characters the texts have, at most."""
Flags = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint32]


class Ranges(NamedTuple):
    """N-grams as ranges of one array of characters: where each begins, and behind its last character; int64 (n,)."""

    first: IntArray
    end: IntArray


def signed_counts(texts: pl.Series, width: int) -> Iterator[tuple[int, Float64]]:
    """How often the n-grams of each text occur: sums of 1 and -1, zeros for a missing text. In parts of bounded size:
    the row of each part's first text, and float64 (texts, width)."""
    first = 0
    for part in _parts(_normalised(texts), max(1, VALUES // width)):
        rows, hashes = _hashed(part)
        place = rows * width + np.abs(hashes.view(np.int32).astype(np.int64)) % width
        signs = np.where(hashes >> np.uint32(31), -1.0, 1.0)
        counts: Float64 = np.bincount(place, signs, len(part) * width)  # type: ignore[assignment]
        yield first, counts.reshape(len(part), width)
        first += len(part)


def ngrams(text: str) -> list[str]:
    """The n-grams of one text as strings, for other programs that hash them."""
    joined = _joined(_normalised(pl.Series([text])))
    ranges = _ngrams(_code_points(joined))
    return [joined[first:end] for first, end in zip(ranges.first, ranges.end, strict=True)]


def _normalised(texts: pl.Series) -> pl.Series:
    """Words with a space before and behind each."""
    plain = texts.fill_null("").str.slice(0, MAX_CHARACTERS).str.normalize("NFKC").str.to_lowercase()
    return " " + plain.str.replace_all(r"[^\p{L}\p{M}\p{N}\p{So}]+", " ").str.strip_chars(" ") + " "


def _parts(texts: pl.Series, most: int) -> Iterator[pl.Series]:
    """Consecutive texts that are read together, at most so many."""
    first, read = 0, texts.str.len_chars().cum_sum().to_numpy()
    while first < len(texts):
        before = read[first - 1] if first else 0
        end = int(np.searchsorted(read, before + CHARACTERS, side="right"))
        end = min(max(end, first + 1), first + most)
        yield texts[first:end]
        first = end


def _joined(texts: pl.Series) -> str:
    """All texts, separated by line breaks, of which a normalised text has none."""
    return "\n".join(texts.to_list())


def _code_points(text: str) -> Hashes:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")


def _hashed(texts: pl.Series) -> tuple[IntArray, Hashes]:
    """The row and the hash of each n-gram."""
    joined = _joined(texts)
    points = _code_points(joined)
    ranges = _ngrams(points)
    data = np.frombuffer(joined.encode(), np.uint8)
    bytes_before = np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))
    start = bytes_before[ranges.first]
    return np.cumsum(points == ord("\n"))[ranges.first], murmur3(data, start, bytes_before[ranges.end] - start)


def _ngrams(points: Hashes) -> Ranges:
    """All n-grams of joined texts, given their code points."""
    separates = (points == ord(" ")) | (points == ord("\n"))
    unspaced = _is_unspaced(points)
    spaced = ~(separates | unspaced)
    found = [_words(spaced), _parts_of_words(spaced, points), *_unspaced_characters(unspaced)]
    return Ranges(np.concatenate([part.first for part in found]), np.concatenate([part.end for part in found]))


def _words(spaced: Flags) -> Ranges:
    """Words, of which long ones are cut."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], spaced, [False]]).astype(np.int8)))
    return Ranges(edges[::2], np.minimum(edges[1::2], edges[::2] + MAX_WORD))


def _unspaced_characters(unspaced: Flags) -> list[Ranges]:
    """Characters, and pairs of neighbouring ones."""
    single, pairs = np.flatnonzero(unspaced), np.flatnonzero(unspaced[1:] & unspaced[:-1])
    return [Ranges(single, single + 1), Ranges(pairs, pairs + 2)]


def _parts_of_words(spaced: Flags, points: Hashes) -> Ranges:
    """Three characters with the middle one in a word, and the others in it or spaces around it."""
    outer = spaced | (points == ord(" "))
    first = np.flatnonzero(outer[:-2] & spaced[1:-1] & outer[2:])
    return Ranges(first, first + 3)


def _is_unspaced(points: Hashes) -> Flags:
    """Whether characters belong to a script without spaces between words."""
    edges = np.array([edge for low, high in UNSPACED for edge in (low, high + 1)], np.uint32)
    found: Flags = np.searchsorted(edges, points, side="right") % 2 == 1
    return found


def murmur3(data: npt.NDArray[np.uint8], start: IntArray, length: IntArray) -> Hashes:
    """MurmurHash3 (x86, 32 bits, seed 0) of ranges of ``data``: uint32 (ranges,)."""
    padded = np.append(data, np.zeros(4, np.uint8)).astype(np.uint32)
    four: Hashes = padded[:-3] | padded[1:-2] << BYTE | padded[2:-1] << 2 * BYTE | padded[3:] << 3 * BYTE
    found = np.zeros(len(start), np.uint32)
    blocks = length // 4
    for block in range(int(blocks.max(initial=0))):
        here = np.flatnonzero(blocks > block)
        mixed = _rotated(found[here] ^ _scrambled(four[start[here] + 4 * block]), 13)
        found[here] = mixed * np.uint32(5) + np.uint32(0xE6546B64)
    rest = np.array([0, 0xFF, 0xFFFF, 0xFFFFFF], np.uint32)[length % 4]
    found ^= _scrambled(four[start + 4 * blocks] & rest) ^ length.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        found = (found ^ found >> np.uint32(shift)) * np.uint32(factor)
    return found ^ found >> np.uint32(16)


def _scrambled(block: Hashes) -> Hashes:
    return _rotated(block * np.uint32(0xCC9E2D51), 15) * np.uint32(0x1B873593)


def _rotated(bits: Hashes, by: int) -> Hashes:
    return bits << np.uint32(by) | bits >> np.uint32(32 - by)
