"""Small predictions: the same answer as that of the route, and the route where it has to decide."""

import json
from typing import Any

import pytest
from tests.support import trained_models
from tests.support.house import House
from tests.support.trained_models import Store

from epochd.api.models import fast

BREAST = "/api/v1/models/models/breast/eu"


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[bytes | None]:
    """What the fast way has answered; None where it has left it to the route."""
    found: list[bytes | None] = []
    answer = fast._answer

    def noted(*arguments: Any) -> bytes | None:
        found.append(answer(*arguments))
        return found[-1]

    monkeypatch.setattr(fast, "_answer", noted)
    return found


async def test_the_first_request_loads_the_model_and_all_get_the_same_answer(
    house: House, store: Store, answers: list[bytes | None]
) -> None:
    rows, paths = trained_models.breast(3).to_dicts(), ["", "/versions/latest", f"/versions/{store.breast[1]}"]
    found = [(await house.http.post(f"{BREAST}{path}/predict", json=rows)).content for path in ["", *paths]]
    assert answers == [None, *[found[0]] * 3]
    assert set(found) == {found[0]}
    by_task = await house.http.post(f"/api/v1/models/{store.breast[1]}/predict", json=rows)
    assert (by_task.content, answers[-1]) == (found[0], None)
    assert (await house.http.post(f"/api/v1/models/{store.breast[1]}/predict", json=rows)).content == answers[-1]


async def test_an_alias_is_followed_at_once(house: House, store: Store, answers: list[bytes | None]) -> None:
    rows = trained_models.breast(1).to_dicts()
    for version in (*store.breast, *store.breast):
        await house.http.put(f"{BREAST}/aliases/champion", json={"version": version})
        assert (await house.http.post(f"{BREAST}/versions/champion/predict", json=rows)).json()["version"] == version
    assert [answer is None for answer in answers] == [True, True, False, False]
    await house.http.delete(f"{BREAST}/aliases/champion")
    assert (await house.http.post(f"{BREAST}/versions/champion/predict", json=rows)).status_code == 404


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{]", {}, 422),
        (b'[{"mean radius": 1}]', {}, 422),
        (b"mean radius\n1\n", {"Content-Type": "text/csv"}, 422),
        (None, {"Accept": "text/csv"}, 200),
    ],
)
async def test_what_is_not_certain_is_left_to_the_route(
    house: House, answers: list[bytes | None], body: bytes | None, headers: dict[str, str], status: int
) -> None:
    rows = json.dumps(trained_models.breast(1).to_dicts()).encode()
    await house.http.post(f"{BREAST}/predict", content=rows)
    answer = await house.http.post(f"{BREAST}/predict", content=rows if body is None else body, headers=headers)
    assert (answer.status_code, answers[-1]) == (status, None)


async def test_a_token_is_required_on_the_fast_way_too(store: Store, answers: list[bytes | None]) -> None:
    rows = trained_models.breast(1).to_dicts()
    async with trained_models.opened(store.folder, tokens=["secret"]) as house:
        right, wrong = {"Authorization": "Bearer secret"}, {"Authorization": "Bearer secre"}
        for headers, status in (
            (right, 200),
            (right, 200),
            (wrong, 401),
            ({}, 401),
            ({"Authorization": "secret"}, 401),
        ):
            answer = await house.http.post(f"{BREAST}/predict", json=rows, headers=headers)
            assert answer.status_code == status
    assert [answer is None for answer in answers] == [True, False, True, True, True]


async def test_the_cookie_of_a_session_needs_its_csrf_token_on_the_fast_way_too(
    store: Store, answers: list[bytes | None]
) -> None:
    rows = trained_models.breast(1).to_dicts()
    async with trained_models.opened(store.folder, tokens=["secret"]) as house:
        predicted = await house.http.post(f"{BREAST}/predict", json=rows, headers={"Authorization": "Bearer secret"})
        csrf = (await house.http.post("/api/v1/session", json={"token": "secret"})).json()["csrf_token"]
        for given in (None, "wrong"):
            headers = {} if given is None else {"X-CSRF-Token": given}
            refused = await house.http.post(f"{BREAST}/predict", json=rows, headers=headers)
            assert (refused.status_code, refused.json()["code"], answers[-1]) == (403, "csrf_failed", None)
        accepted = await house.http.post(f"{BREAST}/predict", json=rows, headers={"X-CSRF-Token": csrf})
        assert accepted.content == answers[-1] == predicted.content
