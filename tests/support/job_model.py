"""What the store has to do with a job, once more in plain Python: no SQL, no locks, none of its code.

The state machine test plays the same moves here and in a real database, and compares the two after each.
"""

from dataclasses import dataclass, field
from typing import Any

LEASE = 15.0
STRIKES = 3
FOLLOWS = {
    "pending": {"running", "paused", "cancelled"},
    "running": {"pending", "paused", "completed", "failed", "cancelled"},
    "paused": {"pending", "cancelled"},
    "completed": set(),
    "failed": set(),
    "cancelled": set(),
}
FINAL = {state for state, following in FOLLOWS.items() if not following}


@dataclass
class Task:
    """One job. ``log`` names each event: by the state that it tells of, or else by its type."""

    id: str
    epochs: int
    queued: float
    parent: str | None = None
    checkpoint: dict[str, Any] | None = None
    state: str = "pending"
    command: str = "continue"
    attempt: int = 0
    reported: int = 0
    lease: float | None = None
    worker: dict[str, Any] | None = None
    progress: float | None = None
    current: int = 0
    latest: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    bests: dict[int, dict[str, Any]] = field(default_factory=dict)
    history: dict[int, dict[str, Any]] = field(default_factory=dict)
    crashes: int = 0
    strikes: int = 0
    preemptions: int = 0
    error: str | None = None
    revisions: list[list[int]] = field(default_factory=list)
    log: list[str] = field(default_factory=lambda: ["pending"])

    def go_on_from(self, parent: "Task") -> None:
        self.parent, self.checkpoint = parent.id, parent.checkpoint

    def claim(self, now: float) -> None:
        self.attempt += 1
        self.reported, self.error, self.progress, self.lease = 0, None, None, now + LEASE
        self.move("running")

    def beat(self, now: float, idle: float | None) -> None:
        """A heartbeat counts only once a third of the lease is gone."""
        assert self.lease is not None
        if self.lease - now < LEASE * 2 / 3:
            self.lease = now + LEASE
            self.progress = self.progress if idle is None else now - idle

    def hear(self, kind: str, payload: dict[str, Any]) -> None:
        """A worker's report that is not known yet."""
        self.reported += 1
        match kind:
            case "started" | "log":
                self.log.append(kind)
            case "epoch":
                self._measure(payload["metrics"], payload["best"])
            case "checkpoint":
                self._keep(payload)
                self.log.append(kind)
            case "rollback":
                self._take_back(payload["epoch"])
                self.log.append(kind)
            case "paused":
                self._keep(payload)
                self.preemptions += self.command in ("continue", "release")
                self._obey()
            case "held" if self.command in ("pause", "cancel"):
                self._obey()
            case "held":
                self.error = payload["code"]
                self.move("paused")
            case "failed":
                self._fail(payload["code"])
            case "completed" | "cancelled":
                self.best = payload.get("best", self.best)
                self.move(kind)

    def _measure(self, row: dict[str, Any], best: dict[str, Any]) -> None:
        epoch = row["epoch"]
        known = self.history.get(epoch)
        if known is None or known["train_loss"] != row["train_loss"]:
            self._take_back(epoch - 1)
            self.history[epoch], self.bests[epoch] = row, best
            self.current, self.latest, self.best = epoch, row, best
            self.log.append("progress")

    def _take_back(self, last: int) -> None:
        """After a rollback a job knows what it knew when this epoch was its last."""
        self.history = {epoch: row for epoch, row in self.history.items() if epoch <= last}
        self.current, self.latest, self.best = last, self.history.get(last), self.bests.get(last) if last else None

    def _keep(self, checkpoint: dict[str, Any]) -> None:
        if checkpoint:
            if place(checkpoint) > place(self.checkpoint):
                self.strikes = 0
            self.checkpoint = checkpoint

    def crash(self) -> None:
        self.crashes += 1
        self.strikes += 1
        if self.strikes == STRIKES and self.command != "cancel":
            self._fail("poison")
        else:
            self._obey()

    def release(self) -> None:
        self.preemptions += self.command in ("continue", "release")
        self._obey()

    def die(self, code: str) -> None:
        """The worker died of something that would only happen again."""
        if self.command == "cancel":
            self._obey()
        else:
            self._fail(code)

    def pause(self) -> bool:
        """Whether that may be asked; and so for the other requests."""
        if self.state in FINAL or self.command == "cancel":
            return False
        if self.state == "running":
            self.command = "pause"
        elif self.state == "pending":
            self.move("paused")
        self.error = None
        return True

    def resume(self, now: float, epochs: int | None) -> bool:
        if self.state != "paused":
            return False
        if epochs is not None and epochs != self.epochs:
            self.revisions.append([self.epochs, epochs])
            self.epochs = epochs
        self.queued, self.error = now, None
        self.move("pending")
        return True

    def readmit(self) -> bool:
        """There is room on the disk again."""
        if self.state != "paused" or self.error != "disk_full":
            return False
        self.error = None
        self.log.append("log")
        self.move("pending")
        return True

    def stop(self) -> bool:
        if self.state in ("completed", "failed"):
            return False
        if self.state == "running":
            self.command = "cancel"
        elif self.state != "cancelled":
            self.move("cancelled")
        return True

    def move(self, state: str) -> None:
        assert state in FOLLOWS[self.state], f"the model itself moves from {self.state} to {state}"
        self.state = state
        if state != "running":
            self.command, self.lease, self.worker = "continue", None, None
        self.log.append(state)

    def _obey(self) -> None:
        self.move({"cancel": "cancelled", "pause": "paused"}.get(self.command, "pending"))

    def _fail(self, code: str) -> None:
        self.error = code
        self.move("failed")


def place(checkpoint: dict[str, Any] | None) -> tuple[int, int]:
    """How far a checkpoint is: whole epochs, and steps of the next one."""
    return (checkpoint["epoch"], checkpoint["step"]) if checkpoint else (-1, -1)
