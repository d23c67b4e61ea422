"""One attempt at a batch prediction, from start to end: ticket → model → rows → parts → one file.

The dataset is read in pieces of a fixed number of rows, and each becomes a durable part before the next is read. A
pause, a crash and a restart therefore continue after the last complete part, and the file is the same as without them.
No framework is imported.
"""

from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import polars as pl

from epochd.artifact import files, prediction_columns, predictions
from epochd.artifact.predictions import Parts
from epochd.core.errors import DataChanged, DataError, NotFound, Problem
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.tickets import PredictionTicket
from epochd.data.encoding import image
from epochd.data.encoding.fit import longest_list
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.source import Source
from epochd.data.tables.table import rows_changed
from epochd.serving.predictor import Predictor
from epochd.worker import prediction_parts, transfer
from epochd.worker.prediction_parts import Model
from epochd.worker.sink import Reporter
from epochd.worker.transfer import SharedFolders

REPORT_SECONDS = 1.0
"""The least time between two reports of progress, each of which is an event."""


def load(folder: Path) -> Model:
    """The model that predicts. Raise NotFound if it was removed, CorruptFile if it is damaged."""
    if not folder.is_dir():
        raise NotFound(f"the model {folder.name} was removed: predict with another one")
    return Model(Predictor.load(folder))


def execute(ticket: PredictionTicket, reporter: Reporter) -> ReportKind:
    """Run one attempt and return the kind of its last report."""
    with transfer.of(ticket, reporter) as folders:
        local, _ = folders.fetched(ticket)
        last_word = attempt(local, reporter, folders)
        folders.clear(local.checkpoints_dir, local.output_dir)
        return last_word


def attempt(ticket: PredictionTicket, reporter: Reporter, folders: SharedFolders) -> ReportKind:
    """``execute`` with all files on this machine."""
    files.remove_temporary(ticket.output_dir.parent, ticket.output_dir.name)
    if (summary := predictions.read_summary(ticket.output_dir)) is not None:  # a crash before the last report
        folders.send(ticket.output_dir)
        reporter.emit(ReportKind.COMPLETED, summary)
        return ReportKind.COMPLETED
    model = load(ticket.model_dir)
    source = image.opened(Catalog.of_ticket(ticket), model.encoder.image, ticket.spec)
    source = source.expecting(model.encoder.expected, model.encoder.readings)
    prediction = Prediction(ticket, reporter, model, source, source.fingerprint(), folders)
    return source.apply(prediction.run)


@dataclass
class Prediction:
    """A ticket with its model and its data. ``fingerprint`` is that of the data."""

    ticket: PredictionTicket
    reporter: Reporter
    model: Model
    source: Source
    fingerprint: str
    folders: SharedFolders = field(default_factory=SharedFolders)
    is_started: bool = False
    reported_at: float = float("-inf")

    def run(self, table: pl.LazyFrame) -> ReportKind:
        """Predict the rows that no part has yet, until a command; then write the file. This is called again where
        later rows contradict the types of the columns; the parts with other types are deleted then."""
        ticket, spec = self.ticket, self.ticket.spec
        schema = table.collect_schema()
        columns = prediction_columns.select(self.model.encoder, self.model.setup.spec, spec, schema)
        rows = int(table.select(pl.len()).collect(engine="streaming").item())
        if rows == 0:
            raise DataError([Problem("dataset", "the dataset has no rows", "choose another one")])
        longest = longest_list(table, self.model.encoder.list_columns) or 0
        size = prediction_parts.rows_per_part(self.model, len(columns.read), longest)
        header = {
            "fingerprint": self.fingerprint,
            "model": files.sha256(ticket.model_dir / files.MANIFEST),
            "rows_per_part": size,
            "schema": {name: str(schema[name]) for name in columns.read},
            "spec": spec.model_dump(mode="json", exclude={"name", "bom", "output_format", *_unset(spec)}),
        }
        parts = Parts.open(ticket.checkpoints_dir / "parts", header)
        self.folders.send_file(parts.folder / predictions.HEADER)
        self._start(parts, rows)
        self._warn_of_cut_lists(longest)
        chosen = prediction_parts.Selection(self.model, spec, columns, table, size, pictures.of(self.source))
        began, first = monotonic(), parts.rows
        for part in prediction_parts.parts(chosen, parts.rows):
            if (command := self.reporter.command()) is not Command.CONTINUE:
                return self._end(parts, command)
            self.folders.send(parts.add(part))
            speed = (parts.rows - first) / max(monotonic() - began, 1e-6)
            self._report(parts, rows, speed)
        if parts.rows != rows:
            raise rows_changed(rows)
        return self._complete(parts, rows)

    def _start(self, parts: Parts, rows: int) -> None:
        if self.is_started:
            return
        self.is_started = True
        resumed = {"rows_done": parts.rows} if parts.rows else None
        facts = {"rows_total": rows, "fingerprint": self.fingerprint, "resumed": resumed}
        self.reporter.emit(ReportKind.STARTED, facts)

    def _warn_of_cut_lists(self, longest: int) -> None:
        """A line of the log about lists of which a cnn reads the beginning only."""
        encoder = self.model.encoder
        if encoder.longer == "cut" and encoder.steps is not None and longest > encoder.steps:
            message = (
                f"there are lists of up to {longest:,} elements, longer than any in training: "
                f"only the first {encoder.steps} of each list are read"
            )
            self.reporter.emit(ReportKind.LOG, {"level": "warning", "message": message})

    def _report(self, parts: Parts, rows: int, speed: float) -> None:
        now = monotonic()
        if now - self.reported_at >= REPORT_SECONDS or parts.rows == rows:
            self.reported_at = now
            progress = _progress(parts, rows, speed)
            self.reporter.emit(ReportKind.ROWS, {"progress": progress, "checkpoint": self._checkpoint(parts)})

    def _checkpoint(self, parts: Parts) -> dict[str, Any]:
        """What the server shows and compares of the parts: the complete rows are the ``step``."""
        return {
            "path": str(parts.folder.relative_to(self.ticket.data_dir)),
            "epoch": 0,
            "step": parts.rows,
            "restores": {"data_fingerprint": self.fingerprint},
        }

    def _end(self, parts: Parts, command: Command) -> ReportKind:
        """Carry out a pause or a cancellation before the next part."""
        if command is Command.CANCEL:
            parts.remove()
            self.reporter.emit(ReportKind.CANCELLED, {})
            return ReportKind.CANCELLED
        self.reporter.emit(ReportKind.PAUSED, self._checkpoint(parts) if parts.rows else {})
        return ReportKind.PAUSED

    def _complete(self, parts: Parts, rows: int) -> ReportKind:
        """Write the file; it appears at once, complete, and only if the attempt still owns its task."""
        ticket, spec = self.ticket, self.ticket.spec
        if self.source.fingerprint() != self.fingerprint:
            message = "the dataset has changed while it was read, so the predictions are of two datasets"
            raise DataChanged(message, [Problem("dataset", message, "start a new prediction")])
        with files.durable_folder(ticket.output_dir) as folder:
            file = parts.assemble(folder, spec.output_format, bom=spec.bom)
            about = {"rows": parts.lines, "bytes": file.stat().st_size, "format": spec.output_format}
            summary = {
                "artifact": str((ticket.output_dir / file.name).relative_to(ticket.data_dir)),
                "progress": _progress(parts, rows, None),
                "summary": {"output": about, "problems": parts.problems},
            }
            files.write_json(folder / predictions.SUMMARY, summary)
            self.reporter.confirm()
        self.folders.send(ticket.output_dir)
        self.reporter.emit(ReportKind.COMPLETED, summary)
        parts.remove()
        return ReportKind.COMPLETED


def _unset(spec: PredictionSpec) -> set[str]:
    """Options that earlier versions did not have, unless they are set: parts that these have written stay valid."""
    return {"image_root"} if spec.image_root is None else set()


def _progress(parts: Parts, rows: int, speed: float | None) -> dict[str, Any]:
    return {
        "rows_done": parts.rows,
        "rows_total": rows,
        "rows_per_second": None if speed is None else round(speed, 1),
        "skipped": parts.skipped,
    }
