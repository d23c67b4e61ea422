"""Mixed precision on CPU: where it helps, where it is refused, float16's loss scaling. What a worker imports."""

import subprocess
import sys

import numpy as np
import pytest

from epochd.core.errors import InvalidSpec
from epochd.engines import requirements
from epochd.loop import metrics

torch = pytest.importorskip("torch")
torch_engine = pytest.importorskip("epochd.engines.torch_engine.engine")
devices = pytest.importorskip("epochd.engines.torch_engine.devices")

LARGE = {"hidden_units": [512, 512], "batch_size": 150, "mixed_precision": True}


def train(engine, part, epochs, first=0):
    for epoch in range(first, first + epochs):
        rows = np.random.default_rng(epoch).permutation(len(part))
        assert np.isfinite(engine.train(rows, epoch * 100, 0.003).loss)


@pytest.fixture
def able_cpu(monkeypatch):
    monkeypatch.setattr(requirements, "cpu_flags", lambda: {"avx512_bf16"})


@pytest.mark.parametrize(
    ("flags", "options", "reason"),
    [
        (set(), LARGE, "no bfloat16 arithmetic"),
        ({"avx512_bf16"}, LARGE | {"hidden_units": [8]}, "too small to gain"),
        ({"avx512_bf16"}, LARGE | {"model": "gru"}, "no bfloat16 gru"),
    ],
)
def test_a_cpu_that_gains_nothing_refuses_with_the_reason(make, monkeypatch, flags, options, reason):
    monkeypatch.setattr(requirements, "cpu_flags", lambda: flags)
    setup, part = make(**options)
    with pytest.raises(InvalidSpec, match=reason):
        torch_engine.TorchEngine(setup, part)


def test_bfloat16_learns_as_well(make, able_cpu):
    scores = []
    for mixed in (False, True):
        setup, part = make(**LARGE | {"mixed_precision": mixed})
        engine = torch_engine.TorchEngine(setup, part)
        train(engine, part, 6)
        scores.append(metrics.evaluation(engine.outputs(part.x), part.y, "binary")["accuracy"])
    assert engine.description["precision"] == "bfloat16"
    assert scores[1] == pytest.approx(scores[0], abs=0.02)


def test_bfloat16_finds_the_vectors_of_codes_that_it_could_not_count(make, able_cpu):
    """It has only every second number above 256. A row whose code is rounded would move another vector."""
    setup, part = make(model="mlp-embeddings", **LARGE)
    engine = torch_engine.TorchEngine(setup, part)
    before = engine.weights()["embedding.1.weight"]
    train(engine, part, 1)
    moved = (engine.weights()["embedding.1.weight"] != before).any(1)
    np.testing.assert_array_equal(moved, np.isin(np.arange(310), part.x[:, 1]))
    assert moved[257:300:2].all()


@pytest.mark.parametrize("clip", [None, 1.0])
def test_float16_remembers_its_loss_scaling(make, monkeypatch, clip):
    monkeypatch.setattr(devices, "autocast_type", lambda setup, device: torch.float16)
    setup, part = make(dropout_rate=0.0, gradient_clip=clip)
    straight, resumed = torch_engine.TorchEngine(setup, part), torch_engine.TorchEngine(setup, part)
    train(straight, part, 2)
    memory = straight.optimizer_state()
    assert memory["loss_scaling._growth_tracker"] == 20
    resumed.load_weights(straight.weights())
    resumed.load_optimizer_state(memory)
    for engine in (straight, resumed):
        train(engine, part, 1, first=2)
    for name, weight in straight.weights().items():
        np.testing.assert_array_equal(resumed.weights()[name], weight)
    assert resumed.optimizer_state()["loss_scaling._growth_tracker"] == 30


def test_a_worker_that_is_ready_has_not_imported_the_compiler():
    """Which takes as long as the import of PyTorch, and is used for nothing."""
    code = (
        "import sys; from epochd.engines import registry; registry.warm('pytorch')\n"
        "print([name for name in ('torch._dynamo', 'torch._inductor') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"
