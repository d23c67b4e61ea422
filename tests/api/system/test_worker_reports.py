import pytest

from epochd.core.events import ReportKind


@pytest.fixture
async def worker(open_house):
    house = await open_house(tokens="secret")
    house.http.headers["Authorization"] = "Bearer secret"
    await house.start()
    return await house.worker()


async def test_a_report_is_answered_with_the_command(worker):
    assert await worker.report(ReportKind.LOG, level="info", message="hello") == "continue"


async def test_an_api_token_does_not_open_the_workers_door(worker):
    answer = await worker.post([], token="secret")
    assert answer.status_code == 409
    assert answer.json()["code"] == "stale_attempt"


async def test_no_token_is_401(worker):
    path = f"/internal/attempts/{worker.ticket.task_id}/report"
    del worker.http.headers["Authorization"]
    answer = await worker.http.post(path, json={"attempt": 1, "reports": []})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_an_attempt_token_does_not_open_the_api(worker):
    answer = await worker.http.get(
        "/api/v1/epoch-training/tasks", headers={"Authorization": f"Bearer {worker.ticket.token}"}
    )
    assert answer.status_code == 401


async def test_a_former_attempt_is_told_that_it_is_stale(worker):
    answer = await worker.http.post(
        f"/internal/attempts/{worker.ticket.task_id}/report",
        json={"attempt": worker.ticket.attempt + 1, "reports": []},
        headers={"Authorization": f"Bearer {worker.ticket.token}"},
    )
    assert answer.status_code == 409
    assert answer.json()["code"] == "stale_attempt"


async def test_a_malformed_report_names_the_field(worker):
    answer = await worker.post([{"number": 0, "kind": "sing", "payload": {}}])
    assert answer.status_code == 422
    fields = {problem["field"] for problem in answer.json()["problems"]}
    assert fields == {"reports.0.number", "reports.0.kind"}


async def test_the_workers_door_is_not_in_the_public_description(worker):
    paths = (await worker.http.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if "internal" in path]
