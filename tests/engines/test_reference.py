"""The reference network where sequences differ in length and categories have vectors."""

import numpy as np
import pytest

from epochd.core import specs
from epochd.engines import network, reference
from epochd.loop.engine import Embedding, Setup

LENGTHS = np.array([1, 3, 4, 7])
STEPS, CHANNELS = 7, 3
RECURRENT = [(model, both) for model in ("lstm", "gru") for both in (False, True)]


def setup(model, steps=STEPS, *, masked=True, **options):
    spec = specs.parse({"target_column": "y", "model_type": model, "hidden_units": [5, 4], **options})
    return Setup(spec, "binary", (steps, CHANNELS + masked), 1, masked=masked)


@pytest.fixture
def features():
    """Noise, in the padding too."""
    return np.random.default_rng(0).normal(size=(len(LENGTHS), STEPS, CHANNELS)).astype(np.float32)


def masked(features):
    exists = np.arange(STEPS) < LENGTHS[:, None]
    return np.concatenate([features, exists[..., None]], axis=-1, dtype=np.float32)


@pytest.mark.parametrize(("model", "both"), RECURRENT)
def test_a_padded_sequence_gives_what_it_gives_alone(features, model, both):
    padded = setup(model, bidirectional=both)
    weights = network.initial_weights(padded)
    found = reference.forward(padded, weights, masked(features))
    for i, length in enumerate(LENGTHS):
        alone = setup(model, int(length), masked=False, bidirectional=both)
        np.testing.assert_allclose(reference.forward(alone, weights, features[[i], :length]), found[[i]], atol=1e-6)


def test_what_stands_in_padding_does_not_count_in_a_convolution(features):
    built = setup("cnn")
    weights = network.initial_weights(built)
    x = masked(features)
    np.testing.assert_array_equal(
        reference.forward(built, weights, x), reference.forward(built, weights, x * x[..., -1:])
    )


def test_hidden_values_of_a_convolution_are_zero_in_padding(features):
    built = setup("cnn", hidden_units=[5])
    hidden = reference.cnn(built, network.initial_weights(built), features, LENGTHS).reshape(4, 5, 3)
    filled = (hidden != 0).any(1)
    np.testing.assert_array_equal(filled, [[1, 0, 0], [1, 1, 0], [1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize("model", ["cnn", "lstm", "gru"])
def test_a_mask_of_ones_changes_nothing(features, model):
    weights = network.initial_weights(setup(model))
    x = np.concatenate([features, np.ones_like(features[..., :1])], axis=-1)
    np.testing.assert_array_equal(
        reference.forward(setup(model), weights, x), reference.forward(setup(model, masked=False), weights, features)
    )


def test_a_row_of_padding_alone_is_taken_for_one_step(features):
    x = masked(features)
    x[1] = 0
    _, lengths = reference.embed_inputs(setup("lstm"), {}, x)
    np.testing.assert_array_equal(lengths, [1, 1, 4, 7])


def test_each_sequence_is_reversed_within_its_own_length():
    steps = np.arange(4)[None, :, None].repeat(3, 0)
    found = reference.reverse(steps, np.array([1, 3, 4]))[..., 0]
    np.testing.assert_array_equal(found, [[0, 1, 2, 3], [2, 1, 0, 3], [3, 2, 1, 0]])


def test_codes_become_vectors_behind_the_other_features():
    spec = specs.parse({"target_column": "y"})
    built = Setup(spec, "binary", (4,), 1, embeddings=(Embedding(2, 3, 2), Embedding(0, 2, 1)))
    tables = {
        "embedding.0.weight": np.array([[1, 2], [3, 4], [5, 6]]),
        "embedding.1.weight": np.array([[7], [8]]),
    }
    found, _ = reference.embed_inputs(built, tables, np.array([[1, 0.1, 0, 0.2], [0, 0.3, 2, 0.4]]))
    np.testing.assert_array_equal(found, [[0.1, 0.2, 1, 2, 8], [0.3, 0.4, 5, 6, 7]])
