"""The comparison of database and system, through the API. What is found in which case: tests/dispatch."""

import asyncio
import os
import subprocess

import pytest

import epochd
from epochd.core.jobs import State
from epochd.core.prediction_specs import PredictionSpec
from epochd.core.specs import TrainingSpec
from epochd.dispatch import reconcile
from epochd.dispatch.host import gpus, machine, orphans, processes
from epochd.store import jobs

PATH = "/api/v1/system/reconcile"
SPEC = TrainingSpec(name="a test", target_column="target", framework="pytorch")
PREDICTION = PredictionSpec(model="models/x", dataset="iris")


async def started(house):
    """A task that runs, without the look at its data; and its ticket."""
    job = await jobs.submit(house.service.db, SPEC)
    return job, await house.worker()


async def test_a_running_task_is_shown_and_all_is_well(house):
    job, worker = await started(house)
    told = (await house.http.get(PATH)).json()
    assert (told["success"], told["findings"]) == (True, [])
    assert told["message"] == "the database and the system agree"
    [task] = told["running"]
    assert (task["task_id"], task["attempt"], task["pid"]) == (job.id, worker.ticket.attempt, None)
    assert 0 < task["lease_left"] <= 15


@pytest.fixture
def orphan(house):
    """A process that works for the server's data directory, but for none of its tasks."""
    env = os.environ | {processes.MARK: processes.mark_of(house.service.settings.data_dir)}
    process = subprocess.Popen(["sleep", "1000"], env=env, start_new_session=True)
    yield process
    process.kill()
    process.wait()


async def test_a_finding_has_a_code_and_a_sentence_and_a_repair_says_what_it_did(house, orphan, monkeypatch):
    monkeypatch.setattr(reconcile, "CONFIRM_SECONDS", 0.0)
    monkeypatch.setattr(orphans, "MIN_AGE_SECONDS", -1.0)
    [finding] = (await house.http.get(PATH)).json()["findings"]
    assert (finding["code"], finding["pid"], finding["task_id"]) == ("process_without_job", orphan.pid, None)
    assert f"process {orphan.pid} works for this data directory" in finding["message"]
    mended = (await house.http.post(PATH)).json()
    assert mended["message"] == "there is 1 finding"
    assert mended["findings"] == [finding]
    assert mended["repairs"] == [f"process {orphan.pid} was killed"]


async def test_a_repair_with_nothing_to_do_leaves_a_running_task_alone(house):
    job, _ = await started(house)
    assert (await house.http.post(PATH)).json()["repairs"] == []
    assert (await jobs.get(house.service.db, job.id)).state is State.RUNNING


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_it_takes_a_token(open_house, method):
    house = await open_house(tokens="secret")
    assert (await house.http.request(method, PATH)).status_code == 401
    allowed = await house.http.request(method, PATH, headers={"Authorization": "Bearer secret"})
    assert allowed.status_code == 200


async def test_without_a_framework_health_says_that_nothing_can_be_trained_and_which_command_installs_one(
    house, monkeypatch
):
    monkeypatch.setattr("epochd.engines.registry.installed", list)
    answer = await house.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")
    message = answer.json()["message"]
    assert message.startswith("nothing can be trained: no deep-learning framework is installed. On the server run: ")
    assert "-m pip install 'torch>=" in message
    assert "--index-url https://download.pytorch.org/whl/cpu" in message


MACHINE = "/api/v1/system/machine"


async def test_the_machine_is_measured_once_for_all_who_ask_within_a_while(house, monkeypatch):
    measured = []
    measure = machine.measure
    monkeypatch.setattr(machine, "measure", lambda settings: measured.append(settings) or measure(settings))
    answers = await asyncio.gather(*(house.http.get(MACHINE) for _ in range(5)))
    told = answers[0].json()
    assert len(measured) == 1
    assert told["cpu"]["logical"] == os.cpu_count()
    assert {usage["part"]: usage["bytes"] > 0 for usage in told["disk"]["usage"]}["database"] is True
    assert told["versions"]["epochd"] == epochd.__version__
    house.service._measuring = (0.0, house.service._measuring[1])
    assert (await house.http.get(MACHINE)).json()["measured_at"] > told["measured_at"]
    assert len(measured) == 2


async def test_a_gpu_says_whether_a_training_has_it(house, monkeypatch):
    monkeypatch.setattr(gpus, "list_gpus", lambda: [gpus.Gpu(n, "NVIDIA H200", 2**37, 0) for n in range(3)])
    pool = house.service.dispatcher.gpus
    pool.owned = [0, 1]
    pool.reserve(("a task", 1), [1])
    told = (await house.http.get(MACHINE)).json()["gpus"]
    assert [(gpu["trains"], gpu["is_allocated"]) for gpu in told] == [(True, False), (True, True), (False, False)]


async def test_the_queue_has_the_positions_of_trainings_and_predictions(house):
    await jobs.submit(house.service.db, SPEC, now=1.0)
    await house.worker()  # it runs, and no longer waits
    late = await jobs.submit(house.service.db, SPEC, now=3.0)
    early = await jobs.submit(house.service.db, PREDICTION, now=2.0)
    told = (await house.http.get("/api/v1/system/queue")).json()
    assert [(line["position"], line["task_id"], line["kind"]) for line in told["queue"]] == [
        (1, early.id, "prediction"),
        (2, late.id, "training"),
    ]
    page = (await house.http.get("/api/v1/system/queue", params={"offset": 1, "limit": 1})).json()
    assert [(line["position"], line["task_id"]) for line in page["queue"]] == [(2, late.id)]
    assert (told["total"], page["total"]) == (2, 2)
