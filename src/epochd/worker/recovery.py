"""How an attempt begins: from the newest valid checkpoint, or, after a divergence, from it with a lower learning rate.

Checkpoints are looked up on the disk, not in the ticket: a worker may have died, or its server been unreachable, before
the checkpoint was reported.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from epochd.artifact import checkpoint, files
from epochd.artifact.checkpoint import Checkpoint
from epochd.core.errors import Diverged, OutOfSpace
from epochd.core.tickets import Ticket
from epochd.engines import memory, network
from epochd.loop import divergence, history, schedules
from epochd.loop.engine import Setup
from epochd.loop.members import FitConfig, Member, Members
from epochd.loop.state import LoopState, Totals

ROLLBACK_FACTOR = 0.1
"""The factor of the learning rate after a divergence."""


def starting_point(ticket: Ticket, faults: Sequence[str] = ()) -> tuple[Path | None, list[str]]:
    """The newest valid checkpoint of a task, and warnings for its log, also of ``faults`` that were found before;
    temporary files of dead attempts are removed."""
    files.remove_temporary(ticket.checkpoints_dir)
    files.remove_temporary(ticket.artifact_dir.parent, ticket.artifact_dir.name)
    path, found = checkpoint.newest(ticket.checkpoints_dir)
    faults = [*faults, *found]
    if path is None and not faults and ticket.checkpoint is not None:
        faults = [f"checkpoint {ticket.checkpoint} no longer exists"]
    used = "the training starts from the beginning" if path is None else f"{path.name} is used instead"
    return path, [f"{fault}; {used}" for fault in faults]


def restore(ticket: Ticket, members: Members, path: Path, *, changed: bool) -> None:
    """Restore engines and states from a checkpoint."""
    saved = checkpoint.load(path)
    members.replace([restored(ticket, member, saved, changed=changed) for member in members])


def restored(ticket: Ticket, member: Member, saved: Checkpoint, *, changed: bool) -> LoopState:
    """The state of a network in a checkpoint, which its engine gets, too.

    An unfinished epoch over another number of rows (``changed`` data) starts over. A schedule that was changed on the
    resume takes effect. A task that continues another one, which had stopped early, has its full patience again.
    """
    state = saved.members[member.number].restore(member.engine)
    if changed and saved.facts.get("rows", {}).get("train") != len(member.config.train):
        state.step, state.totals, state.seconds = 0, Totals(), 0.0
    schedules.change(ticket.spec, state, saved.facts.get("schedule", {}))
    if state.stopped_early and saved.facts.get("task_id") != ticket.task_id:
        state.stopped_early, state.stopping_wait = False, 0
    return state


def unreported_epochs(ticket: Ticket, config: FitConfig, state: LoopState) -> Iterator[dict[str, Any]]:
    """EPOCH reports of the complete epochs that the server does not know of."""
    best, best_value = None, None
    for row in state.history:
        value = row.get(config.spec.watched)
        if history.is_best(value, best_value, config.higher_is_better):
            best, best_value = row, value
        if row["epoch"] > ticket.reported_epochs:
            yield {"metrics": row, "best": history.best_metrics(best)}


def rollback(ticket: Ticket, setup: Setup, members: Members, error: Diverged, *, changed: bool) -> Member:
    """Take the network that has diverged back to the newest valid checkpoint, with a tenth of its current learning
    rate, and return it; the others go on from where they are. ``setup`` is that of the network. Raises Diverged, with
    the number of the bad batch, after ``max_rollbacks`` rollbacks."""
    member = members.each[error.member]
    engine, spec, state = member.engine, member.config.spec, member.state
    path, _ = checkpoint.newest(ticket.checkpoints_dir, set_aside=False)
    if path is None:
        engine.load_weights(dict(network.initial_weights(setup)))
        engine.load_optimizer_state({name: np.zeros_like(value) for name, value in engine.optimizer_state().items()})
        saved = LoopState(spec.learning_rate)
    else:
        saved = restored(ticket, member, checkpoint.load(path), changed=changed)
    members.replace([saved if one is member else one.state for one in members])
    if state.rollbacks >= spec.max_rollbacks:
        raise divergence.with_batch(member, error)
    saved.rollbacks = state.rollbacks + 1
    saved.learning_rate *= ROLLBACK_FACTOR * state.rate_factor / saved.rate_factor
    saved.rate_factor = ROLLBACK_FACTOR * state.rate_factor
    return member


def check_disk_space(ticket: Ticket, setup: Setup) -> None:
    """Raise OutOfSpace if there is no space for the two checkpoints that a training keeps."""
    needed = 2 * memory.checkpoint_bytes(setup) + files.SPARE_BYTES
    ticket.data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(ticket.data_dir).free
    if free < needed:
        space = f"{needed / 2**20:,.0f} MiB, but {free / 2**20:,.0f} MiB are free in {ticket.data_dir}"
        message = f"two checkpoints of this model need {space}. The training starts when there is enough space"
        raise OutOfSpace(message, needed)
