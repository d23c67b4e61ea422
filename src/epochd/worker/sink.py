"""The loop's sink for one attempt: it sends reports and saves checkpoints.

Files are durable before the report that names them is sent.
"""

from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Protocol

from epochd.artifact import checkpoint, files
from epochd.core.events import ReportKind
from epochd.core.job_values import Phase
from epochd.core.jobs import Command
from epochd.core.tickets import Ticket
from epochd.data.encoding.encoder import Encoder
from epochd.loop import schedules
from epochd.loop.members import Members
from epochd.loop.phases import PhaseTimer
from epochd.worker.transfer import SharedFolders

CHECKPOINT_SHARE = 0.02
"""The largest share of a training's time that checkpoints may take."""


class Reporter(Protocol):
    """Sends reports to the server. Once it has a ``timer``, the final report contains its seconds."""

    timer: PhaseTimer | None

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None: ...

    def position(self, epoch: int, step: int, steps: int) -> None: ...

    def command(self) -> Command: ...

    def confirm(self) -> None: ...

    def check(self) -> None: ...

    def release(self) -> None: ...

    @property
    def is_given_up(self) -> bool: ...


@dataclass
class JobSink:
    """``facts`` describe engine and data; they and the ``encoder`` are saved with each checkpoint, and so are the
    ``marks``: each resume and rollback with ``kind`` and ``epoch``, for the report. ``save_seconds`` is
    the duration of the last save: if it is long, the next one comes later than ``checkpoint_seconds``."""

    ticket: Ticket
    reporter: Reporter
    facts: dict[str, Any]
    encoder: Encoder
    marks: list[dict[str, Any]] = field(default_factory=list)
    saved_at: float = field(default_factory=monotonic)
    save_seconds: float = 0.0
    timer: PhaseTimer = field(default_factory=PhaseTimer)
    folders: SharedFolders = field(default_factory=SharedFolders)

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None:
        self.reporter.emit(kind, payload)

    def position(self, epoch: int, step: int, steps: int) -> None:
        self.reporter.position(epoch, step, steps)

    def command(self) -> Command:
        return self.reporter.command()

    def checkpoint_due(self) -> bool:
        interval = self.ticket.checkpoint_seconds
        return monotonic() - self.saved_at >= (interval and max(interval, self.save_seconds / CHECKPOINT_SHARE))

    def checkpoint(self, members: Members) -> None:
        """Save a checkpoint and report it, unless the server does not take it now: the next one is due soon."""
        if (saved := self._saved(members, is_optional=True)) is not None:
            self.emit(ReportKind.CHECKPOINT, saved)

    def save(self, members: Members) -> dict[str, Any]:
        """Save a checkpoint; return the payload of its report. Raises what ``SharedFolders.send`` raises."""
        saved = self._saved(members, is_optional=False)
        assert saved is not None, "a checkpoint that must be sent was sent"
        return saved

    def _saved(self, members: Members, *, is_optional: bool) -> dict[str, Any] | None:
        ticket, state, began = self.ticket, members.state, monotonic()
        facts = self.facts | {"marks": self.marks}
        with self.timer.phase(Phase.CHECKPOINT):
            path = checkpoint.save(ticket.checkpoints_dir, ticket.attempt, members, facts, self.encoder)
            is_sent = self.folders.send(path, is_optional=is_optional)
        self.saved_at = monotonic()
        self.save_seconds = self.saved_at - began
        if not is_sent:
            return None
        spec = ticket.spec
        schedule = {"scheduler": spec.learning_rate_scheduler, "learning_rate": state.learning_rate}
        return {
            "path": str(path.relative_to(ticket.data_dir)),
            "epoch": state.epoch,
            "step": state.step,
            "bytes": files.size(path),
            "restores": {  # for display
                "weights": True,
                "optimizer": spec.optimizer,
                "schedule": schedule | {"settings": schedules.settings(spec)},
                "patience": {"wait": state.stopping_wait, "patience": spec.early_stopping_patience},
                "best_epoch": state.best_epoch or None,
                "position": {"epochs_done": state.epoch, "steps_done_in_epoch": state.step},
                "data_fingerprint": self.facts["fingerprint"],
                "validation_fingerprint": self.facts.get("validation_fingerprint"),
            },
        }
