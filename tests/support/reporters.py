"""A reporter without a server: it keeps what a training emits, and asks for what the test wants.

The contract that it shares with the real one is in ``tests/worker/test_reporter_contract.py``.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from epochd.core.errors import EpochdError
from epochd.core.events import FINAL_REPORTS, ReportKind
from epochd.core.jobs import Command
from epochd.loop.phases import PhaseTimer

Rows = list[dict[str, Any]]


class Killed(BaseException):
    """The process is no more."""


class RecordingReporter:
    """Keeps the reports; after ``epochs`` reported epochs or ``chunks`` chunks ``command`` is given.

    With ``dies`` the process dies after that many chunks instead: ``command`` raises Killed. ``look`` is called with
    each report at the moment it is made.
    """

    def __init__(
        self,
        *,
        epochs: int | None = None,
        chunks: int | None = None,
        dies: int | None = None,
        command: Command = Command.PAUSE,
        look: Callable[[ReportKind, dict[str, Any]], object] = lambda kind, payload: None,
    ) -> None:
        self.reports: list[tuple[ReportKind, dict[str, Any]]] = []
        self.asked = 0
        """How often a command was asked for: before each chunk."""
        self.timer: PhaseTimer | None = None
        self.positions: list[tuple[int, int, int]] = []
        self._epochs, self._chunks, self._dies = epochs, chunks, dies
        self._command = command
        self._look = look

    def emit(self, kind: ReportKind, payload: dict[str, Any]) -> None:
        if self.reports and self.reports[-1][0] in FINAL_REPORTS:
            raise EpochdError(f"cannot report {kind} after {self.reports[-1][0]}")
        if self.timer is not None and kind in FINAL_REPORTS:
            payload = payload | {"timings": self.timer.seconds()}
        try:
            json.dumps(payload, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise EpochdError(f"{kind} is not plain JSON: {error}") from error
        self.reports.append((kind, deepcopy(payload)))
        self._look(kind, payload)

    def position(self, epoch: int, step: int, steps: int) -> None:
        self.positions.append((epoch, step, steps))

    def command(self) -> Command:
        self.asked += 1
        if self._dies is not None and self.asked > self._dies:
            raise Killed
        enough_epochs = self._epochs is not None and len(self.of(ReportKind.EPOCH)) >= self._epochs
        enough_chunks = self._chunks is not None and self.asked > self._chunks
        return self._command if enough_epochs or enough_chunks else Command.CONTINUE

    def confirm(self) -> None:
        """Everything is delivered the moment it is emitted."""

    def release(self) -> None:
        """Nothing asks a training of a test to end."""

    def check(self) -> None:
        """No other attempt owns the task."""

    @property
    def is_given_up(self) -> bool:
        return False

    @property
    def kinds(self) -> list[ReportKind]:
        return [kind for kind, _ in self.reports]

    def of(self, kind: ReportKind) -> list[dict[str, Any]]:
        """The payloads of one kind."""
        return [payload for found, payload in self.reports if found is kind]

    def rows(self) -> Rows:
        """The metrics of each epoch, without the time that it took."""
        return without_times(payload["metrics"] for payload in self.of(ReportKind.EPOCH))


def without_times(rows: Any) -> Rows:
    """Rows of a history without what differs from run to run."""
    return [{name: value for name, value in row.items() if name != "time_per_epoch"} for row in rows]
