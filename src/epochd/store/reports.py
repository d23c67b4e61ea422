"""What each kind of a worker's report does to its job. No SQL here: see ``changes``."""

from collections.abc import Callable, Sequence
from typing import Any

from epochd.core.errors import IllegalMove
from epochd.core.events import Kind, Report, Type
from epochd.core.jobs import State
from epochd.store.changes import Change, progress_of


def apply(change: Change, reports: Sequence[Report]) -> None:
    """Apply reports that follow the job's ``reported`` number, in their order.

    Raises IllegalMove for a gap in the numbers, a payload without what its kind must carry, or anything after
    the attempt's last word. Nothing of the change may then be written.
    """
    for report in reports:
        _check(change, report)
        change.set(reported=report.number)
        try:
            APPLIED[report.kind](change, report.payload)
        except KeyError as missing:
            raise IllegalMove(
                f"report {report.number} ({report.kind}) of task {change.job.id} lacks {missing} in its payload. "
                "Do the server and the worker have the same version?"
            ) from None


def _check(change: Change, report: Report) -> None:
    job = change.job
    if report.number != job.reported + 1:
        raise IllegalMove(
            f"report {report.number} of task {job.id} came after {job.reported}: send {job.reported + 1} first"
        )
    if job.state is not State.RUNNING:
        raise IllegalMove(f"report {report.number} ({report.kind}) of task {job.id} follows the attempt's last word")


def _started(change: Change, payload: dict[str, Any]) -> None:
    change.set(summary={**change.job.summary, **payload})
    change.tell(Type.STATE, {"state": change.job.state.value, "started": payload})


def _epoch(change: Change, payload: dict[str, Any]) -> None:
    metrics = payload["metrics"]
    change.set(current_epoch=metrics["epoch"], latest_metrics=metrics, best_metrics=payload["best"])
    change.tell(Type.PROGRESS, {"progress": progress_of(change.job)})


def _checkpoint(change: Change, payload: dict[str, Any]) -> None:
    change.set(checkpoint=payload)
    change.tell(Type.CHECKPOINT, {"checkpoint": payload})


def _log(change: Change, payload: dict[str, Any]) -> None:
    change.tell(Type.LOG, payload)


def _paused(change: Change, payload: dict[str, Any]) -> None:
    if payload:  # a worker that had not begun has nothing to keep
        change.set(checkpoint=payload)
    change.give_way(checkpoint=change.job.checkpoint)


def _cancelled(change: Change, payload: dict[str, Any]) -> None:
    change.move(State.CANCELLED)


def _completed(change: Change, payload: dict[str, Any]) -> None:
    summary = {**change.job.summary, **payload["summary"], "stopped_early": payload["stopped_early"]}
    change.set(artifact=payload["artifact"], best_metrics=payload["best"], summary=summary)
    change.move(State.COMPLETED)


def _failed(change: Change, payload: dict[str, Any]) -> None:
    change.set(error={name: payload[name] for name in ("code", "message", "problems")})
    change.move(State.FAILED)


APPLIED: dict[Kind, Callable[[Change, dict[str, Any]], None]] = {
    Kind.STARTED: _started,
    Kind.EPOCH: _epoch,
    Kind.CHECKPOINT: _checkpoint,
    Kind.LOG: _log,
    Kind.PAUSED: _paused,
    Kind.CANCELLED: _cancelled,
    Kind.COMPLETED: _completed,
    Kind.FAILED: _failed,
}
