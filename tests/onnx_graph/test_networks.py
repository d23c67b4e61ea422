"""Each network as a graph gives the outputs of the NumPy reference; here it starts at encoded rows."""

import numpy as np
import pytest

from epochd.core import specs
from epochd.engines import network, reference
from epochd.loop.engine import Embedding, Setup
from epochd.onnx_graph import columns, networks
from epochd.onnx_graph.builder import Graph
from epochd.onnx_graph.inputs import Input, Output
from tests.support.onnx_files import run

ROWS = 7


def setup(model, inputs, **options):
    about = {name: options.pop(name) for name in ("masked", "embeddings") if name in options}
    spec = specs.parse({"target_column": "y", "model_type": model, "hidden_units": [6, 5, 4], **options})
    return Setup(spec, "multiclass", inputs, 3, **about)


def check(built, x=None):
    """The graph's outputs for random rows are those of the reference."""
    x = rows(built) if x is None else x
    weights = {name: 2 * values for name, values in network.initial_weights(built).items()}
    taken, out = Input("x", None, "", "FP32", (-1, *built.inputs), None, ""), Output("out", "FP32", (-1, 3), "")
    graph = Graph([taken], [out])
    graph.op("Identity", networks.forward(graph, built, weights, columns.from_features(graph, built, "x")), into="out")
    expected = reference.forward(built, weights, x)
    assert expected.std() > 1e-3
    np.testing.assert_allclose(
        run(graph.model("", {}).SerializeToString(), {"x": x})["out"], expected, rtol=1e-5, atol=1e-5
    )


def rows(built):
    """Noise, with codes and a mask where the network expects them; noise in the padding, too."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, *built.inputs)).astype(np.float32)
    for embedding in built.embeddings:
        x[..., embedding.channel] = rng.integers(0, embedding.codes, x.shape[:-1])
    if built.masked:
        x[..., -1] = np.arange(built.inputs[0]) < (np.arange(ROWS) % (built.inputs[0] + 1))[:, None]
    return x


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "silu"])
@pytest.mark.parametrize("inputs", [(5,), (4, 5)])
def test_mlp(activation, inputs):
    check(setup("mlp", inputs, activation=activation))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("inputs", [(7, 3), (2, 1), (1, 2), (9, 6, 1), (5, 8, 2), (1, 3, 1)])
def test_cnn_of_even_and_odd_sizes_and_kernels(kernel, inputs):
    check(setup("cnn", inputs, kernel_size=kernel, activation="tanh"))


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("model", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [[5], [4, 6, 3]])
def test_recurrent(model, both, layers):
    check(setup(model, (6, 3), bidirectional=both, hidden_units=layers))


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}], ids=str)
@pytest.mark.parametrize("model", ["cnn", "lstm", "gru"])
def test_masked_sequences_end_where_their_steps_end(model, options):
    check(setup(model, (6, 4), masked=True, **(options if model != "cnn" else {"kernel_size": 4})))


VECTORS = (Embedding(2, 9, 3), Embedding(0, 4, 2))


@pytest.mark.parametrize(
    ("model", "inputs"), [("mlp", (4,)), ("mlp", (5, 4)), ("cnn", (5, 4)), ("lstm", (5, 4)), ("gru", (5, 4))]
)
def test_codes_become_vectors(model, inputs):
    check(setup(model, inputs, embeddings=VECTORS))
    check(setup(model, (*inputs[:-1], 2), embeddings=(Embedding(1, 3, 2), Embedding(0, 4, 2))))


def test_codes_beside_a_mask():
    check(setup("gru", (5, 4), embeddings=VECTORS, masked=True, bidirectional=True))
