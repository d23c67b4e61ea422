"""SIGTERM is obeyed whatever runs."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from tests.hostile.conftest import GRACE_SECONDS

SERVE_WITH_A_THREAD_THAT_NEVER_RETURNS = """
import asyncio, threading
from epochd.api import server
from epochd.core.settings import load

startup = server.Server.startup

async def started(self, sockets=None):
    asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    await startup(self, sockets)

server.Server.startup = started
server.EXIT_SECONDS = 2.0
server.serve(load())
"""


@pytest.mark.serial
def test_a_thread_that_never_returns_does_not_keep_the_server(tmp_path: Path) -> None:
    settings = {"EPOCHD_DATA_DIR": str(tmp_path / "data"), "EPOCHD_PORT": "0"}
    command = [sys.executable, "-c", SERVE_WITH_A_THREAD_THAT_NEVER_RETURNS]
    process = subprocess.Popen(command, env=os.environ | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1].decode()
    assert httpx.get(f"{url}/health", trust_env=False, timeout=10).status_code < 600
    before = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert time.monotonic() - before < GRACE_SECONDS
    assert process.returncode == 0
    assert b"the shutdown took longer than 2 s" in log
