"""GET /tasks/{task_id}/report."""

from pathlib import Path

import pytest
from tests.support.house import House

from epochd.core.events import ReportKind
from epochd.report.language import CHOICES, ENGLISH

PAGE = f"<!doctype html>\n{ENGLISH}<title>größer</title>{CHOICES['en']}"


async def with_model(house: House, artifact: str = "artifacts/models/x", page: str | None = PAGE) -> str:
    """A completed training whose model has this report; its id."""
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    folder = house.service.settings.data_dir / artifact
    folder.mkdir(parents=True, exist_ok=True)
    if page is not None:
        (folder / "report.html").write_text(page, encoding="utf-8")
    await worker.report(ReportKind.COMPLETED, artifact=artifact, best={}, stopped_early=False, summary={})
    await worker.end()
    return task_id


async def test_the_report_is_a_page_that_cannot_load_or_run_anything(house):
    answer = await house.get(f"/tasks/{await with_model(house)}/report")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "sandbox"} <= set(policy)
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "größer" in answer.text


@pytest.mark.parametrize(
    ("query", "header", "language"),
    [("", "en", "en"), ("", "zh-CN", "zh"), ("", "", "zh"), ("?lang=en", "zh", "en"), ("?lang=zh", "en", "zh")],
)
async def test_the_language_is_that_of_the_query_or_of_the_header(open_house, query, header, language):
    house = await open_house(language=None)
    task_id = await with_model(house)
    answer = await house.get(f"/tasks/{task_id}/report{query}", headers={"Accept-Language": header})
    assert f'<html lang="{language}">' in answer.text
    assert CHOICES[language] in answer.text
    assert answer.headers["vary"] == "Accept-Language"


async def test_an_unknown_language_is_refused(house):
    answer = await house.get(f"/tasks/{await with_model(house)}/report?lang=fr")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_task_that_is_not_complete_has_none_yet(house):
    task_id = await house.start()
    answer = await house.get(f"/tasks/{task_id}/report")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_move")
    waiting = await house.start()
    await house.post(f"/stop/{waiting}")
    answer = await house.get(f"/tasks/{waiting}/report")
    assert answer.json()["message"].endswith("is cancelled: it has no model")


async def test_a_model_without_a_report_says_why(house):
    answer = await house.get(f"/tasks/{await with_model(house, page=None)}/report")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "EPOCHD_REPORT=false" in answer.json()["message"]
    assert (await house.get("/tasks/epoch_training_20260101_000000_abcdef/report")).status_code == 404


@pytest.mark.parametrize("artifact", ["artifacts/../../outside", "checkpoints/x"])
async def test_nothing_outside_the_artifact_store_is_read(house, tmp_path: Path, artifact):
    answer = await house.get(f"/tasks/{await with_model(house, artifact)}/report")
    assert (answer.status_code, "größer" in answer.text) == (404, False)


async def test_a_link_out_of_the_artifact_store_is_not_followed(house, tmp_path: Path):
    task_id = await with_model(house, page=None)
    (tmp_path / "secret.html").write_text("secret")
    (house.service.settings.data_dir / "artifacts/models/x/report.html").symlink_to(tmp_path / "secret.html")
    answer = await house.get(f"/tasks/{task_id}/report")
    assert (answer.status_code, "secret" in answer.text.replace("secret.html", "")) == (404, False)
