"""Whatever is wrong with a file or a table is told by the server in its one shape, before anything is started."""

import re

import pytest

from tests.support.broken_files import BROKEN
from tests.support.broken_tables import BROKEN_TABLES, SUSPICIOUS_TABLES

MEMORY_MB = 2_000


@pytest.fixture
async def inputs(open_house, tmp_path):
    """A server, and the folder that it reads datasets from."""
    folder = tmp_path / "inputs"
    folder.mkdir()
    return await open_house(data_roots=[str(folder)], memory_mb=MEMORY_MB), folder


async def refused(house, config):
    """The problems that both ``validate`` and ``start`` tell; nothing has been stored."""
    judged = await house.post("/validate", json=config)
    started = await house.post("/start", json=config)
    assert (judged.status_code, judged.json()["success"], judged.json()["valid"]) == (200, True, False)
    assert (started.status_code, started.json()["success"]) == (422, False)
    assert set(started.json()) == {"success", "code", "message", "problems"}
    assert started.json()["problems"] == judged.json()["problems"]
    assert (await house.get("/tasks")).json()["total"] == 0
    return judged.json()["problems"]


def test_the_corpus_is_large_enough():
    assert len(BROKEN) + len(BROKEN_TABLES) >= 40
    assert len(BROKEN_TABLES) >= 25


@pytest.mark.timeout(10, func_only=True)
@pytest.mark.parametrize("build", BROKEN.values(), ids=BROKEN)
async def test_a_broken_file_is_refused(inputs, build):
    house, folder = inputs
    name, message = build(folder)
    problems = await refused(house, {"dataset": name, "target_column": "y"})
    assert [problem["field"] for problem in problems] == ["dataset"]
    assert re.search(message, problems[0]["message"])
    assert problems[0]["hint"]
    assert str(folder) not in str(problems)


@pytest.mark.timeout(10, func_only=True)
@pytest.mark.parametrize("build", BROKEN_TABLES.values(), ids=BROKEN_TABLES)
async def test_a_table_that_cannot_be_trained_on_is_refused(inputs, build):
    house, folder = inputs
    case = build()
    problems = await refused(house, case.write(folder))
    told = [problem["message"] for problem in problems if problem["field"] == case.field]
    assert any(re.search(case.message, message) for message in told), problems
    assert len(problems) == 1
    assert problems[0]["hint"]


@pytest.mark.timeout(10, func_only=True)
@pytest.mark.parametrize("build", SUSPICIOUS_TABLES.values(), ids=SUSPICIOUS_TABLES)
async def test_what_was_probably_not_meant_rides_along_as_a_warning(inputs, build):
    house, folder = inputs
    case = build()
    config = case.write(folder)
    judged = (await house.post("/validate", json=config)).json()
    assert judged["valid"], judged["problems"]
    assert any(re.search(case.message, warning) for warning in judged["warnings"])
    started = (await house.post("/start", json=config)).json()
    assert started["warnings"] == judged["warnings"]
