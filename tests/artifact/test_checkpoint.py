"""Checkpoints come back exactly, or not at all."""

import errno
import json

import numpy as np
import pytest

from epochd.artifact import checkpoint, files
from epochd.core.errors import CorruptFile, Diverged, OutOfSpace
from epochd.loop.members import Member, Members
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


def saved(folder, attempt, engine, loop, facts):
    return checkpoint.save(folder, attempt, Members([Member(engine, None, loop)]), facts)


def loaded(path):
    """The only network of a checkpoint."""
    [found] = checkpoint.load(path).members
    return found


def test_it_comes_back_exactly(tmp_path):
    path = saved(tmp_path, 1, Engine(1 / 3), state(history=[{"epoch": 1, "val_loss": 0.1 + 0.7}]), {"a": 1})
    found = loaded(path)
    assert found.state.as_json() == state(history=[{"epoch": 1, "val_loss": 0.1 + 0.7}]).as_json()
    assert checkpoint.load(path).facts == {"a": 1}
    np.testing.assert_array_equal(found.weights["w"], Engine(1 / 3).weights()["w"])
    np.testing.assert_array_equal(found.optimizer["m"], Engine().optimizer_state()["m"])
    np.testing.assert_array_equal(found.state.best_weights["w"], state().best_weights["w"])


def test_the_newest_two_are_kept(tmp_path):
    for value in range(4):
        saved(tmp_path, 1, Engine(value), state(), {})
    assert [path.name for path in checkpoint.numbered(tmp_path)] == ["0001-000003", "0001-000004"]
    assert loaded(tmp_path / "0001-000004").weights["w"][0, 0] == 3


def damage(path, name, how):
    content = bytearray((path / name).read_bytes())
    if how == "flip":
        content[len(content) // 2] ^= 1
    (path / name).write_bytes(content[: len(content) // 2] if how == "truncate" else content)
    if how == "remove":
        (path / name).unlink()


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
@pytest.mark.parametrize(
    "name", ["weights.safetensors", "optimizer.safetensors", "best.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(tmp_path, name, how):
    older, newer = (saved(tmp_path, 1, Engine(value), state(), {}) for value in (1, 2))
    assert checkpoint.newest(tmp_path) == (newer, [])
    damage(newer, name, how)
    found, (fault,) = checkpoint.newest(tmp_path)
    assert found == older
    assert newer.name in fault
    assert loaded(older).weights["w"][0, 0] == 1


def test_a_checkpoint_that_was_found_damaged_does_not_cost_the_good_one_before_it(tmp_path):
    older, damaged = (saved(tmp_path, 1, Engine(value), state(), {}) for value in (1, 2))
    damage(damaged, "weights.safetensors", "flip")
    _, (fault,) = checkpoint.newest(tmp_path)
    assert f"set aside as damaged-{damaged.name}" in fault
    assert (tmp_path / f"damaged-{damaged.name}").is_dir()
    newer = saved(tmp_path, 2, Engine(3), state(), {})
    assert sorted(tmp_path.iterdir()) == [older, newer]


def test_only_to_look_sets_nothing_aside(tmp_path):
    path = saved(tmp_path, 1, Engine(1), state(), {})
    damage(path, "weights.safetensors", "flip")
    _, (fault,) = checkpoint.newest(tmp_path, set_aside=False)
    assert "set aside" not in fault
    assert list(tmp_path.iterdir()) == [path]


def test_the_checkpoints_of_a_newer_attempt_come_first_whatever_a_stale_one_still_writes(tmp_path):
    saved(tmp_path, 1, Engine(1), state(), {})
    newer = saved(tmp_path, 2, Engine(2), state(), {})
    saved(tmp_path, 1, Engine(3), state(), {})
    assert checkpoint.newest(tmp_path) == (newer, [])


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    with pytest.raises(Diverged):
        saved(tmp_path, 1, Engine(np.nan), state(), {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_with_figures_and_nothing_is_left_behind(tmp_path, monkeypatch, number):
    def full(*args):
        raise OSError(number, "full")

    monkeypatch.setattr(files, "flush", full)
    with pytest.raises(OutOfSpace, match="MiB are free") as refused:
        saved(tmp_path / "task", 1, Engine(), state(), {})
    assert refused.value.needed_bytes > 2**24
    assert list((tmp_path / "task").iterdir()) == []


def test_a_copy_for_another_task_is_as_whole_as_the_original(tmp_path):
    path = saved(tmp_path / "parent", 3, Engine(5), state(), {})
    copy = checkpoint.copy(path, tmp_path / "child")
    assert checkpoint.newest(tmp_path / "child") == (copy, [])
    assert loaded(copy).weights["w"][0, 0] == 5
    assert checkpoint.copy(tmp_path / "nowhere", tmp_path / "child") is None


@pytest.mark.parametrize("how", ["flip", "truncate", "remove"])
def test_a_damaged_checkpoint_is_not_copied_for_another_task(tmp_path, how):
    path = saved(tmp_path / "parent", 1, Engine(5), state(), {})
    damage(path, "weights.safetensors", how)
    with pytest.raises(CorruptFile, match=r"weights\.safetensors"):
        checkpoint.copy(path, tmp_path / "child")
    assert list((tmp_path / "child").iterdir()) == []


def test_the_state_is_readable(tmp_path):
    path = saved(tmp_path, 1, Engine(), state(), {"framework": "pytorch"})
    content = json.loads((path / "state.json").read_text())
    assert (content["loop"]["epoch"], content["facts"]["framework"]) == (3, "pytorch")
