"""Shapes of networks with embeddings and masks."""

import pytest

from epochd.core import specs
from epochd.engines import network
from epochd.loop.engine import Embedding, Setup


def setup(inputs, *embeddings, masked=False, **options):
    spec = specs.parse({"target_column": "y", "hidden_units": [16], **options})
    return Setup(spec, "binary", inputs, 1, embeddings=embeddings, masked=masked)


CODED = (Embedding(2, 70, 17), Embedding(4, 100, 21))


def test_embeddings_come_first_and_widen_what_the_first_layer_reads():
    built = setup((8, 6), *CODED, masked=True, model_type="gru")
    names = network.shapes(built)
    assert list(names)[:3] == ["embedding.0.weight", "embedding.1.weight", "hidden.0.weight_ih"]
    assert names["embedding.1.weight"] == (100, 21)
    assert names["hidden.0.weight_ih"] == (48, 3 + 17 + 21)


def test_plain_channels_are_neither_codes_nor_the_mask():
    built = setup((8, 6), *CODED, masked=True)
    assert network.plain_channels(built) == [0, 1, 3]
    assert network.plain_runs(built) == [slice(0, 2), slice(3, 4)]
    assert network.plain_runs(setup((1,), Embedding(0, 70, 17))) == []


def test_first_vectors_are_as_long_whatever_their_size():
    weights = network.initial_weights(setup((6,), *CODED))
    assert abs(weights["embedding.0.weight"]).max() == pytest.approx(17**-0.5, rel=0.01)


@pytest.mark.parametrize(("codes", "size"), [(2, 2), (65, 17), (1_000, 50), (10**6, 50)])
def test_vectors_grow_with_the_categories_to_fifty_numbers(codes, size):
    assert network.vector_size(codes) == size


def test_an_embedding_works_once_per_step_and_not_per_row():
    plain, embedded = setup((37,), batch_size=10), setup((6,), Embedding(2, 500, 32), batch_size=10)
    extra = network.flops_per_row(embedded) - network.flops_per_row(plain)
    assert extra == pytest.approx(6 * 500 * 32 / 10)


def test_an_example_that_has_steps_keeps_its_shape():
    spec = setup((1,), model_type="lstm").spec
    assert network.input_shape(spec, (24, 5)) == (24, 5)
    assert network.input_shape(spec, (24,)) == (24, 1)
