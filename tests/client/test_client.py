"""The client against scripted answers: errors become classes, broken streams are taken up again."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from epochd.client import Client
from epochd.core import specs
from epochd.core.errors import EpochdError, IllegalMove, InvalidSpec, NotFound, Problem, ServerUnreachable

Handler = Callable[[httpx.Request], httpx.Response]


def client(handler: Handler, token: str | None = None) -> Client:
    return Client("http://server", token, transport=httpx.MockTransport(handler))


def refused(kind: EpochdError) -> Handler:
    return lambda request: httpx.Response(kind.status, json=kind.as_json())


def sse(seq: int, kind: str) -> bytes:
    return f"id: {seq}\ndata: {json.dumps({'type': kind, 'seq': seq})}\n\n".encode()


class Broken(httpx.SyncByteStream):
    """Some events, then the connection is gone in the middle of the next."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        raise httpx.ReadError("connection reset")


def event_stream(body: bytes | httpx.SyncByteStream) -> httpx.Response:
    headers = {"Content-Type": "text/event-stream"}
    if isinstance(body, bytes):
        return httpx.Response(200, headers=headers, content=body)
    return httpx.Response(200, headers=headers, stream=body)


class Script:
    """Answers one request after another; remembers what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def last_ids(self) -> list[str | None]:
        return [request.headers.get("Last-Event-ID") for request in self.requests]


def test_start_posts_the_config_and_returns_the_answer() -> None:
    script = Script(httpx.Response(200, json={"success": True, "task_id": "t1"}))
    answer = client(script).start({"target_column": "y"})
    assert answer["task_id"] == "t1"
    assert str(script.requests[0].url) == "http://server/api/v1/epoch-training/start"
    assert json.loads(script.requests[0].content) == {"target_column": "y"}


def test_a_spec_is_sent_without_the_defaults_it_never_set() -> None:
    script = Script(httpx.Response(200, json={}))
    client(script).start(specs.parse({"target_column": "y", "validation_split": 0}))
    assert json.loads(script.requests[0].content) == {"target_column": "y", "validation_split": 0}


def test_the_token_travels_in_a_header_and_never_in_the_url() -> None:
    script = Script(httpx.Response(200, json={}))
    client(script, token="s3cret").task("t1")
    assert script.requests[0].headers["Authorization"] == "Bearer s3cret"
    assert "s3cret" not in str(script.requests[0].url)


def test_a_task_id_cannot_change_the_path() -> None:
    script = Script(httpx.Response(200, json={}))
    client(script).progress("../start?x=1")
    assert script.requests[0].url.raw_path == b"/api/v1/epoch-training/progress/..%2Fstart%3Fx%3D1"


def test_options_that_were_not_given_are_not_sent() -> None:
    script = Script(httpx.Response(200, json={}), httpx.Response(200, json={}))
    with client(script) as speaker:
        speaker.tasks(state="running")
        speaker.pause("t1", wait=0)
    assert dict(script.requests[0].url.params) == {"state": "running", "limit": "50", "offset": "0"}
    assert dict(script.requests[1].url.params) == {"wait": "0"}


def test_an_upload_is_streamed_and_counted(tmp_path: Path) -> None:
    (tmp_path / "a b.csv").write_bytes(b"x\n" * 300_000)
    script, steps = Script(httpx.Response(201, json={"name": "a"})), []
    client(script).upload_dataset(tmp_path / "a b.csv", "a", progress=lambda sent, total: steps.append((sent, total)))
    request = script.requests[0]
    assert dict(request.url.params) == {"name": "a", "filename": "a b.csv"}
    assert request.headers["Content-Length"] == "600000"
    assert "Transfer-Encoding" not in request.headers
    assert (steps[0], steps[-1], len(steps)) == ((0, 600_000), (600_000, 600_000), 4)


def test_datasets_are_brought_looked_at_and_removed() -> None:
    script = Script(*[httpx.Response(200, json={}) for _ in range(6)])
    with client(script) as speaker:
        speaker.register_dataset("n", "a.csv", replace=True)
        speaker.query_dataset("n", "shop", "SELECT 1")
        speaker.datasets(name="n")
        speaker.dataset("../x")
        speaker.refresh_dataset("n")
        speaker.remove_dataset("n")
    asked = [f"{request.method} {request.url.raw_path.decode()}" for request in script.requests]
    prefix = "/api/v1/datasets"
    assert asked == [
        f"POST {prefix}?replace=true",
        f"POST {prefix}",
        f"GET {prefix}?name=n&limit=50&offset=0",
        f"GET {prefix}/..%2Fx",
        f"POST {prefix}/n/refresh",
        f"DELETE {prefix}/n",
    ]
    assert json.loads(script.requests[1].content) == {"name": "n", "connection": "shop", "query": "SELECT 1"}


def test_a_task_is_removed_with_its_model_unless_that_is_kept() -> None:
    script = Script(httpx.Response(200, json={}), httpx.Response(200, json={}))
    with client(script) as speaker:
        speaker.remove("t1")
        speaker.remove("../x", keep_model=True)
    asked = [f"{request.method} {request.url.raw_path.decode()}" for request in script.requests]
    prefix = "DELETE /api/v1/epoch-training/tasks"
    assert asked == [f"{prefix}/t1", f"{prefix}/..%2Fx?keep_model=true"]


def test_a_report_is_a_text_and_its_errors_are_errors() -> None:
    page = httpx.Response(200, headers={"Content-Type": "text/html; charset=utf-8"}, text="<p>报告</p>")
    script = Script(
        page, httpx.Response(409, json=IllegalMove("it is running").as_json()), httpx.Response(200, json={})
    )
    with client(script) as speaker:
        assert speaker.report("t1", "zh") == "<p>报告</p>"
        with pytest.raises(IllegalMove, match="it is running"):
            speaker.report("../x")
        with pytest.raises(ServerUnreachable, match="not in the format"):
            speaker.report("t1")
    asked = [request.url.raw_path.decode() for request in script.requests]
    prefix = "/api/v1/epoch-training/tasks"
    assert asked == [f"{prefix}/t1/report?lang=zh", f"{prefix}/..%2Fx/report", f"{prefix}/t1/report"]


def test_curves_and_the_values_of_a_report_are_asked_for_by_id() -> None:
    script = Script(*[httpx.Response(200, json={"rows": []}) for _ in range(3)])
    with client(script) as speaker:
        assert speaker.curves("t1", points=50) == {"rows": []}
        speaker.curves("t1")
        speaker.report_values("../x")
    asked = [request.url.raw_path.decode().removeprefix("/api/v1/epoch-training") for request in script.requests]
    assert asked == ["/curves/t1?points=50", "/curves/t1", "/tasks/..%2Fx/report/values"]


def test_resume_allows_changed_data_only_when_told_so() -> None:
    script = Script(httpx.Response(200, json={}), httpx.Response(200, json={}))
    with client(script) as speaker:
        speaker.resume("t1")
        speaker.resume("t1", allow_changed_data=True)
    assert [request.content for request in script.requests] == [b"", b'{"allow_changed_data":true}']


@pytest.mark.parametrize("kind", [NotFound("no such task"), IllegalMove("it is finished")])
def test_an_error_answer_becomes_the_class_of_its_code(kind: EpochdError) -> None:
    with pytest.raises(type(kind), match=kind.message):
        client(refused(kind)).task("t1")


def test_an_invalid_spec_keeps_its_problems() -> None:
    problems = [Problem("epochs", "too many", "fewer"), Problem("x", "unknown field", "")]
    with pytest.raises(InvalidSpec) as caught:
        client(refused(InvalidSpec(problems))).start({})
    assert caught.value.problems == problems


def test_an_unknown_code_keeps_its_message() -> None:
    answer = {"success": False, "code": "from_the_future", "message": "hm", "problems": []}
    with pytest.raises(EpochdError, match="hm"):
        client(lambda request: httpx.Response(500, json=answer)).health()


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[1]", b'{"detail": "no"}'])
def test_an_answer_that_is_not_epochd_s_is_called_so(body: bytes) -> None:
    with pytest.raises(ServerUnreachable, match="502, but not in the format of an epochd server"):
        client(lambda request: httpx.Response(502, content=body)).health()


def test_a_refused_connection_says_how_to_start_a_server() -> None:
    with pytest.raises(ServerUnreachable, match=r"http://127\.0\.0\.1:1 .*epochd serve"):
        Client("http://127.0.0.1:1").health()


@pytest.mark.parametrize("url", ["localhost:8000", "http://127.0.0.1:port"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ServerUnreachable, match=url):
        Client(url).health()


def test_a_stream_ends_at_the_final_event() -> None:
    body = sse(1, "state") + b": ping\n\n" + sse(2, "progress") + sse(3, "complete") + sse(4, "state")
    events = list(client(Script(event_stream(body))).stream("t1"))
    assert [event["seq"] for event in events] == [1, 2, 3]


def test_a_broken_stream_is_taken_up_behind_the_last_event() -> None:
    script = Script(
        event_stream(Broken(sse(1, "state"), sse(2, "progress"), sse(3, "progress")[:10])),
        httpx.ConnectError("refused"),
        event_stream(sse(3, "progress") + sse(4, "complete")),
    )
    events = list(client(script).stream("t1"))
    assert [event["seq"] for event in events] == [1, 2, 3, 4]
    assert script.last_ids == [None, "2", "2"]


def test_a_stream_that_the_server_ends_early_is_taken_up_again() -> None:
    notice = b'data: {"type": "server_shutdown"}\n\n'
    script = Script(event_stream(sse(1, "state") + notice), event_stream(sse(2, "cancelled")))
    assert [event["type"] for event in client(script).stream("t1")] == ["state", "cancelled"]
    assert script.last_ids == [None, "1"]


def test_a_stream_starts_behind_a_given_event_and_may_have_nothing_left() -> None:
    script = Script(httpx.Response(204))
    assert list(client(script).stream("t1", last_event_id=7)) == []
    assert script.last_ids == ["7"]


def test_a_stream_that_never_began_fails_at_once() -> None:
    with pytest.raises(ServerUnreachable):
        next(client(Script(httpx.ConnectError("refused"))).stream("t1"))


def test_a_stream_of_an_unknown_task_says_so() -> None:
    with pytest.raises(NotFound, match="no such task"):
        next(client(refused(NotFound("no such task"))).stream("t1"))


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("http_proxy", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("https_proxy", "gopher://127.0.0.1:9")


@pytest.fixture
def loopback() -> Iterator[str]:
    """A server on this machine that answers as a healthy one."""

    class Healthy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"status": "ok"}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Healthy) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.usefixtures("proxied")
def test_a_server_on_this_machine_is_reached_without_the_proxy_of_the_environment(loopback: str) -> None:
    for url in (loopback, loopback.replace("localhost", "127.0.0.1")):
        with Client(url) as direct:
            assert direct.health() == {"status": "ok"}


@pytest.mark.usefixtures("proxied")
def test_a_proxy_that_fails_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("https_proxy")
    with Client("http://epochd.invalid:8000") as through, pytest.raises(ServerUnreachable) as caught:
        through.health()
    assert "at http://epochd.invalid:8000 through the proxy http://127.0.0.1:9 (" in caught.value.message
    assert "NO_PROXY" in caught.value.message
    assert "secret" not in caught.value.message
    monkeypatch.setenv("no_proxy", "epochd.invalid")
    with Client("http://epochd.invalid:8000") as through, pytest.raises(ServerUnreachable) as caught:
        through.health()
    assert "proxy" not in caught.value.message


@pytest.mark.usefixtures("proxied")
def test_a_proxy_that_cannot_be_used_is_named() -> None:
    with pytest.raises(ServerUnreachable, match=r"through the proxy gopher://127\.0\.0\.1:9 "):
        Client("https://epochd.invalid")


def test_a_stream_gives_up_when_the_server_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("epochd.client.connection.MAX_OUTAGE", 0)
    script = Script(event_stream(sse(1, "state")), *[httpx.ConnectError("refused")] * 3)
    with pytest.raises(ServerUnreachable):
        list(client(script).stream("t1"))
    assert len(script.requests) == 3


def printed(place: int, line: str) -> bytes:
    return f"id: 1:{place}\ndata: {json.dumps({'attempt': 1, 'line': line})}\n\n".encode()


def test_a_log_is_followed_over_broken_connections_and_restarts_until_the_server_ends_it() -> None:
    notice = b'data: {"type": "server_shutdown"}\n\n'
    script = Script(
        event_stream(Broken(printed(4, "one"), b": ping\n\n")),
        event_stream(notice),
        httpx.Response(503, json={"message": "no server dispatches at this moment", "code": "busy"}),
        event_stream(printed(8, "two")),
    )
    lines = list(client(script).follow("t1", tail=5))
    assert lines == [{"attempt": 1, "line": "one"}, {"attempt": 1, "line": "two"}]
    assert script.last_ids == [None, "1:4", "1:4", "1:4"]
    assert dict(script.requests[0].url.params) == {"tail": "5", "follow": "true"}


def test_to_follow_an_unknown_task_says_so() -> None:
    with pytest.raises(NotFound, match="no such task"):
        next(client(refused(NotFound("no such task"))).follow("t1"))


@pytest.mark.parametrize(
    ("options", "body"),
    [
        ({}, {"from_beginning": False}),
        ({"output_path": "/models/x"}, {"from_beginning": False, "output_path": "/models/x"}),
    ],
)
def test_a_retry_sends_its_options(options: dict[str, str], body: dict[str, object]) -> None:
    script = Script(httpx.Response(200, json={"task_id": "t2"}))
    assert client(script).retry("t1", **options)["task_id"] == "t2"
    assert json.loads(script.requests[0].content) == body
