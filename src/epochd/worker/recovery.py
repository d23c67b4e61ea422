"""How a training begins again: from its newest good checkpoint, or a step back with a smaller learning rate.

Checkpoints are read where they lie, not where the server last heard of one: a worker may have died, or its server
been away, before it could tell. What they hold and the server has not been told yet is told now.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from epochd.artifact import checkpoint, files
from epochd.core.errors import Diverged, OutOfSpace
from epochd.core.tickets import Ticket
from epochd.engines import memory, network
from epochd.loop import divergence, metrics, schedules
from epochd.loop.engine import Engine, Setup
from epochd.loop.metrics import is_better
from epochd.loop.run import FitConfig
from epochd.loop.state import LoopState, Totals

STEP_BACK = 0.1
"""What the learning rate is multiplied by after a divergence."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an attempt begins: at the checkpoint in ``path`` (None: at the beginning).

    ``faults`` say what was wrong with newer checkpoints.
    """

    path: Path | None = None
    faults: list[str] = field(default_factory=list)

    @property
    def told(self) -> list[str]:
        """The faults as lines of the task's log."""
        used = "the training begins again" if self.path is None else f"{self.path.name} is used instead"
        return [f"{fault}; {used}" for fault in self.faults]


def origin(ticket: Ticket) -> Origin:
    """Look for the newest good checkpoint of a task; half-written ones of dead attempts are cleared away."""
    files.sweep(ticket.checkpoints_dir)
    files.sweep(ticket.artifact_dir.parent, ticket.artifact_dir.name)
    path, faults = checkpoint.newest(ticket.checkpoints_dir)
    if path is None and not faults and ticket.checkpoint is not None:
        faults = [f"checkpoint {ticket.checkpoint} is not there any more"]
    return Origin(path, faults)


def restored(ticket: Ticket, course: FitConfig, engine: Engine, path: Path, *, changed: bool) -> LoopState:
    """Bring the engine to where a checkpoint left off.

    An unfinished epoch over another number of rows (``changed`` data) starts over. A schedule that was changed on the
    resume takes effect. A task that goes on from one that had stopped early has its patience before it again.
    """
    saved = checkpoint.load(path)
    state = saved.restore(engine)
    if changed and saved.facts.get("rows", {}).get("train") != len(course.train):
        state.step, state.totals, state.seconds = 0, Totals(), 0.0
    schedules.change(ticket.spec, state, saved.facts.get("schedule", {}))
    if state.stopped_early and saved.facts.get("task_id") != ticket.task_id:
        state.stopped_early, state.stopping_wait = False, 0
    return state


def untold(ticket: Ticket, course: FitConfig, state: LoopState) -> Iterator[dict[str, Any]]:
    """EPOCH reports of complete epochs that the server does not know of."""
    best = None
    for row in state.history:
        value = row[course.spec.watched]
        if best is None or is_better(value, best[course.spec.watched], course.higher_is_better):
            best = row
        if row["epoch"] > ticket.reported_epochs:
            yield {"metrics": row, "best": metrics.best_metrics(best)}


def step_back(
    ticket: Ticket, setup: Setup, course: FitConfig, engine: Engine, state: LoopState, error: Diverged, *, changed: bool
) -> LoopState:
    """Where to go on after a divergence: the newest good checkpoint, with a tenth of the learning rate in force.

    Raises Diverged, now with the batch that broke, when that has been done as often as it may.
    """
    saved = _good(ticket, setup, course, engine, changed=changed)
    if state.rollbacks >= course.spec.max_rollbacks:
        raise divergence.located(engine, course, saved, error)
    saved.rollbacks = state.rollbacks + 1
    saved.learning_rate *= STEP_BACK * state.rate_factor / saved.rate_factor
    saved.rate_factor = STEP_BACK * state.rate_factor
    return saved


def _good(ticket: Ticket, setup: Setup, course: FitConfig, engine: Engine, *, changed: bool) -> LoopState:
    """Load the newest good checkpoint into the engine, or what it began with."""
    path, _ = checkpoint.newest(ticket.checkpoints_dir, set_aside=False)
    if path is not None:
        return restored(ticket, course, engine, path, changed=changed)
    engine.load_weights(dict(network.initial_weights(setup)))
    engine.load_optimizer_state({name: np.zeros_like(value) for name, value in engine.optimizer_state().items()})
    return LoopState(course.spec.learning_rate)


def check_room(ticket: Ticket, setup: Setup) -> None:
    """Raise OutOfSpace if the disk has no room for two checkpoints, which is what a training keeps."""
    needed = 2 * memory.checkpoint_bytes(setup) + files.SPARE_BYTES
    ticket.data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(ticket.data_dir).free
    if free < needed:
        message = (
            f"two checkpoints of this model need {needed / 2**20:,.0f} MiB, but {free / 2**20:,.0f} MiB are free in "
            f"{ticket.data_dir}. The training begins as soon as there is room"
        )
        raise OutOfSpace(message, needed)
