"""The names of what can happen to a job; everything a person sees of it is replayed from these.

Two alphabets meet here. *Reports* come from a worker, numbered within their attempt. *Events* are what
the store appends to a job's log, numbered by ``seq`` (which is the SSE id).
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class ReportKind(StrEnum):
    """What a worker reports. Payloads:

    started     framework, device, threads, task, classes, rows, parameters, fingerprint, gpus, resumed
    epoch       metrics (a history row), best (best_metrics), early_stopping (wait, patience)
    checkpoint  path (relative to the data directory), epoch, step, bytes
    log         level, message
    rollback    epoch (the last one that still counts), learning_rate, message
    paused      checkpoint as above; the worker then exits (also the answer to ``release``)
    held        code, message, problems: the worker cannot go on for now and exits; its last checkpoint stands
    cancelled   {}
    completed   artifact (relative to the data directory), best, stopped_early, summary
    failed      code, message, problems
    """

    STARTED = "started"
    EPOCH = "epoch"
    CHECKPOINT = "checkpoint"
    LOG = "log"
    ROLLBACK = "rollback"
    PAUSED = "paused"
    HELD = "held"
    CANCELLED = "cancelled"
    COMPLETED = "completed"
    FAILED = "failed"


LAST_WORDS = frozenset(
    {ReportKind.PAUSED, ReportKind.HELD, ReportKind.CANCELLED, ReportKind.COMPLETED, ReportKind.FAILED}
)
"""After one of these a worker reports nothing more for its attempt."""


class Type(StrEnum):
    """What stands in a job's log (``type`` of the SSE data)."""

    STATE = "state"
    PROGRESS = "progress"
    LOG = "log"
    CHECKPOINT = "checkpoint"
    ROLLBACK = "rollback"
    COMPLETE = "complete"
    FAILED = "failed"
    CANCELLED = "cancelled"


FINAL_TYPES = frozenset({Type.COMPLETE, Type.FAILED, Type.CANCELLED})
"""Exactly one of these ends a job's log."""


@dataclass(frozen=True, slots=True)
class Report:
    """One numbered message of a worker; ``number`` counts from 1 within the attempt."""

    number: int
    kind: ReportKind
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a job's log; ``seq`` counts from 1 within the job."""

    task_id: str
    seq: int
    attempt: int
    type: Type
    payload: dict[str, Any]
    at: float
