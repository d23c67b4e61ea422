"""Find the batch that made the loss infinite or NaN, by training the same steps again, one at a time.

A chunk reports sums only; training is deterministic, so the batch can be found afterwards.
"""

import numpy as np

from epochd.core.errors import Diverged
from epochd.data.feed import prefetch
from epochd.loop import fit
from epochd.loop.members import Member


def with_batch(member: Member, error: Diverged) -> Diverged:
    """The error with the number of the first bad batch, found by training on from the network's state."""
    try:
        while not member.is_done:
            batch = _first_bad_batch(member)
            if batch is not None:
                return Diverged(f"{error.message}. The first bad batch was number {batch} of its epoch")
            fit.end_epoch(member)
    except Diverged:  # only the loss of the validation rows, at the end of the epoch, is not finite
        pass
    return error


def _first_bad_batch(member: Member) -> int | None:
    """Train the rest of an epoch; the number, from 1, of its first batch whose loss is not finite."""
    engine, config, state = member.engine, member.config, member.state
    size = config.batches.batch_size
    for chunk, rows, block in prefetch.chunks(config.batches, config.train, state.epoch, state.step):
        if block is not None:
            engine.load_rows(block)
        weights, optimizer = engine.weights(), engine.optimizer_state()
        first = config.global_step(state, chunk)
        totals = engine.train(rows, first, state.learning_rate)
        if not totals.is_finite:
            engine.load_weights(weights)
            engine.load_optimizer_state(optimizer)
            for step in range(chunk.steps):
                batch = np.asarray(rows[step * size : (step + 1) * size])
                if not engine.train(batch, first + step, state.learning_rate).is_finite:
                    return chunk.first_step + step + 1
            return chunk.first_step + chunk.steps
        state.totals += totals
        state.step += chunk.steps
    return None
