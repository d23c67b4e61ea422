"""Logs from a shell, live."""

import signal
import subprocess
from pathlib import Path
from typing import Any

from epochd.cli import console
from epochd.client import Client

from .conftest import COMMAND, CONFIG, ENDLESS, Server


def log_of(server: Server, task_id: str) -> Path:
    return server.data_dir / "logs" / task_id / "1.log"


def test_a_log_is_followed_until_the_task_has_ended(run: Any, server: Server, client: Client) -> None:
    task_id = client.start(CONFIG)["task_id"]
    assert [event["type"] for event in client.stream(task_id)][-1] == "complete"
    log_of(server, task_id).write_text("one\ntwo\nthree\n", encoding="utf-8")
    followed = run("logs", task_id, "--follow", "--attempt", 1, "--tail", 2, "--url", server.url)
    assert (followed.code, followed.out) == (0, "two\nthree\n")


def test_ctrl_c_ends_the_following_silently(server: Server, client: Client) -> None:
    task_id = client.start(ENDLESS)["task_id"]
    next(event for event in client.stream(task_id) if event["type"] == "progress")
    with log_of(server, task_id).open("a", encoding="utf-8") as log:
        log.write("something\n")
    command = [*COMMAND, "logs", task_id, "--follow", "--url", server.url]
    following = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert following.stdout is not None
    next(line for line in following.stdout if line == "something\n")
    following.send_signal(signal.SIGINT)
    _, said = following.communicate(timeout=10)
    assert (following.returncode, said) == (console.DETACHED, "")
    client.stop(task_id)
