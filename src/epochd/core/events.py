"""Reports, the messages of workers; and events, which the store appends to the log of each job."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from epochd.core.jobs import Job


class ReportKind(StrEnum):
    """The kinds of reports. Payloads:

    started     framework, device, threads, task, classes, rows, parameters, fingerprint, gpus, resumed
    epoch       metrics (a history row), best (best_metrics), early_stopping (wait, patience)
    rows        progress (rows_done, rows_total, rows_per_second, skipped) of a prediction, checkpoint as below
    checkpoint  path (relative to the data directory), epoch, step, bytes
    log         level, message
    rollback    epoch (the last one that remains valid), learning_rate, message
    paused      checkpoint as above; the worker then exits (also the answer to ``release``)
    held        code, message, problems: the training is blocked, and the worker exits; its last checkpoint remains
    cancelled   {}
    completed   artifact (relative to the data directory), best, stopped_early, summary, warnings (added to the task's)
    failed      code, message, problems

    The last report of an attempt at a training also has timings: seconds of this attempt by ``Phase``.
    """

    STARTED = "started"
    EPOCH = "epoch"
    ROWS = "rows"
    CHECKPOINT = "checkpoint"
    LOG = "log"
    ROLLBACK = "rollback"
    PAUSED = "paused"
    HELD = "held"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


FINAL_REPORTS = frozenset(
    {ReportKind.PAUSED, ReportKind.HELD, ReportKind.CANCELLED, ReportKind.COMPLETED, ReportKind.FAILED}
)
"""Each of these is the last report of an attempt."""


class Type(StrEnum):
    """The types of events (``type`` in the SSE data)."""

    STATE = "state"
    PROGRESS = "progress"
    LOG = "log"
    CHECKPOINT = "checkpoint"
    ROLLBACK = "rollback"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_TYPES = frozenset({Type.COMPLETE, Type.FAILED, Type.CANCELLED})
"""The log of a finished job ends with exactly one of these."""


@dataclass(frozen=True, slots=True)
class Report:
    """One numbered message of a worker; ``number`` counts from 1 within the attempt."""

    number: int
    kind: ReportKind
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One entry in the log of a job; ``seq`` counts from 1 within the job, and is the id of server-sent events.

    Listeners receive it with the ``job`` after the change; one that is read from the log has None.
    """

    task_id: str
    seq: int
    attempt: int
    type: Type
    payload: dict[str, Any]
    at: float
    job: Job | None = field(default=None, compare=False, repr=False)
