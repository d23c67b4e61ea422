"""What reaches a terminal from names, columns, messages and log lines that try to control it.

The commands run on a real pseudo-terminal, against a server whose every answer is hostile.
"""

import json
import os
import pty
import re
import subprocess
import threading
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from epochd.cli import console

from .conftest import COMMAND, Server

ATTACKS = {
    "window title": "\x1b]0;pwned\x07",
    "clear the screen": "\x1b[2J\x1b[H",
    "clipboard": "\x1b]52;c;cHduZWQ=\x1b\\",
    "hyperlink": "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "device attributes": "\x1b[c\x05",
    "C1 sequence": "\x9b5mblink\x9d0;title\x9c",
    "C1 line": "a\x85b",
    "bidirectional override": "\u202etxt.exe\u202c",
    "bidirectional isolate": "\u2066a\u2067b\u2069",
    "arabic mark": "a\u061cb\u200f",
    "overwritten line": "failed\rcompleted\x1b[K",
    "forged line": "one\ncompleted after 3 epochs",
    "line separators": "a\u2028b\u2029c",
    "backspaces": "wrong\b\b\b\b\bright\x7f",
    "tag characters": "a\U000e0041\U000e007f",
    "invisible": "a\u200bb\ufeffc\u00ad",
    "surrogate": "a\ud800b",
    "markup": "[blink]a[/blink][link=http://evil]b[/link] [red] \\[bold] c\\",
    "emoji code": ":bomb:",
}
HOSTILE = " ".join(ATTACKS.values())
OWN_SEQUENCE = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|[0-9]*[AK])|[\r\n\t]")
"""What rich writes itself: colours, the cursor of the progress bar, the ends of lines."""
TASK = {
    "task_id": "epoch_training_20260101_000000_abcdef",
    "name": HOSTILE,
    "state": "failed",
    "current_epoch": 1,
    "total_epochs": 3,
    "best_metrics": {"loss": 0.5, "epoch": 1},
    "artifact": HOSTILE,
    "error": {"message": HOSTILE, "log_tail": [HOSTILE]},
}
STARTED = {
    "parameters": 9,
    "framework": HOSTILE,
    "device": HOSTILE,
    "rows": {"train": 8, "validation": 2},
    "task": HOSTILE,
}
METRICS = {"train_loss": 0.25, "learning_rate": 0.1, "time_per_epoch": 1.0}
EVENTS = [
    {"type": "state", "state": "running", "started": STARTED},
    {"type": "log", "message": HOSTILE},
    {"type": "progress", "progress": {"current_epoch": 1, "total_epochs": 3, "latest_metrics": METRICS}},
    {"type": "rollback", "epoch": 1, "message": HOSTILE},
    {"type": "failed"},
]
COLUMN = {"name": HOSTILE, "type": HOSTILE, "missing": 0, "min": HOSTILE, "top": [{"value": HOSTILE, "count": 2}]}
DATASET = {"name": HOSTILE, "kind": "file", "rows": 2, "columns": 2, "bytes": 9, "state": "ready"}
PROBLEM = {"field": HOSTILE, "message": HOSTILE, "hint": HOSTILE}
ERROR = {"success": False, "code": "invalid_spec", "message": HOSTILE}
ANSWERS: dict[str, Any] = {
    "GET epoch-training/tasks": {"tasks": [TASK], "total": 1},
    f"GET epoch-training/tasks/{TASK['task_id']}": TASK,
    "GET epoch-training/logs/t": {"lines": [HOSTILE, HOSTILE]},
    "POST epoch-training/start": {"task_id": TASK["task_id"], "warnings": [HOSTILE]},
    "GET datasets": {"datasets": [DATASET], "total": 1},
    "GET datasets/d": {**DATASET, "fingerprint": "f" * 64, "profile": [COLUMN]},
    "POST datasets": DATASET,
}


class Hostile(BaseHTTPRequestHandler):
    """Answers each request of the client with the attacks, in all texts."""

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        if "problem" in path:
            many = [PROBLEM] * (2 if "problems" in path else 1)
            return self.send(422, json.dumps(ERROR | {"problems": many}))
        if "stream-progress" in path or "follow" in query:
            events = EVENTS if "stream-progress" in path else [{"attempt": 1, "line": HOSTILE}]
            return self.send(200, "".join(f"data: {json.dumps(event)}\n\n" for event in events), "text/event-stream")
        request = f"{self.command} {path.removeprefix('/api/v1/')}"
        self.send(200, json.dumps(ANSWERS.get(request, {"message": HOSTILE, "task_id": HOSTILE})))

    def send(self, status: int, body: str, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hostile) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def shown_on_terminal(work: Callable[[int], object]) -> str:
    """What arrives at the terminal while ``work`` writes to its other end, whose descriptor it gets."""
    master, slave = pty.openpty()
    received: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # EIO: the other end is closed
            while chunk := os.read(master, 65536):
                received.append(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        work(slave)
    finally:
        os.close(slave)
        reader.join()
        os.close(master)
    return b"".join(received).decode()


Terminal = Callable[..., str]


@pytest.fixture
def terminal(run: Any, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Runs a command in this process, with a pseudo-terminal as its standard output and error."""
    monkeypatch.setenv("TERM", "xterm-256color")

    def shown(*arguments: object) -> str:
        def work(slave: int) -> None:
            with (
                monkeypatch.context() as patch,
                os.fdopen(os.dup(slave), "w") as out,
                os.fdopen(os.dup(slave), "w") as err,
            ):
                patch.setattr("sys.stdout", out)
                patch.setattr("sys.stderr", err)
                for display in (console.out, console.err):  # they were made before there was a terminal
                    patch.setattr(display, "is_interactive", True)
                    patch.setattr(display, "_width", 2000)
                run(*arguments)

        return shown_on_terminal(work)

    return shown


def assert_harmless(shown: str) -> None:
    """Nothing but printable characters and what rich writes itself, and no attack as it was sent."""
    left = OWN_SEQUENCE.sub("", shown)
    bad = {char for char in left if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}}
    assert not bad, sorted(map(ascii, bad))
    for name in ATTACKS.keys() - {"markup", "emoji code"}:
        assert ATTACKS[name] not in shown, name


def assert_escaped(shown: str) -> None:
    """Every attack can be read."""
    for name, attack in ATTACKS.items():
        if name in ("forged line", "surrogate"):  # its lines are apart where the text has several
            continue
        escaped = "".join(
            char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in attack
        )
        assert escaped in shown, name


@pytest.mark.parametrize(
    "arguments",
    [
        ["tasks"],
        ["watch", TASK["task_id"]],
        ["logs", "t"],
        ["logs", "t", "--follow"],
        ["pause", "t"],
        ["resume", "t"],
        ["stop", "t"],
        ["remove", "t"],
        ["retry", "t"],
        ["continue", "t", "--epochs", "9"],
        ["datasets", "list"],
        ["datasets", "show", "d"],
        ["watch", "problem"],
        ["watch", "problems"],
        ["datasets", "remove", "problem"],
    ],
    ids=" ".join,
)
def test_every_command_shows_attacks_escaped(terminal: Terminal, url: str, arguments: list[str]) -> None:
    shown = terminal(*arguments, "--url", url)
    assert_harmless(shown)
    assert_escaped(shown)


def test_a_training_with_hostile_warnings_is_submitted_and_watched(
    terminal: Terminal, url: str, tmp_path: Path
) -> None:
    config = tmp_path / "config.json"
    config.write_text("{}", encoding="utf-8")
    shown = terminal("train", config, "--url", url)
    assert shown.count("warning:") == 1
    assert_harmless(shown)
    assert_escaped(shown)
    assert [line for line in shown.splitlines() if line.startswith("completed")] == []


@pytest.mark.parametrize("command", [["datasets", "add"], ["predict"], ["train"]])
def test_a_file_with_a_hostile_name_is_named_escaped(
    terminal: Terminal, url: str, tmp_path: Path, command: list[str]
) -> None:
    name = "a\x1b]0;pwned\x07\x1b[2J\u202e\x9bm.csv"
    shown = terminal(*command, tmp_path / name, *(["rows.csv"] if command == ["predict"] else ["--url", url]))
    assert_harmless(shown)
    assert "pwned" in shown


def test_uploading_a_file_with_a_hostile_name_shows_it_escaped(terminal: Terminal, url: str, tmp_path: Path) -> None:
    file = tmp_path / "a\x1b]0;pwned\x07[red]:bomb:\u202e.csv"
    file.write_text("x\n1\n", encoding="utf-8")
    shown = terminal("datasets", "add", file, "--url", url)
    assert_harmless(shown)
    assert r"a\x1b]0;pwned\x07[red]:bomb:\u202e.csv" in shown


@pytest.mark.parametrize("arguments", [["tasks", "\x1b]0;pwned\x07"], ["\x1b[2J\u202e"], ["tasks", "--\x9bm"]])
def test_a_usage_error_quotes_its_argument_escaped(terminal: Terminal, arguments: list[str]) -> None:
    assert_harmless(terminal(*arguments))


def test_a_process_on_a_terminal_shows_hostile_columns_in_colour_and_escaped(server: Server, tmp_path: Path) -> None:
    """The whole way: a real server, a real process with colours."""
    file = tmp_path / "hostile.csv"
    columns = [name for name in map(ATTACKS.__getitem__, ("window title", "C1 sequence", "bidirectional override"))]
    file.write_text(",".join(columns) + "\n1,2,3\n4,5,6\n", encoding="utf-8")
    environment = os.environ | {"COLUMNS": "300", "TERM": "xterm-256color"}

    def work(slave: int) -> None:
        for arguments in (["add", str(file), "--name", "hostile"], ["show", "hostile"], ["remove", "hostile"]):
            command = [*COMMAND, "datasets", *arguments, "--url", server.url]
            subprocess.run(command, stdin=slave, stdout=slave, stderr=slave, env=environment, check=True)

    shown = shown_on_terminal(work)
    assert "\x1b[32mhostile: \x1b[0m" in shown
    assert_harmless(shown)
    for escaped in (r"\x1b]0;pwned\x07", r"\x9b5mblink\x9d0;title\x9c", r"\u202etxt.exe\u202c"):
        assert escaped in shown


def test_a_terminal_without_unicode_shows_names_escaped_instead_of_failing(url: str) -> None:
    environment = os.environ | {"COLUMNS": "2000", "TERM": "dumb", "PYTHONIOENCODING": "ascii"}
    command = [*COMMAND, "logs", "t", "--url", url]
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert done.stderr == b""
    assert_escaped(done.stdout.decode("ascii"))


def test_predictions_are_escaped_on_a_terminal_and_exact_in_a_pipe(
    terminal: Terminal, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = pl.DataFrame({"prediction": ["\x1b]0;pwned\x07", "a\tb"], "probability_\u202ex": [0.5, 0.25]})
    monkeypatch.setattr("epochd.cli.prediction.predict_locally", lambda *_: predictions.write_csv().encode())
    shown = terminal("predict", "./model", "rows.csv")
    assert_harmless(shown)
    assert shown.splitlines() == ["prediction,probability_\\u202ex", "\\x1b]0;pwned\\x07,0.5", "a\tb,0.25"]
    assert run("predict", "./model", "rows.csv").out == predictions.write_csv()


def test_the_command_line_prints_through_the_functions_that_escape_and_no_others() -> None:
    """``print``, ``echo`` and ``write`` would let a name through."""
    folder = Path(console.__file__).parent
    direct = re.compile(r"(?<![\w.])print\(|\.print\(|\becho\(|\.write\(")
    found = [
        f"{path.name}: {line.strip()}"
        for path in sorted(folder.glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if direct.search(line)
    ]
    assert found == [
        '__init__.py: typer.echo(f"epochd {epochd.__version__}")',
        "console.py: to.print(Text.assemble((before, title_style), (indented(localized(text)), style)))",
        "console.py: echo(indented(line), err=to is err)",
        "console.py: to.print(table)",
        "exports.py: path = forms.write(saved, to, output, force=force)",
        'prediction.py: sys.stdout.write(visible(text, keep="\\n\\t") if sys.stdout.isatty() else text)',
    ]
