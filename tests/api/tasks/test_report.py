"""GET /tasks/{task_id}/report and /tasks/{task_id}/report/values."""

import json
from pathlib import Path

import pytest
from tests.support.house import House
from tests.support.reports import finished

from epochd.core.events import ReportKind
from epochd.report import page
from epochd.report.drawing import page_data
from epochd.report.language import CHOICES, ENGLISH
from epochd.worker import model_report

VALUES = '{"labels":["größer"]}'
PAGE = f"<!doctype html>\n{ENGLISH}<title>größer</title>{CHOICES['en']}"


async def with_model(
    house: House, artifact: str = "artifacts/models/x", page: str | None = PAGE, values: str | None = None
) -> str:
    """A completed training whose model has this report, with these values; its id."""
    task_id = await house.start()
    worker = await (await house.worker()).begin()
    folder = house.service.settings.data_dir / artifact
    folder.mkdir(parents=True, exist_ok=True)
    if page is not None:
        (folder / "report.html").write_text(page, encoding="utf-8")
    if values is not None:
        (folder / "report.json").write_text(values, encoding="utf-8")
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


async def test_a_report_that_is_not_drawn_yet_is_drawn_when_it_is_asked_for(house, tmp_path: Path):
    task_id = await with_model(house, page=None)
    folder = house.service.settings.data_dir / "artifacts/models/x"
    data = model_report.report_data(finished(tmp_path / "made", dataset="breast_cancer"))
    (folder / "page.json").write_text(page_data(data), encoding="utf-8")
    (folder / "model.json").write_text(json.dumps(data.about), encoding="utf-8")
    (folder / "manifest.json").write_text("{}")
    answer = await house.get(f"/tasks/{task_id}/report?lang=en")
    assert (answer.status_code, answer.text) == (200, page.write(data))
    assert (folder / "report.html").read_text(encoding="utf-8") == page.write(data)


async def test_a_report_that_cannot_be_drawn_says_why(house):
    task_id = await with_model(house, page=None)
    (house.service.settings.data_dir / "artifacts/models/x/page.json").write_text("[")
    answer = await house.get(f"/tasks/{task_id}/report", headers={"Accept-Language": "en"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert "the report of the model in x cannot be drawn: JSONDecodeError" in answer.json()["message"]
    answer = await house.get(f"/tasks/{task_id}/report", headers={"Accept-Language": "zh"})
    assert "无法绘制" in answer.json()["message"]


async def test_the_values_of_its_figures_are_sent_as_they_are_saved(house):
    task_id = await with_model(house, values=VALUES)
    answer = await house.get(f"/tasks/{task_id}/report/values")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.text == VALUES


async def test_the_values_have_the_errors_of_the_report(house):
    task_id = await house.start()
    answer = await house.get(f"/tasks/{task_id}/report/values")
    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_move")
    assert (await house.get("/tasks/epoch_training_20260101_000000_abcdef/report/values")).status_code == 404


@pytest.mark.parametrize(
    ("page", "language", "reason"),
    [
        (PAGE, "en", "because an earlier version has saved it; its page report.html is complete"),
        (PAGE, "zh", "因为它是由早期版本保存的"),
        (None, "en", "EPOCHD_REPORT=false"),
    ],
)
async def test_a_model_without_values_says_why(house, page, language, reason):
    task_id = await with_model(house, page=page)
    answer = await house.get(f"/tasks/{task_id}/report/values", headers={"Accept-Language": language})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert reason in answer.json()["message"]


@pytest.mark.parametrize("artifact", ["artifacts/../../outside", "checkpoints/x"])
@pytest.mark.parametrize("path", ["report", "report/values"])
async def test_nothing_outside_the_artifact_store_is_read(house, tmp_path: Path, artifact, path):
    answer = await house.get(f"/tasks/{await with_model(house, artifact, values=VALUES)}/{path}")
    assert (answer.status_code, "größer" in answer.text) == (404, False)


async def test_a_link_out_of_the_artifact_store_is_not_followed(house, tmp_path: Path):
    task_id = await with_model(house, page=None)
    (tmp_path / "secret.html").write_text("secret")
    (house.service.settings.data_dir / "artifacts/models/x/report.html").symlink_to(tmp_path / "secret.html")
    answer = await house.get(f"/tasks/{task_id}/report")
    assert (answer.status_code, "secret" in answer.text.replace("secret.html", "")) == (404, False)
