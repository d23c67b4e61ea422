"""Datasets that are named by their addresses in object stores."""

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.stores import Weed

from epochd.artifact.objects import Objects
from epochd.data.tables import addresses

TABLE = b"x,target\n" + b"".join(b"%d,%d\n" % (number, number % 2) for number in range(40))
ALLOWED = ["s3://tables/shared/", "s3://tables/"]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://other/sales.csv", "not in a place"),
        ("s3://tables/../other/sales.csv", "not in a place"),
        ("s3://tables/./sales.csv", "not in a place"),
        ("s3://tables//sales.csv", "not in a place"),
        ("s3://tables/", "not in a place"),
        ("s3://tablesx/sales.csv", "not in a place"),
        ("S3://tables/sales.csv", "not in a place"),
        ("https://example.com/sales.csv", "not in a place"),
        ("file:///etc/passwd", "not in a place"),
        ("s3://key:secret@tables/sales.csv", "more than a store and a path"),
        ("s3://tables/sales.csv?endpoint=http://169.254.169.254", "more than a store and a path"),
        ("s3://tables/sales.csv#x", "more than a store and a path"),
        ("s3://tables/sales\n.csv", "more than a store and a path"),
        ("s3://tables/sales.exe", "its format is not known"),
        ("s3://tables/" + "x" * 1100 + ".csv", "longer than"),
    ],
)
def test_only_addresses_in_allowed_places_are_datasets(url, reason):
    problem = addresses.problem(url, ALLOWED)
    assert problem is not None
    assert problem.field == "dataset"
    assert reason in problem.message


def test_an_address_in_an_allowed_place_has_one_copy():
    url = "s3://tables/shared/年/sales.csv.gz"
    assert addresses.problem(url, ALLOWED) is None
    assert addresses.prefix_of(url, ALLOWED) == ALLOWED[0]
    place = addresses.cached(Path("/home"), url)
    assert place.is_relative_to("/home/cache/addresses")
    assert place.name == "data.csv.gz"
    assert place != addresses.cached(Path("/home"), url.replace("年", "月"))


@pytest.fixture
async def shop(open_house: Callable[..., Any], weed: Weed) -> tuple[Any, Objects, str]:
    place = f"s3://tables/{secrets.token_hex(6)}"
    return (
        await open_house(dataset_urls=place, storage_options=weed.options()),
        Objects.opened(place, weed.options()),
        place,
    )


async def test_a_config_may_name_an_object_which_is_read_again_when_it_has_changed(shop):
    house, bucket, place = shop
    bucket.put("sales.csv", TABLE)
    url = f"{place}/sales.csv"
    config = {"dataset": url, "target_column": "target"}
    first = (await house.post("/validate", json=config)).json()
    assert first["valid"], first
    assert (first["config"]["dataset"], first["dataset"]["rows"]) == (url, 40)
    copy = addresses.cached(house.service.settings.data_dir, url)
    before = copy.stat().st_ino
    await house.post("/validate", json=config)
    assert copy.stat().st_ino == before, "it is fetched once"
    bucket.put("sales.csv", TABLE + b"7,1\n")
    again = (await house.post("/validate", json=config)).json()
    assert (again["valid"], again["dataset"]["rows"]) == (True, 41)
    assert again["dataset"]["fingerprint"] != first["dataset"]["fingerprint"]

    task_id = await house.start(**config)
    ticket = await house.executor.tickets.get()
    assert ticket.registered[url].read_bytes() == TABLE + b"7,1\n"
    inputs = (
        await house.http.get(f"/internal/attempts/{task_id}/files", headers={"Authorization": f"Bearer {ticket.token}"})
    ).json()
    assert inputs["registered"] == {url: "0/data.csv"}


async def test_a_wrong_address_is_a_problem_of_its_field_that_names_the_setting(shop):
    house, bucket, place = shop
    bucket.put("sales.csv", TABLE)
    config = {"dataset": f"{place}/sales.csv", "validation_dataset": "s3://other/x.csv", "target_column": "target"}
    (problem,) = (await house.post("/validate", json=config)).json()["problems"]
    assert problem["field"] == "validation_dataset"
    assert "s3://other/x.csv" in problem["message"]
    assert f"EPOCHD_DATASET_URLS): {place}/" in problem["hint"]
    config = {"dataset": f"{place}/missing.csv", "target_column": "target"}
    (problem,) = (await house.post("/validate", json=config)).json()["problems"]
    assert problem["field"] == "dataset"
    assert "there is no object" in problem["message"]


async def test_without_the_setting_no_address_is_read(house):
    (problem,) = (await house.post("/validate", json={"dataset": "s3://tables/x.csv", "target_column": "y"})).json()[
        "problems"
    ][:1]
    assert "allowed places (EPOCHD_DATASET_URLS): none" in problem["hint"]
