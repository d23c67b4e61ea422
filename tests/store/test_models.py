"""Models as completed jobs, and their aliases."""

import pytest

from epochd.core.errors import ModelInUse
from epochd.core.jobs import State
from epochd.store import jobs, models, tables
from epochd.store.db import Database
from tests.support.attempts import SPEC


async def trained(db: Database, folder: str, at: float, dataset: str | None = None) -> str:
    """A completed job with a model in this folder; its id."""
    job = await jobs.submit(db, SPEC.model_copy(update={"dataset": dataset}), now=at)
    values = {"state": State.COMPLETED, "artifact": f"artifacts/{folder}/{job.id}", "finished_at": at}
    async with db.write() as transaction:
        await transaction.connection.execute(tables.jobs.update().where(tables.jobs.c.id == job.id).values(values))
    return job.id


async def test_models_are_listed_by_folder_the_one_trained_last_first(db: Database) -> None:
    first, second = await trained(db, "models/churn", 1e9), await trained(db, "models/churn", 2e9)
    other = await trained(db, "models/fraud/eu", 1.5e9)
    await jobs.submit(db, SPEC)
    found, total = await models.find(db)
    assert [(model.name, [job.id for job in model.versions], model.count) for model in found] == [
        ("models/churn", [second], 2),
        ("models/fraud/eu", [other], 1),
    ]
    assert total == 2
    assert [job.id for job in (await models.get(db, "models/churn")).versions] == [second, first]
    assert (await models.get(db, "models")).count == 0


async def test_models_are_found_by_a_part_of_their_name_and_by_page(db: Database) -> None:
    for number in range(5):
        await trained(db, f"models/m{number}", 1e9 + number)
    found, total = await models.find(db, limit=2, offset=2)
    assert ([model.name for model in found], total) == (["models/m2", "models/m1"], 5)
    found, total = await models.find(db, name="M3")
    assert ([model.name for model in found], total) == (["models/m3"], 1)
    assert (await models.find(db, name="\0%"))[1] == 0
    assert sorted(await models.names(db)) == [f"models/m{number}" for number in range(5)]


async def test_models_of_a_dataset_are_those_with_a_version_that_was_trained_on_it(db: Database) -> None:
    first = await trained(db, "models/churn", 1e9, "a")
    await trained(db, "models/churn", 2e9, "b")
    await trained(db, "models/fraud", 2e9, "b")
    found, total = await models.find(db, dataset="a")
    assert [(model.name, [job.id for job in model.versions], model.count) for model in found] == [
        ("models/churn", [first], 1)
    ]
    assert total == 1


async def test_an_alias_leads_to_one_version_and_can_be_moved(db: Database) -> None:
    await models.set_alias(db, "models/churn", "champion", "a")
    await models.set_alias(db, "models/churn", "champion", "b")
    await models.set_alias(db, "models/fraud", "champion", "c")
    assert await models.aliases(db) == {"models/churn": {"champion": "b"}, "models/fraud": {"champion": "c"}}
    assert await models.remove_alias(db, "models/churn", "champion")
    assert not await models.remove_alias(db, "models/churn", "champion")
    assert await models.aliases(db) == {"models/fraud": {"champion": "c"}}


async def test_a_model_that_is_forgotten_is_no_version_any_more_and_its_job_says_so(db: Database) -> None:
    task_id = await trained(db, "models/churn", 1e9)
    await models.forget(db, task_id, now=2e9)
    job = await jobs.get(db, task_id)
    assert (job.artifact, job.state) == (None, State.COMPLETED)
    assert job.summary["model_removed_at"] == "2033-05-18T03:33:20.000Z"
    assert await models.find(db) == ([], 0)
    assert task_id in await models.without_model(db)


async def test_a_model_with_an_alias_is_removed_neither_alone_nor_with_its_job(db: Database) -> None:
    task_id = await trained(db, "models/churn", 1e9)
    await models.set_alias(db, "models/churn", "champion", task_id)
    with pytest.raises(ModelInUse, match="'champion'"):
        await models.forget(db, task_id)
    with pytest.raises(ModelInUse, match="'champion'"):
        await jobs.remove(db, task_id)
    await jobs.remove(db, task_id, keep_model=True)
    assert await models.aliases(db) == {"models/churn": {"champion": task_id}}
