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
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic {token}", "Bearer x{token}", "Bearer \xe9"])
@pytest.mark.parametrize("task_id", ["{task_id}", "epoch_training_20200101_000000_000000", "x" * 5_000, "%00", "a/b"])
async def test_nothing_is_read_without_the_token_of_the_attempt(worker, header, task_id):
    async def body():
        raise AssertionError("the body was read")
        yield b""

    path = f"/internal/attempts/{task_id.format(task_id=worker.ticket.task_id)}/report"
    headers = {"Authorization": header.format(token=worker.ticket.token).encode("latin-1")}
    answer = await worker.http.post(path, content=body(), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["message"] == "reports require the token of the running attempt"


async def test_a_token_is_of_one_task_only(open_house):
    house = await open_house(slots=2)
    await house.start()
    await house.start()
    first, second = await house.worker(), await house.worker()
    assert (await first.post([], token=second.ticket.token)).status_code == 401
    assert (await first.post([])).status_code == 200


async def test_a_report_that_is_too_large_is_refused(worker):
    answer = await worker.post([{"number": 1, "kind": "log", "payload": {"message": "x" * (9 << 20)}}])
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_of_many_malformed_reports_the_first_is_named(worker):
    answer = await worker.post([{"number": 0}] * 100_000)
    assert answer.status_code == 422
    assert {problem["field"].split(".")[1] for problem in answer.json()["problems"]} == {"0"}


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
