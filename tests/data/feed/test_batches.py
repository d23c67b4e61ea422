"""The order of an epoch and its chunks."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from epochd.data.feed.batches import MAX_CHUNK_STEPS, Batches, epoch_order


def test_each_epoch_has_its_own_order_and_the_seed_decides_it():
    first = epoch_order(100, 7, 0)
    assert sorted(first) == list(range(100))
    assert (first == epoch_order(100, 7, 0)).all()
    assert (first != epoch_order(100, 7, 1)).any()
    assert (first != epoch_order(100, 8, 0)).any()


@given(rows=st.integers(1, 500), batch_size=st.integers(1, 600), chunk_steps=st.integers(1, 9), epoch=st.integers(0, 3))
def test_chunks_cover_the_epoch_once_and_can_be_resumed_anywhere(rows, batch_size, chunk_steps, epoch):
    batches = Batches(rows, batch_size, 1, chunk_steps)
    chunks = list(batches.chunks(epoch))
    assert (np.concatenate([chunk.rows for chunk in chunks]) == epoch_order(rows, 1, epoch)).all()
    assert sum(chunk.steps for chunk in chunks) == batches.steps
    for i, chunk in enumerate(chunks):
        rest = list(batches.chunks(epoch, chunk.first_step))
        assert [r.first_step for r in rest] == [c.first_step for c in chunks[i:]]
        assert (rest[0].rows == chunk.rows).all()


def test_chunks_are_short_for_heavy_steps_and_bounded_for_light_ones():
    assert Batches.plan(10_000, 32, 0, flops_per_row=1.0, width=1).chunk_steps == MAX_CHUNK_STEPS
    assert Batches.plan(10_000, 32, 0, flops_per_row=1e9, width=1).chunk_steps == 1


def test_chunks_of_wide_rows_are_bounded_in_memory():
    assert Batches.plan(10_000, 100, 0, flops_per_row=1.0, width=1000).chunk_steps * 100 * 1000 <= 4_000_000
