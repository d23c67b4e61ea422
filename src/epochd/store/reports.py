"""What each kind of report changes in its job. This module contains no SQL: see ``changes``."""

from collections.abc import Sequence
from typing import Any

from epochd.core.errors import IllegalMove
from epochd.core.events import Report, ReportKind, Type
from epochd.core.job_values import Checkpoint, JobError
from epochd.core.jobs import Job, JobKind, State
from epochd.store.changes import Change, progress_of


def apply(change: Change, reports: Sequence[Report]) -> None:
    """Apply reports in their order. The change has to contain the effective progress from ``first_repeated`` on.

    Raises IllegalMove for a gap in the numbers, a missing key in a payload, or a report after the final one. Nothing of
    the change may be written then.
    """
    for report in reports:
        job, name = change.job, f"report {report.number} ({report.kind}) of task {change.job.id}"
        if report.number != job.reported + 1:
            raise IllegalMove(
                f"report {report.number} of task {job.id} follows report {job.reported}: send {job.reported + 1} first"
            )
        if job.state is not State.RUNNING:
            raise IllegalMove(f"{name} follows the attempt's final report")
        change.set(reported=report.number)
        try:
            _apply(change, report.kind, report.payload)
        except KeyError as missing:
            raise IllegalMove(
                f"{name} has no {missing} in its payload. Use the same version of epochd for server and worker"
            ) from None


def first_repeated(job: Job, reports: Sequence[Report]) -> int | None:
    """The epoch from which on the effective progress has to be read, because the reports repeat it or roll back to it;
    None if they only add epochs."""
    epochs = (
        report.payload.get("metrics", {}).get("epoch", 0) for report in reports if report.kind is ReportKind.EPOCH
    )
    repeated = [epoch for epoch in epochs if epoch <= job.current_epoch]
    targets = [report.payload.get("epoch", 0) for report in reports if report.kind is ReportKind.ROLLBACK]
    return min([*repeated, *targets], default=None)


def _apply(change: Change, kind: ReportKind, payload: dict[str, Any]) -> None:
    """Apply one report of a training that continues; see ``_end`` for the final ones."""
    match kind:
        case ReportKind.STARTED:
            change.set(summary={**change.job.summary, **payload})
            change.add_event(Type.STATE, {"state": change.job.state.value, "started": payload})
        case ReportKind.EPOCH:
            if not _is_repeated(change, payload):
                metrics = payload["metrics"]
                change.set(current_epoch=metrics["epoch"], latest_metrics=metrics, best_metrics=payload["best"])
                change.add_event(Type.PROGRESS, {"progress": progress_of(change.job)})
        case ReportKind.ROWS:
            change.set(latest_metrics=payload["progress"])
            _set_checkpoint(change, payload["checkpoint"])
            change.add_event(Type.PROGRESS, {"progress": progress_of(change.job)})
        case ReportKind.CHECKPOINT:
            _set_checkpoint(change, payload)
            change.add_event(Type.CHECKPOINT, {"checkpoint": payload})
        case ReportKind.LOG:
            change.add_event(Type.LOG, payload)
        case ReportKind.ROLLBACK:
            known = change.reported.get(payload["epoch"], {})  # there are no metrics before the first epoch
            change.set(current_epoch=payload["epoch"])
            change.set(latest_metrics=known.get("latest_metrics"), best_metrics=known.get("best_metrics"))
            change.add_event(Type.ROLLBACK, payload)
        case _:
            _end(change, kind, payload)


def _end(change: Change, kind: ReportKind, payload: dict[str, Any]) -> None:
    """Apply the last report of an attempt."""
    if timings := payload.get("timings"):
        payload = {name: value for name, value in payload.items() if name != "timings"}
        change.add_timings(timings)
    match kind:
        case ReportKind.PAUSED:
            if payload:  # empty from a worker that had not started to train
                _set_checkpoint(change, payload)
            checkpoint = change.job.checkpoint
            change.release(checkpoint=None if checkpoint is None else checkpoint.as_json())
        case ReportKind.HELD:
            change.block(JobError.from_json(payload))
        case ReportKind.CANCELLED:
            change.move(State.CANCELLED)
        case ReportKind.COMPLETED if change.job.kind is JobKind.PREDICTION:
            summary = {**change.job.summary, **payload["summary"]}
            change.set(artifact=payload["artifact"], latest_metrics=payload["progress"], summary=summary)
            change.move(State.COMPLETED)
        case ReportKind.COMPLETED:
            summary = {**change.job.summary, **payload["summary"], "stopped_early": payload["stopped_early"]}
            change.set(artifact=payload["artifact"], best_metrics=payload["best"], summary=summary)
            if payload.get("warnings"):
                change.set(warnings=[*change.job.warnings, *payload["warnings"]])
            change.move(State.COMPLETED)
        case ReportKind.FAILED:
            change.set(error=JobError(payload["code"], payload["message"], payload["problems"]))
            change.move(State.FAILED)


def _is_repeated(change: Change, payload: dict[str, Any]) -> bool:
    """Whether an epoch was run again after a crash with the same result, which adds no second event."""
    row = payload.get("metrics", {})
    known = change.reported.get(row.get("epoch"))
    return known is not None and _without_time(known["latest_metrics"]) == _without_time(row)


def _without_time(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "time_per_epoch"}


def _set_checkpoint(change: Change, payload: dict[str, Any]) -> None:
    """Replace the checkpoint of the job; one with more steps resets the strikes."""
    checkpoint, previous = Checkpoint.from_json(payload), change.job.checkpoint
    if previous is None or checkpoint.position > previous.position:
        change.set(strikes=0)
    change.set(checkpoint=checkpoint)
