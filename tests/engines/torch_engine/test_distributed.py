"""Several ranks train as one, die as one, and leave nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from epochd.core.errors import RankFailed
from epochd.engines.torch_engine import distributed

torch_engine = pytest.importorskip("epochd.engines.torch_engine.engine")

WAIT_SECONDS = 30


@pytest.fixture
def engine(make):
    """``engine(devices, **spec)`` → (engine, part); all are closed at the end."""
    built = []

    def build(devices, **options):
        setup, part = make(devices=devices, **options)
        built.append(torch_engine.TorchEngine(setup, part))
        return built[-1], part

    yield build
    for one in built:
        one.close()


def followers():
    return [p for p in psutil.Process().children() if "epochd.engines.torch_engine.distributed_worker" in p.cmdline()]


def test_shares_cover_a_batch_whatever_its_size():
    for rows in (0, 1, 2, 5, 32):
        parts = [distributed.share(rows, rank, 3) for rank in range(3)]
        assert [row for part in parts for row in range(rows)[part]] == list(range(rows))


def test_two_ranks_paused_and_resumed_give_the_result_of_one(engine):
    """Two train for half an epoch and end, two others go on from what they left; the last batch has one row."""
    options = {"batch_size": 23, "dropout_rate": 0.3, "gradient_clip": 0.5, "optimizer": "adam"}
    alone, part = engine(1, **options)
    rows = np.random.default_rng(3).permutation(len(part))
    expected = alone.train(rows, 0, 0.01)

    first, _ = engine(2, **options)
    early = first.train(rows[: 23 * 6], 0, 0.01)
    weights, memory = first.weights(), first.optimizer_state()
    folder, (rank,) = first._ranks._folder, followers()
    first.close()
    assert not rank.is_running()
    assert not folder.exists()
    second, _ = engine(2, **options)
    second.load_weights(weights)
    second.load_optimizer_state(memory)
    found = early + second.train(rows[23 * 6 :], 6, 0.01)

    assert found.rows == expected.rows
    assert found.loss == pytest.approx(expected.loss, rel=1e-5)
    for name, weight in alone.weights().items():
        np.testing.assert_allclose(second.weights()[name], weight, atol=1e-5, rtol=0, err_msg=name)


def test_a_dead_rank_ends_the_training_with_its_own_last_words(engine):
    trained, part = engine(2)
    trained.train(np.arange(len(part)), 0, 0.01)
    (rank,) = followers()
    os.kill(rank.pid, signal.SIGKILL)
    with pytest.raises(RankFailed, match=r"rank 1 of 2 was killed by signal 9; its last log lines"):
        trained.train(np.arange(len(part)), 10, 0.01)


def test_a_rank_that_fails_is_quoted(engine):
    trained, part = engine(2)
    trained._ranks.broadcast("dance", {})
    with pytest.raises(RankFailed, match=r"rank 1 of 2 ended with exit code 1(.|\n)*unknown command"):
        trained.train(np.arange(len(part)), 0, 0.01)


def test_a_rank_that_cannot_start_is_quoted(make, monkeypatch):
    monkeypatch.setattr(distributed, "save", lambda folder, setup, part: None)
    setup, part = make(devices=2)
    with pytest.raises(RankFailed, match=r"rank 1 of 2(.|\n)*setup\.json"):
        torch_engine.TorchEngine(setup, part)
    assert not followers()


PARENT = """
import sys, numpy as np
from epochd.core import specs
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines.torch_engine.engine import TorchEngine
from epochd.loop.engine import Setup
spec = specs.parse({"target_column": "y", "framework": "pytorch"})
part = InMemoryDataset(np.ones((64, 4), np.float32), np.ones(64, np.float32))
engine = TorchEngine(Setup(spec, "binary", (4,), 1, devices=2), part)
print(engine._ranks._children[0].pid, flush=True)
while True:
    engine.train(np.arange(64), 0, 0.01)
"""


def test_no_rank_survives_a_killed_parent():
    source = str(Path(distributed.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": source}
    ) as parent:
        rank = psutil.Process(int(parent.stdout.readline()))
        assert rank.is_running()
        parent.kill()
    _, alive = psutil.wait_procs([rank], WAIT_SECONDS)
    assert not alive
