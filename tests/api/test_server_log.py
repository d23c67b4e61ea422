"""What the server's log has, in which form."""

import asyncio
import json
import logging
import re
import sys
import warnings
from collections.abc import Iterator

import pytest

from epochd.api import server_log
from epochd.api.server_log import AccessFilter, JsonFormatter, TextFormatter
from epochd.core.events import ReportKind
from epochd.core.settings import Settings, load

HOSTILE = "a\x1b]0;title\x07\nERROR epochd: forged\u202e\x9b1m"


def record(message: str = "%s", *args: object, name: str = "epochd.x", **attributes: object) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.INFO, "", 0, message, args, None)
    vars(made).update(attributes)
    return made


def access(path: str) -> logging.LogRecord:
    return record('%s - "%s %s HTTP/%s" %d', "127.0.0.1:5", "GET", path, "1.1", 200, name="uvicorn.access")


def test_access_lines_lose_their_query_string():
    line = access("/tasks?token=secret")
    assert AccessFilter().filter(line)
    assert line.getMessage() == '127.0.0.1:5 - "GET /tasks HTTP/1.1" 200'


def test_heartbeats_are_not_logged():
    assert not AccessFilter().filter(access("/internal/attempts/x/report"))


def test_a_text_line_shows_what_a_terminal_would_execute_and_forges_no_line():
    line = TextFormatter().format(record("%s", HOSTILE))
    assert line.endswith("INFO    epochd.x: a\\x1b]0;title\\x07\n\tERROR epochd: forged\\u202e\\x9b1m")


def test_a_json_line_is_one_ascii_object_with_the_fields_of_its_message():
    line = JsonFormatter().format(record("%s", HOSTILE, fields={"task_id": "t", "seconds": 1.5}))
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line).items() >= {"message": HOSTILE, "level": "info", "task_id": "t", "seconds": 1.5}.items()


def test_a_json_access_line_has_its_parts():
    line = access("/tasks?token=secret")
    AccessFilter().filter(line)
    told = json.loads(JsonFormatter().format(line))
    assert (told["method"], told["path"], told["status"], told["client"]) == ("GET", "/tasks", 200, "127.0.0.1:5")
    assert "secret" not in str(told)


def test_a_json_error_has_its_traceback_inside_the_line():
    try:
        raise RuntimeError("why")
    except RuntimeError:
        line = JsonFormatter().format(record("it failed", exc_info=sys.exc_info()))
    assert "\n" not in line
    assert json.loads(line)["traceback"].splitlines()[-1] == "RuntimeError: why"


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process's logging is as before after the test."""
    # Otherwise it closes the handlers of others too, and that of TensorFlow the standard error of pytest.
    monkeypatch.setattr(logging, "_handlerList", [])
    names = [None, "epochd", "uvicorn.error", "uvicorn.access"]
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).filters[:]) for name in names}
    handlers = logging.getLogger().handlers[:]
    yield
    logging.captureWarnings(False)
    logging.getLogger().handlers[:] = handlers
    for name, (level, filters) in before.items():
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).filters[:] = filters


@pytest.mark.usefixtures("configured")
@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, ["access", "task"]),
        ({"access_log": "false"}, ["task"]),
        ({"log_level": "WARNING"}, []),
        ({"log_format": "json"}, ["access", "task"]),
    ],
)
def test_the_settings_decide_what_is_logged(settings, shown, capsys):
    server_log.configure(load(**settings))
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "c:1", "GET", "/access", "1.1", 200)
    logging.getLogger("epochd.tasks").info("task %s", "t")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(shown)
    assert all(word in line for word, line in zip(shown, lines, strict=True))
    assert all(line.startswith("{") is (settings.get("log_format") == "json") for line in lines)


@pytest.mark.usefixtures("configured")
def test_warnings_of_libraries_are_lines_of_the_log_too(capsys):
    server_log.configure(Settings(log_format="json"))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old", UserWarning, stacklevel=1)
    assert "UserWarning: old" in json.loads(capsys.readouterr().err)["message"]


class TaskLines(logging.Handler):
    """What the log says about tasks, and the fields that it has as JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def fields(self, name: str) -> list[object]:
        return [record.fields.get(name) for record in self.records]  # type: ignore[attr-defined]

    def of(self, event: str) -> logging.LogRecord:
        [found] = [record for record in self.records if record.fields["event"] == event]  # type: ignore[attr-defined]
        return found


@pytest.fixture
def task_lines() -> Iterator[TaskLines]:
    handler, logger = TaskLines(), logging.getLogger("epochd.tasks")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_the_life_of_a_task_is_logged_with_its_engine_and_seconds(house, task_lines):
    task_id = await house.completed()
    assert task_lines.fields("event") == ["pending", "running", "started", "completed"]
    assert set(task_lines.fields("task_id")) == {task_id}
    end = task_lines.of("completed")
    assert re.fullmatch(rf"task {task_id} completed with pytorch after \d+\.\d s: 3 of 3 epochs", end.getMessage())
    assert end.fields["framework"] == "pytorch"
    assert 0 <= end.fields["seconds"] < 60
    assert end.levelno == logging.INFO


async def test_a_failure_is_a_warning_with_its_code(house, task_lines):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await worker.report(ReportKind.FAILED, code="diverged", message="the loss became NaN", problems=[])
    await worker.end()
    end = task_lines.of("failed")
    assert end.fields["code"] == "diverged"
    assert end.levelno == logging.WARNING
    start = f"task {task_id} failed with pytorch after "
    assert end.getMessage().startswith(start)
    assert end.getMessage().endswith(" s: diverged: the loss became NaN")


async def test_a_pause_a_crash_and_a_stop_are_logged(house, task_lines):
    task_id = await house.start(epochs=9)
    await (await (await house.worker()).begin()).end(3)
    worker = await (await house.worker()).begin()
    pausing = asyncio.create_task(house.post(f"/pause/{task_id}"))
    await worker.ordered("pause")
    await worker.pause()
    await pausing
    await house.post(f"/stop/{task_id}")
    events = ["pending", "running", "started", "pending", "running", "started", "paused", "cancelled"]
    assert task_lines.fields("event") == events
    assert task_lines.fields("attempt") == [0, 1, 1, 1, 2, 2, 2, 2]
    assert "the worker exited with code 3" in task_lines.records[3].getMessage()
    assert task_lines.of("paused").getMessage() == f"task {task_id} is paused, attempt 2, 0 of 9 epochs"
