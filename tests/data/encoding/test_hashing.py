"""N-grams of texts in any script, and their hashes."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.utils import murmurhash3_32

from epochd.data.encoding import hashing

TEXTS = [
    "Hello, WORLD! naïve",
    "质量很好，iPhone手机 very good",
    "",
    None,
    "ภาษาไทย 😀",
    "x" * 300,
    "スターウォーズ",
    "नमस्ते दुनिया",
    "a_b\nc\t1.5",
]
ANY_TEXTS = st.lists(st.none() | st.text(max_size=40) | st.text("ab 质量\n", max_size=40), max_size=20)


def counts(texts, width=64):
    found = np.zeros((len(texts), width))
    for first, part in hashing.signed_counts(pl.Series(texts, dtype=pl.String), width):
        found[first : first + len(part)] += part
    return found


def by_scikit_learn(texts, width=64):
    vectorizer = HashingVectorizer(analyzer=hashing.ngrams, n_features=width, norm=None)
    return vectorizer.transform([text or "" for text in texts]).toarray()


@pytest.mark.parametrize("width", [8, 64, 1000])
def test_the_counts_are_those_of_scikit_learn(width):
    np.testing.assert_array_equal(counts(TEXTS, width), by_scikit_learn(TEXTS, width))


@given(ANY_TEXTS)
def test_the_counts_of_any_text_are_those_of_scikit_learn(texts):
    np.testing.assert_array_equal(counts(texts), by_scikit_learn(texts) if texts else np.zeros((0, 64)))


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=10))
def test_hashes_are_those_of_scikit_learn(parts):
    lengths = np.array([len(part) for part in parts])
    start = np.cumsum(lengths) - lengths
    found = hashing.murmur3(np.frombuffer(b"".join(parts), np.uint8), start, lengths)
    assert found.view(np.int32).tolist() == [murmurhash3_32(part, 0) for part in parts]


def test_a_saved_model_meets_the_same_columns_in_every_version():
    assert [np.flatnonzero(row).tolist() for row in counts(["cat", "好"], 1000)] == [[539, 759, 977], [12]]


@given(ANY_TEXTS, st.integers(1, 5))
def test_a_text_is_counted_the_same_whatever_the_texts_around_it(texts, size):
    alone = [counts(texts[first : first + size]) for first in range(0, len(texts), size)]
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, 64)), *alone]), counts(texts))


def test_parts_of_bounded_size_are_counted_as_the_whole(monkeypatch):
    whole = counts(TEXTS * 20)
    monkeypatch.setattr(hashing, "VALUES", 64 * 7)
    monkeypatch.setattr(hashing, "CHARACTERS", 50)
    np.testing.assert_array_equal(counts(TEXTS * 20), whole)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The CAT", ["the", "cat", " th", "the", "he ", " ca", "cat", "at "]),
        ("很好用", ["很", "好", "用", "很好", "好用"]),
        ("买iPad", ["ipad", "ipa", "pad", "ad ", "买"]),
        ("ｉＰａｄ", ["ipad", " ip", "ipa", "pad", "ad "]),
        ("好。好", ["好", "好"]),
        ("1,5", ["1", "5", " 1 ", " 5 "]),
        (" \n!?", []),
    ],
)
def test_words_their_parts_and_characters_of_unspaced_scripts_are_ngrams(text, found):
    assert hashing.ngrams(text) == found


def test_only_the_beginning_of_a_long_text_and_of_a_long_word_is_read():
    assert hashing.ngrams("好" * 20_000).count("好") == hashing.MAX_CHARACTERS
    assert "y" * hashing.MAX_WORD in hashing.ngrams("y" * 100)
