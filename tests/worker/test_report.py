import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from epochd.core.errors import EpochdError, StaleAttempt
from epochd.core.events import FINAL_REPORTS, ReportKind
from epochd.core.jobs import Command
from epochd.loop.phases import PhaseTimer
from epochd.worker.report import BATCH_BYTES, BATCH_REPORTS, Reporter

WAIT = 10.0
Answer = Callable[[dict[str, Any]], httpx.Response]


def says(command: str = "continue", status: int = 200, code: str = "") -> httpx.Response:
    body = {"command": command} if status == 200 else {"success": False, "code": code}
    return httpx.Response(status, json=body)


class Desk(httpx.BaseTransport):
    """The server's side: keeps what arrives, answers what the test has laid out."""

    def __init__(self) -> None:
        self.answer: Answer = lambda body: says()
        self.requests: list[httpx.Request] = []
        self.bodies: list[dict[str, Any]] = []
        self._arrived = threading.Condition()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.read())
        try:
            return self.answer(body)
        finally:
            with self._arrived:
                self.requests.append(request)
                self.bodies.append(body)
                self._arrived.notify_all()

    @property
    def numbers(self) -> list[int]:
        return [report["number"] for body in self.bodies for report in body["reports"]]

    def wait_for(self, condition: Callable[[], Any]) -> None:
        with self._arrived:
            assert self._arrived.wait_for(condition, WAIT), self.bodies


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def open_reporter(desk: Desk) -> Iterator[Callable[..., Reporter]]:
    """Reporters with a heartbeat that never comes by itself, unless asked for; closed after the test."""
    opened: list[Reporter] = []

    def open_one(interval: float = 60.0) -> Reporter:
        reporter = Reporter("http://server", "task", 3, "secret", 300.0, interval=interval, transport=desk)
        opened.append(reporter)
        return reporter

    yield open_one
    for reporter in opened:
        reporter._failure = None
        reporter.close(0)
        reporter._thread.join(WAIT)


def wait_for_error(reporter: Reporter) -> EpochdError:
    reporter._thread.join(WAIT)
    with pytest.raises(EpochdError) as caught:
        reporter.command()
    return caught.value


def test_reports_are_numbered_from_1_and_carry_attempt_and_token(desk, open_reporter):
    reporter = open_reporter()
    reporter.emit(ReportKind.STARTED, {"engine": "pytorch"})
    reporter.emit(ReportKind.EPOCH, {"metrics": {"epoch": 1}})
    assert reporter.close(WAIT)
    assert desk.numbers == [1, 2]
    assert desk.bodies[0]["attempt"] == 3
    assert desk.bodies[0]["reports"][0] == {"number": 1, "kind": "started", "payload": {"engine": "pytorch"}}
    assert desk.requests[0].headers["authorization"] == "Bearer secret"
    assert desk.requests[0].url == "http://server/internal/attempts/task/report"


def test_the_first_report_goes_at_once_and_a_burst_in_few_requests(desk, open_reporter):
    reporter = open_reporter()
    for epoch in range(300):
        reporter.emit(ReportKind.EPOCH, {"epoch": epoch})
    assert reporter.close(WAIT)
    assert desk.numbers == list(range(1, 301))
    assert len(desk.bodies) < 30


def test_a_request_is_bounded_in_reports_and_in_bytes(desk, open_reporter):
    desk.answer = lambda body: says(status=503)
    reporter = open_reporter()
    reporter.emit(ReportKind.LOG, {"message": "first"})
    desk.wait_for(lambda: desk.bodies)
    for _ in range(BATCH_REPORTS + 1):
        reporter.emit(ReportKind.LOG, {"message": "short"})
    for _ in range(3):
        reporter.emit(ReportKind.LOG, {"message": "x" * (BATCH_BYTES // 2)})
    desk.bodies.clear()
    desk.answer = lambda body: says()
    assert reporter.close(WAIT)
    delivered = [body for body in desk.bodies if body["reports"]]
    assert max(len(body["reports"]) for body in delivered) == BATCH_REPORTS
    assert max(len(json.dumps(body)) for body in delivered) < 1.2 * BATCH_BYTES
    assert reporter._numbers in desk.numbers


def test_heartbeats_bring_the_newest_command(desk, open_reporter):
    reporter = open_reporter(interval=0.001)
    assert reporter.command() is Command.CONTINUE
    desk.answer = lambda body: says("pause")
    count = len(desk.bodies)
    desk.wait_for(lambda: len(desk.bodies) > count + 2)
    assert reporter.command() is Command.PAUSE
    assert desk.numbers == []


def test_release_from_this_side_gives_way_to_what_the_server_wants(desk, open_reporter):
    reporter = open_reporter(interval=0.001)
    reporter.release()
    assert reporter.command() is Command.RELEASE
    desk.answer = lambda body: says("cancel")
    count = len(desk.bodies)
    desk.wait_for(lambda: len(desk.bodies) > count + 2)
    assert reporter.command() is Command.CANCEL


def test_reports_are_kept_and_sent_again_while_the_server_is_away(desk, open_reporter, caplog):
    def away(body: dict[str, Any]) -> httpx.Response:
        if len(desk.bodies) % 2:
            return says(status=502)
        raise httpx.ConnectError("connection refused")

    desk.answer = away
    caplog.set_level(logging.INFO, "epochd.worker.report")
    reporter = open_reporter()
    for epoch in (1, 2, 3):
        reporter.emit(ReportKind.EPOCH, {"epoch": epoch})
    desk.wait_for(lambda: len(desk.bodies) >= 2)
    desk.bodies.clear()
    desk.answer = lambda body: says()
    assert reporter.close(WAIT)
    assert sorted(set(desk.numbers)) == [1, 2, 3]
    ours = [record.getMessage() for record in caplog.records if record.name == "epochd.worker.report"]
    assert ["the server is unreachable" in ours[0], "the server is reachable again" in ours[1], len(ours)] == [
        True,
        True,
        2,
    ]


def test_close_says_so_when_not_everything_could_be_delivered(desk, open_reporter):
    desk.answer = lambda body: says(status=503)
    reporter = open_reporter()
    reporter.emit(ReportKind.COMPLETED, {})
    assert reporter.close(0.05) is False


@pytest.mark.parametrize("answer", [says(status=409, code="stale_attempt"), says(status=401)])
def test_a_fenced_attempt_hears_of_it_and_sends_nothing_more(desk, open_reporter, answer):
    desk.answer = lambda body: answer
    reporter = open_reporter()
    reporter.emit(ReportKind.EPOCH, {"epoch": 1})
    assert isinstance(wait_for_error(reporter), StaleAttempt)
    with pytest.raises(StaleAttempt):
        reporter.emit(ReportKind.EPOCH, {"epoch": 2})
    with pytest.raises(StaleAttempt):
        reporter.close(WAIT)
    assert desk.numbers == [1]


@pytest.mark.parametrize(
    "answer",
    [
        says(status=422, code="invalid_report"),
        says(status=409, code="illegal_move"),
        says("dance"),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=["continue"]),
    ],
)
def test_an_answer_that_only_a_bug_explains_is_an_error_and_no_fencing(desk, open_reporter, answer):
    desk.answer = lambda body: answer
    reporter = open_reporter()
    reporter.emit(ReportKind.EPOCH, {"epoch": 1})
    error = wait_for_error(reporter)
    assert not isinstance(error, StaleAttempt)
    assert f"the server answered {answer.status_code}" in error.message


def test_a_reporter_thread_that_dies_surfaces_in_command_and_close(desk, open_reporter, caplog):
    def fail(body: dict[str, Any]) -> httpx.Response:
        raise ZeroDivisionError("a bug")

    desk.answer = fail
    reporter = open_reporter()
    reporter.emit(ReportKind.EPOCH, {"epoch": 1})
    assert "ZeroDivisionError: a bug" in wait_for_error(reporter).message
    with pytest.raises(EpochdError, match="reporter failed"):
        reporter.close(WAIT)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_is_not_plain_json_is_refused_where_it_is_emitted(desk, open_reporter, value):
    reporter = open_reporter()
    with pytest.raises(EpochdError, match="a report of kind epoch cannot be sent"):
        reporter.emit(ReportKind.EPOCH, {"loss": value})
    reporter.emit(ReportKind.EPOCH, {"loss": None})
    assert reporter.close(WAIT)
    assert desk.numbers == [1]


def test_nothing_follows_a_last_word_not_even_a_heartbeat(desk, open_reporter):
    reporter = open_reporter(interval=0.001)
    reporter.emit(ReportKind.COMPLETED, {})
    with pytest.raises(EpochdError, match="cannot report log after completed"):
        reporter.emit(ReportKind.LOG, {})
    assert reporter.close(WAIT)
    assert desk.bodies[-1]["reports"][-1]["kind"] == "completed"
    assert reporter.last_word is ReportKind.COMPLETED


def test_a_payload_that_changes_after_it_was_emitted_is_sent_as_it_was(desk, open_reporter):
    gate = threading.Event()
    desk.answer = lambda body: says() if gate.wait(WAIT) else says(status=500)
    reporter = open_reporter()
    row = {"epoch": 1}
    reporter.emit(ReportKind.EPOCH, row)
    reporter.emit(ReportKind.EPOCH, row)
    row["epoch"] = 99
    gate.set()
    assert reporter.close(WAIT)
    assert {report["payload"]["epoch"] for body in desk.bodies for report in body["reports"]} == {1}


def test_requests_share_one_connection_and_ignore_proxies_of_the_environment(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    connections: set[Any] = set()
    requests: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            connections.add(self.client_address)
            requests.append(self.rfile.read(int(self.headers["content-length"])))
            answer = b'{"command": "continue"}'
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        reporter = Reporter(f"http://127.0.0.1:{server.server_port}", "task", 1, "secret", 15.0, interval=0.01)
        for epoch in range(20):
            reporter.emit(ReportKind.EPOCH, {"epoch": epoch})
            reporter._thread.join(0.005)
        assert reporter.close(WAIT)
        server.shutdown()
    assert len(requests) > 2
    assert len(connections) == 1


def test_a_heartbeat_tells_how_long_ago_the_last_step_was(desk, open_reporter):
    reporter = open_reporter(0.01)
    desk.wait_for(lambda: desk.bodies and desk.bodies[-1]["idle"] is None)
    reporter.command()
    desk.wait_for(lambda: desk.bodies[-1]["idle"] is not None)
    assert 0 <= desk.bodies[-1]["idle"] < WAIT


def test_a_server_that_stays_away_beyond_the_grace_releases_the_training(desk):
    desk.answer = lambda body: says(status=503)
    reporter = Reporter("http://server", "task", 3, "secret", 1.0, grace_seconds=0.05, interval=0.01, transport=desk)
    while reporter.command() is Command.CONTINUE:
        assert len(desk.bodies) < 100
    reporter.emit(ReportKind.PAUSED, {})
    assert reporter.close() is False


def test_confirming_waits_for_an_answer_of_its_own(desk, open_reporter):
    reporter = open_reporter(0.01)
    reporter.emit(ReportKind.EPOCH, {})
    reporter.confirm()
    assert desk.numbers == [1]
    desk.answer = lambda body: says(status=409, code="stale_attempt")
    with pytest.raises(StaleAttempt):
        reporter.confirm()


@pytest.mark.parametrize("kind", sorted(FINAL_REPORTS))
def test_every_kind_of_final_report_has_the_seconds_of_the_training(desk, open_reporter, kind: ReportKind) -> None:
    reporter = open_reporter()
    reporter.timer = PhaseTimer()
    reporter.emit(ReportKind.LOG, {"level": "info", "message": "it goes on"})
    reporter.emit(kind, {"code": "a"})
    reporter.close()
    log, last = [report["payload"] for body in desk.bodies for report in body["reports"]]
    assert "timings" not in log
    assert last["code"] == "a"
    assert last["timings"]["data"] > 0
