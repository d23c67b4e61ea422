"""Batch predictions in the store: a list of their own, progress and checkpoints from their reports."""

from epochd.core import prediction_specs
from epochd.core.events import ReportKind, Type
from epochd.core.jobs import Command, JobKind, State
from epochd.store import jobs
from epochd.store.db import Database
from tests.support.attempts import NOW, SPEC, Attempt, claimed

PREDICTION = prediction_specs.parse({"model": "/models/churn", "dataset": "customers", "id_columns": ["id"]})


def rows(done: int) -> dict[str, object]:
    checkpoint = {"path": "checkpoints/x/parts", "epoch": 0, "step": done, "restores": {"data_fingerprint": "f"}}
    progress = {"rows_done": done, "rows_total": 300, "rows_per_second": 10.0, "skipped": 0}
    return {"progress": progress, "checkpoint": checkpoint}


async def started(db: Database) -> Attempt:
    await jobs.submit(db, PREDICTION, summary={"model": {"folder": "artifacts/m/1"}}, now=NOW)
    attempt = await claimed(db)
    await attempt.say(ReportKind.STARTED, {"rows_total": 300})
    return attempt


async def test_each_kind_has_a_list_of_its_own(db: Database) -> None:
    training, prediction = await jobs.submit(db, SPEC), await jobs.submit(db, PREDICTION)
    assert (await jobs.find(db))[0] == [training]
    assert await jobs.find(db, kind=JobKind.PREDICTION, state=State.PENDING) == ([prediction], 1)
    assert prediction.id.startswith("prediction_")
    assert (await jobs.get(db, prediction.id)).prediction == PREDICTION


async def test_reports_of_rows_are_progress_and_checkpoint(db: Database) -> None:
    attempt = await started(db)
    await attempt.say(ReportKind.ROWS, rows(100))
    job, log = await attempt.job(), await attempt.log()
    assert job.checkpoint is not None
    assert job.latest_metrics is not None
    assert (job.checkpoint.step, job.latest_metrics) == (100, rows(100)["progress"])
    assert log[-1].type is Type.PROGRESS
    assert log[-1].payload == {"progress": {"state": "running", **job.latest_metrics}}


async def test_a_prediction_is_paused_resumed_and_completed(db: Database) -> None:
    attempt = await started(db)
    await jobs.pause(db, attempt.id)
    assert await attempt.say(ReportKind.ROWS, rows(100)) is Command.PAUSE
    await attempt.say(ReportKind.PAUSED, rows(100)["checkpoint"])  # type: ignore[arg-type]
    assert (await attempt.job()).state is State.PAUSED
    await jobs.resume(db, attempt.id, {}, now=NOW)
    again = await claimed(db)
    await again.say(
        ReportKind.COMPLETED,
        {"artifact": "predictions/x/predictions.csv", "progress": rows(300)["progress"], "summary": {"output": {}}},
    )
    job = await again.job()
    assert (job.state, job.attempt, job.artifact) == (State.COMPLETED, 2, "predictions/x/predictions.csv")
    assert job.summary["model"] == {"folder": "artifacts/m/1"}
    assert (await again.log())[-1].payload["progress"]["rows_done"] == 300
