"""The list of models, their details, aliases and removal."""

import unicodedata

import pytest
from tests.support.house import House
from tests.support.trained_models import Store

MODELS = "/api/v1/models"
BREAST = f"{MODELS}/models/breast/eu"


async def test_models_are_listed_with_their_newest_version(house: House, store: Store) -> None:
    answer = (await house.http.get(MODELS)).json()
    assert [model["model"] for model in answer["models"]] == ["models/series", "models/mixed", "models/breast/eu"]
    breast = answer["models"][-1]
    assert (breast["versions"], breast["latest"], breast["newest"]["version"]) == (2, store.breast[1], store.breast[1])
    assert breast["newest"]["metrics"]["accuracy"] > 0.5
    found = (await house.http.get(MODELS, params={"name": "BREAST", "limit": 1})).json()
    assert (found["total"], found["models"]) == (1, [breast])


async def test_the_details_of_a_model_say_what_it_reads_and_where_it_comes_from(house: House, store: Store) -> None:
    found = (await house.http.get(f"{MODELS}/models/mixed")).json()
    kinds = {one["name"]: (one["kind"], one["example"]) for one in found["inputs"]}
    assert kinds == {
        "code": ("text", "01"),
        "large": ("boolean", True),
        "day": ("date", "2024-01-18"),
        "texture": ("number", 10.38),
    }
    assert [one["name"] for one in found["outputs"]] == ["prediction", "probability_benign", "probability_malignant"]
    assert found["lineage"]["dataset"] == "mixed.parquet"
    assert len(found["lineage"]["fingerprint"]) == 64
    assert {"model.json", "model.safetensors", "manifest.json"} <= {one["name"] for one in found["files"]}
    assert found["metrics"]["validation"]["loss"] > 0
    predicted = await house.http.post(f"{MODELS}/models/mixed/predict", json=[found["example"]])
    assert predicted.json()["predictions"][0]["prediction"] in ("benign", "malignant")


@pytest.mark.parametrize("path", ["models/breast/eu", "models%2Fbreast%2Feu", "models/breast/eu/versions/latest"])
async def test_a_name_with_slashes_is_found_however_it_is_written(house: House, store: Store, path: str) -> None:
    assert (await house.http.get(f"{MODELS}/{path}")).json()["version"] == store.breast[1]


async def test_a_task_stands_for_the_version_that_it_has_trained(house: House, store: Store) -> None:
    found = (await house.http.get(f"{MODELS}/{store.breast[0]}")).json()
    assert (found["model"], found["version"]) == ("models/breast/eu", store.breast[0])
    assert [one["version"] for one in found["versions"]] == [store.breast[1], store.breast[0]]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("models/brest/eu", "did you mean 'models/breast/eu'"),
        ("models/breast/eu/versions/x", "has no version 'x'"),
        ("models%2F..%2F..%2Fetc", "no model"),
        ("..%2F..%2Fetc/versions/latest", "no model"),
        ("%00", "no model"),
        ("x" * 300, "no model"),
        ("epoch_training_20240101_120000_a1b2c3", "no task"),
    ],
)
async def test_what_does_not_exist_is_not_found(house: House, path: str, said: str) -> None:
    answer = await house.http.get(f"{MODELS}/{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert said in answer.json()["message"]


async def test_an_alias_is_a_version_and_moves_at_once(house: House, store: Store) -> None:
    for version in store.breast:
        answer = await house.http.put(f"{BREAST}/aliases/champion", json={"version": version})
        assert answer.json() == {"success": True, "model": "models/breast/eu", "alias": "champion", "version": version}
        assert (await house.http.get(f"{BREAST}/versions/champion")).json()["version"] == version
    listed = (await house.http.get(MODELS)).json()["models"][-1]
    assert listed["newest"]["aliases"] == ["champion"]
    assert (await house.http.delete(f"{BREAST}/aliases/champion")).status_code == 200
    assert (await house.http.get(f"{BREAST}/versions/champion")).status_code == 404
    assert (await house.http.delete(f"{BREAST}/aliases/champion")).status_code == 404


async def test_an_alias_may_be_of_any_script(house: House, store: Store) -> None:
    for form in ("NFC", "NFD"):
        alias = unicodedata.normalize(form, "冠军é")
        answer = await house.http.put(f"{BREAST}/aliases/{alias}", json={"version": store.breast[0]})
        assert answer.json()["alias"] == "冠军é"
        found = await house.http.get(f"{BREAST}/versions/{alias}")
        assert found.json()["aliases"] == {"冠军é": store.breast[0]}
    assert (await house.http.delete(f"{BREAST}/aliases/{alias}")).json()["version"] is None


@pytest.mark.parametrize("alias", ["latest", "-x", "a b", "epoch_training_20240101_120000_a1b2c3", "x" * 121])
async def test_a_name_that_cannot_be_an_alias_is_refused(house: House, alias: str) -> None:
    answer = await house.http.put(f"{BREAST}/aliases/{alias}", json={"version": "latest"})
    assert (answer.status_code, answer.json()["problems"][0]["field"]) == (422, "alias")


@pytest.mark.parametrize("body", [{}, {"version": 1}, {"version": ""}, {"version": "latest", "x": 1}])
async def test_a_body_that_names_no_version_is_refused(house: House, body: object) -> None:
    assert (await house.http.put(f"{BREAST}/aliases/a", json=body)).status_code == 422


async def test_a_version_can_be_removed_and_its_task_says_so(house: House, store: Store) -> None:
    older, newer = store.breast
    rows = {"rows": [(await house.http.get(BREAST)).json()["example"]]}
    assert (await house.http.post(f"{BREAST}/predict", json=rows)).json()["version"] == newer
    assert (await house.http.delete(f"{BREAST}/versions/latest")).json()["version"] == newer
    assert not (store.folder / "artifacts/models/breast/eu" / newer).exists()
    assert (await house.http.post(f"{BREAST}/predict", json=rows)).json()["version"] == older
    task = (await house.get(f"/tasks/{newer}")).json()
    assert (task["state"], task["artifact"]) == ("completed", None)
    assert task["summary"]["model_removed_at"].startswith("20")
    answer = await house.http.get(f"{MODELS}/{newer}")
    assert "its model was deleted" in answer.json()["message"]
    assert list((store.folder / "removals").iterdir()) == []


async def test_a_version_with_an_alias_is_not_removed(house: House, store: Store) -> None:
    await house.http.put(f"{BREAST}/aliases/champion", json={"version": store.breast[0]})
    for refused in (
        await house.http.delete(f"{BREAST}/versions/champion"),
        await house.http.delete(f"/api/v1/epoch-training/tasks/{store.breast[0]}"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (409, "model_in_use")
    assert (await house.http.get(f"{BREAST}/versions/champion")).status_code == 200


async def test_a_model_that_was_kept_when_its_task_was_removed_is_still_served(house: House, store: Store) -> None:
    await house.http.delete(f"/api/v1/epoch-training/tasks/{store.breast[1]}?keep_model=true")
    found = (await house.http.get(BREAST)).json()
    assert (found["version"], found["lineage"]["task_exists"]) == (store.breast[1], False)
    assert [one["version"] for one in found["versions"]] == list(store.breast)
    assert (await house.http.delete(f"{BREAST}/versions/{store.breast[1]}")).status_code == 200
    assert (await house.http.get(BREAST)).json()["version"] == store.breast[0]
