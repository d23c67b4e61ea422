"""What one transaction is about to do to one job: new column values, and the events that tell of them.

A change is worked out on plain values, by the rules of ``core.jobs``, while the job's row is locked; the
store then writes it in one update and one insert. So no state can be stored without its event.
"""

from dataclasses import replace
from typing import Any

from epochd.core.events import Event, Type
from epochd.core.jobs import MAX_STRIKES, Command, Job, State, check_move, differences, revise

FINAL_TYPE = {
    State.COMPLETED: Type.COMPLETE,
    State.FAILED: Type.FAILED,
    State.CANCELLED: Type.CANCELLED,
}


class Change:
    """``job`` is the job as it will be; ``columns`` and ``events`` are what has to be written for that.

    ``told`` is the progress that stands in the job's log, by epoch, as far as it had to be read; it grows with
    the events.
    """

    def __init__(self, job: Job, now: float, told: dict[int, dict[str, Any]] | None = None) -> None:
        self.job = job
        self.now = now
        self.told = {} if told is None else told
        self.columns: dict[str, Any] = {}
        self.events: list[Event] = []

    def set(self, **columns: Any) -> None:
        """Give fields of the job new values."""
        self.job = replace(self.job, **columns)
        self.columns |= columns

    def revise(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change the job's config; what to tell of it. Raises InvalidSpec."""
        spec = revise(self.job.spec, changes) if changes else self.job.spec
        found = differences(self.job.spec, spec)
        if not found:
            return {}
        self.set(revisions=[*self.job.revisions, {"at": self.now, "changes": found}])
        self.job = replace(self.job, spec=spec)
        self.columns["spec"] = spec.model_dump(mode="json")
        return {"changes": found}

    def tell(self, type: Type, payload: dict[str, Any]) -> None:
        """Add one event to the job's log."""
        self.set(last_seq=self.job.last_seq + 1)
        self.events.append(Event(self.job.id, self.job.last_seq, self.job.attempt, type, payload, self.now))
        let_stand(self.told, type, payload)

    def move(self, state: State, **details: Any) -> None:
        """Go to another state and tell of it; ``details`` join the payload of a ``state`` event.

        Raises IllegalMove. What a final event says (error, artifact, metrics) has to be set before.
        """
        check_move(self.job.id, self.job.state, state)
        self.set(state=state)
        if state is not State.RUNNING:
            self.set(command=Command.CONTINUE, lease_until=None, worker=None)
        if state.is_final:
            self.set(finished_at=self.now)
        self.tell(FINAL_TYPE.get(state, Type.STATE), _said_of(self.job, details))

    def crash(self, *, code: str, message: str, log_tail: list[str]) -> None:
        """A running job lost its worker to an accident: it waits again, until that has happened too often."""
        job = self.job
        self.set(crashes=job.crashes + 1, strikes=job.strikes + 1)
        crash = {"code": code, "message": message, "attempt": job.attempt, "strikes": self.job.strikes}
        if self.job.strikes >= MAX_STRIKES and job.command is not Command.CANCEL:
            sentence = (
                f"the worker died {self.job.strikes} times without getting to another checkpoint, the last time: "
                f"{message}. The log of each attempt may say more; retry the task once the cause is gone"
            )
            self.set(error={"code": "poison", "message": sentence, "problems": [], "log_tail": log_tail})
            self.move(State.FAILED)
            return
        self.give_way(reason=message, crash=crash | {"log_tail": log_tail})

    def hold(self, error: dict[str, Any]) -> None:
        """A running job cannot go on for now: it waits where it has got to, with the error that says why.

        What a person has asked is not undone once it can.
        """
        if self.job.command in (Command.PAUSE, Command.CANCEL):
            return self.give_way(reason=error["message"])
        self.set(error=error)
        self.move(State.PAUSED, reason=error["message"], error=error)

    def release(self, **details: Any) -> None:
        """A running job gives way through no fault of its own: a preemption, unless a person has asked for it."""
        if self.job.command in (Command.CONTINUE, Command.RELEASE):
            self.set(preemptions=self.job.preemptions + 1)
        self.give_way(**details)

    def give_way(self, **details: Any) -> None:
        """A running job lost its worker without being finished: it becomes what it was last asked to be.

        Nobody asked for a pause when the worker ended on its own or on the server's behalf: the job then waits
        in the queue again, in its old place.
        """
        match self.job.command:
            case Command.CANCEL:
                self.move(State.CANCELLED)
            case Command.PAUSE:
                self.move(State.PAUSED, **details)
            case Command.CONTINUE | Command.RELEASE:
                self.move(State.PENDING, **details)


def progress_of(job: Job) -> dict[str, Any]:
    """A job's progress as the API shows it."""
    return {
        "current_epoch": job.current_epoch,
        "total_epochs": job.spec.epochs,
        "training_state": job.state.value,
        "latest_metrics": job.latest_metrics,
        "best_metrics": job.best_metrics,
    }


def let_stand(told: dict[int, dict[str, Any]], type: Type, payload: dict[str, Any]) -> None:
    """Let one more event count in the progress that is told, by epoch, in the order of epochs.

    An epoch that was run again and came out otherwise takes back the epochs after it, and so does a rollback.
    """
    if type not in (Type.PROGRESS, Type.ROLLBACK):
        return
    progress = payload.get("progress")
    last = payload["epoch"] if progress is None else progress["latest_metrics"]["epoch"] - 1
    while told and next(reversed(told)) > last:
        told.popitem()
    if progress is not None:
        told[last + 1] = progress


def _said_of(job: Job, details: dict[str, Any]) -> dict[str, Any]:
    match job.state:
        case State.COMPLETED:
            return {"progress": progress_of(job), "artifact": job.artifact, "summary": job.summary}
        case State.FAILED:
            return {"error": job.error}
        case _:
            return {"state": job.state.value, **details}
