"""The log of the server, on standard error: one line per message, as text or as JSON, for people and for collectors.

Besides warnings and errors it has two kinds of lines: one for each request (``uvicorn.access``), and one for each thing
that happens to a task (``epochd.tasks``), written from the events that the store has committed.
"""

import json
import logging
import logging.config
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from epochd.core.events import FINAL_TYPES, Event, Type
from epochd.core.jobs import Job, JobKind
from epochd.core.settings import Settings
from epochd.core.text import indented

tasks = logging.getLogger("epochd.tasks")


class TextFormatter(logging.Formatter):
    """One line of text: no name in it can execute anything on a terminal, or look like a line of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return indented(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object in ASCII: ``time`` (ISO 8601, UTC), ``level``, ``logger``, ``message``, for errors ``traceback``,
    and the fields of the message's ``extra={"fields": …}``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class AccessFilter(logging.Filter):
    """Removes query strings from access lines, gives them fields, and drops those of worker reports."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        client, method, path, version, status = record.args
        path = str(path).partition("?")[0]
        record.args = (client, method, path, version, status)
        record.fields = {"client": client, "method": method, "path": path, "status": status}
        return not path.startswith("/internal/")


def configure(settings: Settings) -> None:
    """Log to standard error, in the level and the form of the settings."""
    level = settings.log_level.upper()
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"text": {"()": TextFormatter}, "json": {"()": JsonFormatter}},
            "filters": {"access": {"()": AccessFilter}},
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": settings.log_format}},
            "root": {"level": "WARNING", "handlers": ["stderr"]},
            "loggers": {
                "epochd": {"level": level},
                "uvicorn.error": {"level": "WARNING"},
                "uvicorn.access": {"level": level if settings.access_log else "WARNING", "filters": ["access"]},
            },
        }
    )
    logging.captureWarnings(True)


def log_events(events: Sequence[Event]) -> None:
    """Log what has happened to tasks: queued, running, started, paused, and how they ended. Call it after a commit."""
    for event in events:
        if event.job is not None and (event.type is Type.STATE or event.type in FINAL_TYPES):
            fields = _fields(event, event.job)
            level = logging.WARNING if event.type is Type.FAILED else logging.INFO
            tasks.log(level, "task %s %s", event.task_id, _sentence(event, event.job), extra={"fields": fields})


def _fields(event: Event, job: Job) -> dict[str, Any]:
    """The facts of an event; ``seconds`` is the time from the first start of the task to its end."""
    what = "started" if "started" in event.payload else job.state.value
    fields = {"event": what, "task_id": job.id, "attempt": job.attempt, "kind": job.kind.value}
    if job.kind is JobKind.TRAINING:
        fields["framework"] = job.training.framework
    if job.finished_at is not None and job.started_at is not None:
        fields["seconds"] = round(job.finished_at - job.started_at, 3)
    if event.type is Type.FAILED or event.payload.get("error"):
        fields["code"] = job.error_code
    return fields


def _sentence(event: Event, job: Job) -> str:
    """``completed with pytorch in 12.3 s: 50 epochs``; the id of the task stands before it."""
    if (started := event.payload.get("started")) is not None:
        if job.kind is JobKind.PREDICTION:
            return f"started, attempt {job.attempt}: {started.get('rows_total')} rows"
        device, rows = started.get("device"), started.get("rows", {}).get("train")
        return f"started with {job.training.framework} on {device}, attempt {job.attempt}: {rows} training rows"
    engine = f"with {job.training.framework}" if job.kind is JobKind.TRAINING else f"with {job.prediction.model}"
    if job.finished_at is not None and job.started_at is not None:
        engine += f" after {job.finished_at - job.started_at:.1f} s"
    epochs = f"{(job.latest_metrics or {}).get('rows_done', 0)} rows"
    if job.kind is JobKind.TRAINING:
        epochs = f"{job.current_epoch} of {job.training.epochs} epochs"
    reason = f": {why}" if (why := event.payload.get("reason")) else ""
    match event.type:
        case Type.COMPLETE:
            return f"completed {engine}: {epochs}"
        case Type.CANCELLED:
            return f"cancelled {engine}: {epochs}"
        case Type.FAILED:
            return f"failed {engine}: {job.error_code}: {job.error.message if job.error else ''}"
    code = f" ({job.error_code})" if event.payload.get("error") else ""
    return f"is {job.state.value}{code}, attempt {job.attempt}, {epochs}{reason}"
