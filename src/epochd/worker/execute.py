"""The architecture on one page: ticket → data → engine → loop → artifact.

Everything that one attempt does happens here, in this order. The reporter carries what is emitted to the
server; files are durable before the report that names them.
"""

from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from time import monotonic
from typing import Any, Protocol

from epochd.artifact import checkpoint, files, pack
from epochd.core.errors import DataError, InvalidSpec, Problem
from epochd.core.events import Kind
from epochd.core.jobs import Command
from epochd.core.tickets import Ticket
from epochd.data import prepare, windows
from epochd.data.arrays import Part, Prepared
from epochd.engines import architecture, demands, registry
from epochd.loop import metrics, run
from epochd.loop.engine import Engine, Setup
from epochd.loop.state import LoopState
from epochd.loop.weighting import class_weights


class Reporter(Protocol):
    """The line to the server."""

    def emit(self, kind: Kind, payload: dict[str, Any]) -> None: ...

    def command(self) -> Command: ...


def execute(ticket: Ticket, reporter: Reporter) -> Kind:
    """Run one attempt to its end and return its last word."""
    residence = prepare.Residence(ticket.cache_dir / "rows", ticket.resident_mb * 2**20)
    training = Training(ticket, prepare.prepare(ticket.spec, ticket.dataset_roots, residence=residence))
    training.check()
    rows = windows.resident(training.course.batches, training.course.train)
    with closing(registry.build(ticket.spec.framework, training.setup, rows)) as engine:
        return train(training, engine, reporter)


def train(training: "Training", engine: Engine, reporter: Reporter) -> Kind:
    """From the first report to the last word."""
    facts = engine.description | {"fingerprint": training.prepared.fingerprint}
    sink = JobSink(training.ticket, reporter, facts)
    state = restore(training, engine)
    sink.emit(Kind.STARTED, facts | training.facts(state))
    command = run.run(engine, training.course, state, sink)
    match command:
        case Command.CONTINUE:
            return complete(training, engine, state, sink)
        case Command.CANCEL:
            sink.emit(Kind.CANCELLED, {})
            return Kind.CANCELLED
        case _:
            sink.emit(Kind.PAUSED, sink.save(engine, state))
            return Kind.PAUSED


@dataclass(frozen=True)
class Training:
    """A ticket with its data: what follows from the two without any choice left."""

    ticket: Ticket
    prepared: Prepared

    def check(self) -> None:
        """Ask once more what the server asked before, now that the width of the encoded rows is known."""
        prepared, encoder = self.prepared, self.prepared.encoder
        found = demands.problems(
            self.ticket.spec,
            width=encoder.width,
            task=prepared.task,
            classes=encoder.classes,
            gpus=len(self.ticket.gpus),
        )
        if found:
            raise InvalidSpec(found)

    @cached_property
    def setup(self) -> Setup:
        spec, encoder = self.ticket.spec, self.prepared.encoder
        return Setup(
            spec,
            self.prepared.task,
            architecture.input_shape(spec, encoder.width),
            encoder.outputs,
            self.ticket.threads,
            tuple(range(len(self.ticket.gpus))),
            spec.num_devices or 1,
            class_weights(spec.class_weight, encoder.classes, self.prepared.train.y),
        )

    @cached_property
    def course(self) -> run.Course:
        spec, prepared = self.ticket.spec, self.prepared
        return run.Course(
            spec,
            prepared.task,
            self._shaped(prepared.train),
            self._shaped(prepared.validation) if prepared.validation else None,
            architecture.batches(self.setup, len(prepared.train)),
            prepared.encoder.target_scale,
        )

    def _shaped(self, part: Part) -> Part:
        """The rows as the network reads them, (rows, *inputs)."""
        return replace(part, x=part.x.reshape(len(part), *self.setup.inputs))

    def facts(self, state: LoopState) -> dict[str, Any]:
        """What is trained, on what, from where; for the STARTED report."""
        return {
            "task": self.prepared.task,
            "classes": self.prepared.encoder.classes,
            "rows": {"train": len(self.prepared.train), "validation": len(self.prepared.validation or ())},
            "features": len(self.prepared.encoder.feature_names),
            "parameters": architecture.parameters(self.setup),
            "gpus": self.ticket.gpus,
            "resumed": self.ticket.checkpoint and {"epoch": state.epoch, "step": state.step},
        }


def restore(training: Training, engine: Engine) -> LoopState:
    """Bring the engine to where the ticket's checkpoint left off, or leave it fresh if there is none."""
    ticket = training.ticket
    if ticket.checkpoint is None:
        return LoopState(ticket.spec.learning_rate)
    saved = checkpoint.load(ticket.data_dir / ticket.checkpoint)
    if saved.facts["fingerprint"] != training.prepared.fingerprint:
        message = "the dataset has changed since this training was paused; resuming would mix two datasets"
        raise DataError([Problem("dataset", message, "bring the old data back, or start a new training")])
    return saved.restore(engine)


def complete(training: Training, engine: Engine, state: LoopState, sink: "JobSink") -> Kind:
    """Score the best weights once more, pack them, report."""
    ticket, course = training.ticket, training.course
    engine.load_weights(state.best_weights)
    scores = {"train": run.measure(engine, course, course.train)}
    if course.validation is not None:
        scores["validation"] = run.measure(engine, course, course.validation)
    facts = sink.facts | {"dataset": ticket.spec.dataset}
    about = pack.describe(ticket.task_id, training.setup, training.prepared.encoder, state, scores, facts)
    pack.pack(ticket.artifact_dir, about, state)
    sink.emit(
        Kind.COMPLETED,
        {
            "artifact": str(ticket.artifact_dir.relative_to(ticket.data_dir)),
            "best": metrics.best_metrics(state.best_row),
            "stopped_early": state.stopped_early,
            "summary": {"epochs": state.epoch, "best_epoch": state.best_epoch, "scores": about["scores"]},
        },
    )
    return Kind.COMPLETED


@dataclass
class JobSink:
    """The loop's sink: reports through the reporter, checkpoints to the ticket's folder.

    ``facts`` describe engine and data; they are saved with each checkpoint.
    """

    ticket: Ticket
    reporter: Reporter
    facts: dict[str, Any]
    saved_at: float = field(default_factory=monotonic)

    def emit(self, kind: Kind, payload: dict[str, Any]) -> None:
        self.reporter.emit(kind, payload)

    def command(self) -> Command:
        return self.reporter.command()

    def checkpoint_due(self) -> bool:
        return monotonic() - self.saved_at >= self.ticket.checkpoint_seconds

    def checkpoint(self, engine: Engine, state: LoopState) -> None:
        self.emit(Kind.CHECKPOINT, self.save(engine, state))

    def save(self, engine: Engine, state: LoopState) -> dict[str, Any]:
        """Write a checkpoint; return the payload that tells of it."""
        path = checkpoint.save(self.ticket.checkpoints_dir, engine, state, self.facts)
        self.saved_at = monotonic()
        return {
            "path": str(path.relative_to(self.ticket.data_dir)),
            "epoch": state.epoch,
            "step": state.step,
            "bytes": files.size(path),
            "restores": self.receipt(state),
        }

    def receipt(self, state: LoopState) -> dict[str, Any]:
        """All that comes back on a resume, for people to see."""
        spec = self.ticket.spec
        return {
            "weights": True,
            "optimizer": spec.optimizer,
            "schedule": {"scheduler": spec.learning_rate_scheduler, "learning_rate": state.learning_rate},
            "patience": {"wait": state.stopping_wait, "patience": spec.early_stopping_patience},
            "best_epoch": state.best_epoch or None,
            "position": {"epochs_done": state.epoch, "steps_done_in_epoch": state.step},
            "data_fingerprint": self.facts["fingerprint"],
        }
