"""Free text becomes a vector of bounded width."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import HashingVectorizer

from epochd.core import specs
from epochd.core.errors import CorruptFile, DataError
from epochd.data.encoding import hashing
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.fit import EncoderFit
from epochd.data.encoding.text import HashedText

TABLE = pl.DataFrame(
    {
        "comment": ["A fine pen", None, "质量很好", "", "a FINE pen!"],
        "price": [1.0, 2.0, 3.0, 4.0, 5.0],
        "y": [0, 1, 0, 1, 0],
    }
)
TEXTS = st.lists(st.none() | st.text(max_size=30), min_size=1, max_size=20)


def fitted(table=TABLE, pieces=1, types=None, **options):
    spec = specs.parse({"target_column": "y", "features": {"text_width": 16}, **options})
    features = [name for name in table.columns if name != "y"]
    types = {"comment": "text"} if types is None else types
    fit = EncoderFit(spec, table.schema, features, "binary", [0, 1], table.height, types=types)
    for piece in table.iter_slices(-(-table.height // pieces)):
        fit.partial_fit(piece)
    return fit.finalize()


def test_text_is_encoded_as_scikit_learn_does_beside_other_columns():
    encoder = fitted()
    assert encoder.columns[0] == HashedText("comment", 16, True)
    found = encoder.features(TABLE)
    vectorizer = HashingVectorizer(analyzer=hashing.ngrams, n_features=16)
    expected = vectorizer.transform(TABLE["comment"].fill_null("")).toarray().astype(np.float32)
    np.testing.assert_array_equal(found[:, :16], expected)
    assert found[:, 16].tolist() == [0, 1, 0, 0, 0]
    assert found.shape == (5, 16 + 1 + 1)
    assert (found[0] == found[4])[:17].all()  # case and punctuation do not matter


def test_a_text_without_words_is_all_zeros():
    assert not fitted().features(TABLE)[[1, 3], :16].any()


def test_only_missing_values_of_training_rows_need_a_column():
    assert fitted(TABLE[2:]).columns[0] == HashedText("comment", 16, False)


def test_text_that_is_not_declared_is_a_category():
    assert fitted(types={}).columns[0].kind == "one-hot"
    assert fitted(types={"comment": "category"}).columns[0].kind == "one-hot"


@given(TEXTS, st.integers(1, 4))
def test_neither_fit_nor_encoding_depend_on_batches(texts, pieces):
    table = pl.DataFrame({"comment": pl.Series(texts, dtype=pl.String), "y": [0] * len(texts)})
    encoder = fitted(table, pieces)
    assert encoder == fitted(table)
    parts = [encoder.features(part) for part in table.iter_slices(3)]
    np.testing.assert_array_equal(np.concatenate(parts), encoder.features(table))


def test_chosen_rows_are_encoded_as_the_whole_table_has_them():
    encoder, rows = fitted(), np.array([0, 2, 3])
    out = np.zeros((3, *encoder.shape), np.float32)
    encoder.transform(TABLE, [(rows, out)])
    np.testing.assert_array_equal(out, encoder.features(TABLE)[rows])


def test_text_is_repeated_on_the_steps_of_lists():
    table = TABLE.with_columns(signal=pl.Series([[1.0, 2.0]] * 5))
    spec = specs.parse({"target_column": "y", "features": {"text_width": 16}})
    fit = EncoderFit(spec, table.schema, ["comment", "signal"], "binary", [0, 1], 5, 2, {"comment": "text"})
    fit.partial_fit(table)
    encoder = fit.finalize()
    found = encoder.features(table)
    assert found.shape == (5, 2, 18)
    np.testing.assert_array_equal(found[:, 1, :17], fitted().features(TABLE)[:, :17])


def test_the_state_as_json_is_the_whole_column():
    encoder = fitted()
    assert Encoder.from_json(json.loads(json.dumps(encoder.as_json()))) == encoder


@pytest.mark.parametrize("columns", [0, 10**6, "16", None])
def test_an_invalid_width_is_found(columns):
    state = fitted().as_json()
    state["columns"][0]["columns"] = columns
    with pytest.raises(CorruptFile):
        Encoder.from_json(state)


def test_other_values_are_read_as_text_and_lists_are_refused():
    encoder = fitted()
    numbers = TABLE.with_columns(comment=pl.Series([1, 2, 3, 4, 5]))
    texts = TABLE.with_columns(comment=pl.Series(["1", "2", "3", "4", "5"]))
    np.testing.assert_array_equal(encoder.features(numbers), encoder.features(texts))
    with pytest.raises(DataError, match="'comment' has the type List"):
        encoder.features(TABLE.with_columns(comment=pl.Series([[1]] * 5)))
