"""The change of one job in one transaction: new column values, and the events that record them.

It is computed on plain values while the row of the job is locked, and written with one update and one insert.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from epochd.core.events import Event, Type
from epochd.core.job_values import JobError, Phase, Revision
from epochd.core.jobs import MAX_STRIKES, Command, Job, JobKind, State, check_move, differences, revise
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.specs import TrainingSpec

FINAL_TYPE = {State.COMPLETED: Type.COMPLETE, State.FAILED: Type.FAILED, State.CANCELLED: Type.CANCELLED}


class Change:
    """``job`` is the job after the change; ``columns`` and ``events`` have to be written. ``reported`` is the effective
    progress in the log of the job, by epoch, as far as it was read; events update it."""

    def __init__(self, job: Job, now: float) -> None:
        self.job = job
        self.now = now
        self.reported: dict[int, dict[str, Any]] = {}
        self.columns: dict[str, Any] = {}
        self.events: list[Event] = []

    def set(self, **columns: Any) -> None:
        """Set fields of the job."""
        self.job = replace(self.job, **columns)
        self.columns |= columns

    def revise(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change the config; returns details for the event. Raises InvalidSpec."""
        if not changes:
            return {}
        spec = revise(self.job.training, changes)
        if not (found := differences(self.job.training, spec)):
            return {}
        self.set(revisions=[*self.job.revisions, Revision(self.now, found)])
        self._set_spec(spec)
        return {"changes": found}

    def prioritise(self, priority: int) -> None:
        """Change the priority, and tell it in the log of the job."""
        before = self.job.priority
        if priority != before:
            self._set_spec(self.job.spec.model_copy(update={"priority": priority}))
            message = f"the priority was changed from {before} to {priority}"
            self.add_event(Type.LOG, {"level": "info", "message": message})

    def _set_spec(self, spec: TrainingSpec | PredictionSpec) -> None:
        self.set(priority=spec.priority)
        self.job = replace(self.job, spec=spec)
        self.columns["spec"] = spec.model_dump(mode="json")

    def add_event(self, type: Type, payload: dict[str, Any]) -> None:
        """Append one event to the log of the job."""
        self.set(last_seq=self.job.last_seq + 1)
        job = self.job
        self.events.append(Event(job.id, job.last_seq, job.attempt, type, payload, self.now, job))
        if job.kind is JobKind.TRAINING:
            update_progress(self.reported, type, payload)

    def move(self, state: State, **details: Any) -> None:
        """Change the state and append its event; ``details`` are for a ``state`` event. Raises IllegalMove.
        Set what a final event contains (error, artifact, metrics) before."""
        check_move(self.job.id, self.job.state, state)
        self._count_waiting(state)
        self.set(state=state)
        if state is not State.RUNNING:
            self.set(command=Command.CONTINUE, lease_until=None, worker=None)
        if state.is_final:
            self.set(finished_at=self.now)
        payload: dict[str, Any] = {"state": state.value, **details}
        if state is State.COMPLETED:
            payload = {"progress": progress_of(self.job), "artifact": self.job.artifact, "summary": self.job.summary}
        elif state is State.FAILED:
            payload = {"error": self.job.error and self.job.error.as_json()}
        self.add_event(FINAL_TYPE.get(state, Type.STATE), payload)

    def add_timings(self, timings: Mapping[str, float]) -> None:
        """Add seconds of phases to those of the job's earlier attempts."""
        known = self.job.summary.get("timings", {})
        total = known | {phase: known.get(phase, 0.0) + seconds for phase, seconds in timings.items()}
        self.set(summary={**self.job.summary, "timings": total})

    def _count_waiting(self, state: State) -> None:
        """Count the time in the queue of a training that leaves it, or note since when one waits."""
        job = self.job
        if job.kind is not JobKind.TRAINING:
            return
        if state is State.PENDING:
            self.set(summary={**job.summary, "waiting_since": self.now})
        elif job.state is State.PENDING:
            self.set(summary={name: value for name, value in job.summary.items() if name != "waiting_since"})
            self.add_timings({Phase.QUEUE: max(0.0, self.now - job.waiting_since)})

    def fail(self, error: JobError) -> None:
        """Fail a running job, or cancel it if that was requested."""
        if self.job.command is Command.CANCEL:
            return self.move(State.CANCELLED)
        self.set(error=error)
        self.move(State.FAILED)

    def crash(self, error: JobError) -> None:
        """Requeue a running job whose worker died; fail it once that has happened too often."""
        job = self.job
        self.set(crashes=job.crashes + 1, strikes=job.strikes + 1)
        crash = {"code": error.code, "message": error.message, "attempt": job.attempt, "strikes": self.job.strikes}
        if self.job.strikes >= MAX_STRIKES and job.command is not Command.CANCEL:
            sentence = (
                f"the worker died {self.job.strikes} times without a newer checkpoint, most recently: {error.message}. "
                "See the log of each attempt; retry the task after removing the cause"
            )
            return self.fail(JobError("poison", sentence, log_tail=error.log_tail))
        self.requeue(reason=error.message, crash=crash | {"log_tail": error.log_tail})

    def block(self, error: JobError) -> None:
        """Pause a running job that cannot continue at present; a pause or a stop by a user takes precedence."""
        if self.job.command in (Command.PAUSE, Command.CANCEL):
            return self.requeue(reason=error.message)
        self.set(error=error)
        self.move(State.PAUSED, reason=error.message, error=error.as_json())

    def release(self, **details: Any) -> None:
        """End an attempt for the server's own reasons: a preemption, unless a user has requested a pause or a stop."""
        if self.job.command in (Command.CONTINUE, Command.RELEASE):
            self.set(preemptions=self.job.preemptions + 1)
        self.requeue(**details)

    def requeue(self, **details: Any) -> None:
        """Return a job without a worker to its place in the queue, or carry out a requested pause or stop."""
        match self.job.command:
            case Command.CANCEL:
                self.move(State.CANCELLED)
            case Command.PAUSE:
                self.move(State.PAUSED, **details)
            case Command.CONTINUE | Command.RELEASE:
                self.move(State.PENDING, **details)


def progress_of(job: Job) -> dict[str, Any]:
    """A job's progress as the API shows it."""
    if job.kind is JobKind.PREDICTION:
        return {"state": job.state.value, **(job.latest_metrics or {})}
    return {
        "current_epoch": job.current_epoch,
        "total_epochs": job.training.epochs,
        "training_state": job.state.value,
        "latest_metrics": job.latest_metrics,
        "best_metrics": job.best_metrics,
    }


def update_progress(effective: dict[int, dict[str, Any]], type: Type, payload: dict[str, Any]) -> None:
    """Apply one event to the effective progress (epoch → progress, in order). A rollback, and an epoch that was
    repeated with another result, remove the epochs after it."""
    if type not in (Type.PROGRESS, Type.ROLLBACK):
        return
    progress = payload.get("progress")
    last = payload["epoch"] if progress is None else progress["latest_metrics"]["epoch"] - 1
    while effective and next(reversed(effective)) > last:
        effective.popitem()
    if progress is not None:
        effective[last + 1] = progress
