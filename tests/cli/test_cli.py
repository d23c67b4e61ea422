"""The command as a whole: what it offers, how fast it starts, what it says when something is wrong."""

import subprocess
import sys
from typing import Any

import epochd
from epochd import client
from epochd.cli import console

from .conftest import Server


def test_the_version_is_printed(run: Any) -> None:
    assert run("version").out == f"epochd {epochd.__version__}\n"


def test_help_names_every_command(run: Any) -> None:
    text = run("--help").out
    about_tasks = ["train", "watch", "pause", "resume", "continue", "retry", "stop", "remove", "logs", "tasks"]
    for command in ["serve", *about_tasks, "datasets", "models", "predict", "version"]:
        assert f" {command} " in text


def test_the_command_line_starts_without_server_tables_or_frameworks() -> None:
    heavy = ["fastapi", "httpx", "uvicorn", "sqlalchemy", "polars", "numpy", "torch", "keras", "tensorflow", "jax"]
    program = f"import sys, epochd.cli; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_the_default_address_is_that_of_the_client() -> None:
    assert console.DEFAULT_URL == client.DEFAULT_URL


def test_an_unknown_task_is_said_so(run: Any, server: Server) -> None:
    failed = run("watch", "epoch_training_20200101_000000_abcdef", "--url", server.url)
    assert failed.code == console.FAILED
    assert "epoch_training_20200101_000000_abcdef" in failed.err
