"""The real thing in a process of its own: start, end, log, and what it never imports."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from epochd.api.server import bind, url_of
from epochd.core.errors import SettingsError
from tests.support.house import CONFIG

API = "/api/v1/epoch-training"
SERVE = "from epochd.core import settings; from epochd.api import server; server.serve(settings.load())"

COMMAND = "import sys; from epochd.cli import main; sys.argv = ['epochd', 'serve']; main()"


class Process:
    """``serve`` as a child process, on a free port."""

    def __init__(self, folder: Path, program: str = SERVE, **settings: str) -> None:
        self.folder = folder
        env = os.environ | {"EPOCHD_DATA_DIR": str(folder), "EPOCHD_PORT": "0", "EPOCHD_SLOTS": "1"} | settings
        self.child = subprocess.Popen(
            [sys.executable, "-c", program], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.child.stdout is not None
        self.line = self.child.stdout.readline().strip()
        self.url = self.line.split()[-1] if self.line else ""

    def close(self) -> None:
        if self.child.poll() is None:
            self.child.kill()
            self.child.communicate()

    def end(self) -> tuple[float, str]:
        """Send SIGTERM; the seconds until the process is gone, and what it logged."""
        before = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        _, log = self.child.communicate(timeout=20)
        return time.monotonic() - before, log


@pytest.fixture
def open_process(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts servers, which are killed after the test."""
    with ExitStack() as stack:

        def opened(program: str = SERVE, **settings: str) -> Process:
            process = Process(tmp_path / "data", program, **settings)
            stack.callback(process.close)
            return process

        yield opened


@pytest.fixture
def process(open_process: Callable[..., Process]) -> Process:
    return open_process()


def test_it_says_where_it_listens_and_is_healthy_at_once(process):
    assert re.fullmatch(r"epochd \S+ listens on http://127\.0\.0\.1:\d+", process.line)
    assert httpx.get(process.url + "/health").json()["status"] == "ok"


LIBRARIES = """
import sys
import epochd.cli, epochd.api.server
own = {*sys.stdlib_module_names, "epochd", "__main__"}
print(*(name for name in sys.modules if name.partition(".")[0] not in own))
"""
IMPORT = """
import importlib, sys, time
from contextlib import suppress
for name in sys.argv[1:]:
    with suppress(ImportError):  # the helpers that extension modules add to ``sys.modules``
        importlib.import_module(name)
print(time.process_time())
"""


@pytest.mark.serial
def test_starting_costs_little_more_than_the_import_of_its_libraries(open_process):
    """In processor time, each start against imports right before it: a busy machine makes both slow. The first start
    also creates the database."""
    libraries = subprocess.check_output([sys.executable, "-c", LIBRARIES], text=True).split()
    ratios = []
    with httpx.Client() as client:
        for _ in range(3):
            imported = float(subprocess.check_output([sys.executable, "-c", IMPORT, *libraries], text=True))
            process = open_process(COMMAND)
            assert client.get(process.url + "/health").status_code == 200
            times = psutil.Process(process.child.pid).cpu_times()
            process.end()
            ratios.append((times.user + times.system) / imported)
    assert min(ratios) < 1.7


def test_a_second_server_is_kept_out_of_the_data_directory(process, open_process):
    other = open_process()
    _, log = other.child.communicate(timeout=20)
    assert "another epochd server is using" in log


@pytest.mark.serial
def test_sigterm_with_open_streams_ends_it_in_under_two_seconds_and_tells_them(process, tmp_path):
    task_id = httpx.post(f"{process.url}{API}/start", json=CONFIG | {"epochs": 100_000}).json()["task_id"]
    told: list[str] = []

    def follow() -> None:
        with httpx.stream(
            "GET", f"{process.url}{API}/stream-progress/{task_id}?last_event_id=0000", timeout=20
        ) as answer:
            streaming.release()
            told.append([line for line in answer.iter_lines() if line.startswith("data:")][-1])

    streaming = threading.Semaphore(0)
    followers = [threading.Thread(target=follow) for _ in range(3)]
    for follower in followers:
        follower.start()
        streaming.acquire()
    seconds, log = process.end()
    for follower in followers:
        follower.join()
    assert seconds < 2
    assert process.child.returncode == 0
    assert [json.loads(line[5:])["type"] for line in told] == ["server_shutdown"] * 3
    assert "Traceback" not in log
    assert "last_event_id" not in log
    assert f"/stream-progress/{task_id}" in log


def test_the_server_process_imports_no_framework(tmp_path):
    program = f"""
import asyncio, sys
from epochd.api.app import create_app
from epochd.core.settings import Settings
import httpx

async def main():
    app = create_app(Settings(data_dir={str(tmp_path)!r}, slots=1))
    async with app.router.lifespan_context(app):
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost")
        answer = await http.post({API + "/start"!r}, json={CONFIG!r})
        assert answer.status_code == 200, answer.text
    print(sorted(sys.modules.keys() & {{"torch", "tensorflow", "keras", "jax"}}))

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_answer_does_not_wait_for_an_acknowledgement():
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_busy_port_is_said_with_what_to_do():
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port {port}: the port is in use\. Set EPOCHD_PORT"):
            bind("127.0.0.1", port)


def test_an_address_of_another_machine_is_said_with_what_to_do():
    with pytest.raises(SettingsError, match="Set EPOCHD_HOST"):
        bind("192.0.2.1", 0)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:"), ("0.0.0.0", "http://127.0.0.1:"), ("localhost", "http://localhost:")],
)
def test_the_url_is_one_that_workers_reach(host, url):
    with bind(host, 0) as listener:
        port = listener.getsockname()[1]
        assert url_of(host, listener) == f"{url}{port}"
        socket.create_connection(("127.0.0.1", port), timeout=2).close()


def test_ipv6_literals_are_bracketed():
    with bind("127.0.0.1", 0) as listener:
        assert url_of("::", listener).startswith("http://[::1]:")


def test_without_a_framework_it_is_unhealthy_with_a_command_and_the_log_has_no_traceback(open_process):
    program = f"from epochd.engines import registry; registry.find_spec = lambda module: None; {SERVE}"
    process = open_process(program)
    answer = httpx.get(process.url + "/health")
    refused = httpx.post(f"{process.url}{API}/start", json=CONFIG)
    _, log = process.end()
    assert answer.status_code == 503
    assert answer.json()["message"].startswith("nothing can be trained: no deep-learning framework is installed. ")
    assert (refused.status_code, refused.json()["code"]) == (422, "framework_missing")
    assert answer.json()["message"] in log
    assert "Traceback" not in log
    assert process.child.returncode == 0


def test_the_log_is_json_lines_by_a_setting_and_warns_of_unknown_variables(open_process):
    process = open_process(EPOCHD_LOG_FORMAT="json", EPOCHD_SLOT="3", EPOCHD_TOKNES="hush")
    assert httpx.get(process.url + "/api/v1/epoch-training/tasks/%C2%9D%E2%80%AE%0Ax").status_code == 404
    _, log = process.end()
    lines = [json.loads(line) for line in log.splitlines()]
    warned = [line["message"] for line in lines if "environment variable" in line["message"]]
    unknown = "is not known and has no effect; did you mean"
    assert warned == [
        f"the environment variable EPOCHD_SLOT {unknown} EPOCHD_SLOTS?",
        f"the environment variable EPOCHD_TOKNES {unknown} EPOCHD_TOKENS?",
    ]
    assert [line["status"] for line in lines if line["logger"] == "uvicorn.access"] == [404]
    told = [line["message"] for line in lines if "loop_watchdog" not in line["logger"]]  # it tells of a busy machine
    assert told[-1] == "epochd shuts down"
    assert "hush" not in log
