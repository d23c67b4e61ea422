from pathlib import Path
from typing import Any

from epochd.cli import console
from epochd.report.language import CHOICES, ENGLISH

PAGE = f"<!doctype html>\n{ENGLISH}{CHOICES['en']}<p>报告</p>"


def model(folder: Path) -> Path:
    found = folder / "models" / "epoch_training_20260101_000000_abcdef"
    found.mkdir(parents=True)
    (found / "report.html").write_text(PAGE, encoding="utf-8")
    (found.parent / "latest").symlink_to(found.name)
    return found


def test_the_report_of_a_model_folder_is_saved(run: Any, tmp_path: Path, monkeypatch: Any) -> None:
    latest = model(tmp_path).parent / "latest"
    monkeypatch.chdir(tmp_path)
    done = run("report", latest)
    saved = tmp_path / "epoch_training_20260101_000000_abcdef.html"
    assert (done.code, saved.read_text(encoding="utf-8")) == (0, PAGE)
    assert saved.name in done.err


def test_the_report_can_show_chinese_first(run: Any, tmp_path: Path) -> None:
    output = tmp_path / "报告.html"
    assert run("report", model(tmp_path), "--lang", "zh", "--output", output).code == 0
    assert CHOICES["zh"] in output.read_text(encoding="utf-8")


def test_a_folder_without_a_report_is_said_so(run: Any, tmp_path: Path) -> None:
    failed = run("report", tmp_path)
    assert failed.code == console.FAILED
    assert "has no readable report.html" in failed.err


def test_a_task_that_does_not_exist_is_said_so(run: Any, server: Any, tmp_path: Path) -> None:
    failed = run("report", "epoch_training_20260101_000000_abcdef", "--url", server.url, "--output", tmp_path / "x")
    assert failed.code == console.FAILED
    assert not (tmp_path / "x").exists()
