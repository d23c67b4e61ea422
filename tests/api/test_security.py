import httpx
import pytest
from anyio import BrokenResourceError
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router

from epochd.api.security import MAX_BODY_BYTES, BodyLimit, HostGuard, UnhandledErrors, host_of
from epochd.core.settings import Settings


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"{request.method} {len(await request.body())}")


async def broken(request: Request) -> PlainTextResponse:
    raise RuntimeError("the secret inside")


def client(**settings: object) -> httpx.AsyncClient:
    inner = Router(
        routes=[Route("/", echo, methods=["GET", "POST"]), Route("/internal/x", echo), Route("/broken", broken)]
    )
    app = UnhandledErrors(HostGuard(BodyLimit(inner), Settings(**settings)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("//localhost:8000", "localhost"),
        ("//LOCALHOST", "localhost"),
        ("//[::1]:8000", "::1"),
        ("//127.0.0.1", "127.0.0.1"),
        ("http://example.com:3000", "example.com"),
        ("null", None),
        ("//", None),
        ("//[::1", None),
        ("//localhost:99999", None),
        ("//localhost@evil.com", None),
    ],
)
def test_host_of_strips_port_and_brackets(url, host):
    assert host_of(url) == host


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1:1", "[::1]:8000", "box.lan", "api.example.com"])
async def test_requests_to_an_allowed_host_pass(host):
    async with client(host="box.lan", allowed_hosts="api.example.com, other") as http:
        assert (await http.get("/", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/internal/x"])
async def test_requests_to_another_host_are_refused_and_told_which_setting_allows_them(path):
    async with client() as http:
        answer = await http.get(path, headers={"Host": "rebound.example:8000"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "forbidden"
    assert answer.json()["success"] is False
    assert "EPOCHD_ALLOWED_HOSTS" in answer.json()["message"]
    assert "rebound.example" in answer.json()["message"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://localhost.evil.example"])
async def test_a_foreign_page_cannot_post(origin):
    async with client() as http:
        answer = await http.post("/", headers={"Origin": origin})
    assert answer.status_code == 403
    assert origin in answer.json()["message"]


async def test_a_foreign_page_can_ask_and_our_own_page_can_post():
    async with client() as http:
        assert (await http.get("/", headers={"Origin": "http://evil.example"})).status_code == 200
        assert (await http.post("/", headers={"Origin": "http://localhost:5173"})).status_code == 200


async def test_a_body_of_exactly_the_limit_arrives_whole():
    async with client() as http:
        assert (await http.post("/", content=b"x" * MAX_BODY_BYTES)).text == f"POST {MAX_BODY_BYTES}"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_larger_body_is_refused(streamed):
    async def chunks():
        for _ in range(17):
            yield b"x" * (MAX_BODY_BYTES // 16)

    body = chunks() if streamed else b"x" * (MAX_BODY_BYTES + 1)
    async with client() as http:
        answer = await http.post("/", content=body)
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


async def test_an_unforeseen_exception_is_logged_and_answered_without_its_text(caplog):
    async with client() as http:
        answer = await http.get("/broken")
    assert answer.status_code == 500
    assert answer.json() == {
        "success": False,
        "code": "internal_error",
        "message": "internal server error: see the server's log for details",
        "problems": [],
    }
    assert "the secret inside" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("group", [False, True])
async def test_a_client_that_leaves_in_the_middle_of_an_event_is_no_fault(caplog, group):
    async def left(scope, receive, send):
        error = BrokenResourceError()
        raise ExceptionGroup("unhandled", [error]) if group else error

    await UnhandledErrors(left)({"type": "http", "method": "GET", "path": "/"}, None, None)
    assert not caplog.records


async def test_a_fault_beside_a_hangup_is_logged(caplog):
    async def both(scope, receive, send):
        raise ExceptionGroup("unhandled", [BrokenResourceError(), RuntimeError("the other one")])

    async with httpx.AsyncClient(transport=httpx.ASGITransport(UnhandledErrors(both)), base_url="http://x") as http:
        assert (await http.get("/")).status_code == 500
    assert "the other one" in caplog.text
