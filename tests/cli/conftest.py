"""The command line as a user runs it, against a real server with a real worker."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from epochd import cli
from epochd.client import Client

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
        environment = os.environ | {"EPOCHD_LANGUAGE": "en"}
        self.process = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True, env=environment)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]

    def stop(self) -> int:
        self.process.terminate()
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHD_LANGUAGE", "en")


@pytest.fixture(scope="package")
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
