"""Checkpoints come back exactly, or not at all."""

import json

import numpy as np
import pytest

from epochd.artifact import checkpoint
from epochd.core.errors import CorruptFile
from epochd.loop.state import LoopState, Totals


class Engine:
    """Only what a checkpoint asks of an engine."""

    def __init__(self, value=0.0):
        self.value = value

    def weights(self):
        return {"w": np.full((2, 3), self.value, np.float32)}

    def optimizer_state(self):
        return {"step": np.array(4.0, np.float32), "m": np.arange(6, dtype=np.float32)}


def state(**values):
    best = {"w": np.full((2, 3), 0.1, np.float32)}
    return LoopState(0.1 + 0.2, epoch=3, step=5, totals=Totals(7, 1 / 3, 2.0), best_weights=best, **values)


def test_it_comes_back_exactly(tmp_path):
    path = checkpoint.save(tmp_path, Engine(1 / 3), state(history=[{"epoch": 1, "val_loss": 0.1 + 0.7}]), {"a": 1})
    found = checkpoint.load(path)
    assert found.state.as_json() == state(history=[{"epoch": 1, "val_loss": 0.1 + 0.7}]).as_json()
    assert found.facts == {"a": 1}
    np.testing.assert_array_equal(found.weights["w"], Engine(1 / 3).weights()["w"])
    np.testing.assert_array_equal(found.optimizer["m"], Engine().optimizer_state()["m"])
    np.testing.assert_array_equal(found.state.best_weights["w"], state().best_weights["w"])


def test_the_newest_two_are_kept(tmp_path):
    for value in range(4):
        checkpoint.save(tmp_path, Engine(value), state(), {})
    assert [path.name for path in checkpoint.numbered(tmp_path)] == ["000003", "000004"]
    assert checkpoint.load(tmp_path / "000004").weights["w"][0, 0] == 3


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "best.safetensors", "state.json"])
def test_a_flipped_bit_is_found(tmp_path, name):
    path = checkpoint.save(tmp_path, Engine(), state(), {})
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(CorruptFile, match=name):
        checkpoint.load(path)


def test_the_state_is_readable(tmp_path):
    path = checkpoint.save(tmp_path, Engine(), state(), {"framework": "pytorch"})
    saved = json.loads((path / "state.json").read_text())
    assert (saved["loop"]["epoch"], saved["facts"]["framework"]) == (3, "pytorch")
