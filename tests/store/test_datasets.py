"""The registry on both stores."""

from dataclasses import replace
from pathlib import Path

import pytest

from epochd.core.columns import ColumnOptions, ReadOptions
from epochd.core.datasets import Dataset, DatasetKind, Facts
from epochd.core.errors import DatasetInUse, NameTaken
from epochd.core.jobs import State
from epochd.core.specs import TrainingSpec
from epochd.store import datasets, jobs
from epochd.store.db import Database
from tests.support.attempts import LAST_WORDS, started

SCHEMA = [{"name": "x", "type": "Int64"}, {"name": "größe", "type": "String"}]
FLIGHTS = Dataset("flights", DatasetKind.UPLOAD, "flights.csv", 5_000_000_000, 7, SCHEMA, "f" * 64, 1.0, 1.0)
FOLDER = Path("/data/datasets")


def using(name: str, field: str = "dataset") -> TrainingSpec:
    return TrainingSpec(target_column="y", **{field: name})


async def add(db: Database, dataset: Dataset = FLIGHTS, *, replace: bool = False) -> Dataset | None:
    async with datasets.registering(db, dataset, replace=replace) as old:
        return old


async def test_what_was_registered_is_found_again(db: Database) -> None:
    dataset = replace(FLIGHTS, kind=DatasetKind.QUERY, connection="main", query="SELECT 1", profile={"columns": []})
    await add(db, dataset)
    assert await datasets.get(db, "flights") == dataset


async def test_a_name_of_any_script_is_found_by_itself_and_by_a_part(db: Database) -> None:
    for name in ("客户流失", "عملاء", "🙂", "名" * 80):
        await add(db, replace(FLIGHTS, name=name, path=f"{name}.csv"))
        assert (await datasets.get(db, name) or FLIGHTS).name == name
        found, _ = await datasets.find(db, name=name[:1])
        assert name in [one.name for one in found]


async def test_an_unknown_name_leads_nowhere(db: Database) -> None:
    assert await datasets.get(db, "flights\0") is None
    assert await datasets.remove(db, "flights") is None
    assert await datasets.paths(db, FOLDER, ["flights", "a\0"]) == {}


async def test_a_block_that_fails_registers_nothing(db: Database) -> None:
    with pytest.raises(OSError):
        async with datasets.registering(db, FLIGHTS):
            raise OSError("disk full")
    assert await datasets.get(db, "flights") is None


async def test_a_taken_name_is_refused_unless_it_is_replaced(db: Database) -> None:
    await add(db)
    with pytest.raises(NameTaken, match="replace=true"):
        await add(db)
    with pytest.raises(NameTaken):
        await datasets.check_free(db, "flights")
    await datasets.check_free(db, "flights", replace=True)
    newer = replace(FLIGHTS, path="flights.parquet", rows=3)
    assert await add(db, newer, replace=True) == FLIGHTS
    assert await datasets.get(db, "flights") == newer


@pytest.mark.parametrize("spec", [using("flights"), using("flights", "validation_dataset"), using("flights.csv")])
async def test_a_dataset_that_a_task_needs_stays(db: Database, spec: TrainingSpec) -> None:
    await add(db)
    job = await jobs.submit(db, spec)
    with pytest.raises(DatasetInUse, match=job.id):
        await datasets.remove(db, "flights")
    with pytest.raises(DatasetInUse, match=job.id):
        await add(db, replace=True)
    assert await datasets.get(db, "flights") == FLIGHTS


async def test_a_refusal_names_ten_tasks_at_most(db: Database) -> None:
    await add(db)
    for _ in range(12):
        await jobs.submit(db, using("flights"))
    with pytest.raises(DatasetInUse) as caught:
        await datasets.remove(db, "flights")
    assert caught.value.message.count("epoch_training_") == 10
    assert "and more" in caught.value.message


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
async def test_a_finished_task_needs_its_dataset_no_more(db: Database, state: State) -> None:
    await add(db)
    attempt = await started(db, using("flights"))
    await attempt.say(*LAST_WORDS[state])
    assert await datasets.remove(db, "flights") == FLIGHTS
    assert await datasets.get(db, "flights") is None


async def test_the_list_is_paged_newest_first_and_without_profiles(db: Database) -> None:
    for number, name in enumerate(["a_b", "aXb", "c"]):
        await add(db, replace(FLIGHTS, name=name, created_at=float(number), profile={"columns": []}))
    found, total = await datasets.find(db, limit=2)
    assert [dataset.name for dataset in found] == ["c", "aXb"]
    assert [dataset.profile for dataset in found] == [None, None]
    assert total == 3
    found, total = await datasets.find(db, name="A_")
    assert [dataset.name for dataset in found] == ["a_b"]
    assert total == 1


async def test_paths_lead_into_the_servers_folder_or_elsewhere(db: Database) -> None:
    await add(db)
    await add(db, replace(FLIGHTS, name="far", kind=DatasetKind.PATH, path="/mnt/far.parquet"))
    assert await datasets.paths(db, FOLDER) == {
        "flights": FOLDER / "flights.csv",
        "far": Path("/mnt/far.parquet"),
    }
    assert set(await datasets.paths(db, FOLDER, ["far", "nothing"])) == {"far"}


async def test_a_profile_is_kept_for_its_content_only(db: Database) -> None:
    await add(db)
    await datasets.keep_profile(db, "flights", "0" * 64, {"columns": ["old"]})
    assert await datasets.get(db, "flights") == FLIGHTS
    await datasets.keep_profile(db, "flights", "f" * 64, {"columns": ["new"]})
    assert await datasets.get(db, "flights") == replace(FLIGHTS, profile={"columns": ["new"]})


async def test_changed_content_forgets_the_profile(db: Database) -> None:
    await add(db, replace(FLIGHTS, profile={"columns": []}))
    await datasets.note(db, "flights", Facts(9, 99, SCHEMA[:1], "e" * 64), now=2.0)
    changed = await datasets.get(db, "flights")
    assert changed == replace(FLIGHTS, rows=9, bytes=99, schema=SCHEMA[:1], fingerprint="e" * 64, updated_at=2.0)


async def test_resuming_can_allow_changed_data(db: Database) -> None:
    job = await jobs.submit(db, using("flights"))
    await jobs.pause(db, job.id)
    assert not (await jobs.resume(db, job.id)).spec.allow_changed_data
    await jobs.pause(db, job.id)
    await jobs.resume(db, job.id, {"allow_changed_data": True})
    assert (await jobs.get(db, job.id)).spec == job.spec.model_copy(update={"allow_changed_data": True})


async def test_a_nul_in_a_task_breaks_no_dataset(db: Database) -> None:
    await add(db)
    job = await jobs.submit(db, using("flights").model_copy(update={"name": "a\0b\\u0000"}))
    assert (await jobs.get(db, job.id)).spec.name == "a\ufffdb\\u0000", "only NUL is replaced"
    with pytest.raises(DatasetInUse, match=job.id):
        await datasets.remove(db, "flights")
    assert await datasets.remove(db, "flights\0") is None
    await jobs.stop(db, job.id)
    assert await datasets.remove(db, "flights") == FLIGHTS


async def test_options_are_found_by_name_and_changed_with_facts(db: Database) -> None:
    await add(db, replace(FLIGHTS, options={"encoding": "gbk"}))
    await add(db, replace(FLIGHTS, name="far", path="far.csv"))
    assert await datasets.reading(db) == {"flights": ReadOptions("gbk")}
    assert await datasets.reading(db, ["far"]) == {}
    options = ReadOptions(sheet=2, columns={"a": ColumnOptions(type="category")})
    facts = Facts(7, 8, [], "new")
    changed = await datasets.change_options(db, "far", options, facts)
    assert changed is not None
    assert (changed.read_options, changed.rows, changed.fingerprint) == (options, 7, "new")
    assert await datasets.reading(db, ["far"]) == {"far": options}
    assert await datasets.change_options(db, "nothing", options, facts) is None


async def test_options_stay_while_a_task_needs_the_dataset(db: Database) -> None:
    await add(db)
    await jobs.submit(db, using("flights"))
    with pytest.raises(DatasetInUse):
        await datasets.change_options(db, "flights", ReadOptions("gbk"), Facts(1, 1, [], "x"))
