import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support import tickets

from epochd.core.tickets import Ticket
from epochd.dispatch.host import memory
from epochd.engines import registry

WAIT = 20.0
SCRIPTED = Path(__file__).parents[1] / "support" / "scripted.py"


class Server:
    """The report endpoint on a real port."""

    def __init__(self) -> None:
        self.reports: list[dict[str, Any]] = []
        self.status, self.answer = 200, {"command": "continue"}
        self.arrived = threading.Condition()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                answer = json.dumps(server.answer).encode()
                with server.arrived:
                    server.reports.extend(body["reports"])
                    server.arrived.notify_all()
                self.send_response(server.status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *args: object) -> None: ...

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def kinds(self) -> list[str]:
        return [report["kind"] for report in self.reports]

    def wait_for(self, kind: str) -> None:
        with self.arrived:
            assert self.arrived.wait_for(lambda: kind in self.kinds, WAIT), self.kinds


class Process:
    """A worker process, from the executor's end of its pipes."""

    def __init__(self, command: list[str], framework: str = "pytorch") -> None:
        read_end, write_end = os.pipe()
        self.popen = subprocess.Popen(
            [*command, "--framework", framework, f"--protocol-fd={write_end}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(write_end,),
            start_new_session=True,
        )
        os.close(write_end)
        self.words = os.fdopen(read_end)

    def hear(self) -> str:
        return self.words.readline().strip()

    def send(self, ticket: Ticket) -> None:
        self.popen.stdin.write(ticket.model_dump_json().encode() + b"\n")
        self.popen.stdin.flush()

    def exit_code(self) -> int:
        return self.popen.wait(WAIT)

    def end(self) -> None:
        self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()
        self.words.close()
        with suppress(BrokenPipeError):
            self.popen.stdin.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process([sys.executable, str(SCRIPTED)])
    assert process.hear() == "ready"
    yield process
    process.end()


@pytest.fixture
def ticket(server: Server, tmp_path: Path) -> Callable[..., Ticket]:
    def make(name: str, attempt: int = 1) -> Ticket:
        return tickets.ticket(tmp_path, server_url=server.url, name=name, attempt=attempt)

    return make


def log_of(ticket: Ticket) -> str:
    return (ticket.data_dir / "logs" / ticket.task_id / f"{ticket.attempt}.log").read_text()


def test_a_completed_ticket_is_reported_then_done_and_the_process_takes_the_next(process, server, ticket):
    for attempt in (1, 2):
        process.send(ticket("complete", attempt))
        assert process.hear() == f"done task {attempt}"
        assert process.hear() == "ready"
    assert server.kinds == ["epoch", "completed"] * 2


def test_what_a_job_prints_at_any_level_is_in_its_own_log_only(process, server, ticket):
    process.send(first := ticket("complete", 1))
    process.hear(), process.hear()
    process.send(second := ticket("complete", 2))
    process.hear(), process.hear()
    process.popen.stdin.close()
    assert process.popen.stdout.read() == b"warm pytorch\n"
    assert sorted(log_of(first).splitlines()) == ["printed by Python", "written below Python"]
    assert log_of(first) == log_of(second)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the server alone looks after memory")
def test_a_worker_limits_itself_unless_a_group_does_and_only_during_its_ticket(process, server, ticket):
    told = []
    for attempt, limits in enumerate(({"memory_mb": 512}, {"memory_mb": 512, "is_memory_capped": True}, {}), 1):
        process.send(sent := ticket("tell the limit", attempt).model_copy(update=limits))
        process.hear(), process.hear()
        told.append(int(log_of(sent)))
    assert told == [pytest.approx(512 * 2**20, abs=512 * 2**20), *[resource.getrlimit(resource.RLIMIT_DATA)[0]] * 2]


def test_end_of_input_ends_an_idle_worker(process):
    process.popen.stdin.close()
    assert process.exit_code() == 0


def test_end_of_input_does_not_end_a_training(process, server, ticket):
    process.send(ticket("wait, then complete"))
    server.wait_for("started")
    process.popen.stdin.close()
    server.answer = {"command": "pause"}
    assert process.exit_code() == 0
    assert server.kinds == ["started", "completed"]


@pytest.mark.parametrize(("command", "word"), [("pause", "paused"), ("cancel", "cancelled"), ("release", "paused")])
def test_a_process_whose_job_was_paused_or_cancelled_takes_another(process, server, ticket, command, word):
    process.send(ticket("wait"))
    server.wait_for("started")
    server.answer = {"command": command}
    assert [process.hear(), process.hear()] == ["done task 1", "ready"]
    server.answer = {"command": "continue"}
    process.send(ticket("complete", 2))
    assert [process.hear(), process.hear()] == ["done task 2", "ready"]
    assert server.kinds == ["started", word, "epoch", "completed"]


def test_a_ticket_that_needs_another_process_is_returned_without_a_report_and_the_process_takes_another(
    process, server, ticket
):
    process.send(sent := ticket("need another process"))
    assert [process.hear(), process.hear()] == ["return task 1 2x1", "ready"]
    assert server.kinds == []
    assert "it starts again in another process" in log_of(sent)
    process.send(ticket("complete", 2))
    assert process.hear() == "done task 2"


def test_an_exception_becomes_a_failure_with_its_traceback_in_the_log(process, server, ticket):
    process.send(sent := ticket("raise"))
    assert process.hear() == "done task 1"
    assert process.exit_code() == 1
    failure = server.reports[-1]["payload"]
    assert failure["code"] == "internal_error"
    assert "an unexpected RuntimeError ended the training: the dice fell badly" in failure["message"]
    assert "Traceback" in log_of(sent)


def test_an_error_of_ours_keeps_its_code_and_problems(process, server, ticket):
    process.send(ticket("raise data error"))
    assert process.exit_code() == 1
    assert server.reports[-1] == {
        "number": 1,
        "kind": "failed",
        "payload": {
            "code": "data_error",
            "message": "dataset: it is gone",
            "problems": [{"field": "dataset", "message": "it is gone", "hint": "bring it back"}],
        },
    }


def test_a_lost_rank_is_a_crash_and_what_was_measured_is_delivered_first(process, server, ticket):
    process.send(ticket("lose a rank"))
    assert process.popen.wait(WAIT) == 71
    assert server.kinds == ["epoch"]


def test_a_full_disk_holds_the_task_and_says_how_much_is_needed(process, server, ticket):
    process.send(ticket("run out of room"))
    server.wait_for("held")
    assert server.reports[-1]["payload"]["needed_bytes"] == 1000
    assert process.popen.wait(WAIT) == 0


def test_a_training_whose_data_are_gone_waits_where_it_has_got_to(process, server, ticket):
    process.send(ticket("raise data error").model_copy(update={"checkpoint": "checkpoints/task/1"}))
    server.wait_for("held")
    payload = server.reports[-1]["payload"]
    assert (payload["code"], payload["problems"][0]["field"]) == ("data_error", "dataset")
    assert "correct the data, then resume it" in payload["message"]


def test_an_exception_after_the_last_word_changes_nothing(process, server, ticket):
    process.send(sent := ticket("raise after the last word"))
    assert [process.hear(), process.hear()] == ["done task 1", "ready"]
    assert server.kinds == ["completed"]
    assert "too late" in log_of(sent)


def test_a_fenced_attempt_ends_quietly_and_reports_nothing(process, server, ticket):
    process.send(sent := ticket("wait"))
    server.wait_for("started")
    server.status, server.answer = 409, {"code": "stale_attempt"}
    assert process.exit_code() == 0
    assert server.kinds == ["started"]
    assert "no longer owns its task" in log_of(sent)


def test_sigterm_lets_a_training_save_its_work(process, server, ticket):
    process.send(ticket("wait"))
    server.wait_for("started")
    process.popen.send_signal(signal.SIGTERM)
    assert [process.hear(), process.hear()] == ["done task 1", ""]
    assert process.exit_code() == 0
    assert server.kinds == ["started", "paused"]


def test_sigterm_ends_an_idle_worker(process):
    process.popen.send_signal(signal.SIGTERM)
    assert process.exit_code() == 0


def test_sigint_is_left_to_the_server(process, server, ticket):
    process.popen.send_signal(signal.SIGINT)
    process.send(ticket("complete"))
    assert process.hear() == "done task 1"


def test_a_crash_below_python_leaves_its_stack_in_the_log(process, server, ticket):
    process.send(sent := ticket("segfault"))
    assert process.hear() == ""
    assert process.exit_code() == -signal.SIGSEGV
    assert "Segmentation fault" in log_of(sent)


def test_a_framework_that_cannot_be_imported_says_so_and_is_never_ready():
    command = [sys.executable, "-P", "-m", "epochd.worker", "--framework", "nonsense", "--protocol-fd=1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert ended.returncode == 1
    assert "ready" not in ended.stdout
    assert "framework 'nonsense' is not available" in ended.stderr


def test_a_missing_framework_is_a_sentence_on_standard_error_without_a_traceback():
    hide = "from epochd.engines import registry; registry.find_spec = lambda module: None"
    program = f"{hide}; from epochd.worker.__main__ import main; main(['--framework', 'jax', '--protocol-fd', '2'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT)
    assert done.returncode == 1
    assert done.stderr.startswith("framework 'jax' is not installed on the server. On the server run: ")
    assert done.stderr.count("\n") == 1


PATIENT = """
import signal, sys
from epochd.worker import __main__ as worker

worker.DRAW_AFTER_SECONDS = 3600.0
signal.signal(signal.SIGUSR1, lambda *_: setattr(worker, "DRAW_AFTER_SECONDS", 0.1))
sys.exit(worker.main())
"""


def test_reports_are_drawn_when_no_ticket_waits(server, tmp_path):
    process = Process([sys.executable, "-c", PATIENT])
    try:
        process.hear()
        given = [
            tickets.ticket(
                tmp_path,
                **{"task_id": f"task-{number}", "server_url": server.url, "dataset": "iris"},
                report=True,
                epochs=1,
            )
            for number in range(3)
        ]
        pages = [ticket.artifact_dir / "report.html" for ticket in given]
        for ticket in given:
            assert not any(page.exists() for page in pages)
            if ticket is given[-1]:  # after which no other one comes
                process.popen.send_signal(signal.SIGUSR1)
            process.send(ticket)
            assert [process.hear(), process.hear()] == [f"done {ticket.task_id} 1", "ready"]
        until = time.monotonic() + WAIT
        while not all(page.exists() for page in pages):
            assert time.monotonic() < until, process.popen.poll()
            time.sleep(0.05)
    finally:
        process.end()


@pytest.mark.long
@pytest.mark.parametrize("framework", registry.installed())
def test_a_reused_process_leaks_less_than_a_megabyte_a_training(server, tmp_path, framework):
    """Trainings of three shapes in turn, each with other hyperparameters, once every shape has been compiled."""
    count = int(os.environ.get("REUSED_TRAININGS", "300"))
    process = Process([sys.executable, "-m", "epochd.worker"], framework)
    sizes = []
    try:
        assert process.hear().split()[0] == "ready"
        for number in range(30 + count):
            shape = [{}, {"hidden_units": [32]}, {"model_type": "cnn", "hidden_units": [8]}][number % 3]
            options = shape | {"seed": number, "learning_rate": 1e-4 * (1 + number % 7), "epochs": 2}
            values = {"task_id": f"task-{number}", "server_url": server.url, "dataset": "breast_cancer"}
            process.send(tickets.ticket(tmp_path, **values, framework=framework, **options))
            assert process.hear() == f"done task-{number} 1"
            assert process.hear().split()[0] == "ready"
            sizes.append(memory.used_by_processes([process.popen.pid])[process.popen.pid] / 2**20)
    finally:
        process.end()
    growth = (sizes[-1] - sizes[29]) / count
    print(f"{framework}: {sizes[0]:.0f} MiB, {sizes[29]:.0f} after 30, {sizes[-1]:.0f} at the end: {growth:.3f} each")
    assert growth < 1
