"""What each kind of a worker's report does to its job. No SQL here: see ``changes``."""

from collections.abc import Callable, Sequence
from typing import Any

from epochd.core.errors import IllegalMove
from epochd.core.events import Report, ReportKind, Type
from epochd.core.jobs import Job, State
from epochd.store.changes import Change, progress_of


def apply(change: Change, reports: Sequence[Report]) -> None:
    """Apply reports that follow the job's ``reported`` number, in their order.

    Where they ``look_back``, the change knows what the job's log has told.
    Raises IllegalMove for a gap in the numbers, a payload without what its kind must carry, or anything after
    the attempt's last word. Nothing of the change may then be written.
    """
    for report in reports:
        _check(change, report)
        change.set(reported=report.number)
        if report.kind is ReportKind.EPOCH and _is_told(change, report.payload):
            continue
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


def look_back(job: Job, reports: Sequence[Report]) -> bool:
    """Whether the log has to be asked what was told before: an epoch comes again, or some are taken back."""
    epochs = (
        report.payload.get("metrics", {}).get("epoch", 0) for report in reports if report.kind is ReportKind.EPOCH
    )
    return any(report.kind is ReportKind.ROLLBACK for report in reports) or any(n <= job.current_epoch for n in epochs)


def _is_told(change: Change, payload: dict[str, Any]) -> bool:
    """Whether an epoch that ran again after a crash came out as it did before: it is told once."""
    row = payload.get("metrics", {})
    known = change.told.get(row.get("epoch"))
    return known is not None and _measured(known["latest_metrics"]) == _measured(row)


def _measured(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "time_per_epoch"}


def _started(change: Change, payload: dict[str, Any]) -> None:
    change.set(summary={**change.job.summary, **payload})
    change.tell(Type.STATE, {"state": change.job.state.value, "started": payload})


def _epoch(change: Change, payload: dict[str, Any]) -> None:
    metrics = payload["metrics"]
    change.set(current_epoch=metrics["epoch"], latest_metrics=metrics, best_metrics=payload["best"])
    change.tell(Type.PROGRESS, {"progress": progress_of(change.job)})


def _checkpoint(change: Change, payload: dict[str, Any]) -> None:
    _keep(change, payload)
    change.tell(Type.CHECKPOINT, {"checkpoint": payload})


def _keep(change: Change, checkpoint: dict[str, Any]) -> None:
    """Point at a checkpoint; one that is further on shows that the training gets somewhere."""
    if _place(checkpoint) > _place(change.job.checkpoint):
        change.set(strikes=0)
    change.set(checkpoint=checkpoint)


def _place(checkpoint: dict[str, Any] | None) -> tuple[int, int]:
    return (checkpoint.get("epoch", 0), checkpoint.get("step", 0)) if checkpoint else (-1, 0)


def _rollback(change: Change, payload: dict[str, Any]) -> None:
    """Go back to what was known after an earlier epoch; before the first one nothing was."""
    epoch = payload["epoch"]
    known = change.told.get(epoch, {})
    change.set(current_epoch=epoch)
    change.set(latest_metrics=known.get("latest_metrics"), best_metrics=known.get("best_metrics"))
    change.tell(Type.ROLLBACK, payload)


def _log(change: Change, payload: dict[str, Any]) -> None:
    change.tell(Type.LOG, payload)


def _paused(change: Change, payload: dict[str, Any]) -> None:
    if payload:  # a worker that had not begun has nothing to keep
        _keep(change, payload)
    change.release(checkpoint=change.job.checkpoint)


def _held(change: Change, payload: dict[str, Any]) -> None:
    change.hold({"problems": []} | payload)


def _cancelled(change: Change, payload: dict[str, Any]) -> None:
    change.move(State.CANCELLED)


def _completed(change: Change, payload: dict[str, Any]) -> None:
    summary = {**change.job.summary, **payload["summary"], "stopped_early": payload["stopped_early"]}
    change.set(artifact=payload["artifact"], best_metrics=payload["best"], summary=summary)
    change.move(State.COMPLETED)


def _failed(change: Change, payload: dict[str, Any]) -> None:
    change.set(error={name: payload[name] for name in ("code", "message", "problems")})
    change.move(State.FAILED)


APPLIED: dict[ReportKind, Callable[[Change, dict[str, Any]], None]] = {
    ReportKind.STARTED: _started,
    ReportKind.EPOCH: _epoch,
    ReportKind.CHECKPOINT: _checkpoint,
    ReportKind.LOG: _log,
    ReportKind.ROLLBACK: _rollback,
    ReportKind.PAUSED: _paused,
    ReportKind.HELD: _held,
    ReportKind.CANCELLED: _cancelled,
    ReportKind.COMPLETED: _completed,
    ReportKind.FAILED: _failed,
}
