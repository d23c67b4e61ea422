"""The settings table."""

import pytest

from epochd.core import settings
from epochd.core.errors import SettingsError


def test_the_environment_is_read_and_the_command_line_wins(monkeypatch):
    monkeypatch.setenv("EPOCHD_SLOTS", "3")
    monkeypatch.setenv("EPOCHD_DATA_ROOTS", "/a, /b")
    assert settings.load().slots == 3
    assert settings.load(slots=5).slots == 5
    assert [str(root) for root in settings.load().dataset_roots[1:]] == ["/a", "/b"]


def test_listening_beyond_loopback_needs_tokens():
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0 without tokens"):
        settings.load(host="0.0.0.0")
    assert settings.load(host="0.0.0.0", tokens="secret").host == "0.0.0.0"


def test_secrets_are_not_shown():
    shown = repr(settings.load(tokens="hush", database_url="postgresql://u:hush@h/d"))
    assert "hush" not in shown


def test_a_bad_value_names_its_variable():
    with pytest.raises(SettingsError) as caught:
        settings.load(slots=0)
    assert caught.value.problems[0].field == "EPOCHD_SLOTS"
    assert str(caught.value).startswith("invalid settings: EPOCHD_SLOTS=0: input should be greater")


@pytest.mark.parametrize("text", ["{hush", '["hush"]', "postgresql://u:hush@h/d"])
def test_connections_that_are_no_json_object_are_told_without_their_text(monkeypatch, text):
    monkeypatch.setenv("EPOCHD_CONNECTIONS", text)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert caught.value.problems[0].field == "EPOCHD_CONNECTIONS"
    assert "hush" not in str(caught.value.as_json())


def test_connections_are_read_and_not_shown(monkeypatch):
    monkeypatch.setenv("EPOCHD_CONNECTIONS", '{"shop": "postgresql://u:hush@h/d"}')
    loaded = settings.load()
    assert loaded.connections["shop"].get_secret_value() == "postgresql://u:hush@h/d"
    assert "hush" not in repr(loaded)
