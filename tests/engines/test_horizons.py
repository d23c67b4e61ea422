"""A network with an output for each horizon: the same loss and steps on every engine, as one loss would be by hand."""

from importlib.util import find_spec

import numpy as np
import pytest

from epochd.core import specs
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network, reference, registry
from epochd.loop.engine import Setup

ENGINES = [
    name for name, module in {"pytorch": "torch", "tensorflow": "tensorflow", "jax": "jax"}.items() if find_spec(module)
]
ROWS, HORIZONS = 24, [1, 3, 5]


def built(engine: str, **options):
    base = {"target_column": "y", "time_column": "t", "sequence_length": 4, "horizon": HORIZONS, "task": "regression"}
    options = {"model_type": "gru", "hidden_units": [6], "batch_size": 10, "dropout_rate": 0.0} | options
    spec = specs.parse({**base, **options, "optimizer": "sgd", "framework": engine})
    setup = Setup(spec, "regression", (4, 2), len(HORIZONS), rows=ROWS)
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(ROWS, 4, 2)), draw.normal(size=(ROWS, len(HORIZONS)))
    rows = InMemoryDataset(x.astype(np.float32), y.astype(np.float32))
    return setup, rows, registry.build(engine, setup, rows)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model_type", ["mlp", "gru"])
def test_a_step_follows_the_mean_of_the_squared_errors_of_all_horizons(engine, model_type):
    setup, rows, built_engine = built(engine, model_type=model_type)
    weights = network.initial_weights(setup)
    outputs = reference.forward(setup, weights, rows.x)
    np.testing.assert_allclose(built_engine.outputs(rows.x), outputs, atol=1e-5)
    order, rate = np.arange(10), 0.1
    totals = built_engine.train(order, 0, rate)
    errors = outputs[order] - rows.y[order]
    assert totals.loss == pytest.approx(float((errors**2).mean(axis=1).sum()), rel=1e-4)
    assert totals.score == pytest.approx(totals.loss, rel=1e-4)
    expected = weights["output.bias"] - rate * (2 * errors / len(HORIZONS)).mean(axis=0)
    np.testing.assert_allclose(built_engine.weights()["output.bias"], expected, atol=1e-5)
    built_engine.close()
