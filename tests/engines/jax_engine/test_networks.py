"""What JAX's networks do in bfloat16, which no CPU trains in."""

import numpy as np
import pytest

from epochd.core import specs
from epochd.loop.engine import Embedding, Setup

jax = pytest.importorskip("jax")
networks = pytest.importorskip("epochd.engines.jax_engine.networks")
jnp = jax.numpy


def test_codes_and_lengths_are_read_before_the_cast_to_bfloat16():
    """It has no 257: only every second number above 256."""
    steps, codes = 300, 600
    spec = specs.parse({"target_column": "y", "model_type": "gru"})
    setup = Setup(spec, "binary", (steps, 2), 1, embeddings=(Embedding(0, codes, 1),), masked=True)
    x = np.zeros((1, steps, 2), np.float32)
    x[0, :257] = [257, 1]
    table = jnp.arange(codes, dtype=jnp.float32)[:, None] % 256
    features, length = networks.embed_inputs(setup, {"embedding.0.weight": table}, jnp.asarray(x), jnp.bfloat16)
    assert features.dtype == jnp.bfloat16
    np.testing.assert_array_equal(features[0, :, 0], [1] * 257 + [0] * 43)
    assert length.tolist() == [257]


def test_a_vector_that_many_rows_share_has_the_sum_of_their_gradients():
    """Added up in bfloat16, it would end at 256."""
    spec = specs.parse({"target_column": "y"})
    setup = Setup(spec, "binary", (1,), 1, embeddings=(Embedding(0, 2, 1),))

    def total(table):
        return networks.embed_inputs(setup, {"embedding.0.weight": table}, jnp.zeros((1000, 1)), jnp.bfloat16)[0].sum()

    assert jax.grad(total)(jnp.zeros((2, 1))).tolist() == [[1000], [0]]
