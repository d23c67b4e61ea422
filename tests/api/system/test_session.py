"""Logging a browser in and out, and what its cookie opens."""

import asyncio
import logging
from http.cookies import Morsel, SimpleCookie
from typing import Any

import httpx
import pytest
from tests.support.executors import FakeExecutor
from tests.support.house import CONFIG, House, OpenHouse

from epochd.api import sessions
from epochd.api.app import create_app
from epochd.api.sessions import SECONDS
from epochd.api.tasks.routing import PREFIX
from epochd.core.settings import Settings
from epochd.data.tables.catalog import BUILTIN

TOKEN = "a-long-secret-token"
SESSION = "/api/v1/session"
TASKS, SCHEMA = f"{PREFIX}/tasks", f"{PREFIX}/schema"


def cookie_of(answer: httpx.Response) -> Morsel[str]:
    """The one cookie that an answer sets."""
    (given,) = answer.headers.get_list("set-cookie")
    (morsel,) = SimpleCookie(given).values()
    return morsel


def server(tokens: str) -> httpx.AsyncClient:
    """A client of a server that is not started: enough for what needs no database."""
    app = create_app(Settings(tokens=tokens), executor=FakeExecutor())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost:8000")


async def logged_in(house: House, token: str = TOKEN) -> dict[str, Any]:
    """Log the client of this server in; the answer."""
    answer = await house.http.post(SESSION, json={"token": token})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.fixture
async def guarded(open_house: OpenHouse) -> House:
    return await open_house(tokens=f"another-token,{TOKEN}")


async def test_the_cookie_is_for_this_server_only_and_no_script_can_read_it(guarded):
    answer = await guarded.http.post(SESSION, json={"token": TOKEN})
    cookie = cookie_of(answer)
    assert cookie["httponly"] is True
    assert cookie["samesite"] == "strict"
    assert cookie["path"] == "/"
    assert cookie["domain"] == ""
    assert cookie["secure"] == ""
    assert cookie["max-age"] == str(SECONDS) == "604800"
    assert TOKEN not in str(answer.headers) + answer.text
    assert cookie.value not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["logged_in"] is answer.json()["token_required"] is True


@pytest.mark.parametrize("is_stripped", [True, False])
async def test_under_a_prefix_the_cookie_is_sent_below_it_only(open_house, is_stripped):
    house = await open_house(tokens=TOKEN, root_path="/lab/one")
    path = SESSION if is_stripped else f"/lab/one{SESSION}"
    cookie = cookie_of(await house.http.post(path, json={"token": TOKEN}))
    assert cookie["path"] == "/lab/one"
    headers = {"Cookie": f"{cookie.key}={cookie.value}"}
    assert (await house.http.get(TASKS, headers=headers)).status_code == 200


async def test_with_https_the_cookie_is_never_sent_without(guarded):
    body = {"token": TOKEN}
    for url, headers in (("https://localhost", {}), ("", {"Origin": "https://localhost:8443"})):
        answer = await guarded.http.post(f"{url}{SESSION}", json=body, headers=headers)
        assert cookie_of(answer)["secure"] is True
    answer = await guarded.http.post(SESSION, json=body, headers={"Origin": "http://localhost:8000"})
    assert cookie_of(answer)["secure"] == ""


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], f"{TOKEN} ", f"another-token,{TOKEN}", "é", "x" * 5000])
async def test_a_wrong_token_is_refused_and_repeated_nowhere(guarded, caplog, token):
    caplog.set_level(logging.DEBUG)
    answer = await guarded.http.post(SESSION, json={"token": token})
    assert answer.status_code == 401
    assert answer.json()["code"] == "unauthorized"
    assert "set-cookie" not in answer.headers
    assert token not in answer.text + caplog.text


@pytest.mark.parametrize(
    "body",
    [{}, {"token": ""}, {"token": None}, {"token": 7}, {"token": [TOKEN]}, {"token": TOKEN, "x": 1}, {"Token": TOKEN}],
)
async def test_a_body_of_another_form_is_refused_without_being_repeated(guarded, body):
    answer = await guarded.http.post(SESSION, json=body)
    assert answer.status_code == 422
    assert TOKEN not in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_what_a_form_of_another_page_can_send_does_not_log_in(guarded, content_type):
    headers = {} if content_type is None else {"Content-Type": content_type}
    answer = await guarded.http.post(SESSION, content=f'{{"token": "{TOKEN}"}}', headers=headers)
    assert answer.status_code == 415
    assert "set-cookie" not in answer.headers


async def test_a_page_of_another_host_cannot_log_in(guarded):
    answer = await guarded.http.post(SESSION, json={"token": TOKEN}, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


async def test_a_token_in_the_address_is_refused(guarded):
    answer = await guarded.http.post(f"{SESSION}?token={TOKEN}", json={"token": TOKEN})
    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers
    assert (await guarded.http.get(f"{TASKS}?token={TOKEN}")).status_code == 401


async def test_the_session_is_told_to_its_own_browser_only(guarded):
    stranger = dict.fromkeys(("user", "csrf_token", "expires_at"))
    stranger |= {"success": True, "token_required": True, "logged_in": False}
    assert (await guarded.http.get(SESSION)).json() == stranger
    # The question is about the cookie; a token is not judged here.
    for token in (TOKEN, "wrong"):
        answer = await guarded.http.get(SESSION, headers={"Authorization": f"Bearer {token}"})
        assert answer.json() == stranger
    opened = await logged_in(guarded)
    answer = await guarded.http.get(SESSION)
    assert answer.json() == opened  # also after a reload
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    assert opened["csrf_token"]
    assert opened["expires_at"].endswith("Z")


async def test_a_server_without_tokens_needs_no_session(house):
    for answer in (await house.http.get(SESSION), await house.http.post(SESSION, json={"token": "any"})):
        assert answer.json()["token_required"] is answer.json()["logged_in"] is False
        assert "set-cookie" not in answer.headers
    assert (await house.post("/validate", json=CONFIG)).status_code == 200


async def test_with_the_cookie_everything_can_be_read_and_with_the_csrf_token_changed(guarded):
    csrf = (await logged_in(guarded))["csrf_token"]
    assert (await guarded.http.get(TASKS)).status_code == 200
    refused = await guarded.post("/start", json=CONFIG)
    assert refused.status_code == 403
    assert refused.json()["code"] == "csrf_failed"
    assert "X-CSRF-Token is missing" in refused.json()["message"]
    wrong = await guarded.post("/start", json=CONFIG, headers={"X-CSRF-Token": csrf[:-1]})
    assert wrong.status_code == 403
    assert csrf[:-1] not in wrong.text
    assert (await guarded.get("/tasks")).json()["total"] == 0
    assert (await guarded.post("/start", json=CONFIG, headers={"X-CSRF-Token": csrf})).status_code == 200


async def test_every_route_that_changes_something_needs_the_csrf_token(guarded):
    await logged_in(guarded)
    described = (await guarded.http.get("/openapi.json")).json()["paths"]
    asked = 0
    for path, methods in described.items():
        for method in methods:
            if method != "get" and path != SESSION:
                asked += 1
                url = path.replace("{", "").replace("}", "")
                for given in (None, "wrong"):
                    headers = {"Content-Type": "application/json"} | ({"X-CSRF-Token": given} if given else {})
                    answer = await guarded.http.request(method, url, content="{}", headers=headers)
                    assert answer.status_code == 403, (method, path, answer.text)
                    assert "CSRF" in answer.text
    assert asked > 20


async def test_uploads_need_the_csrf_token(guarded):
    csrf = (await logged_in(guarded))["csrf_token"]
    url, rows = "/api/v1/datasets?filename=t.csv", "a,b\n1,2\n"
    assert (await guarded.http.post(url, content=rows)).status_code == 403
    files = {"file": ("t.csv", rows)}
    assert (await guarded.http.post("/api/v1/datasets", files=files)).status_code == 403
    assert (await guarded.http.get("/api/v1/datasets")).json()["total"] == len(BUILTIN)
    assert (await guarded.http.post(url, content=rows, headers={"X-CSRF-Token": csrf})).status_code == 201


async def test_a_header_is_judged_alone(guarded):
    await logged_in(guarded)
    for header, status in ((f"Bearer {TOKEN}", 200), ("Bearer wrong", 401), ("Basic eA==", 401), ("", 401)):
        headers = {"Authorization": header}
        assert (await guarded.http.get(TASKS, headers=headers)).status_code == status
        answer = await guarded.post("/validate", json=CONFIG, headers=headers)
        assert answer.status_code == status  # without a CSRF token


async def test_a_session_ends_by_its_time_on_the_server(guarded, monkeypatch):
    csrf = (await logged_in(guarded))["csrf_token"]
    later = sessions.time.time() + SECONDS + 1
    monkeypatch.setattr(sessions.time, "time", lambda: later)
    (cookie,) = guarded.http.cookies.jar
    headers = {"Cookie": f"{cookie.name}={cookie.value}", "X-CSRF-Token": csrf}
    assert (await guarded.http.get(TASKS, headers=headers)).status_code == 401
    assert (await guarded.post("/start", json=CONFIG, headers=headers)).status_code == 401
    assert (await guarded.http.get(SESSION, headers=headers)).json()["logged_in"] is False


@pytest.mark.parametrize("live", [{"tokens": TOKEN}], indirect=True)
@pytest.mark.parametrize("path", ["/stream?tasks=true", "/stream-progress/{id}", "/logs/{id}?follow=true"])
async def test_an_open_stream_ends_with_its_session_and_not_with_a_token(live, monkeypatch, path):
    for module in ("live", "stream", "logs"):
        monkeypatch.setattr(f"epochd.api.tasks.{module}.PING_SECONDS", 0.02)
    token = {"Authorization": f"Bearer {TOKEN}"}
    task_id = (await live.post("/start", json=CONFIG, headers=token)).json()["task_id"]
    await logged_in(live)
    url = f"{PREFIX}{path.format(id=task_id)}"
    later = sessions.time.time() + SECONDS + 1
    async with live.http.stream("GET", url) as session, live.http.stream("GET", url, headers=token) as other:
        assert session.status_code == other.status_code == 200
        parts, others = session.aiter_raw(), other.aiter_raw()
        assert await anext(parts)
        monkeypatch.setattr(sessions.time, "time", lambda: later)
        async with asyncio.timeout(5):
            async for _ in parts:
                pass
            for _ in range(3):
                assert await anext(others)


async def test_removing_a_token_ends_its_sessions_and_a_restart_does_not():
    cookies = []
    for token in ("first", "second"):
        async with server("first,second") as http:
            cookies.append(cookie_of(await http.post(SESSION, json={"token": token})))
    for tokens, expected in (("second,first", [200, 200]), ("second,third", [401, 200])):
        async with server(tokens) as http:
            headers = [{"Cookie": f"{cookie.key}={cookie.value}"} for cookie in cookies]
            assert [(await http.get(SCHEMA, headers=given)).status_code for given in headers] == expected


async def test_logging_out_clears_the_cookie(guarded):
    csrf = (await logged_in(guarded))["csrf_token"]
    assert (await guarded.http.delete(SESSION)).status_code == 403  # another page cannot log anybody out
    assert (await guarded.http.get(TASKS)).status_code == 200
    answer = await guarded.http.delete(SESSION, headers={"X-CSRF-Token": csrf})
    cookie = cookie_of(answer)
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/")
    assert answer.json()["logged_in"] is False
    assert not guarded.http.cookies
    assert (await guarded.http.get(TASKS)).status_code == 401


async def test_who_is_not_logged_in_is_told_no_name_of_a_cookie(guarded):
    answer = await guarded.http.delete(SESSION, headers={"Cookie": "epochd_session_0123456789ab=x; theme=dark"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


async def test_logging_in_with_another_token_replaces_the_session(guarded):
    await logged_in(guarded, "another-token")
    (first,) = [cookie.name for cookie in guarded.http.cookies.jar]
    opened = await logged_in(guarded)
    (second,) = [cookie.name for cookie in guarded.http.cookies.jar]
    assert first != second
    assert (await guarded.http.get(SESSION)).json() == opened


async def test_servers_of_one_host_do_not_log_each_other_out():
    """A browser sends cookies to every port of a host."""
    async with server("one") as first, server("two") as second:
        second._cookies = first.cookies
        csrf = [
            (await http.post(SESSION, json={"token": token})).json()["csrf_token"]
            for http, token in ((first, "one"), (second, "two"))
        ]
        assert [(await http.get(SCHEMA)).status_code for http in (first, second)] == [200, 200]
        assert (await second.delete(SESSION, headers={"X-CSRF-Token": csrf[0]})).status_code == 403
        assert (await second.delete(SESSION, headers={"X-CSRF-Token": csrf[1]})).status_code == 200
        assert [(await http.get(SCHEMA)).status_code for http in (first, second)] == [200, 401]


async def test_workers_cannot_use_the_cookie(guarded):
    csrf = (await logged_in(guarded))["csrf_token"]
    await guarded.post("/start", json=CONFIG, headers={"X-CSRF-Token": csrf})
    worker = await guarded.worker()
    url, batch = f"/internal/attempts/{worker.ticket.task_id}/report", {"attempt": 1, "reports": []}
    assert (await guarded.http.post(url, json=batch, headers={"X-CSRF-Token": csrf})).status_code == 401
    assert (await worker.post([])).status_code == 200


async def test_nothing_secret_is_logged(guarded, caplog):
    caplog.set_level(logging.DEBUG)
    csrf = (await logged_in(guarded))["csrf_token"]
    (cookie,) = guarded.http.cookies.jar
    await guarded.post("/start", json=CONFIG)
    await guarded.http.delete(SESSION, headers={"X-CSRF-Token": csrf})
    assert caplog.text
    for secret in (TOKEN, csrf, str(cookie.value)):
        assert secret not in caplog.text
