"""How much memory a training takes, by estimate."""

import numpy as np
import pytest

from epochd.core import specs
from epochd.engines import memory, network, reference
from epochd.loop.engine import Setup


def setup(inputs, **options):
    return Setup(specs.parse({"target_column": "t", "hidden_units": [5, 3], **options}), "binary", inputs, 1)


def test_weights_are_counted_with_their_copies():
    found = memory.estimate(setup((10,)), rows=100, resident_mb=256)
    assert found.weights == 4 * 6 * ((10 * 5 + 5) + (5 * 3 + 3) + (3 + 1))
    assert found.rows == 3 * 100 * 10 * 4
    assert found.total == found.rows + found.weights + found.batch + memory.FRAMEWORK_BYTES


def test_rows_beyond_the_resident_limit_stay_on_disk():
    assert memory.estimate(setup((10,)), rows=10**9, resident_mb=64).rows == 3 * 64 * memory.MIB


@pytest.mark.parametrize(
    ("inputs", "options", "outputs"),
    [
        ((10,), {}, 10 + 5 + 3 + 1),
        ((9, 2), {"model_type": "cnn"}, 18 + 9 * 5 + 4 * 3 + 1),
        ((9, 2), {"model_type": "gru"}, 18 + 9 * 5 * 5 + 9 * 3 * 5 + 1),
    ],
)
def test_the_outputs_of_all_layers_are_counted(inputs, options, outputs):
    assert memory.outputs_per_row(setup(inputs, **options)) == outputs


def test_what_is_counted_is_what_the_reference_computes(monkeypatch):
    sizes = []
    activate = reference.activate
    monkeypatch.setattr(reference, "activate", lambda x, name: sizes.append(x[0].size) or activate(x, name))
    built = setup((8, 8, 1), model_type="cnn")
    reference.forward(built, network.initial_weights(built), np.ones((2, 8, 8, 1), np.float32))
    assert memory.outputs_per_row(built) == 64 + sum(sizes) + 1


@pytest.mark.parametrize(("options", "copies"), [({"ensemble": 4}, 3 + 3), ({"folds": 4}, 3 + 3 + 1)])
def test_each_of_several_networks_is_counted(options, copies):
    one, several = setup((10,)), setup((10,), **options)
    assert memory.estimate(several, 100, 256).weights == 4 * memory.estimate(one, 100, 256).weights
    assert memory.estimate(several, 100, 256).rows == copies * 100 * 10 * 4
    assert memory.checkpoint_bytes(several) == 4 * memory.checkpoint_bytes(one)
    assert network.model_parameters(several) == 4 * network.parameter_count(several)
