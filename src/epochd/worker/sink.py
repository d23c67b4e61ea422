"""Where a training's news and checkpoints go: the loop's sink for one attempt.

Files are durable before the report that names them.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

from epochd.artifact import checkpoint, files
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.tickets import Ticket
from epochd.data.encoding.encoder import Encoder
from epochd.loop import schedules
from epochd.loop.engine import Engine
from epochd.loop.state import LoopState

CHECKPOINT_SHARE = 0.02
"""The most that checkpoints may take of a training's time."""


class Reporter(Protocol):
    """The line to the server."""

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None: ...

    def command(self) -> Command: ...

    def confirm(self) -> None: ...


@dataclass
class JobSink:
    """The loop's sink: reports through the reporter, checkpoints to the ticket's folder.

    ``facts`` describe engine and data; they and the ``encoder`` are saved with each checkpoint. ``save_seconds`` is
    what the last one took: where that is long, the next one has to wait longer than was asked.
    """

    ticket: Ticket
    reporter: Reporter
    facts: dict[str, Any]
    encoder: Encoder
    saved_at: float = field(default_factory=monotonic)
    save_seconds: float = 0.0

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None:
        self.reporter.emit(kind, payload)

    def command(self) -> Command:
        return self.reporter.command()

    def checkpoint_due(self) -> bool:
        interval = self.ticket.checkpoint_seconds
        return monotonic() - self.saved_at >= (interval and max(interval, self.save_seconds / CHECKPOINT_SHARE))

    def checkpoint(self, engine: Engine, state: LoopState) -> None:
        self.emit(ReportKind.CHECKPOINT, self.save(engine, state))

    def save(self, engine: Engine, state: LoopState) -> dict[str, Any]:
        """Write a checkpoint; return the payload that tells of it."""
        ticket, began = self.ticket, monotonic()
        path = checkpoint.save(ticket.checkpoints_dir, ticket.attempt, engine, state, self.facts, self.encoder)
        self.saved_at = monotonic()
        self.save_seconds = self.saved_at - began
        return {
            "path": str(path.relative_to(self.ticket.data_dir)),
            "epoch": state.epoch,
            "step": state.step,
            "bytes": files.size(path),
            "restores": self.receipt(state),
        }

    def receipt(self, state: LoopState) -> dict[str, Any]:
        """All that comes back on a resume, for people to see."""
        spec = self.ticket.spec
        schedule = {"scheduler": spec.learning_rate_scheduler, "learning_rate": state.learning_rate}
        return {
            "weights": True,
            "optimizer": spec.optimizer,
            "schedule": schedule | {"settings": schedules.settings(spec)},
            "patience": {"wait": state.stopping_wait, "patience": spec.early_stopping_patience},
            "best_epoch": state.best_epoch or None,
            "position": {"epochs_done": state.epoch, "steps_done_in_epoch": state.step},
            "data_fingerprint": self.facts["fingerprint"],
            "validation_fingerprint": self.facts.get("validation_fingerprint"),
        }


STATUS = Path("/proc/self/status")


@contextmanager
def memory_limit(megabytes: int | None) -> Iterator[None]:
    """Let the process take so many MiB more than it has now (Linux; None: as many as there are).

    RLIMIT_DATA counts private writable memory whether it is used or not. The address space as a whole is no
    measure: frameworks reserve far more of it than they use. Where a control group holds the worker
    (``dispatch.cgroups``) this is left out, since the kernel then counts what is used.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if megabytes is None or not STATUS.exists():
        yield
        return
    limit = _data_bytes() + megabytes * 2**20
    with suppress(ValueError, OSError):  # a stricter limit is in force already
        resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """Private writable memory of this process, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024
