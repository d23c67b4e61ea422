import re
import time

import polars as pl
import pytest
from tests.support.house import CONFIG, eventually

from epochd.api.tasks.openapi_examples import BASIC, COMPLEX, QUICK_START
from epochd.core.events import ReportKind
from epochd.core.jobs import TASK_ID, new_task_id
from epochd.engines import registry
from epochd.engines.speeds import SAMPLES


def fields(answer) -> set[str]:
    return {problem["field"] for problem in answer.json()["problems"]}


@pytest.mark.parametrize("body", [QUICK_START, BASIC, COMPLEX])
async def test_the_guides_bodies_start_a_training(house, body):
    answer = await house.post("/start", json=body, headers={"Accept-Language": "zh"})
    told = answer.json()
    assert answer.status_code == 200
    assert list(told)[:4] == ["success", "task_id", "message", "config"]
    assert told["success"] is True
    assert TASK_ID.fullmatch(told["task_id"])
    assert told["message"] == "Epoch训练已启动"
    assert told["config"].items() >= body.items()


async def test_the_config_comes_back_resolved_with_a_warning_for_the_default_dataset(house):
    told = (await house.post("/start", json=QUICK_START)).json()
    assert told["config"]["dataset"] == "sample"
    assert told["config"]["task"] == "binary"
    assert told["config"]["framework"] == "pytorch"
    assert any("sample" in warning for warning in told["warnings"])


async def test_the_resolved_config_can_be_posted_again(house):
    first = (await house.post("/start", json=CONFIG | {"validation_split": 0})).json()["config"]
    again = await house.post("/start", json=first)
    assert again.status_code == 200
    assert again.json()["config"] == first


async def test_a_task_that_must_wait_is_told_its_place(house):
    await house.start()
    await house.worker()
    await house.start()
    assert (await house.post("/start", json=CONFIG)).json()["queue_position"] == 2


async def test_english_is_spoken_to_those_who_ask_for_it(house):
    answer = await house.post("/start", json=CONFIG, headers={"Accept-Language": "en-US,en;q=0.9"})
    assert answer.json()["message"] == "Epoch training started"


async def test_all_problems_of_spec_data_and_framework_come_at_once(house):
    body = {
        "dataset": "iris",
        "target_column": "taget",
        "epochs": 0,
        "epochz": 3,
        "learning_rate": "fast",
        "model_type": "transformer",
        "gamma": 0.5,
        "learning_rate_scheduler": "cosine",
    }
    answer = await house.post("/start", json=body)
    assert answer.status_code == 422
    assert answer.json()["success"] is False
    assert answer.json()["code"] == "invalid_spec"
    assert fields(answer) >= {"target_column", "epochs", "epochz", "learning_rate", "gamma", "model_type"}
    hints = {problem["field"]: problem["hint"] for problem in answer.json()["problems"]}
    assert "'epochs'" in hints["epochz"]


async def test_problems_of_the_data_alone_are_data_errors(house):
    answer = await house.post("/start", json=CONFIG | {"feature_columns": ["petal"]})
    assert answer.status_code == 422
    assert answer.json()["code"] == "data_error"
    assert fields(answer) == {"feature_columns"}


async def test_a_bad_field_is_not_judged_a_second_time_by_the_data(house):
    answer = await house.post("/start", json=CONFIG | {"feature_columns": []})
    assert fields(answer) == {"feature_columns"}
    assert len(answer.json()["problems"]) == 1


async def test_a_bad_dataset_field_does_not_send_the_data_check_to_the_default_dataset(house):
    answer = await house.post("/start", json={"dataset": 5, "target_column": "no such column"})
    assert fields(answer) == {"dataset"}


async def test_nothing_is_stored_when_a_config_is_refused(house):
    await house.post("/start", json={})
    assert (await house.get("/tasks")).json()["total"] == 0


@pytest.mark.serial
async def test_a_billion_hidden_units_are_refused_at_once(house):
    body = CONFIG | {"hidden_units": [10**9]}
    await house.post("/start", json=body)
    before = time.perf_counter()
    answer = await house.post("/start", json=body)
    assert time.perf_counter() - before < 1, "nothing of that size has been made"
    assert answer.status_code == 422
    assert fields(answer) == {"hidden_units.0"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[" * 100_000, "recursion limit"),
        (b'{"seed": ' + b"9" * 5000 + b"}", "out of range"),
        (b'{"\\ud800": 1}', "not valid JSON"),
        (b'{"learning_rate": NaN}', "not valid JSON"),
        (b"[1]", "a list was given"),
        (b'"text"', "a string was given"),
        (b"null", "null was given"),
        (b"12", "a number or a boolean was given"),
    ],
)
async def test_a_body_that_is_no_json_object_is_refused_in_the_one_shape(house, body, said):
    answer = await house.post("/start", content=body)
    assert answer.status_code == 422
    assert set(answer.json()) == {"success", "code", "message", "problems"}
    assert fields(answer) == {"body"}
    assert said in answer.json()["message"]


async def test_infinite_numbers_are_a_problem_and_not_a_fault(house):
    answer = await house.post("/start", content=b'{"target_column": "target", "learning_rate": 1e999}')
    assert answer.status_code == 422
    assert fields(answer) == {"learning_rate"}


async def test_a_body_above_a_mebibyte_is_413(house):
    answer = await house.post("/start", json={"name": "x" * (1 << 20)})
    assert answer.status_code == 413
    assert answer.json()["code"] == "too_large"


async def test_validate_reports_problems_with_200_and_stores_nothing(house):
    answer = await house.post("/validate", json=CONFIG | {"epochs": -1})
    told = answer.json()
    assert answer.status_code == 200
    assert told["success"] is True
    assert told["valid"] is False
    assert told["config"] is None
    assert fields(answer) == {"epochs"}
    assert (await house.get("/tasks")).json()["total"] == 0


async def test_validate_describes_what_would_be_trained(house):
    told = (await house.post("/validate", json=CONFIG)).json()
    assert told["valid"] is True
    assert told["problems"] == []
    assert told["config"]["task"] == "multiclass"
    assert told["dataset"]["name"] == "iris"
    assert told["dataset"]["rows"] == 150
    assert len(told["dataset"]["features"]) == 4
    assert len(told["dataset"]["classes"]) == 3


async def test_a_framework_that_is_not_there_has_its_own_code(house, monkeypatch):
    monkeypatch.setattr("epochd.engines.registry.installed", list)
    answer = await house.post("/start", json=CONFIG)
    assert answer.status_code == 422
    assert answer.json()["code"] == "framework_missing"
    assert fields(answer) == {"framework"}
    assert "pip install" in answer.json()["message"]


async def test_the_schema_describes_every_option(house):
    schema = (await house.get("/schema")).json()
    assert schema["properties"]["hidden_units"]["default"] == [64, 32]
    assert all(re.search(r"\w", option["description"]) for option in schema["properties"].values())


@pytest.mark.parametrize(("resident", "is_refused"), [(1, True), (3, False)])
async def test_rows_that_fit_neither_into_memory_nor_into_the_cache_are_refused(
    open_house, tmp_path, resident, is_refused
):
    columns = {f"x{i}": [row * (i + 2) % 97 / 7 for row in range(80_000)] for i in range(8)}
    house = await open_house(resident_mb=resident, cache_mb=2)
    pl.DataFrame(columns | {"y": [0, 0, 1] * 26_666 + [0, 1]}).write_parquet(
        tmp_path / "data" / "datasets" / "wide.parquet"
    )
    answer = await house.post("/validate", json={"dataset": "wide.parquet", "target_column": "y"})
    said = "need 2.4 MiB in the cache folder; it may take 2.0 MiB (EPOCHD_CACHE_MB)"
    assert (said in answer.text) == is_refused, answer.text


async def test_a_limit_of_memory_that_the_operator_sets_leaves_room_for_a_small_training(open_house):
    house = await open_house(memory_mb=256)
    assert (await house.post("/validate", json=CONFIG)).json()["valid"] is True


async def test_a_folder_in_which_no_model_can_be_saved_is_refused_before_the_training(house):
    store = house.service.settings.artifacts_dir
    (store / "Models").mkdir()
    (store / "file").write_text("")
    for path in ("/models/x", "/file", "/" + "名" * 100, f"/x/{new_task_id()}/y"):
        for route in ("/start", "/validate"):
            told = (await house.post(route, json=CONFIG | {"output_path": path})).json()
            assert [problem["field"] for problem in told["problems"]] == ["output_path"], path
    assert (await house.get("/tasks")).json()["total"] == 0
    assert {path.name for path in store.iterdir()} == {"Models", "file"}


async def test_a_task_in_the_queue_has_its_folder_so_that_none_differs_from_it_only_in_case(house):
    await house.start(output_path="/models/Churn")
    await house.start(output_path="/models/Churn")
    refused = await house.post("/start", json=CONFIG | {"output_path": "/models/churn"})
    assert "differs from the existing folder 'Churn' only in case" in refused.json()["message"]


async def test_a_folder_that_cannot_be_created_is_refused_before_the_training(house, monkeypatch):
    def refuse(*given, **named):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    refused = await house.post("/start", json=CONFIG)
    assert (refused.status_code, fields(refused)) == (422, {"output_path"})
    assert "cannot be created: Read-only file system" in refused.json()["message"]


async def test_auto_learns_from_the_trainings_of_this_machine(house, monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: ["pytorch", "jax"])
    config = {"hidden_units": [16], "epochs": 100, "framework": "auto"}
    before = (await house.post("/validate", json=CONFIG | config)).json()["config"]["framework"]
    other = {"pytorch": "jax", "jax": "pytorch"}[before]
    for engine, step in ((before, 1.0), (other, 1e-6)):
        speed = {"engine": engine, "network": "mlp", "flops": 1e5, "step_seconds": step, "compile_seconds": 0.1}
        await house.start()
        worker = await (await house.worker()).begin()
        summary = {"epochs": 3, "speed": speed | {"import_seconds": 0.1}}
        best = {"loss": 0.1, "accuracy": 0.9, "epoch": 3}
        await worker.report(ReportKind.COMPLETED, artifact="a", best=best, stopped_early=False, summary=summary)
        await worker.end()

    async def learned() -> bool:
        told = await house.post("/validate", json=CONFIG | config)
        return told.json()["config"]["framework"] == other

    await eventually(learned)
    assert (house.service.settings.speeds_dir / SAMPLES).is_file()


async def test_auto_takes_the_engine_with_faster_steps_once_tasks_wait_that_share_its_start(house, monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: ["pytorch", "jax"])
    config = {"hidden_units": [16], "epochs": 100, "framework": "auto", "early_stopping_patience": None}

    async def chosen() -> str:
        return (await house.post("/validate", json=CONFIG | config)).json()["config"]["framework"]

    assert await chosen() == "pytorch"
    for _ in range(20):
        await house.start()
    assert await chosen() == "jax"


@pytest.mark.parametrize("speed", [{"engine": "jax"}, "fast", {"engine": 3, "flops": -1}])
async def test_a_speed_that_makes_no_sense_does_not_disturb_the_end_of_a_training(house, speed):
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    best = {"loss": 0.1, "epoch": 3}
    await worker.report(
        ReportKind.COMPLETED, artifact="a", best=best, stopped_early=False, summary={"epochs": 3, "speed": speed}
    )
    assert (await house.get(f"/tasks/{task_id}")).json()["state"] == "completed"
    assert not (house.service.settings.speeds_dir / SAMPLES).exists()
