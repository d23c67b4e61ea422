"""The OpenAPI description, compared with what the server does; and the pages that show it."""

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from epochd.api.app import create_app
from epochd.core.settings import Settings
from epochd.core.spec_fields import SpecFields
from tests.api.tasks.test_resume import paused
from tests.support.house import CONFIG

OPERATIONS = {
    "start_training",
    "validate_config",
    "get_config_schema",
    "get_progress",
    "get_curves",
    "get_history",
    "stream_progress",
    "stream_trainings",
    "pause_training",
    "prioritise_training",
    "replay_training",
    "compare_replay",
    "resume_training",
    "stop_training",
    "list_trainings",
    "get_training",
    "remove_training",
    "retry_training",
    "continue_training",
    "get_logs",
    "get_report",
    "get_report_values",
    "add_dataset",
    "change_dataset",
    "list_datasets",
    "get_dataset",
    "remove_dataset",
    "refresh_dataset",
    "list_models",
    "get_model",
    "get_model_version",
    "remove_model_version",
    "set_model_alias",
    "remove_model_alias",
    "predict",
    "predict_with_version",
    "download_model",
    "download_model_version",
    "get_model_file",
    "get_model_version_file",
    "get_queue",
    "get_machine",
    "list_agents",
    "drain_agent",
    "compare_processes",
    "repair_processes",
    "get_health",
    "start_prediction",
    "list_predictions",
    "get_prediction",
    "pause_prediction",
    "prioritise_prediction",
    "stop_prediction",
    "resume_prediction",
    "remove_prediction",
    "download_prediction",
    "stream_prediction",
    "get_prediction_logs",
}
OPERATIONS |= {"oip_live", "oip_ready", "oip_server", "oip_models"}
OPERATIONS |= {f"oip_{name}{end}" for name in ("model", "model_ready", "infer") for end in ("", "_version")}
OPERATIONS |= {
    f"scoring_{name}{end}" for name in ("ping", "health", "version", "invocations") for end in ("", "_version")
}
OPERATIONS |= {"get_session", "log_in", "log_out"}
OPEN = {"/health", "/v2/health/live", "/v2/health/ready", "/api/v1/session"}
"""Paths that need no token."""
DEFAULTS = {
    name: field.default
    for name, field in SpecFields.model_fields.items()
    if not field.is_required() and name not in ("dataset", "epochs", "name")
}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    return create_app(Settings()).openapi()


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (target for key, target in value.items() if key == "$ref")
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


def check(described: dict[str, Any], name: str, value: Any) -> None:
    """Raise unless a value has the named schema."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": described["components"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(value)


def answered(described: dict[str, Any], answer: Any, path: str) -> dict[str, Any]:
    """The body of an answer, which has the schema that its operation declares for its status."""
    operation = described["paths"][path][answer.request.method.lower()]
    content = operation["responses"][str(answer.status_code)]["content"]
    schema = content["application/json"]["schema"] | {"components": described["components"]}
    jsonschema_rs.validator_for(schema, validate_formats=True).validate(answer.json())
    body: dict[str, Any] = answer.json()
    return body


def test_operations_have_names(described):
    assert {operation["operationId"] for _, _, operation in operations(described)} == OPERATIONS


def test_every_reference_leads_to_a_schema_and_every_schema_is_used(described):
    prefix = "#/components/schemas/"
    schemas = described["components"]["schemas"]
    used = {target.removeprefix(prefix) for target in references(described)}
    assert used - set(schemas) == set()
    assert set(schemas) - used == set()
    assert "x-epochd" not in json.dumps(described)


def test_bodies_and_answers_are_named_schemas(described):
    for path, _method, operation in operations(described):
        bodies = [operation.get("requestBody", {})] + [answer for answer in operation["responses"].values()]
        for media in (body.get("content", {}).get("application/json") for body in bodies):
            schema = {} if media is None or path.endswith("/schema") else media["schema"]
            assert all("$ref" in one for one in schema.get("anyOf", [schema] if schema else [])), operation


def test_errors_are_declared_in_their_one_shape(described):
    for path, _, operation in operations(described):
        assert {"403", "422", "500", "503"} <= set(operation["responses"])
        assert ("401" in operation["responses"]) == (path not in OPEN or operation["operationId"] == "log_in")
        assert ("413" in operation["responses"]) == ("requestBody" in operation)
        for status, answer in operation["responses"].items():
            if status >= "400" and path not in OPEN:
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": f"#/components/schemas/{error_shape(path)}"}


def error_shape(path: str) -> str:
    if path.startswith("/v2"):
        return "OpenInferenceError"
    return "ScoringError" if path.startswith("/serving/") else "ErrorShape"


def test_unions_have_discriminators(described):
    schemas = described["components"]["schemas"]
    assert schemas["TrainingEvent"]["discriminator"]["propertyName"] == "type"
    assert schemas["Receipt"]["discriminator"]["propertyName"] == "from"
    assert schemas["ColumnProfile"]["discriminator"]["propertyName"] == "kind"
    assert "illegal_move" in schemas["ErrorCode"]["enum"]


def test_options_of_resume_and_continue_have_no_defaults_that_a_client_would_send(described):
    schemas = described["components"]["schemas"]
    for name in ("ResumeOptions", "ContinueOptions"):
        assert not [option for option in schemas[name]["properties"].values() if "default" in option]
    assert schemas["ContinueOptions"]["required"] == ["epochs"]


async def test_answers_and_events_of_a_training_are_as_described(house, described):
    prefix = "/api/v1/epoch-training"
    started = answered(described, await house.post("/start", json=CONFIG), f"{prefix}/start")
    worker = await (await house.worker()).begin()
    await worker.epochs(1, 2)
    await worker.report("log", level="info", message="a line")
    await worker.report("rollback", epoch=1, learning_rate=0.0001, message="the loss became NaN")
    await worker.epochs(2, 3)
    await worker.report("checkpoint", path="checkpoints/x", epoch=3, step=0, bytes=9)
    await worker.complete()
    task_id = started["task_id"]
    for path in ("progress", "history", "tasks", "logs"):
        answered(described, await house.get(f"/{path}/{task_id}"), f"{prefix}/{path}/{{task_id}}")
    answered(described, await house.get("/tasks"), f"{prefix}/tasks")
    stream = await house.get(f"/stream-progress/{task_id}")
    events = [json.loads(line[6:]) for line in stream.text.splitlines() if line.startswith("data: ")]
    for event in events:
        check(described, "TrainingEvent", event)
    assert {event["type"] for event in events} >= {"state", "progress", "log", "rollback", "checkpoint", "complete"}
    answered(described, await house.post(f"/pause/{task_id}"), f"{prefix}/pause/{{task_id}}")


async def test_answers_about_pauses_failures_and_errors_are_as_described(house, described):
    prefix = "/api/v1/epoch-training"
    task_id = await paused(house)
    answered(described, await house.get(f"/tasks/{task_id}"), f"{prefix}/tasks/{{task_id}}")
    resumed = await house.post(f"/resume/{task_id}", json={"epochs": 4})
    answered(described, resumed, f"{prefix}/resume/{{task_id}}")
    answered(described, await house.get(f"/tasks/{task_id}"), f"{prefix}/tasks/{{task_id}}")
    worker = await (await house.worker()).begin()
    await worker.report("failed", code="diverged", message="NaN", problems=[])
    await worker.end(1)
    answered(described, await house.get(f"/progress/{task_id}"), f"{prefix}/progress/{{task_id}}")
    answered(described, await house.post(f"/retry/{task_id}", json={"x": 1}), f"{prefix}/retry/{{task_id}}")
    answered(described, await house.post("/validate", json={}), f"{prefix}/validate")
    answered(described, await house.post("/validate", json=CONFIG), f"{prefix}/validate")
    answered(described, await house.http.get("/health"), "/health")
    answered(described, await house.http.get("/api/v1/system/reconcile"), "/api/v1/system/reconcile")


@pytest.mark.parametrize("name", ["breast_cancer", "iris", "sample"])
async def test_the_details_of_a_dataset_are_as_described(house, described, name):
    found = answered(described, await house.http.get(f"/api/v1/datasets/{name}"), "/api/v1/datasets/{name}")
    assert found["profile"]
    answered(described, await house.http.get("/api/v1/datasets"), "/api/v1/datasets")


@pytest.mark.parametrize(
    "options",
    [{"learning_rate_scheduler": "cosine"}, {"model_type": "cnn"}, {"model_type": "lstm"}, {"validation_split": 0}],
)
async def test_a_client_that_sends_every_declared_default_is_accepted(house, options):
    declared = (await house.get("/schema")).json()["properties"]
    assert {name for name, field in declared.items() if "default" in field} >= set(DEFAULTS)
    answer = await house.post("/start", json=DEFAULTS | CONFIG | options)
    assert answer.status_code == 200, answer.text


async def test_an_option_that_does_not_apply_and_has_another_value_is_a_problem(house):
    answer = await house.post("/start", json=CONFIG | {"learning_rate_scheduler": "cosine", "gamma": 0.2})
    assert [problem["field"] for problem in answer.json()["problems"]] == ["gamma"]


@pytest.mark.parametrize("content", [b"", b"{}", b"\xef\xbb\xbf{}", b" \n", b"\xef\xbb\xbf"])
async def test_an_empty_resume_changes_nothing(house, content):
    task_id = await paused(house)
    before = (await house.get(f"/tasks/{task_id}")).json()
    assert (await house.post(f"/resume/{task_id}", content=content)).status_code == 200
    after = (await house.get(f"/tasks/{task_id}")).json()
    assert (after["config"], after["revisions"]) == (before["config"], [])


async def test_a_byte_order_mark_before_the_json_is_accepted(house):
    content = b"\xef\xbb\xbf" + json.dumps(CONFIG).encode()
    assert (await house.post("/validate", content=content)).json()["valid"] is True


async def test_unknown_query_parameters_are_refused_by_every_route(house, described):
    for path, method, _ in operations(described):
        answer = await house.http.request(method, re.sub(r"{\w+}", "x", path) + "?limitt=1&%00=2")
        assert answer.status_code == 422, path
        if error_shape(path) == "ErrorShape":
            assert {problem["field"] for problem in answer.json()["problems"]} == {"limitt", "\0"}
        else:
            assert "unknown query parameter 'limitt'" in answer.text


async def test_the_nearest_known_parameter_is_named(house):
    answer = await house.get("/tasks?limt=5&sate=running")
    assert {problem["hint"] for problem in answer.json()["problems"]} == {
        "did you mean 'limit'?",
        "did you mean 'state'?",
    }
    assert (await house.get("/tasks?limit=5&state=running")).status_code == 200


@pytest.mark.parametrize("prefix", ["", "/epochd/v2"])
@pytest.mark.parametrize("is_stripped", [True, False])
async def test_docs_work_without_internet_and_under_a_prefix(open_house, prefix, is_stripped):
    house = await open_house(root_path=prefix)

    async def fetched(url: str) -> Any:
        assert url.startswith(f"{prefix}/")
        answer = await house.http.get(url.removeprefix(prefix) if is_stripped else url)
        assert answer.status_code == 200, url
        return answer

    for page in ("/docs", "/redoc"):
        shown = (await fetched(prefix + page)).text
        links = re.findall(r"""(?:src|href|url|spec-url)\s*[=:]\s*["']([^"']+)["']""", shown)
        assert any(link.endswith(".js") for link in links)
        for link in links:
            await fetched(link)
    described = (await fetched(f"{prefix}/openapi.json")).json()
    assert [server["url"] for server in described.get("servers", [])] == ([prefix] if prefix else [])


async def test_uploads_are_recognised_under_a_prefix(open_house):
    house = await open_house(root_path="/epochd")
    rows = "a,b\n" + "1,2\n" * 300_000  # larger than the limit of a JSON body
    answer = await house.http.post("/epochd/api/v1/datasets?filename=t.csv", content=rows)
    assert answer.status_code == 201, answer.text
