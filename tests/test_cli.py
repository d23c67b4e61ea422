"""The command line as a user runs it, against a real server with a real worker."""

import io
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

import epochd
from epochd import cli
from epochd.client import Client
from epochd.data.sources import open_dataset

COMMAND = [sys.executable, "-m", "epochd.cli"]
CONFIG: dict[str, Any] = {
    "name": "cli test",
    "dataset": "breast_cancer",
    "target_column": "target",
    "hidden_units": [16],
    "epochs": 3,
    "output_path": "/models/cli",
}
ENDLESS = CONFIG | {"epochs": 100_000, "early_stopping_patience": None}


class Server:
    """A server process with its data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        arguments = ["serve", "--port", "0", "--slots", "1", "--data-dir", str(data_dir), "--log-level", "warning"]
        self.process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("data"))
    yield server
    assert server.stop() == 0


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url) as client:
        yield client


class Run:
    """The outcome of one command: exit code and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run_command(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["epochd", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Run(int(ended.value.code or 0), *capsys.readouterr())

    return run_command


def config_file(folder: Path, values: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


def test_the_version_is_printed(run: Any) -> None:
    assert run("version").out == f"epochd {epochd.__version__}\n"


def test_help_names_every_command(run: Any) -> None:
    text = run("--help").out
    for command in ("serve", "train", "watch", "pause", "resume", "stop", "tasks", "datasets", "predict", "version"):
        assert f" {command} " in text


def test_the_command_line_starts_without_server_tables_or_frameworks() -> None:
    heavy = ["fastapi", "uvicorn", "sqlalchemy", "polars", "numpy", "torch", "keras", "tensorflow", "jax"]
    program = f"import sys, epochd.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_every_setting_but_the_secrets_is_an_option_of_serve(run: Any) -> None:
    text = run("serve", "--help").out
    for name in set(cli.server_settings.Settings.model_fields) - {"tokens", "database_url", "connections"}:
        assert f"--{name.replace('_', '-')} " in text


def test_serve_refuses_an_open_address_without_tokens(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EPOCHD_TOKENS", raising=False)
    refused = run("serve", "--host", "0.0.0.0")
    assert refused.code == cli.REFUSED
    assert "EPOCHD_TOKENS" in refused.err


def test_serve_lists_settings_that_make_no_sense(run: Any) -> None:
    refused = run("serve", "--port", 99999, "--slots", 0)
    assert refused.code == cli.REFUSED
    assert "EPOCHD_PORT" in refused.err
    assert "EPOCHD_SLOTS" in refused.err


def test_a_server_that_is_not_there_is_said_so(run: Any, tmp_path: Path) -> None:
    failed = run("train", config_file(tmp_path, CONFIG), "--url", "http://127.0.0.1:1")
    assert failed.code == cli.FAILED
    assert "epochd serve" in failed.err


@pytest.mark.parametrize(("text", "message"), [("{", "cannot be read as JSON"), ("[1]", "a config is an object")])
def test_a_file_that_is_no_config_is_refused(run: Any, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    refused = run("train", path)
    assert refused.code == cli.REFUSED
    assert message in " ".join(refused.err.split())


def test_the_problems_of_a_config_are_shown_as_a_table(run: Any, server: Server, tmp_path: Path) -> None:
    path = config_file(tmp_path, CONFIG | {"epoch": 3, "batch_size": 0})
    refused = run("train", path, "--url", server.url)
    assert refused.code == cli.REFUSED
    assert "did you mean" in refused.err
    assert "batch_size" in refused.err


def test_train_shows_every_epoch_and_leaves_a_model_that_predicts(run: Any, server: Server, tmp_path: Path) -> None:
    trained = run("train", config_file(tmp_path, CONFIG), "--url", server.url)
    assert trained.code == 0
    for epoch in (1, 2, 3):
        assert f"epoch {epoch}/3  loss " in trained.out
    assert "completed after 3 epochs" in trained.out

    rows, predictions = tmp_path / "rows.csv", tmp_path / "predictions.csv"
    open_dataset("breast_cancer", []).scan().head(7).collect().write_csv(rows)
    model = server.data_dir / "artifacts" / "models" / "cli" / "latest"
    assert run("predict", model, rows, "--output", predictions).code == 0
    assert pl.read_csv(predictions).height == 7
    assert run("predict", model, rows).out == predictions.read_text(encoding="utf-8")


def test_a_training_can_be_detached_paused_resumed_and_stopped(
    run: Any, server: Server, client: Client, tmp_path: Path
) -> None:
    task_id = run("train", config_file(tmp_path, ENDLESS), "--url", server.url, "--detach").out.strip()
    next(event for event in client.stream(task_id) if event["type"] == "progress")

    assert run("pause", task_id, "--url", server.url).code == 0
    assert client.task(task_id)["state"] == "paused"
    assert task_id in run("tasks", "--state", "paused", "--url", server.url).out
    assert run("resume", task_id, "--url", server.url).code == 0
    assert run("stop", task_id, "--url", server.url).code == 0
    assert run("watch", task_id, "--url", server.url).code == cli.FAILED

    refused = run("pause", task_id, "--url", server.url)
    assert refused.code == cli.FAILED
    assert "cancelled" in refused.err


def test_a_completed_training_is_continued_and_its_log_shown(
    run: Any, server: Server, client: Client, tmp_path: Path
) -> None:
    task_id = run("train", config_file(tmp_path, CONFIG), "--detach", "--url", server.url).out.strip()
    assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    longer = run("continue", task_id, "--epochs", "5", "--url", server.url).out.strip()
    assert [event["type"] for event in client.stream(longer)][-1] == "complete"
    rows, before = (client.history(one)["history"] for one in (longer, task_id))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[:3] == before
    assert client.task(longer)["parent"] == task_id
    assert run("logs", longer, "--url", server.url).code == 0


def test_ctrl_c_detaches_and_says_how_to_come_back(server: Server, client: Client, tmp_path: Path) -> None:
    command = [*COMMAND, "train", str(config_file(tmp_path, ENDLESS)), "--url", server.url]
    watching = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert watching.stdout is not None
    next(line for line in watching.stdout if line.startswith("epoch 1/"))
    watching.send_signal(signal.SIGINT)
    _, said = watching.communicate(timeout=10)

    task_id = client.tasks(limit=1)["tasks"][0]["task_id"]
    assert watching.returncode == cli.DETACHED
    assert f"epochd watch {task_id}" in said
    assert client.task(task_id)["state"] == "running"
    client.stop(task_id)


def test_a_dataset_is_added_listed_shown_and_removed(run: Any, server: Server, tmp_path: Path) -> None:
    file = tmp_path / "colors.csv"
    file.write_text("x,color\n1,red\n2,red\n3,[blue]\n", encoding="utf-8")
    assert (
        run("datasets", "add", file, "--name", "paint", "--url", server.url).out
        == "paint: 3 rows, 2 columns, 29 bytes\n"
    )
    assert "paint" in run("datasets", "list", "--url", server.url).out
    shown = run("datasets", "show", "paint", "--url", server.url).out
    assert "red (2), [blue] (1)" in shown
    again = run("datasets", "add", file, "--name", "paint", "--url", server.url)
    assert (again.code, "replace" in again.err) == (cli.FAILED, True)
    assert run("datasets", "add", file, "--name", "paint", "--replace", "--url", server.url).code == 0
    assert run("datasets", "remove", "paint", "--url", server.url).code == 0
    assert run("datasets", "show", "paint", "--url", server.url).code == cli.FAILED


def test_a_path_of_the_server_gets_a_name(run: Any, server: Server) -> None:
    (server.data_dir / "datasets" / "far.csv").write_text("x,y\n1,2\n", encoding="utf-8")
    assert run("datasets", "add", "--name", "near", "--path", "far.csv", "--url", server.url).code == 0
    refused = run("datasets", "refresh", "near", "--url", server.url)
    assert "no query" in refused.err


@pytest.mark.parametrize(
    "arguments", [[], ["--path", "x.csv"], ["--name", "x", "--query", "SELECT 1"], ["missing.csv"]]
)
def test_what_to_add_must_be_clear(run: Any, server: Server, arguments: list[str]) -> None:
    assert run("datasets", "add", *arguments, "--url", server.url).code == cli.REFUSED


def test_an_unknown_task_is_said_so(run: Any, server: Server) -> None:
    failed = run("watch", "epoch_training_20200101_000000_abcdef", "--url", server.url)
    assert failed.code == cli.FAILED
    assert "epoch_training_20200101_000000_abcdef" in failed.err


METRICS = {
    "epoch": 3,
    "train_loss": 0.25,
    "train_accuracy": 0.9,
    "val_loss": 0.3,
    "val_accuracy": 0.875,
    "learning_rate": 0.001,
    "time_per_epoch": 2.0,
}


def test_the_bar_shows_epoch_figures_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(file=io.StringIO(), force_terminal=True, width=160, highlight=False)
    monkeypatch.setattr(cli, "out", terminal)
    with cli.display(33) as show:
        show({"type": "state", "state": "running"})
        show({"type": "log", "message": "an [odd] note"})
        show({"type": "progress", "progress": {"current_epoch": 3, "total_epochs": 33, "latest_metrics": METRICS}})
    text = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "running" in text
    assert "an [odd] note" in text
    assert "epoch 3/33  loss 0.25  val_loss 0.3  val_accuracy 0.875  lr 0.001  ≤ 1:00 left" in text


def test_regression_shows_r2_and_training_without_validation_its_own_figures() -> None:
    regression = METRICS | {"train_accuracy": None, "val_accuracy": None, "train_r2": 0.5, "val_r2": 0.4}
    alone = METRICS | {"val_loss": None, "val_accuracy": None}
    assert cli.figures(regression) == "loss 0.25  val_loss 0.3  val_R² 0.4  lr 0.001"
    assert cli.figures(alone) == "loss 0.25  train_accuracy 0.9  lr 0.001"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3661, "1:01:01")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert cli.duration(seconds) == text


def test_a_failure_is_shown_with_the_worker_s_last_lines(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"code": "worker_died", "message": "killed by signal 9", "log_tail": ["step 1", "[boom]"]}
    assert cli.conclude({"state": "failed", "error": error}) == cli.FAILED
    assert capsys.readouterr().out.splitlines() == ["failed killed by signal 9", "step 1", "[boom]"]
