"""The settings table."""

import pytest

from epochd.core import settings
from epochd.core.errors import SettingsError
from epochd.dispatch.host.processes import MARK


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
        settings.load(slots=-1)
    assert caught.value.problems[0].field == "EPOCHD_SLOTS"
    assert str(caught.value).startswith("invalid settings: EPOCHD_SLOTS=-1: input should be greater")


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


def test_an_object_store_is_named_without_its_keys_which_are_not_shown(monkeypatch):
    monkeypatch.setenv("EPOCHD_STORAGE", "s3://bucket/epochd")
    monkeypatch.setenv("EPOCHD_STORAGE_OPTIONS", '{"secret_access_key": "hush", "allow_http": true, "port": 1}')
    monkeypatch.setenv("EPOCHD_DATASET_URLS", "s3://tables, gs://other/shared/")
    loaded = settings.load()
    options = {name: value.get_secret_value() for name, value in loaded.storage_options.items()}
    assert options == {"secret_access_key": "hush", "allow_http": "true", "port": "1"}
    assert loaded.dataset_urls == ["s3://tables/", "gs://other/shared/"]
    assert "hush" not in repr(loaded)


@pytest.mark.parametrize(
    "url", ["bucket", "s3://", "s3://key:hush@bucket", "s3://bucket?endpoint=x", "https://x/y", ""]
)
@pytest.mark.parametrize("name", ["storage", "dataset_urls"])
def test_what_is_no_place_in_an_object_store_is_refused(name, url):
    if name == "dataset_urls" and url == "":
        return
    with pytest.raises(SettingsError, match=f"EPOCHD_{name.upper()}"):
        settings.load(**{name: url})


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("slots", "-1", "input should be greater than or equal to 0"),
        ("slots", "many", "input should be a valid integer, unable to parse string as an integer"),
        ("slots", "", "input should be a valid integer, unable to parse string as an integer"),
        ("port", "65536", "input should be less than or equal to 65535"),
        ("lease_seconds", "nan", "input should be less than or equal to 3600"),
        ("log_level", "loud", "input should be 'debug', 'info', 'warning' or 'error'"),
        ("log_format", "xml", "input should be 'text' or 'json'"),
        ("access_log", "maybe", "input should be a valid boolean, unable to interpret input"),
        ("data_dir", "", "must not be empty; remove the variable for its default"),
        ("host", "", "must not be empty; remove the variable for its default"),
    ],
)
def test_a_single_wrong_setting_is_named_with_its_value_and_the_reason(monkeypatch, name, value, reason):
    monkeypatch.setenv(f"EPOCHD_{name.upper()}", value)
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert caught.value.message == f"invalid settings: EPOCHD_{name.upper()}={value}: {reason}"
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].hint


def test_the_value_of_a_wrong_setting_is_shortened_and_shown_escaped():
    with pytest.raises(SettingsError) as caught:
        settings.load(slots="\x1b]0;title\x07" + "9" * 10_000)
    assert r"EPOCHD_SLOTS=\x1b]0;title\x07999" in caught.value.message
    assert len(caught.value.message) < 250


def test_several_wrong_settings_are_all_named():
    with pytest.raises(SettingsError) as caught:
        settings.load(slots=-1, port=-1, log_level="loud")
    assert [problem.field for problem in caught.value.problems] == ["EPOCHD_PORT", "EPOCHD_SLOTS", "EPOCHD_LOG_LEVEL"]


@pytest.mark.parametrize("token", ["ключ", "a b", "naïve", "x\ty", "a\x1b", "x" * 4097, "“quoted”"])
def test_a_token_that_no_client_can_send_is_refused_without_being_shown(monkeypatch, token):
    monkeypatch.setenv("EPOCHD_TOKENS", f"good,{token}")
    with pytest.raises(SettingsError) as caught:
        settings.load()
    rule = "a token consists of 1 to 4,096 visible ASCII characters, without spaces"
    assert caught.value.message == f"invalid settings: EPOCHD_TOKENS: no client can send token 2 of 2: {rule}"
    assert token not in str(caught.value.as_json())


def test_tokens_of_visible_ascii_are_accepted(monkeypatch):
    monkeypatch.setenv("EPOCHD_TOKENS", " first+/==, second-._~ ,")
    assert [token.get_secret_value() for token in settings.load().tokens] == ["first+/==", "second-._~"]


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("EPOCHD_SLOT", "EPOCHD_SLOTS"),
        ("EPOCHD_DATADIR", "EPOCHD_DATA_DIR"),
        ("epochd_prot", "EPOCHD_PORT"),
        ("EPOCHD_LOGLEVEL", "EPOCHD_LOG_LEVEL"),
    ],
)
def test_an_unknown_variable_is_named_with_the_nearest_known_one(name, nearest):
    assert settings.unknown_variables([name]) == [
        f"the environment variable {name} is not known and has no effect; did you mean {nearest}?"
    ]


def test_variables_that_are_read_and_those_of_other_programs_are_not_unknown():
    known = [f"EPOCHD_{name.upper()}" for name in settings.Settings.model_fields]
    others = ["EPOCHD_URL", "EPOCHD_TOKEN", MARK, "epochd_slots", "PATH", "EPOCH", "EPOCHDATA"]
    assert settings.unknown_variables([*known, *others]) == []


def test_an_unknown_variable_that_resembles_nothing_is_named_alone():
    [sentence] = settings.unknown_variables(["EPOCHD_\x1b[2JQQQQQQQQQQQQQQQQQQ"])
    assert sentence == r"the environment variable EPOCHD_\x1b[2JQQQQQQQQQQQQQQQQQQ is not known and has no effect"


def test_a_wrong_connection_is_named_without_its_value(monkeypatch):
    monkeypatch.setenv("EPOCHD_CONNECTIONS", '{"good": "postgresql://u:hush@h/d", "shop": 3}')
    with pytest.raises(SettingsError) as caught:
        settings.load()
    assert caught.value.message == "invalid settings: EPOCHD_CONNECTIONS: shop: input should be a valid string"
    assert "hush" not in str(caught.value.as_json())


def test_users_are_read_and_their_tokens_not_shown(monkeypatch):
    monkeypatch.setenv("EPOCHD_USERS", '{"ann": "hush", "王": "hush2"}')
    loaded = settings.load(tokens="other", host="0.0.0.0")
    assert loaded.access_tokens == [("other", None), ("hush", "ann"), ("hush2", "王")]
    assert "hush" not in repr(loaded)


def test_users_alone_give_access_beyond_loopback(monkeypatch):
    monkeypatch.setenv("EPOCHD_USERS", '{"ann": "hush"}')
    assert settings.load(host="0.0.0.0").requires_token


@pytest.mark.parametrize(
    ("users", "reason"),
    [
        ('{"ann": "hush", "bob": "hush"}', "the token of bob is given twice"),
        ('{"ann": "hush-of-nobody"}', "the token of ann is given twice"),
        ('{"ann": "hush with spaces"}', "no client can send the token of ann"),
        ('{"a\\u0007": "hush"}', "contains control"),
        ('{"": "hush"}', "at least 1 character"),
        ('{"ann": 3}', "ann: input should be a valid string"),
        ("{hush", "EPOCHD_USERS: not valid JSON"),
    ],
)
def test_users_that_make_no_sense_are_refused_without_their_tokens(monkeypatch, users, reason):
    monkeypatch.setenv("EPOCHD_USERS", users)
    with pytest.raises(SettingsError) as caught:
        settings.load(tokens="hush-of-nobody")
    assert caught.value.problems[0].field == "EPOCHD_USERS"
    assert reason in caught.value.message
    assert "hush" not in str(caught.value.as_json())


def test_several_servers_need_postgresql():
    with pytest.raises(SettingsError, match="only one server can use a SQLite database") as caught:
        settings.load(shared=True)
    assert caught.value.problems[0].field == "EPOCHD_SHARED"
    assert settings.load(shared=True, database_url="postgresql://u@h/d").shared


@pytest.mark.parametrize("url", ["proxy", "http://user:hush@proxy", "http://proxy/?token=1", "ftp://proxy"])
def test_urls_of_servers_have_no_secrets_and_no_query(url):
    for name in ("public_url", "advertise_url"):
        with pytest.raises(SettingsError, match=f"EPOCHD_{name.upper()}"):
            settings.load(**{name: url})
    assert settings.load(public_url="https://proxy.example:8443/epochd").public_url


def test_the_variables_of_the_runtime_environment_of_ray_are_texts(monkeypatch):
    monkeypatch.setenv("EPOCHD_RAY_RUNTIME_ENV", '{"env_vars": null}')
    with pytest.raises(SettingsError, match=r"EPOCHD_RAY_RUNTIME_ENV.*env_vars"):
        settings.load()
