"""The language of answers: which one a request gets, and what of an answer is in it."""

import asyncio
import json

import pytest

from epochd.api.event_bus import line_of
from epochd.api.language import told
from epochd.client import Client
from epochd.core import language
from epochd.core.events import Event, ReportKind, Type
from epochd.core.language import Catalogue
from tests.support.house import CONFIG, House, OpenHouse

ZH, EN = {"Accept-Language": "zh-CN"}, {"Accept-Language": "en"}
CHINESE = Catalogue.of(
    {
        "unknown field {0}": "未知字段 {0}",
        "did you mean {0}?": "是否应为 {0}？",
        "there is no task {0}. {1}": "没有任务 {0}。{1}",
        "the loss became NaN": "损失变为 NaN",
        "lower the learning rate": "请降低学习率",
        "the data are few": "数据很少",
        "{0}, but {1} was given": "{0}，但给出的是 {1}",
        "input should be greater than or equal to {0}, but {1} was given": "输入应大于或等于 {0}，但给出的是 {1}",
        "Input should be less than or equal to {0}, but {1} was given": "输入应小于或等于 {0}，但给出的是 {1}",
        "trainings can run": "可以运行训练",
        "the database and the system agree": "数据库与系统一致",
    }
)


@pytest.fixture(autouse=True)
def few_translations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "chinese", lambda: CHINESE)


@pytest.fixture
async def house(open_house: OpenHouse) -> House:
    """A server without EPOCHD_LANGUAGE."""
    return await open_house(language=None)


WRONG = CONFIG | {"epochs": 0, "epoch": 3}


async def test_an_error_is_chinese_if_the_client_states_no_language(house: House) -> None:
    answer = (await house.post("/start", json=WRONG)).json()
    problems = {problem["field"]: problem for problem in answer["problems"]}
    assert answer["code"] == "invalid_spec"
    assert problems["epochs"]["message"] == "输入应大于或等于 1，但给出的是 0"
    assert problems["epoch"]["message"] == "未知字段 'epoch'"
    assert problems["epoch"]["hint"] == "是否应为 'epochs'？"
    assert answer["message"] == "；".join(f"{p['field']}：{p['message']}" for p in answer["problems"])


async def test_an_error_is_english_for_a_client_that_prefers_it(house: House) -> None:
    answer = (await house.post("/start", json=WRONG, headers=EN)).json()
    problems = {problem["field"]: problem for problem in answer["problems"]}
    assert problems["epochs"]["message"] == "input should be greater than or equal to 1, but 0 was given"
    assert problems["epoch"]["hint"] == "did you mean 'epochs'?"
    assert answer["message"] == "; ".join(f"{p['field']}: {p['message']}" for p in answer["problems"])


@pytest.mark.parametrize(("header", "is_chinese"), [({}, False), (ZH, True), (EN, False)])
async def test_the_setting_is_the_language_of_clients_that_state_none(
    open_house: OpenHouse, header: dict[str, str], is_chinese: bool
) -> None:
    house = await open_house(language="en")
    answer = (await house.post("/start", json=WRONG, headers=header)).json()
    assert ("；" in answer["message"]) is is_chinese
    health = (await house.http.get("/health", headers=header)).json()
    assert health["message"] == ("可以运行训练" if is_chinese else "trainings can run")


@pytest.mark.parametrize("path", ["/v2/models/none", "/serving/none/ping"])
async def test_other_protocols_are_english_unless_the_client_asks_for_chinese(
    monkeypatch: pytest.MonkeyPatch, house: House, path: str
) -> None:
    monkeypatch.setattr(language, "chinese", lambda: Catalogue.of({"there is no model {0}; {1}": "没有模型 {0}；{1}"}))
    english = (await house.http.get(path)).text
    chinese = (await house.http.get(path, headers=ZH)).text
    assert "there is no model" in english
    assert "没有模型 'none'" in chinese


async def test_a_wrong_parameter_of_a_request_is_told_in_chinese(house: House) -> None:
    answer = (await house.get("/tasks", params={"limit": 501})).json()
    [problem] = answer["problems"]
    assert (answer["code"], problem["field"]) == ("invalid_request", "limit")
    assert problem["message"] == "输入应小于或等于 500，但给出的是 '501'"


async def test_the_problems_of_a_validation_are_in_the_language_of_the_request(house: House) -> None:
    answer = (await house.post("/validate", json=WRONG)).json()
    assert answer["valid"] is False
    assert "未知字段 'epoch'" in {problem["message"] for problem in answer["problems"]}
    english = (await house.post("/validate", json=WRONG, headers=EN)).json()
    assert "unknown field 'epoch'" in {problem["message"] for problem in english["problems"]}


async def test_names_of_users_stay_as_they_are(house: House) -> None:
    answer = (await house.post("/start", json=CONFIG | {"the loss became NaN": 1})).json()
    [problem] = answer["problems"]
    assert problem["field"] == "the loss became NaN"
    assert problem["message"] == "未知字段 'the loss became NaN'"
    assert answer["message"] == "the loss became NaN：未知字段 'the loss became NaN'"


async def test_requests_at_the_same_time_have_languages_of_their_own(house: House) -> None:
    headers = [ZH, EN] * 10
    answers = await asyncio.gather(*(house.post("/validate", json=WRONG, headers=header) for header in headers))
    for header, answer in zip(headers, answers, strict=True):
        assert ("未知字段" in answer.text) is (header is ZH)


async def failed(house: House) -> str:
    """A training that has failed, with a warning; its id."""
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    await worker.report(ReportKind.LOG, level="warning", message="the data are few")
    problem = {"field": "learning_rate", "message": "the loss became NaN", "hint": "lower the learning rate"}
    message = "learning_rate: the loss became NaN"
    await worker.report(ReportKind.FAILED, code="diverged", message=message, problems=[problem])
    await worker.end()
    return task_id


async def test_a_task_tells_in_the_language_of_each_request_why_it_failed(house: House) -> None:
    task_id = await failed(house)
    chinese, english = [(await house.get(f"/tasks/{task_id}", headers=header)).json()["error"] for header in (ZH, EN)]
    assert chinese["code"] == english["code"] == "diverged"
    assert chinese["message"] == "learning_rate：损失变为 NaN"
    assert chinese["problems"] == [{"field": "learning_rate", "message": "损失变为 NaN", "hint": "请降低学习率"}]
    assert english["message"] == "learning_rate: the loss became NaN"
    assert english["problems"][0]["hint"] == "lower the learning rate"


async def test_a_stream_is_in_the_language_of_its_request(house: House) -> None:
    task_id = await failed(house)
    chinese, english = [
        [
            json.loads(line.removeprefix("data: "))
            for line in (await house.get(f"/stream-progress/{task_id}", headers=header)).text.splitlines()
            if line.startswith("data: ")
        ]
        for header in (ZH, EN)
    ]
    assert [event["message"] for event in chinese if event["type"] == "log"] == ["数据很少"]
    assert [event["message"] for event in english if event["type"] == "log"] == ["the data are few"]
    assert chinese[-1]["error"]["problems"][0]["message"] == "损失变为 NaN"
    assert english[-1]["error"]["problems"][0]["message"] == "the loss became NaN"
    assert [event["type"] for event in chinese] == [event["type"] for event in english]


def test_an_event_without_messages_is_sent_as_it_is() -> None:
    line = line_of(Event("a", 1, 1, Type.PROGRESS, {"message": "the data are few"}, at=0.0))
    assert line.told("zh") is line.data
    log = line_of(Event("a", 7, 1, Type.LOG, {"message": "the data are few"}, at=0.0))
    assert log.told("en") is log.data
    assert log.told("zh") is log.told("zh")
    assert log.told("zh").endswith(b"\nid: 7\n\n")


def test_only_messages_of_stored_json_are_translated() -> None:
    stored = {
        "name": "the data are few",
        "types": {"message": "the data are few"},
        "left_out": [{"name": "the data are few", "reason": "the data are few"}],
        "metrics": {"warnings": ["the data are few"], "f1": 0.5},
        "note": None,
    }
    assert told(stored, "zh") == {
        "name": "the data are few",
        "types": {"message": "the data are few"},
        "left_out": [{"name": "the data are few", "reason": "数据很少"}],
        "metrics": {"warnings": ["数据很少"], "f1": 0.5},
        "note": None,
    }
    assert told(stored, "en") == stored


@pytest.mark.parametrize(("given", "environment", "sent"), [(None, "zh", "zh"), (None, "en", "en"), ("en", "zh", "en")])
def test_the_client_asks_for_the_language_of_its_environment(
    monkeypatch: pytest.MonkeyPatch, given: language.Language | None, environment: str, sent: str
) -> None:
    monkeypatch.setenv("EPOCHD_LANGUAGE", environment)
    with Client("http://localhost:1", language=given) as client:
        assert client._connection._http.headers["accept-language"] == sent


async def test_caches_are_told_that_answers_differ_by_language(house: House) -> None:
    for path in ("/health", "/api/v1/tasks/none", "/metrics"):
        for headers, name in ((ZH, "zh"), (EN, "en")):
            answer = await house.http.get(path, headers=headers)
            if answer.headers["content-type"] == "application/json":
                assert answer.headers["content-language"] == name
                assert "Accept-Language" in answer.headers["vary"]
            else:
                assert "content-language" not in answer.headers
