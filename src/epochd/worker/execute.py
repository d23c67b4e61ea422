"""One attempt from start to end: ticket → data → engine → loop → artifact."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from epochd.artifact import checkpoint, pack
from epochd.core.datasets import CheckedDataset
from epochd.core.errors import DataChanged, DataError, Diverged, InvalidSpec, Problem
from epochd.core.events import ReportKind
from epochd.core.job_values import Phase
from epochd.core.jobs import Command
from epochd.core.specs import TrainingSpec
from epochd.core.tickets import Ticket
from epochd.data.checks import report
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.prepare import Prepared, prepare
from epochd.data.storage.materialize import StoragePolicy
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.engines import network, programs, registry, requirements, speeds
from epochd.engines.requirements import MachineLimits, Workload
from epochd.engines.speeds import Sample
from epochd.loop import fit, history, schedules
from epochd.loop.engine import Setup
from epochd.loop.members import FitConfig, Members
from epochd.loop.metrics import class_weights
from epochd.loop.phases import PhaseTimer
from epochd.worker import machines, members, model_folder, recovery, scoring, transfer
from epochd.worker.model_report import Finished
from epochd.worker.sink import JobSink, Reporter
from epochd.worker.transfer import SharedFolders

CHANGED_HINT = "bring the old data back, resume with allow_changed_data, or start a new training"


def execute(ticket: Ticket, reporter: Reporter) -> ReportKind:
    """Run one attempt and return the kind of its last report. Raises WrongProcess before the first one."""
    reporter.timer = timer = PhaseTimer(ticket.claimed_at, compiles=ticket.framework in registry.COMPILING)
    with transfer.of(ticket, reporter) as folders:
        return attempt(*folders.fetched(ticket), reporter, timer, folders)


def attempt(
    ticket: Ticket, faults: list[str], reporter: Reporter, timer: PhaseTimer, folders: SharedFolders
) -> ReportKind:
    """``execute`` with all files on this machine; ``faults`` is what is wrong with newer checkpoints elsewhere."""
    with machines.led(ticket, reporter) as leader:
        start, warnings = recovery.starting_point(ticket, faults)
        training = prepared(ticket, start, warnings)
        training.check()
        registry.check_process(ticket.spec.framework, training.setup)
        if leader is not None:
            leader.gather(training.about, reporter.check)
        timer.enter(Phase.COMPILE)
        with members.built(ticket.spec.framework, training.plans, leader) as networks:
            last_word = train(training, networks, reporter, timer, folders)
    folders.clear(ticket.checkpoints_dir, ticket.artifact_dir)
    return last_word


def prepared(ticket: Ticket, start: Path | None, warnings: list[str]) -> "Training":
    """The ticket with its data, which are checked here only if they are not those that the server checked. A resumed
    training encodes the data as it did before; raise DataChanged if they changed and that is not allowed."""
    catalog = Catalog.of_ticket(ticket)
    spec = pictures.resolved(ticket.spec, catalog.open(ticket.spec.dataset))
    ticket = ticket if spec is ticket.spec else ticket.model_copy(update={"spec": spec})
    policy = StoragePolicy(ticket.cache_dir / "rows", ticket.resident_mb * 2**20, ticket.cache_mb * 2**20)
    names = {"fingerprint": ticket.spec.dataset, "validation_fingerprint": ticket.spec.validation_dataset}
    current = {
        name: pictures.opened(catalog, ticket.spec, dataset).fingerprint()
        for name, dataset in names.items()
        if dataset is not None
    }
    checked = ticket.checked if ticket.checked and is_unchanged(ticket.checked, ticket.spec, catalog) else None
    is_other = checked is None and ticket.checked is not None and ticket.checked.is_pinned
    encoder, changed, marks, threads = None, False, [], None
    if start is not None:
        facts, encoder = checkpoint.read_facts(start)
        marks, threads = facts.get("marks", []), facts.get("threads")
        changed = any(facts.get(name) != value for name, value in current.items())
        if changed and not ticket.spec.allow_changed_data:
            message = "the dataset has changed since this training was paused; resuming would mix two datasets"
            raise DataChanged(message, [Problem("dataset", message, CHANGED_HINT)])
    elif is_other and not ticket.spec.allow_changed_data:
        message = "the dataset has changed since this training was submitted, before the training could begin"
        raise DataChanged(message, [Problem("dataset", message, CHANGED_HINT)])
    if is_other:
        checked = checked_again(ticket.spec, catalog, current)
    data = prepare(ticket.spec, catalog, policy, encoder, checked)
    if changed:
        warnings.append("resumed although the dataset has changed")
    elif is_other:
        warnings.append("the dataset is not the one that was checked when the task was submitted; it was checked again")
    return Training(ticket, data, start, warnings, current, changed, marks, checked, threads)


def is_unchanged(checked: CheckedDataset, spec: TrainingSpec, catalog: Catalog) -> bool:
    """Whether the data are what the server checked, by its fingerprints."""
    known = ((spec.dataset, checked.fingerprint), (spec.validation_dataset, checked.validation_fingerprint))
    return all(
        name is None or pictures.opened(catalog, spec, name).is_unchanged(fingerprint) for name, fingerprint in known
    )


def checked_again(spec: TrainingSpec, catalog: Catalog, current: Mapping[str, str]) -> CheckedDataset:
    """What a check of the config finds in data that have changed; ``current`` are their fingerprints, by field of the
    result. Raise DataError with every problem."""
    found = report.check_dataset(spec, catalog)
    if found.problems:
        raise DataError(found.problems)
    return found.checked().pinned(current)


def train(
    training: "Training",
    networks: Members,
    reporter: Reporter,
    timer: PhaseTimer,
    folders: SharedFolders,
) -> ReportKind:
    """Train the networks, from the first report to the last."""
    ticket, prepared = training.ticket, training.prepared
    validation = prepared.validation if prepared.folds is None else prepared.train
    parts = {"train": prepared.train, "validation": validation, "test": prepared.test}
    facts = networks.each[0].engine.description | {
        "task_id": ticket.task_id,
        "fingerprint": prepared.fingerprint,
        **training.fingerprints,
        "rows": {name: len(part or ()) for name, part in parts.items()},
        "schedule": schedules.settings(ticket.spec),
    }
    sink = JobSink(ticket, reporter, facts, prepared.encoder, list(training.marks), timer=timer, folders=folders)
    timer.enter(Phase.TRAIN)
    begin(training, networks, sink)
    while True:
        try:
            return finish(training, networks, sink)
        except Diverged as error:
            roll_back(training, networks, sink, error)


def roll_back(training: "Training", networks: Members, sink: JobSink, error: Diverged) -> None:
    """Take the network that has diverged back to the last checkpoint, report that, and save a checkpoint. Raises
    Diverged if that is not possible any more."""
    setup = training.plans[error.member].setup
    with sink.timer.phase(Phase.CHECKPOINT):
        member = recovery.rollback(training.ticket, setup, networks, error, changed=training.changed)
    epoch, rate = member.state.epoch, member.state.learning_rate
    message = f"{error.message}. The training continues after epoch {epoch} with learning rate {rate:g}"
    sink.emit(ReportKind.ROLLBACK, {"epoch": epoch, "learning_rate": rate, "message": message})
    sink.marks.append({"kind": "rollback", "epoch": epoch, "learning_rate": rate})
    try:
        sink.checkpoint(networks)
    except Diverged as other:  # of another network the weights are not finite
        roll_back(training, networks, sink, other)


def begin(training: "Training", networks: Members, sink: JobSink) -> None:
    """Restore the networks to the starting point, and report what the server does not know yet."""
    ticket, config = training.ticket, training.config
    resumed = None
    if training.start is not None:
        with sink.timer.phase(Phase.CHECKPOINT):
            recovery.restore(ticket, networks, training.start, changed=training.changed)
        state = networks.state
        resumed = {"epoch": state.epoch, "step": state.step} | ({"data_changed": True} if training.changed else {})
        sink.marks.append({"kind": "resumed", "epoch": state.epoch})
    encoder = training.prepared.encoder
    about = {
        "task": training.prepared.task,
        "classes": encoder.classes,
        "features": len(encoder.feature_names),
        "parameters": network.model_parameters(training.setup),
        "steps_per_epoch": sum(member.config.batches.steps for member in networks),
        "gpus": ticket.gpus,
        "resumed": resumed,
    }
    checked = training.checked if training.start is None else ticket.checked
    if checked is not None and (pinned := checked.pinned(training.fingerprints)) != ticket.checked:
        about["dataset"] = pinned.as_json()  # with hashes of the whole content, which the server may lack
    sink.emit(ReportKind.STARTED, sink.facts | about)
    for message in training.warnings:
        sink.emit(ReportKind.LOG, {"level": "warning", "message": message})
    for epoch in recovery.unreported_epochs(ticket, config, networks.state):
        sink.emit(ReportKind.EPOCH, epoch)


def finish(training: "Training", networks: Members, sink: JobSink) -> ReportKind:
    """Train to the end or until a command; return the kind of the last report."""
    match fit.fit(networks, sink):
        case Command.CONTINUE:
            return complete(training, networks, sink)
        case Command.CANCEL:
            sink.emit(ReportKind.CANCELLED, {})
            return ReportKind.CANCELLED
        case _:
            sink.emit(ReportKind.PAUSED, sink.save(networks))
            return ReportKind.PAUSED


@dataclass(frozen=True)
class Training:
    """A ticket with its data and the checkpoint that it starts from (None: the beginning), and what follows from them.

    ``fingerprints`` are those of the data, by name; ``changed`` says that they differ from those of the checkpoint.
    ``warnings`` are for the task's log, ``marks`` are those of ``JobSink`` before this attempt. ``checked`` is
    what a check of the config has found in the data; None if only their preparation has checked them. ``threads`` are
    those with which the training began, None at the beginning.
    """

    ticket: Ticket
    prepared: Prepared
    start: Path | None = None
    warnings: Sequence[str] = ()
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    changed: bool = False
    marks: Sequence[dict[str, Any]] = ()
    checked: CheckedDataset | None = None
    threads: int | None = None

    def check(self) -> None:
        """Repeat the server's check of the requirements, now that the shape of the encoded rows is known."""
        prepared, encoder = self.prepared, self.prepared.encoder
        workload = Workload(prepared.task, self.example_shape, classes=encoder.classes)
        found = requirements.problems(self.ticket.spec, workload, MachineLimits(gpus=len(self.ticket.gpus)))
        if isinstance(prepared.train, MemmapDataset):
            found += requirements.streamed_problems(self.ticket.spec)
        if found:
            raise InvalidSpec(found)
        recovery.check_disk_space(self.ticket, self.setup)

    def has_same_data(self) -> bool:
        """Whether the data still are those of this attempt. Raises DataError if they cannot be read."""
        ticket = self.ticket
        catalog = Catalog.of_ticket(ticket)
        if self.checked is not None:
            return is_unchanged(self.checked, ticket.spec, catalog)
        names = {"fingerprint": ticket.spec.dataset, "validation_fingerprint": ticket.spec.validation_dataset}
        return all(
            pictures.opened(catalog, ticket.spec, names[kind]).fingerprint() == value
            for kind, value in self.fingerprints.items()
        )

    @property
    def about(self) -> dict[str, Any]:
        """What all machines of the training have to have in common."""
        return machines.about(self.prepared, self.setup, self.config, self.fingerprints)

    @property
    def example_shape(self) -> tuple[int, ...]:
        """The shape of one encoded example: (features,), or (steps, channels)."""
        train = self.prepared.train
        return train.x.shape[1:] if isinstance(train, InMemoryDataset) else train.shape

    @cached_property
    def setup(self) -> Setup:
        spec, encoder = self.ticket.spec, self.prepared.encoder
        found = Setup(
            spec,
            self.prepared.task,
            network.input_shape(spec, self.example_shape),
            encoder.outputs,
            self.ticket.threads,
            tuple(range(len(self.ticket.gpus))),
            spec.num_devices or 1,
            class_weights(spec.class_weight, encoder.classes, self.prepared.train.y, self.prepared.train.weights),
            network.embeddings(encoder.embedded),
            encoder.masked,
            len(self.prepared.train),
            self._target_log,
            nodes=spec.nodes,
        )
        return replace(found, chosen_threads=self._chosen_threads(found))

    def _chosen_threads(self, setup: Setup) -> int | None:
        """The threads of the checkpoint, so that a resumed training has the same bits; or what was measured to be
        faster on this machine; None if neither is known."""
        limit = self.ticket.many_threads.get(speeds.network_of(setup))
        if self.threads is not None or limit is None or setup.gpus or setup.devices * setup.nodes > 1:
            return self.threads
        return self.ticket.threads if speeds.step_flops(setup, len(self.prepared.train)) >= limit else 1

    @cached_property
    def plans(self) -> list[members.Plan]:
        """The networks to train; ``setup`` and ``config`` are what they have in common."""
        return members.plans(self.setup, self.config, self.prepared.folds, self.prepared.encoder.classes)

    @property
    def _target_log(self) -> tuple[float, float] | None:
        encoder = self.prepared.encoder
        if encoder.target_transform is None:
            return None
        return encoder.target_scale, float(self.prepared.train.y.max())

    @cached_property
    def config(self) -> FitConfig:
        spec, prepared = self.ticket.spec, self.prepared
        return FitConfig(
            spec,
            prepared.task,
            prepared.train.shaped(self.setup.inputs),
            prepared.validation.shaped(self.setup.inputs) if prepared.validation else None,
            network.batches(self.setup, len(prepared.train)),
            prepared.encoder.target_units,
            self.setup.target_log,
        )


def complete(training: Training, networks: Members, sink: JobSink) -> ReportKind:
    """Save the last state (the task may be continued later), score the best weights, save the model, report."""
    ticket, config, prepared = training.ticket, training.config, training.prepared
    sink.timer.enter(Phase.PACK)
    sink.checkpoint(networks)
    networks.load_best()
    test = prepared.test.shaped(training.setup.inputs) if prepared.test else None
    out_of_fold = None
    if prepared.folds is not None:
        assert isinstance(config.train, InMemoryDataset)
        out_of_fold = networks.out_of_fold(config.train.x)
    sides = scoring.sides(networks, config, test, out_of_fold)
    scores = scoring.final_metrics(networks, config, prepared, sides)
    for message in scores["warnings"]:
        sink.emit(ReportKind.LOG, {"level": "warning", "message": message})
    facts, state = sink.facts | {"dataset": ticket.spec.dataset}, networks.state
    about = pack.describe(ticket.task_id, training.setup, prepared.encoder, state, scores, facts)
    about["examples"] = pack.examples(prepared.first_rows)
    parts, known = {name: side.dataset for name, side in sides.items()}, (sink.marks, training.warnings, out_of_fold)
    finished = Finished(ticket, prepared, training.setup, networks.outputs, parts, state, about, *known)
    model_folder.save(finished, sink.emit, sink.reporter.confirm, is_unchanged=training.has_same_data)
    sink.folders.send(ticket.artifact_dir)
    sink.emit(
        ReportKind.COMPLETED,
        {
            "artifact": str(ticket.artifact_dir.relative_to(ticket.data_dir)),
            "best": history.best_metrics(state.best_row),
            "stopped_early": state.stopped_early,
            "summary": {
                "epochs": state.epoch,
                "best_epoch": state.best_epoch,
                "metrics": about["metrics"],
                "speed": measured_speed(training, sink.timer),
            },
            "warnings": scores["warnings"],
        },
    )
    return ReportKind.COMPLETED


def measured_speed(training: Training, timer: PhaseTimer) -> dict[str, Any] | None:
    """What the attempt has measured of its engine, a ``speeds.Sample``; None where ``auto`` estimates nothing, and
    after too few steps. Several networks compile several times, which is no sample of one."""
    setup, spec = training.setup, training.setup.spec
    is_split = bool(setup.gpus) or setup.devices * setup.nodes > 1
    if timer.step_seconds is None or is_split or spec.mixed_precision or spec.members > 1:
        return None
    engine = setup.spec.framework
    seconds = timer.step_seconds, timer.seconds()[Phase.COMPILE], registry.IMPORT_SECONDS.get(engine)
    flops = speeds.step_flops(setup, len(training.config.train))
    return asdict(Sample(engine, speeds.network_of(setup), flops, *seconds, programs.shape_of(setup)))
