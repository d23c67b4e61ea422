"""Requests that are small and cost much, or whose answers are large, while another client measures the server."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.hostile.conftest import attacked
from tests.support.running import Running

MAX_SECONDS, MAX_ANSWER_BYTES = 1.0, 100_000
"""Of one request; the server shares its processors with the tests that run beside it."""

BODIES: dict[str, dict[str, Any]] = {
    "unknown fields": {f"field {i}": 1 for i in range(10_000)},
    "similar fields": {f"target_colum{i}": 1 for i in range(10_000)},
    "wrong columns": {"feature_columns": [1] * 50_000},
    "wrong classes": {"class_weight": {str(i): "x" for i in range(50_000)}},
    "wrong numbers": {"class_weight": {"\x01" * 400 + str(i): 0 for i in range(400)}},
    "too many columns": {"feature_columns": ["x"] * 200_000},
    "repeated columns": {"feature_columns": [str(i // 2) for i in range(40_000)]},
    "long columns": {"feature_columns": ["名" * 490 + str(i // 2) for i in range(300)]},
    "one repeated column": {"feature_columns": ["x", *map(str, range(20_000)), "x"]},
    "missing columns": {"feature_columns": [f"feature{i}x" for i in range(20_000)]},
    "patterns": {"feature_columns": [f"*{i}*" for i in range(20_000)]},
    "a pattern of stars": {"feature_columns": ["*a" * 200 + "b"]},
    "layers": {"hidden_units": ["x"] * 100_000},
    "a long field": {"x" * 1_000_000: 1},
    "a long field of control characters": {"\x01" * 150_000: 1},
    "a long value": {"task": "x" * 1_000_000},
    "a large value": {"name": [["x" * 100] * 50] * 180},
    "a long name": {"name": "x" * 1_000_000},
    "a long dataset": {"dataset": "a/" * 500_000},
    "a deep dataset": {"dataset": "a/" * 499},
    "a long output path": {"output_path": "a/" * 500_000},
    "a long number": {"epochs": int("9" * 4_000)},
}


@pytest.fixture(scope="module", autouse=True)
def measured(server: Running) -> Iterator[None]:
    """One measurement during all requests: most are answered before a second one of the probe."""
    config = {"dataset": "iris", "target_column": "target"}
    server.client.post("/validate", json=config).raise_for_status()  # the first one starts a process
    with attacked(server):
        yield


def post(server: Running, path: str, body: object, **headers: str) -> httpx.Response:
    """The answer, which has to be fast and small."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    before = time.monotonic()
    answer = server.client.post(f"{server.url}{path}", content=content, headers=headers)
    assert time.monotonic() - before < MAX_SECONDS
    assert len(answer.content) < MAX_ANSWER_BYTES
    return answer


@pytest.mark.serial
@pytest.mark.parametrize("name", BODIES)
def test_what_is_wrong_with_a_config_is_told_briefly(server: Running, name: str) -> None:
    config = {"dataset": "iris", "target_column": "target"} | BODIES[name]
    checked = post(server, "/api/v1/epoch-training/validate", config)
    started = post(server, "/api/v1/epoch-training/start", config)
    assert (checked.status_code, started.status_code) == (200, 422)
    for problems in (checked.json()["problems"], started.json()["problems"]):
        assert 1 <= len(problems) <= 101
        assert all(len(problem["field"]) <= 200 for problem in problems)


REGISTRATIONS: dict[str, dict[str, Any]] = {
    "parts": {"name": "a", "path": "a/" * 500_000},
    "dots": {"name": "a", "path": "../" * 300_000},
    "name": {"name": "a" * 1_000_000, "path": "a"},
    "connection": {"name": "a", "connection": "a" * 900_000, "query": "SELECT 1"},
    "query": {"name": "a", "connection": "a", "query": "/**/" * 200_000 + "x"},
    "fields": {f"field {i}": 1 for i in range(10_000)},
    "known and unknown fields": {"name": "a", "path": "a"} | {f"field {i}": "x" for i in range(10_000)},
    "long field": {"x" * 1_000_000: "a"},
}


@pytest.mark.serial
@pytest.mark.parametrize("name", REGISTRATIONS)
def test_what_is_wrong_with_a_registration_is_told_briefly(server: Running, name: str) -> None:
    answer = post(server, "/api/v1/datasets", REGISTRATIONS[name])
    assert answer.status_code == 422
    assert 1 <= len(answer.json()["problems"]) <= 101


@pytest.mark.serial
@pytest.mark.parametrize("token", [None, "wrong"])
@pytest.mark.parametrize("megabytes", [4, 31])
def test_reports_without_the_token_of_an_attempt_are_not_read(
    server: Running, megabytes: int, token: str | None
) -> None:
    body = b'{"attempt": 1, "reports": [' + b'{"number":0},' * (megabytes * 2**20 // 13) + b"{}]}"
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    path = "/internal/attempts/epoch_training_20200101_000000_000000/report"
    answer = post(server, path, body, **headers)
    assert (answer.status_code, answer.json()["problems"]) == (401, [])
