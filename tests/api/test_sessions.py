"""What a session's value proves, and to whom."""

import time

import pytest

from epochd.api import sessions
from epochd.api.sessions import SECONDS, Session, Sessions
from epochd.core.errors import CsrfFailed
from epochd.core.settings import Settings


def opened(tokens: str = "one,two", token: str = "one", **settings: str) -> Session:
    return Sessions(Settings(tokens=tokens, **settings)).open(token)


def found(session: Session, tokens: str = "one,two", value: str | None = None, **settings: str) -> Session | None:
    """The session that a server finds in the cookies of a browser, which has those of others as well."""
    given = session.value if value is None else value
    return Sessions(Settings(tokens=tokens, **settings)).find([f"theme=dark; {session.cookie}={given};x"])


def test_a_session_is_valid_at_every_server_with_its_token_and_prefix():
    session = opened()
    for tokens in ("one,two", "two,one", "one", "three,one"):  # after a restart, with other tokens added or removed
        assert found(session, tokens) == session
    assert found(opened(root_path="/lab"), root_path="/lab") is not None


@pytest.mark.parametrize("settings", [{"tokens": "two"}, {"tokens": "One"}, {"tokens": ""}, {"root_path": "/lab"}])
def test_it_ends_when_its_token_is_removed_and_is_nothing_elsewhere(settings):
    session = opened()
    assert found(session, **settings) is None
    if settings.get("tokens"):  # nor under the name that the other server's cookie has
        other = Sessions(Settings(**settings)).open(settings["tokens"])
        assert found(other, value=session.value, **settings) is None


def test_it_does_not_contain_the_token_and_no_two_are_equal():
    token = "a-very-long-token"
    first, second = opened(token, token), opened(token, token)
    assert token not in str(first)
    assert first.value != second.value
    assert first.csrf_token != second.csrf_token
    assert first.csrf_token not in first.value
    assert first.cookie == second.cookie


def test_names_differ_by_token_and_prefix_so_that_servers_of_one_host_do_not_replace_each_others():
    assert len({opened(token="one").cookie, opened(token="two").cookie, opened(root_path="/lab").cookie}) == 3


def test_every_change_of_the_value_is_noticed():
    session = opened()
    for at, char in enumerate(session.value):
        changed = session.value[:at] + ("0" if char != "0" else "1") + session.value[at + 1 :]
        assert found(session, value=changed) is None
    identity, expires, signature = session.value.split(".")
    for value in (
        "",
        ".",
        "..",
        f"{identity}.{int(expires) + 1}.{signature}",
        f"{identity}.{expires}",
        f"{identity}.{expires}.",
        f"{identity}.{expires}.{session.csrf_token}",
        f"{session.value}0",
        f"{session.value}é",
        "9" * 5000,
    ):
        assert found(session, value=value) is None, value


def test_it_ends_after_its_time_whatever_the_browser_keeps(monkeypatch):
    session, now = opened(), time.time()
    monkeypatch.setattr(sessions.time, "time", lambda: now + SECONDS - 5)
    assert found(session) is not None
    monkeypatch.setattr(sessions.time, "time", lambda: now + SECONDS + 1)
    assert found(session) is None


def test_a_cookie_of_the_same_name_does_not_hide_the_valid_one():
    session = opened()
    headers = [f"{session.cookie}=planted; {session.cookie}={session.value}", f"{session.cookie}=planted"]
    assert Sessions(Settings(tokens="one")).find(headers) == session


def test_the_csrf_token_is_that_of_this_session():
    session, other = opened(), opened()
    session.check_csrf(session.csrf_token)
    for given in (None, "", "é", other.csrf_token, session.value, session.csrf_token[:-1]):
        with pytest.raises(CsrfFailed) as caught:
            session.check_csrf(given)
        assert session.csrf_token not in str(caught.value)
