"""Rows of stored data in memory: in any requested order, and in blocks for the next chunks."""

import numpy as np
import pytest

from epochd.data.feed import prefetch
from epochd.data.feed.batches import Batches, epoch_order
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset

DRAW = np.random.default_rng(1)
TABLE = DRAW.normal(size=(5_000, 3)).astype(np.float32)
FIRST = np.sort(DRAW.permutation(5_000)[:4_000])
Y = DRAW.normal(size=4_000).astype(np.float32)
ROWS = MemmapDataset(TABLE, FIRST, 1, (3,), Y)
SEQUENCES = MemmapDataset(TABLE, np.arange(0, 4_990)[:4_000], 8, (8, 3), Y)
BATCHES = Batches(4_000, 32, 7, 10)


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of three chunks of rows, or of one chunk of sequences."""
    monkeypatch.setattr(prefetch, "BLOCK_VALUES", 3 * 32 * 10 * 3)


def test_examples_come_in_the_order_asked_for():
    asked = DRAW.permutation(4_000)[:100]
    found = ROWS.gather(asked)
    np.testing.assert_array_equal(found.x, TABLE[FIRST[asked]])
    np.testing.assert_array_equal(found.y, Y[asked])


def test_an_example_of_several_rows_holds_consecutive_ones():
    found = SEQUENCES.gather(np.array([3_000, 5, 5]))
    np.testing.assert_array_equal(found.x, [TABLE[3_000:3_008], TABLE[5:13], TABLE[5:13]])


def test_examples_can_be_read_in_another_shape():
    found = SEQUENCES.shaped((24,)).gather(np.array([7]))
    np.testing.assert_array_equal(found.x, TABLE[7:15].reshape(1, 24))


def test_slices_are_all_examples_in_their_order():
    pieces = list(SEQUENCES.slices(1_500))
    assert [len(piece) for piece in pieces] == [1_500, 1_500, 1_000]
    np.testing.assert_array_equal(np.concatenate([p.x for p in pieces]), SEQUENCES.gather(np.arange(4_000)).x)
    np.testing.assert_array_equal(np.concatenate([p.y for p in pieces]), Y)


def trained_rows(train, epoch, done=0):
    """What an engine would train on: the rows of each chunk, looked up in the window that was loaded last."""
    found, window, loaded = [], None, 0
    for chunk, rows, part in prefetch.chunks(BATCHES, train, epoch, done):
        if part is not None:
            window, loaded = part, loaded + 1
        assert len(rows) == len(chunk.rows)
        found.append(InMemoryDataset(window.x[rows], window.y[rows]))
    return found, loaded


@pytest.mark.parametrize(("train", "loads"), [(ROWS, 5), (SEQUENCES, 13)], ids=["rows", "sequences"])
def test_blocks_contain_the_rows_of_each_chunk_in_training_order(train, loads):
    found, loaded = trained_rows(train, epoch=2)
    wanted = train.gather(epoch_order(4_000, 7, 2))
    np.testing.assert_array_equal(np.concatenate([part.x for part in found]), wanted.x)
    np.testing.assert_array_equal(np.concatenate([part.y for part in found]), wanted.y)
    assert (len(found), loaded) == (13, loads)


def test_an_epoch_can_continue_in_its_middle():
    whole, rest = trained_rows(ROWS, 1)[0], trained_rows(ROWS, 1, done=40)[0]
    assert len(rest) == 9
    for mine, theirs in zip(rest, whole[4:], strict=True):
        np.testing.assert_array_equal(mine.x, theirs.x)


def test_an_epoch_can_be_left_in_its_middle():
    for chunk, _, part in prefetch.chunks(BATCHES, ROWS, 0, 50):
        assert (chunk.first_step, len(part)) == (50, 960)
        break


def test_rows_in_memory_keep_their_own_numbers():
    train = ROWS.gather(np.arange(4_000))
    for chunk, rows, part in prefetch.chunks(BATCHES, train, 0):
        assert part is None
        np.testing.assert_array_equal(rows, chunk.rows)
    assert prefetch.initial_rows(BATCHES, train) is train


def test_an_engine_begins_with_the_largest_block():
    largest = max(len(part) for _, _, part in prefetch.chunks(BATCHES, ROWS, 3) if part is not None)
    assert len(prefetch.initial_rows(BATCHES, ROWS)) == largest
