"""When to believe that a lease has run out.

Leases are kept in the time of day, which may be set; then all of them seem to have run out at once, or
none ever does. Living workers report several times a second, so what a second look confirms is true.
"""

from collections.abc import Sequence

from epochd.core.jobs import Job

PATIENCE_SECONDS = 3.0
"""Longer than a worker waits before it tries again to reach a server that was away."""


class Suspects:
    """Running jobs whose leases seem to have run out, and since when they have seemed so (monotonic)."""

    def __init__(self, lease_seconds: float) -> None:
        self.patience = min(PATIENCE_SECONDS, lease_seconds / 2)
        self._since: dict[tuple[str, int, float | None], float] = {}

    def confirmed(self, expired: Sequence[Job], at: float) -> list[Job]:
        """Those of ``expired`` that have not reported for ``patience`` seconds since they were seen first."""
        self._since = {_lease(job): self._since.get(_lease(job), at) for job in expired}
        return [job for job in expired if at - self._since[_lease(job)] >= self.patience]


def _lease(job: Job) -> tuple[str, int, float | None]:
    """Any report renews a lease that has run out, so the same one means that there was none."""
    return job.id, job.attempt, job.lease_until


def idle_seconds(job: Job, lease_seconds: float) -> float | None:
    """How long the worker had not finished a step when it last reported; None before its first.

    Both times were noted at that report, so a clock that was set since does not matter.
    """
    if job.progress_at is None or job.lease_until is None:
        return None
    return max(0.0, job.lease_until - lease_seconds - job.progress_at)
