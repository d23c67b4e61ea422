"""The networks that an attempt trains: one; or one per fold, each on the rows of the other folds; or an ensemble, whose
networks have seeds of their own.

All share the encoded rows, of which each has the numbers of those that it trains on.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace

import numpy as np

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.specs import TrainingSpec
from epochd.data.feed import prefetch
from epochd.data.feed.dataset import InMemoryDataset
from epochd.data.splitting.folds import Folds
from epochd.engines import network, registry
from epochd.engines.machines import Leader
from epochd.loop.engine import Setup
from epochd.loop.members import FitConfig, Member, Members
from epochd.loop.metrics import class_weights
from epochd.loop.state import LoopState

SEED_STREAM = 1 << 34
"""Separates these random numbers from other uses of the same seed."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One network that is to be trained; fields as in ``Member``."""

    setup: Setup
    config: FitConfig
    name: str = ""
    held_out: IntArray | None = None


def plans(setup: Setup, config: FitConfig, folds: Folds | None, classes: tuple[object, ...] | None) -> list[Plan]:
    """The networks of a training. ``setup`` and ``config`` are those of a single one, or what all have in common;
    ``folds`` are those of the rows in ``config.train``, ``classes`` the labels of the target."""
    if folds is not None:
        return [_of_fold(setup, config, folds, fold, classes) for fold in range(folds.count)]
    if config.spec.ensemble is None:
        return [Plan(setup, config)]
    return [_of_ensemble(setup, config, number) for number in range(config.spec.ensemble)]


def _of_ensemble(setup: Setup, config: FitConfig, number: int) -> Plan:
    spec = config.spec.model_copy(update={"seed": member_seed(config.spec, number)})
    setup = replace(setup, spec=spec)
    batches = network.batches(setup, len(config.train))
    return Plan(setup, replace(config, spec=spec, batches=batches), f"member {number + 1}")


def member_seed(spec: TrainingSpec, number: int) -> int:
    """The seed of a network of an ensemble, by its number from 0: of the first one that of the spec."""
    if number == 0:
        return spec.seed
    return int(np.random.SeedSequence([spec.seed, SEED_STREAM, number]).generate_state(1)[0])


def _of_fold(setup: Setup, config: FitConfig, folds: Folds, fold: int, classes: tuple[object, ...] | None) -> Plan:
    train, chosen, held_out = config.train, folds.trained_on(fold), folds.held_out(fold)
    assert isinstance(train, InMemoryDataset)
    weights = None if train.weights is None else _divided_by_mean(train.weights, chosen)
    of_chosen = None if weights is None else weights[chosen]
    balance = class_weights(config.spec.class_weight, classes, train.y[chosen], of_chosen)
    setup = replace(setup, class_weights=balance, rows=len(chosen))
    of_held_out = None if train.weights is None else _divided_by_mean(train.weights, held_out)[held_out]
    config = replace(
        config,
        train=InMemoryDataset(train.x, train.y, weights),
        validation=InMemoryDataset(train.x[held_out], train.y[held_out], of_held_out),
        batches=replace(network.batches(setup, len(chosen)), chosen=chosen),
    )
    return Plan(setup, config, f"fold {fold + 1}", held_out)


def _divided_by_mean(weights: FloatArray, rows: IntArray) -> FloatArray:
    """The weights of all rows, so that the mean over these is 1."""
    found: FloatArray = (weights / weights[rows].mean()).astype(np.float32)
    return found


@contextmanager
def built(framework: str, planned: list[Plan], leader: Leader | None = None) -> Iterator[Members]:
    """The networks with their initial weights, each with an engine, which is closed at the end of the block; with a
    ``leader`` one network, on several machines."""
    with ExitStack() as stack:
        each = []
        for number, plan in enumerate(planned):
            rows = prefetch.initial_rows(plan.config.batches, plan.config.train)
            engine = stack.enter_context(closing(registry.build(framework, plan.setup, rows, leader)))
            state = LoopState(plan.config.spec.learning_rate)
            each.append(Member(engine, plan.config, state, number, plan.name, plan.held_out))
        yield Members(each)
