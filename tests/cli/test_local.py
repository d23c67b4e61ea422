"""The server's settings as options of ``epochd serve``."""

from typing import Any

import pytest

from epochd.cli import console
from epochd.core.settings import SECRETS, Settings


def test_every_setting_but_the_secrets_is_an_option_of_serve(run: Any) -> None:
    text = run("serve", "--help").out
    for name in set(Settings.model_fields) - SECRETS:
        assert f"--{name.replace('_', '-')} " in text


def test_serve_refuses_an_open_address_without_tokens(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EPOCHD_TOKENS", raising=False)
    refused = run("serve", "--host", "0.0.0.0")
    assert refused.code == console.REFUSED
    assert "EPOCHD_TOKENS" in refused.err


def test_serve_lists_invalid_settings(run: Any) -> None:
    refused = run("serve", "--port", 99999, "--slots", 0)
    assert refused.code == console.REFUSED
    assert "EPOCHD_PORT" in refused.err
    assert "EPOCHD_SLOTS" in refused.err
