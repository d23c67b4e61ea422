import pytest

from epochd.api.app import create_app
from epochd.api.security import DATASETS_PATH, MODELS_PATH
from epochd.api.tasks.routing import PREFIX
from epochd.core.errors import SettingsError
from epochd.core.settings import Settings
from tests.support.executors import FakeExecutor
from tests.support.house import CONFIG

ROUTES = {
    ("get", "/curves/{task_id}"),
    ("get", "/stream"),
    ("get", "/tasks/{task_id}/report/values"),
    ("post", "/start"),
    ("post", "/validate"),
    ("get", "/schema"),
    ("get", "/progress/{task_id}"),
    ("get", "/history/{task_id}"),
    ("get", "/stream-progress/{task_id}"),
    ("post", "/pause/{task_id}"),
    ("post", "/priority/{task_id}"),
    ("post", "/resume/{task_id}"),
    ("post", "/stop/{task_id}"),
    ("get", "/tasks"),
    ("get", "/tasks/{task_id}"),
    ("delete", "/tasks/{task_id}"),
    ("post", "/retry/{task_id}"),
    ("post", "/continue/{task_id}"),
    ("get", "/logs/{task_id}"),
    ("post", "/replay/{task_id}"),
    ("get", "/replay/{task_id}"),
    ("get", "/tasks/{task_id}/report"),
}
PREDICTION_ROUTES = {
    ("post", ""),
    ("get", ""),
    ("get", "/{task_id}"),
    ("delete", "/{task_id}"),
    ("post", "/{task_id}/pause"),
    ("post", "/{task_id}/priority"),
    ("post", "/{task_id}/resume"),
    ("post", "/{task_id}/stop"),
    ("get", "/{task_id}/output"),
    ("get", "/{task_id}/stream"),
    ("get", "/{task_id}/logs"),
}
DATASET_ROUTES = {
    ("patch", "/{name}"),
    ("post", ""),
    ("get", ""),
    ("get", "/{name}"),
    ("delete", "/{name}"),
    ("post", "/{name}/refresh"),
}
FILES = ("", "/download", "/files/{name}")
MODEL_ROUTES = {
    ("get", ""),
    ("put", "/{model}/aliases/{alias}"),
    ("delete", "/{model}/aliases/{alias}"),
    *(("get", f"/{{model}}{version}{path}") for version in ("", "/versions/{version}") for path in FILES),
    *(("post", f"/{{model}}{version}/predict") for version in ("", "/versions/{version}")),
    ("delete", "/{model}/versions/{version}"),
}


async def test_the_public_routes_are_these(house):
    paths = (await house.http.get("/openapi.json")).json()["paths"]
    public = {(method, PREFIX + path) for method, path in ROUTES} | {("get", "/health")}
    public |= {(method, "/api/v1/session") for method in ("get", "post", "delete")}
    public |= {("get", f"/api/v1/system/{name}") for name in ("agents", "machine", "queue", "reconcile")}
    public |= {("post", "/api/v1/system/reconcile"), ("post", "/api/v1/system/agents/{name}/drain")}
    public |= {(method, "/api/v1/predictions" + path) for method, path in PREDICTION_ROUTES}
    public |= {(method, DATASETS_PATH + path) for method, path in DATASET_ROUTES}
    public |= {(method, MODELS_PATH + path) for method, path in MODEL_ROUTES}
    public |= {("get", f"/v2{path}") for path in ("", "/health/live", "/health/ready", "/models")}
    for version in ("", "/versions/{version}"):
        public |= {("get", f"/v2/models/{{model}}{version}{path}") for path in ("", "/ready")}
        public |= {("get", f"/serving/{{model}}{version}/{name}") for name in ("ping", "health", "version")}
        public |= {("post", f"/v2/models/{{model}}{version}/infer")}
        public |= {("post", f"/serving/{{model}}{version}/invocations")}
    assert {(method, path) for path, methods in paths.items() for method in methods} == public


async def test_the_description_offers_the_guides_bodies_as_examples(house):
    described = (await house.http.get("/openapi.json")).json()
    body = described["paths"][f"{PREFIX}/start"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"]["quick start"]["value"]["name"] == "深度学习模型训练"
    assert body["schema"] == {"$ref": "#/components/schemas/TrainingConfig"}
    assert "hidden_units" in described["components"]["schemas"]["TrainingConfig"]["properties"]


async def test_health_is_open_and_tells_how_things_are(open_house):
    house = await open_house(slots=2, tokens="secret")
    house.http.headers["Authorization"] = "Bearer secret"
    await house.start()
    await house.worker()
    del house.http.headers["Authorization"]
    answer = await house.http.get("/health")
    told = answer.json()
    assert answer.status_code == 200
    assert told["status"] == "ok"
    assert told["dispatcher"] == {"state": "running", "error": None}
    assert told["slots"] == {"total": 2, "free": 1}
    assert told["jobs"]["running"] == 1
    assert told["memory"] == {"limit_mb": None, "mechanism": None}


async def test_health_tells_what_limits_the_memory_of_trainings(open_house):
    house = await open_house(memory_mb=512)
    house.executor.memory = "cgroup v2"
    assert (await house.http.get("/health")).json()["memory"] == {"limit_mb": 512, "mechanism": "cgroup v2"}


async def test_health_is_503_when_the_dispatcher_is_dead(house):
    house.service.dispatcher.error = "it fell over"
    answer = await house.http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["dispatcher"] == {"state": "dead", "error": "it fell over"}


async def test_health_is_503_when_no_worker_can_be_started(house):
    house.executor.error = "no worker can be started: exit code 1\nTraceback of the worker"
    answer = await house.http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["message"] == "no worker can be started: exit code 1"
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("header", [None, "Bearer your_token", "Basic eA==", "nonsense"])
async def test_without_tokens_any_authorization_is_fine(house, header):
    answer = await house.get("/tasks", headers={"Authorization": header} if header else {})
    assert answer.status_code == 200


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic one", "Bearer ö", "Bearer one,two"])
async def test_with_tokens_a_missing_or_wrong_one_is_401(open_house, header):
    house = await open_house(tokens="one,two")
    headers = {"Authorization": header.encode()} if header else {}
    for path in ("/tasks", "/stream-progress/x"):
        answer = await house.get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.json()["code"] == "unauthorized"
        assert "one" not in answer.json()["message"].replace("one of", "")


@pytest.mark.parametrize("header", ["Bearer one", "bearer two"])
async def test_each_token_opens_the_api(open_house, header):
    house = await open_house(tokens="one,two")
    assert (await house.get("/tasks", headers={"Authorization": header})).status_code == 200


async def test_the_token_is_asked_for_before_the_body_is_judged(open_house):
    house = await open_house(tokens="one")
    assert (await house.post("/start", content=b"{")).status_code == 401


async def test_an_unknown_path_is_404_in_the_one_shape(house):
    answer = await house.http.get("/api/v2/nothing")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"
    assert "/api/v2/nothing" in answer.json()["message"]


async def test_a_wrong_method_is_405_and_names_the_right_one(house):
    answer = await house.get("/start")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "POST"
    assert answer.json()["code"] == "method_not_allowed"
    assert "POST" in answer.json()["message"]


async def test_a_fault_is_500_without_its_text_and_logged_with_it(house, monkeypatch, caplog):
    async def broken(*args: object, **options: object) -> None:
        raise RuntimeError("a secret path")

    monkeypatch.setattr("epochd.store.jobs.find", broken)
    answer = await house.get("/tasks")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert "secret" not in answer.text
    assert "a secret path" in caplog.text


async def test_a_foreign_host_or_page_is_refused_before_anything_else(house):
    assert (await house.get("/tasks", headers={"Host": "evil.example"})).status_code == 403
    answer = await house.post("/start", json=CONFIG, headers={"Origin": "http://evil.example"})
    assert answer.status_code == 403
    assert (await house.get("/tasks")).json()["total"] == 0


async def test_a_data_directory_that_cannot_be_made_is_a_settings_error(tmp_path):
    (tmp_path / "file").write_text("")
    app = create_app(Settings(data_dir=tmp_path / "file" / "data"), executor=FakeExecutor())
    with pytest.raises(SettingsError, match="EPOCHD_DATA_DIR"):
        async with app.router.lifespan_context(app):
            pass


def mode(path):
    return oct(path.stat().st_mode & 0o777)


@pytest.mark.parametrize(("is_shared", "home", "artifacts"), [(False, "0o700", "0o700"), (True, "0o710", "0o750")])
async def test_only_the_owner_has_access_to_the_data_folder(open_house, tmp_path, is_shared, home, artifacts):
    data = tmp_path / "data"
    data.chmod(0o755)
    (data / "epochd.db").chmod(0o644)
    (data / "checkpoints").mkdir(0o755)
    await open_house(group_readable=is_shared)
    assert (mode(data), mode(data / "artifacts")) == (home, artifacts)
    assert {mode(data / name) for name in ("checkpoints", "logs", "datasets")} == {"0o700"}
    assert {mode(path) for path in data.glob("epochd.db*")} == {"0o600"}
