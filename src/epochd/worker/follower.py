"""An attempt on a machine that is not the first of its training: it fetches and prepares the same data, and runs ranks.

It reports nothing and keeps nothing. It ends when the worker of rank 0 does, or is gone.
"""

import logging
from collections.abc import Callable

from epochd.artifact import checkpoint
from epochd.core.errors import EpochdError, RankFailed, StaleAttempt
from epochd.core.tickets import Ticket
from epochd.data.feed import prefetch
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import registry
from epochd.engines.machines import Follower
from epochd.worker import machines, transfer
from epochd.worker.execute import prepared

logger = logging.getLogger(__name__)


def follow(ticket: Ticket, on_connected: Callable[[Follower], None] = lambda follower: None) -> None:
    """Take part in a training until it ends. Raises StaleAttempt if it is over before, and RankFailed if the others are
    gone, or this machine cannot take part, which rank 0 is told."""
    with Follower(machines.found(ticket), ticket.node_rank, ticket.node_address) as follower:
        on_connected(follower)
        try:
            _take_part(ticket, follower)
        except (StaleAttempt, RankFailed):
            raise
        except Exception as error:
            logger.exception("this machine cannot take part in the training")
            why = error.message if isinstance(error, EpochdError) else f"{type(error).__name__}: {error}"
            follower.refuse(why)
            raise RankFailed(why) from error


def _take_part(ticket: Ticket, follower: Follower) -> None:
    with transfer.of(ticket, follower) as folders:
        local, _ = folders.fetched(ticket)
        start, _ = checkpoint.newest(local.checkpoints_dir, set_aside=False)
        training = prepared(local, start, [])
        training.check()
        batches, train = training.config.batches, training.config.train

        def read(epoch: int, first: int, count: int) -> InMemoryDataset:
            return prefetch.block(batches, train, epoch, first, count)

        terms = follower.describe(training.about)
        if terms is not None:
            registry.follow(training.setup, prefetch.initial_rows(batches, train), follower, terms, read)
        folders.clear(local.checkpoints_dir)
