"""One attempt from start to end: ticket → data → engine → loop → artifact.

The functions follow this order; reports and checkpoints go through the sink.
"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from epochd.artifact import checkpoint, pack
from epochd.core.arrays import IntArray
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataChanged, Diverged, InvalidSpec, Problem
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.specs import TrainingSpec
from epochd.core.tickets import Ticket
from epochd.data.feed import prefetch
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.prepare import Prepared, prepare
from epochd.data.storage.materialize import StoragePolicy
from epochd.data.tables.catalog import Catalog
from epochd.engines import network, registry, requirements
from epochd.engines.requirements import MachineLimits, Workload
from epochd.loop import fit, metrics, schedules
from epochd.loop.engine import Engine, Setup
from epochd.loop.fit import FitConfig
from epochd.loop.metrics import class_weights
from epochd.loop.state import LoopState
from epochd.worker import recovery
from epochd.worker.recovery import StartingPoint
from epochd.worker.sink import JobSink, Reporter


def execute(ticket: Ticket, reporter: Reporter) -> ReportKind:
    """Run one attempt and return the kind of its last report."""
    training = prepared(ticket, recovery.starting_point(ticket))
    training.check()
    rows = prefetch.initial_rows(training.config.batches, training.config.train)
    with closing(registry.build(ticket.spec.framework, training.setup, rows)) as engine:
        return train(training, engine, reporter)


def prepared(ticket: Ticket, start: StartingPoint) -> "Training":
    """The ticket with its data. The dataset is checked here only if it is not the one that the server checked. A
    resumed training encodes the data as it did before; raise DataChanged if they changed and that is not allowed."""
    catalog = Catalog(ticket.dataset_roots, ticket.registered)
    policy = StoragePolicy(ticket.cache_dir / "rows", ticket.resident_mb * 2**20, ticket.cache_mb * 2**20)
    current = fingerprints(ticket.spec, catalog)
    checked = ticket.checked if ticket.checked and is_unchanged(ticket.checked, ticket.spec, catalog) else None
    encoder, changed = None, False
    if start.path is not None:
        saved = checkpoint.read_facts(start.path)
        encoder, changed = saved.encoder, any(saved.facts.get(name) != value for name, value in current.items())
        if changed and not ticket.spec.allow_changed_data:
            message = "the dataset has changed since this training was paused; resuming would mix two datasets"
            hint = "bring the old data back, resume with allow_changed_data, or start a new training"
            raise DataChanged(message, [Problem("dataset", message, hint)])
    data = prepare(ticket.spec, catalog, policy, encoder, checked)
    differs = checked is None and ticket.checked is not None and ticket.checked.fingerprint is not None
    return Training(ticket, data, start, current, changed, was_rechecked=differs)


def is_unchanged(checked: CheckedDataset, spec: TrainingSpec, catalog: Catalog) -> bool:
    """Whether the data are what the server checked, by its fingerprints."""
    if catalog.open(spec.dataset).quick_fingerprint() != checked.fingerprint:
        return False
    if spec.validation_dataset is None:
        return True
    return catalog.open(spec.validation_dataset).quick_fingerprint() == checked.validation_fingerprint


def fingerprints(spec: TrainingSpec, catalog: Catalog) -> dict[str, str]:
    """What the data are known by, under the names that they have in a checkpoint's facts."""
    found = {"fingerprint": catalog.open(spec.dataset).fingerprint()}
    if spec.validation_dataset is not None:
        found["validation_fingerprint"] = catalog.open(spec.validation_dataset).fingerprint()
    return found


def train(training: "Training", engine: Engine, reporter: Reporter) -> ReportKind:
    """Train with the engine, from the first report to the last."""
    facts = engine.description | training.data_facts
    sink = JobSink(training.ticket, reporter, facts, training.prepared.encoder)
    state = begin(training, engine, sink)
    while True:
        try:
            return finish(training, engine, state, sink)
        except Diverged as error:
            state = recovery.rollback(
                training.ticket, training.setup, training.config, engine, state, error, changed=training.changed
            )
            report_rollback(sink, state, error)
            sink.checkpoint(engine, state)


def begin(training: "Training", engine: Engine, sink: JobSink) -> LoopState:
    """Restore the engine to the starting point, and report what the server does not know yet."""
    ticket, config, start = training.ticket, training.config, training.start
    state = LoopState(ticket.spec.learning_rate)
    if start.path is not None:
        state = recovery.restore(ticket, config, engine, start.path, changed=training.changed)
    sink.emit(ReportKind.STARTED, sink.facts | training.facts(state))
    warnings = ["resumed although the dataset has changed"] if training.changed else []
    if training.was_rechecked and not training.changed:
        warnings.append("the dataset is not the one that was checked when the task was submitted; it was checked again")
    for message in [*start.warnings, *warnings]:
        sink.emit(ReportKind.LOG, {"level": "warning", "message": message})
    for report in recovery.unreported_epochs(ticket, config, state):
        sink.emit(ReportKind.EPOCH, report)
    return state


def finish(training: "Training", engine: Engine, state: LoopState, sink: JobSink) -> ReportKind:
    """Train to the end or until a command; return the kind of the last report."""
    match fit.fit(engine, training.config, state, sink):
        case Command.CONTINUE:
            return complete(training, engine, state, sink)
        case Command.CANCEL:
            sink.emit(ReportKind.CANCELLED, {})
            return ReportKind.CANCELLED
        case _:
            sink.emit(ReportKind.PAUSED, sink.save(engine, state))
            return ReportKind.PAUSED


def report_rollback(sink: JobSink, state: LoopState, error: Diverged) -> None:
    message = (
        f"{error.message}. The training continues after epoch {state.epoch} with learning rate {state.learning_rate:g}"
    )
    payload = {"epoch": state.epoch, "learning_rate": state.learning_rate, "message": message}
    sink.emit(ReportKind.ROLLBACK, payload)


@dataclass(frozen=True)
class Training:
    """A ticket with its data and its starting point, and the values that follow from them.

    ``fingerprints`` are those of the data, by name; ``changed`` says that they differ from those of the checkpoint.
    """

    ticket: Ticket
    prepared: Prepared
    start: StartingPoint = field(default_factory=StartingPoint)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    changed: bool = False
    was_rechecked: bool = False

    def check(self) -> None:
        """Repeat the server's check of the requirements, now that the shape of the encoded rows is known."""
        prepared, encoder = self.prepared, self.prepared.encoder
        workload = Workload(prepared.task, self.example_shape, classes=encoder.classes)
        found = requirements.problems(self.ticket.spec, workload, MachineLimits(gpus=len(self.ticket.gpus)))
        if found:
            raise InvalidSpec(found)
        recovery.check_disk_space(self.ticket, self.setup)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one encoded example: (features,), or (steps, channels)."""
        train = self.prepared.train
        return train.x.shape[1:] if isinstance(train, InMemoryDataset) else train.shape

    @cached_property
    def setup(self) -> Setup:
        spec, encoder = self.ticket.spec, self.prepared.encoder
        return Setup(
            spec,
            self.prepared.task,
            network.input_shape(spec, self.example_shape),
            encoder.outputs,
            self.ticket.threads,
            tuple(range(len(self.ticket.gpus))),
            spec.num_devices or 1,
            class_weights(spec.class_weight, encoder.classes, self.prepared.train.y),
            network.embeddings(encoder.embedded),
            encoder.masked,
            len(self.prepared.train),
        )

    @cached_property
    def config(self) -> FitConfig:
        spec, prepared = self.ticket.spec, self.prepared
        return FitConfig(
            spec,
            prepared.task,
            prepared.train.shaped(self.setup.inputs),
            prepared.validation.shaped(self.setup.inputs) if prepared.validation else None,
            network.batches(self.setup, len(prepared.train)),
            prepared.encoder.target_scale,
        )

    @property
    def test(self) -> InMemoryDataset | MemmapDataset | None:
        """The test rows, which are scored once, at the end."""
        part = self.prepared.test
        return part.shaped(self.setup.inputs) if part else None

    @property
    def rows(self) -> dict[str, IntArray]:
        """The row numbers of each split of the dataset, without those of a separate validation dataset."""
        separate = {"validation"} if self.ticket.spec.validation_dataset is not None else set()
        return {name: numbers for name, numbers in self.prepared.rows.items() if name not in separate}

    @property
    def data_facts(self) -> dict[str, Any]:
        """Facts about the data, for reports, checkpoints and the model."""
        prepared = self.prepared
        parts = {"train": prepared.train, "validation": prepared.validation, "test": prepared.test}
        rows = {name: len(part or ()) for name, part in parts.items()}
        return {
            "task_id": self.ticket.task_id,
            "fingerprint": prepared.fingerprint,
            **self.fingerprints,
            "rows": rows,
            "schedule": schedules.settings(self.ticket.spec),
        }

    def facts(self, state: LoopState) -> dict[str, Any]:
        """Facts about model and starting point, for the STARTED report in addition to ``data_facts``."""
        encoder = self.prepared.encoder
        return {
            "task": self.prepared.task,
            "classes": encoder.classes,
            "features": len(encoder.feature_names),
            "parameters": network.parameter_count(self.setup),
            "gpus": self.ticket.gpus,
            "resumed": self._resumed(state),
        }

    def _resumed(self, state: LoopState) -> dict[str, Any] | None:
        if self.start.path is None:
            return None
        return {"epoch": state.epoch, "step": state.step} | ({"data_changed": True} if self.changed else {})


def complete(training: Training, engine: Engine, state: LoopState, sink: JobSink) -> ReportKind:
    """Save the last state (the task may be continued later), score the best weights, save the model, report."""
    ticket, config = training.ticket, training.config
    sink.checkpoint(engine, state)
    engine.load_weights(state.best_weights)
    parts = {"train": config.train, "validation": config.validation, "test": training.test}
    scores = {name: fit.evaluate(engine, config, part) for name, part in parts.items() if part is not None}
    facts = sink.facts | {"dataset": ticket.spec.dataset}
    about = pack.describe(ticket.task_id, training.setup, training.prepared.encoder, state, scores, facts)
    sink.reporter.confirm()  # a stale attempt must not overwrite the model of a newer one
    pack.pack(ticket.artifact_dir, about, state, training.rows)
    sink.emit(
        ReportKind.COMPLETED,
        {
            "artifact": str(ticket.artifact_dir.relative_to(ticket.data_dir)),
            "best": metrics.best_metrics(state.best_row),
            "stopped_early": state.stopped_early,
            "summary": {"epochs": state.epoch, "best_epoch": state.best_epoch, "scores": about["scores"]},
        },
    )
    return ReportKind.COMPLETED
